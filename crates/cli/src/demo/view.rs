//! The live view: a few lines that update in place on a terminal, plain progress lines otherwise.
//!
//! Everything goes to standard error: standard output is for the result.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::time::Duration;

use jeton_harness::recorder::Totals;
use tokio::time::Instant;

/// Time between two updates on a terminal.
pub const TICK_TERMINAL: Duration = Duration::from_millis(250);
/// Time between two progress lines elsewhere.
pub const TICK_PLAIN: Duration = Duration::from_secs(2);

/// What one node looks like from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeLine {
    /// Its name.
    pub name: String,
    /// Leader, follower, or that it does not answer.
    pub role: &'static str,
    /// How far it has applied.
    pub applied: Option<u64>,
}

/// Draws.
#[derive(Debug)]
pub struct View {
    terminal: bool,
    started: Instant,
    drawn: usize,
    last: (Instant, Totals),
}

impl View {
    /// On a terminal if standard error is one.
    pub fn new() -> Self {
        let now = Instant::now();
        Self {
            terminal: io::stderr().is_terminal(),
            started: now,
            drawn: 0,
            last: (now, Totals::default()),
        }
    }

    /// How often [`View::update`] should be called.
    pub fn tick(&self) -> Duration {
        if self.terminal { TICK_TERMINAL } else { TICK_PLAIN }
    }

    /// Something happened once: a line that stays.
    pub fn say(&mut self, what: &str) {
        let line = format!("{} {what}", clock(self.started.elapsed()));
        let text = format!("{}{line}\n", self.erase());
        emit(&text);
    }

    /// How it goes now: replaces the last update on a terminal.
    pub fn update(&mut self, totals: Totals, nodes: &[NodeLine]) {
        let now = Instant::now();
        let (before, old) = self.last;
        let rate = rate(totals.rotated - old.rotated, now - before);
        self.last = (now, totals);
        let text = if self.terminal {
            let lines = live(self.started.elapsed(), totals, rate, nodes);
            let erase = self.erase();
            self.drawn = lines.lines().count();
            erase + &lines
        } else {
            plain(self.started.elapsed(), totals, rate)
        };
        emit(&text);
    }

    /// Removes the updating lines for good.
    pub fn finish(&mut self) {
        let erase = self.erase();
        emit(&erase);
    }

    /// Moves the cursor over what was drawn, and clears it.
    fn erase(&mut self) -> String {
        match std::mem::take(&mut self.drawn) {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\x1b[J"),
        }
    }
}

fn live(elapsed: Duration, totals: Totals, rate: u64, nodes: &[NodeLine]) -> String {
    let mut text = String::new();
    for node in nodes {
        let applied = node.applied.map(|a| format!("applied {a}")).unwrap_or_default();
        // Writing to a String can't fail.
        let _ = writeln!(text, "   {:<8} {:<10} {applied}", node.name, node.role);
    }
    text + &plain(elapsed, totals, rate)
}

fn plain(elapsed: Duration, totals: Totals, rate: u64) -> String {
    format!(
        "{} {} rotated ({rate}/s), {} replayed, {} thefts caught, {} revocations, {} told dead, \
         {} codes, {} locks\n",
        clock(elapsed),
        totals.rotated,
        totals.replayed,
        totals.reused,
        totals.revoked,
        totals.refused_dead,
        totals.codes,
        totals.grants,
    )
}

fn rate(count: u64, time: Duration) -> u64 {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
    count.saturating_mul(1_000) / millis
}

fn clock(elapsed: Duration) -> String {
    format!("[{:>5.1} s]", elapsed.as_secs_f64())
}

/// Nobody may be reading: that is no reason to stop.
fn emit(text: &str) {
    let mut out = io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_s_lines_are_replaced_and_what_is_said_stays() {
        let mut view = View { terminal: true, ..View::new() };
        assert_eq!(view.erase(), "");
        let nodes = [NodeLine { name: "node-1".into(), role: "leader", applied: Some(9) }];
        view.update(Totals::default(), &nodes);
        assert_eq!(view.drawn, 2);
        assert_eq!(view.erase(), "\x1b[2A\x1b[J");
        assert_eq!(view.erase(), "");
    }

    #[test]
    fn rates_are_per_second() {
        assert_eq!(rate(50, Duration::from_millis(250)), 200);
        assert_eq!(rate(5, Duration::ZERO), 5_000);
    }
}
