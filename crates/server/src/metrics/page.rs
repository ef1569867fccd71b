//! Prometheus' text exposition format, version 0.0.4.

use std::fmt::{Display, Write as _};

use super::list::Metric;

/// What the page is, for the header.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page that grows.
#[derive(Debug, Default)]
pub(crate) struct Page(String);

impl Page {
    /// Begins a metric: its samples follow.
    pub(crate) fn begin(&mut self, metric: &Metric) {
        let (name, kind) = (metric.name, metric.kind.as_str());
        self.0.push_str(&format!("# HELP {name} {}\n# TYPE {name} {kind}\n", metric.sentence()));
    }

    /// A sample of `metric` with its labels' values, in their order.
    pub(crate) fn sample(&mut self, metric: &Metric, labels: &[&str], value: impl Display) {
        assert_eq!(labels.len(), metric.labels.len(), "{} has other labels", metric.name);
        self.0.push_str(metric.name);
        for (place, (label, text)) in metric.labels.iter().zip(labels).enumerate() {
            let before = if place == 0 { '{' } else { ',' };
            self.0.push_str(&format!("{before}{label}=\"{}\"", escaped(text)));
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        // Writing to a string can't fail.
        let _ = writeln!(self.0, " {value}");
    }

    /// A metric that has one sample and no labels.
    pub(crate) fn one(&mut self, metric: &Metric, value: impl Display) {
        self.begin(metric);
        self.sample(metric, &[], value);
    }

    pub(crate) fn text(self) -> String {
        self.0
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::super::list;
    use super::*;

    #[test]
    fn samples_carry_their_labels_escaped() {
        let mut page = Page::default();
        page.begin(&list::OPERATIONS);
        page.sample(&list::OPERATIONS, &["rotate", "a\"b\\c\nd"], 3);
        page.one(&list::TERM, 7);
        let text = page.text();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("# HELP jeton_operations_total Operations answered"));
        assert_eq!(lines[1], "# TYPE jeton_operations_total counter");
        assert_eq!(
            lines[2],
            r#"jeton_operations_total{operation="rotate",outcome="a\"b\\c\nd"} 3"#
        );
        assert_eq!(lines[4..], ["# TYPE jeton_raft_term gauge", "jeton_raft_term 7"]);
    }
}
