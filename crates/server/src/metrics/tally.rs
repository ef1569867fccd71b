//! Counters by name, for what is rare: failures and security events.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::list::Metric;
use super::page::Page;

/// Names beyond this many are counted together: labels must not grow without bound.
const NAMES_MAX: usize = 64;
/// What they are counted as.
const OTHER: &str = "other";

/// Counts names that the program itself chose.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<BTreeMap<String, u64>>);

impl Tally {
    /// One more of `name`.
    pub(crate) fn add(&self, name: &str) {
        let mut counts = self.0.lock();
        if let Some(count) = counts.get_mut(name) {
            *count += 1;
            return;
        }
        let name = if counts.len() < NAMES_MAX { name } else { OTHER };
        *counts.entry(name.to_owned()).or_default() += 1;
    }

    /// All counts, as samples of `metric`, whose one label is the name.
    pub(crate) fn show(&self, page: &mut Page, metric: &Metric) {
        page.begin(metric);
        for (name, count) in self.0.lock().iter() {
            page.sample(metric, &[name], count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded() {
        let tally = Tally::default();
        for number in 0..2 * NAMES_MAX {
            tally.add(&format!("name{number}"));
        }
        tally.add("name0");
        let counts = tally.0.lock();
        assert_eq!(counts["name0"], 2);
        assert_eq!(counts[OTHER], NAMES_MAX as u64);
        assert_eq!(counts.len(), NAMES_MAX + 1);
    }
}
