//! What commands print: a table for people, or one JSON object on one line for programs.
//!
//! Results go to standard output, everything else (progress, logs, errors) to standard error.
//! Positions are strings in JSON: they don't fit the numbers of every reader.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use serde::{Serialize, Serializer};

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people: columns that line up.
    #[default]
    Table,
    /// For programs: one JSON object on one line.
    Json,
}

/// What a command found out.
pub trait Report: Serialize {
    /// The same for people.
    fn table(&self) -> Table;
}

/// Rows under headings. The first column says what a row is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    notes: Vec<String>,
}

impl Table {
    /// A table with these headings.
    pub fn new<const N: usize>(headings: [&'static str; N]) -> Self {
        Self { headings: headings.to_vec(), ..Self::default() }
    }

    /// Names and values below each other, without headings.
    pub fn facts<const N: usize>(facts: [(&str, String); N]) -> Self {
        let rows = facts.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
        Self { rows, ..Self::default() }
    }

    /// One more row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// A line below everything.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// As text: columns as wide as their widest cell, two blanks between them.
    pub fn render(&self) -> String {
        let headings = self.headings.iter().map(|h| (*h).to_owned()).collect::<Vec<_>>();
        let lines: Vec<&Vec<String>> =
            std::iter::once(&headings).filter(|h| !h.is_empty()).chain(&self.rows).collect();
        let columns = lines.iter().map(|line| line.len()).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for line in lines {
            let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            let joined = cells.collect::<Vec<_>>().join("  ");
            text.push_str(joined.trim_end());
            text.push('\n');
        }
        for note in &self.notes {
            // Writing to a String can't fail.
            let _ = writeln!(text, "{note}");
        }
        text
    }
}

impl Format {
    /// Prints a report. A reader that went away (`| head`) is no error.
    pub fn print(self, report: &impl Report) -> anyhow::Result<()> {
        let text = match self {
            Self::Table => report.table().render(),
            Self::Json => serde_json::to_string(report)? + "\n",
        };
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// Serializes a position, or anything else that is printed by its `Display`, as a string.
pub fn as_text<T: ToString, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.to_string())
}

/// An optional value in a cell.
pub fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use jeton_core::ids::Position;

    use super::*;

    #[derive(Serialize)]
    struct Sample {
        #[serde(serialize_with = "as_text")]
        position: Position,
    }

    #[test]
    fn columns_line_up_and_lines_have_no_blanks_at_their_end() {
        let mut table = Table::new(["NODE", "ROLE"]);
        table.row(["1".to_owned(), "leader".to_owned()]);
        table.row(["200000".to_owned(), String::new()]);
        table.note("2 nodes");
        assert_eq!(table.render(), "NODE    ROLE\n1       leader\n200000\n2 nodes\n");
    }

    #[test]
    fn facts_have_no_headings() {
        let table = Table::facts([("family", "ab".to_owned()), ("head", "3".to_owned())]);
        assert_eq!(table.render(), "family  ab\nhead    3\n");
    }

    #[test]
    fn positions_are_strings_in_json() {
        let sample = Sample { position: Position(u64::MAX) };
        let json = serde_json::to_string(&sample).unwrap();
        assert_eq!(json, r#"{"position":"18446744073709551615"}"#);
    }
}
