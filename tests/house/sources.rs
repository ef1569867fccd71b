//! How source files look.

const LINES_MAX: usize = 600;
const COLUMNS_MAX: usize = 100;

#[test]
fn files_are_short_and_open_with_what_they_are() {
    let mut faults = Vec::new();
    for folder in ["crates", "tests"] {
        for path in super::files(&super::root().join(folder), "rs") {
            let text = std::fs::read_to_string(&path).expect("source is text");
            let shown = super::shown(&path);
            let lines = text.lines().count();
            if lines > LINES_MAX {
                faults.push(format!("{shown}: {lines} lines, the house allows {LINES_MAX}"));
            }
            if !text.starts_with("//!") {
                faults.push(format!("{shown}: does not open with //! and what it is"));
            }
            for (number, line) in text.lines().enumerate() {
                if line.chars().count() > COLUMNS_MAX {
                    faults.push(format!("{shown}:{}: over {COLUMNS_MAX} columns", number + 1));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn no_file_is_a_drawer_for_everything() {
    for path in super::files(&super::root(), "rs") {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        assert!(
            !["util", "utils", "common", "helpers", "misc"].contains(&stem.as_str()),
            "{}: name it for what it holds",
            super::shown(&path)
        );
    }
}

#[test]
fn nothing_is_left_for_later_in_the_source() {
    // Spelled in halves, so that this file does not accuse itself.
    let marks = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["unimple", "mented!"].concat()];
    for path in super::files(&super::root(), "rs") {
        let text = std::fs::read_to_string(&path).expect("source is text");
        for (number, line) in text.lines().enumerate() {
            for mark in &marks {
                assert!(
                    !line.contains(mark.as_str()),
                    "{}:{}: {mark}",
                    super::shown(&path),
                    number + 1
                );
            }
        }
    }
}

#[test]
fn every_field_of_the_api_is_described() {
    let mut faults = Vec::new();
    // The peers' protocol is not for others: its messages are described, not each field.
    let public = ["proto/jeton/v1", "proto/jeton/admin/v1"];
    for path in public.iter().flat_map(|dir| super::files(&super::root().join(dir), "proto")) {
        let text = std::fs::read_to_string(&path).expect("proto is text");
        let mut described = false;
        for (number, line) in text.lines().map(str::trim).enumerate() {
            if line.starts_with("//") {
                described = true;
                continue;
            }
            let is_field = line.ends_with(';')
                && line.contains(" = ")
                && !["syntax", "option", "reserved"].iter().any(|word| line.starts_with(word));
            let is_named =
                ["message ", "service ", "rpc ", "enum "].iter().any(|word| line.starts_with(word));
            if (is_field || is_named) && !described {
                faults.push(format!("{}:{}: {line}", super::shown(&path), number + 1));
            }
            described = false;
        }
    }
    assert!(faults.is_empty(), "without a comment:\n{}", faults.join("\n"));
}
