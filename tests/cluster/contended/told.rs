//! What holders tell of a lock and of the record that it guards, and what must hold of it all.
//!
//! Moments are of the one monotonic clock that the machine has.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

/// Who writes the guarded record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// One whose guard says, just before, that the lock is held.
    Careful,
    /// One who looks at no deadline: perhaps the lease has ended, perhaps another one has it.
    Reckless,
    /// One who comes with the fence of an earlier hold, while it holds the lock anew.
    Spent,
}

/// A line that a holder prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// A grant, and when it was known.
    Granted { lock: usize, fence: u64, at_ns: u128 },
    /// A guarded write was sent. Its answer may never come.
    Sent { lock: usize, writer: Writer },
    /// The store has taken it: it made this version, at this position.
    Wrote { lock: usize, fence: u64, writer: Writer, version: u64, position: u64 },
    /// The store has refused it; whether the writer's own guard says after that answer that the
    /// lock is still held.
    Refused { lock: usize, fence: u64, writer: Writer, held: bool },
    /// A hold is over: until when the holder's own guard said that it was held, and whether that
    /// was its deadline, and the lease is left to the store; or the lock was given back before.
    Held { lock: usize, fence: u64, until_ns: u128, ran_out: bool },
}

impl Writer {
    fn word(self) -> &'static str {
        match self {
            Self::Careful => "careful",
            Self::Reckless => "reckless",
            Self::Spent => "spent",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Careful, Self::Reckless, Self::Spent].into_iter().find(|it| it.word() == word)
    }
}

impl Line {
    /// As it is printed.
    pub fn text(self) -> String {
        match self {
            Self::Granted { lock, fence, at_ns } => format!("granted {lock} {fence} {at_ns}"),
            Self::Sent { lock, writer } => format!("sent {lock} {}", writer.word()),
            Self::Wrote { lock, fence, writer, version, position } => {
                format!("wrote {lock} {fence} {} {version} {position}", writer.word())
            }
            Self::Refused { lock, fence, writer, held } => {
                format!("refused {lock} {fence} {} {held}", writer.word())
            }
            Self::Held { lock, fence, until_ns, ran_out } => {
                format!("held {lock} {fence} {until_ns} {ran_out}")
            }
        }
    }

    /// `None`: what the test's own framework prints.
    pub fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let lock = words.get(1)?.parse().ok()?;
        Some(match words[..] {
            ["granted", _, fence, at] => {
                Self::Granted { lock, fence: fence.parse().ok()?, at_ns: at.parse().ok()? }
            }
            ["sent", _, writer] => Self::Sent { lock, writer: Writer::parse(writer)? },
            ["wrote", _, fence, writer, version, position] => Self::Wrote {
                lock,
                fence: fence.parse().ok()?,
                writer: Writer::parse(writer)?,
                version: version.parse().ok()?,
                position: position.parse().ok()?,
            },
            ["refused", _, fence, writer, held] => Self::Refused {
                lock,
                fence: fence.parse().ok()?,
                writer: Writer::parse(writer)?,
                held: held.parse().ok()?,
            },
            ["held", _, fence, until, ran_out] => Self::Held {
                lock,
                fence: fence.parse().ok()?,
                until_ns: until.parse().ok()?,
                ran_out: ran_out.parse().ok()?,
            },
            _ => return None,
        })
    }

    /// Which lock it is about.
    pub fn lock(self) -> usize {
        match self {
            Self::Granted { lock, .. }
            | Self::Sent { lock, .. }
            | Self::Wrote { lock, .. }
            | Self::Refused { lock, .. }
            | Self::Held { lock, .. } => lock,
        }
    }
}

/// A version of the guarded record.
#[derive(Debug, Clone, Copy)]
struct Version {
    fence: u64,
    position: u64,
}

/// The end of a hold.
#[derive(Debug, Clone, Copy)]
struct End {
    until_ns: u128,
    ran_out: bool,
}

/// All that was told of one lock and of its record.
#[derive(Debug, Default)]
pub struct Story {
    /// When each fence was known to be granted.
    grants: BTreeMap<u64, u128>,
    /// When each hold was over, by its fence.
    ends: BTreeMap<u64, End>,
    /// The record's history, as far as it was acknowledged.
    versions: BTreeMap<u64, Version>,
    sent: u64,
    /// Writes of reckless holders that were refused, and of such as had a fence to spare.
    pub refused_reckless: u64,
    pub refused_spent: u64,
    /// Writes of careful holders that were refused: they were paused after they had looked.
    pub refused_careful: u64,
    /// Leases that ran out before they were given back.
    pub ran_out: u64,
}

impl Story {
    /// Takes a line in, and judges what can be judged at once.
    pub fn hear(&mut self, line: Line) -> Result<()> {
        match line {
            Line::Granted { fence, at_ns, .. } => {
                let before = self.grants.insert(fence, at_ns);
                ensure!(before.is_none(), "fence {fence} was granted twice");
            }
            Line::Sent { .. } => self.sent += 1,
            Line::Wrote { fence, writer, version, position, .. } => {
                ensure!(writer != Writer::Spent, "a write under {fence} came after its next grant");
                let before = self.versions.insert(version, Version { fence, position });
                ensure!(before.is_none(), "version {version} was made twice");
            }
            Line::Refused { fence, writer, held, .. } => {
                ensure!(!held, "{fence} was over in the store, and its holder's guard held it");
                *match writer {
                    Writer::Careful => &mut self.refused_careful,
                    Writer::Reckless => &mut self.refused_reckless,
                    Writer::Spent => &mut self.refused_spent,
                } += 1;
            }
            Line::Held { fence, until_ns, ran_out, .. } => {
                self.ran_out += u64::from(ran_out);
                self.ends.insert(fence, End { until_ns, ran_out });
            }
        }
        Ok(())
    }

    /// How many grants were told of.
    pub fn grants(&self) -> u64 {
        self.grants.len() as u64
    }

    /// How many writes were acknowledged.
    pub fn writes(&self) -> u64 {
        self.versions.len() as u64
    }

    /// Larger fences are later grants, and no hold had begun before its forerunner's guard said
    /// that it was over. Returns by how much that came first where a lease ran out, at the least.
    pub fn holds(&self) -> Result<Option<u128>> {
        let mut least = None;
        for ((fence, at), (next, next_at)) in self.grants.iter().zip(self.grants.iter().skip(1)) {
            ensure!(at < next_at, "{next} is larger than {fence} and was granted before it");
            // Nobody heard of its end.
            let Some(end) = self.ends.get(fence) else { continue };
            ensure!(
                end.until_ns < *next_at,
                "{next} was granted at {next_at} ns, {fence} was held until {} ns",
                end.until_ns
            );
            if end.ran_out {
                let margin = next_at - end.until_ns;
                least = Some(least.map_or(margin, |least: u128| least.min(margin)));
            }
        }
        Ok(least)
    }

    /// In the order of the record's versions, positions grow and fences never go back; and no write
    /// came under a fence when there was a larger one.
    pub fn record(&self) -> Result<()> {
        for ((version, one), (next_version, next)) in
            self.versions.iter().zip(self.versions.iter().skip(1))
        {
            ensure!(
                one.fence <= next.fence && one.position < next.position,
                "version {version} is {one:?}, and {next_version} is {next:?}"
            );
        }
        for (version, Version { fence, position }) in &self.versions {
            ensure!(fence < position, "version {version} was made before its fence {fence}");
            let newer = self.grants.range(fence + 1..*position).next();
            ensure!(newer.is_none(), "version {version} under {fence}, after the grant {newer:?}");
        }
        Ok(())
    }

    /// What the store shows in the end is the last write, and every version was made by one that
    /// somebody had sent.
    pub fn last(&self, version: u64, value: &str) -> Result<()> {
        let known = self.versions.last_key_value().map_or(0, |(version, _)| *version);
        ensure!(known <= version, "version {known} was acknowledged, and {version} is the last");
        let refused = self.refused_careful + self.refused_reckless + self.refused_spent;
        let unknown = self.sent - self.writes() - refused;
        let unheard = version - self.writes();
        ensure!(unheard <= unknown, "{unheard} versions without an answer, {unknown} such writes");
        let fence = value.split('/').next().and_then(|fence| fence.parse::<u64>().ok());
        let fence = fence.with_context(|| format!("{value:?} is none of our values"))?;
        match self.versions.get(&version) {
            Some(last) => ensure!(last.fence == fence, "{last:?} was written, and {value:?} is"),
            None => {
                let before = self.versions.last_key_value().map_or(0, |(_, last)| last.fence);
                ensure!(before <= fence, "{value:?} was written over {before}");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(fence: u64, at_ns: u128) -> Line {
        Line::Granted { lock: 0, fence, at_ns }
    }

    fn held(fence: u64, until_ns: u128) -> Line {
        Line::Held { lock: 0, fence, until_ns, ran_out: true }
    }

    fn wrote(fence: u64, version: u64, position: u64) -> Line {
        Line::Wrote { lock: 0, fence, writer: Writer::Reckless, version, position }
    }

    fn story(lines: &[Line]) -> Story {
        let mut story = Story::default();
        for line in lines {
            story.hear(*line).expect("nothing is wrong with a line");
        }
        story
    }

    #[test]
    fn lines_are_read_as_they_were_printed() {
        let lines = [
            granted(7, 8),
            held(7, 9),
            wrote(7, 1, 12),
            Line::Sent { lock: 3, writer: Writer::Careful },
            Line::Refused { lock: 3, fence: 7, writer: Writer::Spent, held: false },
        ];
        for line in lines {
            assert_eq!(Line::parse(&line.text()), Some(line));
        }
        assert_eq!(Line::parse("test contended::holder::process ... ok"), None);
    }

    #[test]
    fn holds_that_overlap_are_found() {
        let good = [granted(1, 10), held(1, 20), granted(5, 25), held(5, 30), granted(9, 31)];
        assert_eq!(story(&good).holds().unwrap(), Some(1));
        let overlap = [granted(1, 10), held(1, 26), granted(5, 25)];
        assert!(story(&overlap).holds().is_err(), "two at once");
        assert!(story(&[granted(1, 10), granted(5, 9)]).holds().is_err(), "a fence goes back");
        assert!(story(&good).hear(granted(5, 40)).is_err(), "a fence comes twice");
    }

    #[test]
    fn stale_writes_are_found() {
        let grants = [granted(10, 1), granted(20, 2)];
        let with = |writes: &[Line]| story(&[&grants[..], writes].concat()).record();
        with(&[wrote(10, 1, 12), wrote(20, 2, 22)]).unwrap();
        assert!(with(&[wrote(20, 1, 22), wrote(10, 2, 23)]).is_err(), "over a newer one's");
        assert!(with(&[wrote(10, 1, 21)]).is_err(), "late, although nobody else wrote");
        assert!(with(&[wrote(10, 2, 12), wrote(10, 1, 13)]).is_err(), "versions run back");
        let spent =
            Line::Wrote { lock: 0, fence: 10, writer: Writer::Spent, version: 3, position: 23 };
        assert!(story(&grants).hear(spent).is_err(), "a spent fence was taken");
    }

    #[test]
    fn a_store_that_ends_a_lease_before_its_holder_is_found() {
        let refused = |held| Line::Refused { lock: 0, fence: 1, writer: Writer::Careful, held };
        assert!(story(&[]).hear(refused(false)).is_ok());
        assert!(story(&[]).hear(refused(true)).is_err());
    }

    #[test]
    fn the_last_version_must_be_somebodys() {
        let sent = Line::Sent { lock: 0, writer: Writer::Reckless };
        let told = [granted(10, 1), sent, wrote(10, 1, 12), sent];
        story(&told).last(1, "10/0").unwrap();
        story(&told).last(2, "10/1").expect("a write whose answer was lost");
        assert!(story(&told).last(3, "10/1").is_err(), "one too many");
        assert!(story(&told).last(0, "10/0").is_err(), "an acknowledged one is lost");
        assert!(story(&told).last(1, "11/0").is_err(), "another one's value");
        assert!(story(&told).last(2, "9/0").is_err(), "a fence goes back");
    }
}
