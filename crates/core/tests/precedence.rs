//! Which refusal comes first, where several apply: `ladders/*.txt`, in the words of `story`.
//!
//! A paragraph begins with a command that is wrong in all ways at once, and puts one after the
//! other right. So each answer shows that its cause comes before those that are still there. What
//! is answered is kept in `order.txt`, which a test of the server holds against the order of the
//! operations' pages. To write both anew:
//!
//! ```text
//! JETON_TRANSCRIPTS=write cargo test -p jeton-core --test precedence
//! ```

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

#[allow(dead_code, reason = "other tests use the rest of it")]
mod story;

use std::path::Path;

use story::store::Memory;
use story::{Story, run};

const HEAD: &str = "\
# Answers in order of precedence, as the ladders show them. Made together with these:
# JETON_TRANSCRIPTS=write cargo test -p jeton-core --test precedence
";

/// The answers of the operation that a paragraph is about, its last one's, in order.
fn order(heard: &[(String, String)]) -> Option<String> {
    let (operation, _) = heard.last()?;
    let own = heard.iter().filter(|(name, _)| name == operation);
    let mut answers: Vec<&str> = own.map(|(_, answer)| answer.as_str()).collect();
    answers.dedup();
    (answers.len() > 1).then(|| format!("{operation}: {}\n", answers.join(", ")))
}

/// Climbs the ladders of a file, and returns them as they were answered, and the orders shown.
fn climb(text: &str) -> (String, String) {
    let mut story = Story::over(Memory::default());
    let (mut told, mut orders) = (Vec::new(), String::new());
    for paragraph in text.trim_end().split("\n\n") {
        told.push(run(paragraph, &mut story));
        orders.extend(order(&story.take_heard()));
    }
    (told.join("\n"), orders)
}

#[test]
fn of_several_refusals_the_first_of_the_page_is_answered() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let writes = std::env::var("JETON_TRANSCRIPTS").is_ok_and(|how| how == "write");
    let found = std::fs::read_dir(tests.join("ladders")).unwrap();
    let mut paths: Vec<_> = found.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "the ladders have moved");
    let mut orders = HEAD.to_owned();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let (told, shown) = climb(&text);
        orders.push_str(&shown);
        if writes {
            std::fs::write(&path, told).unwrap();
            continue;
        }
        for (line, (want, got)) in text.lines().zip(told.lines()).enumerate() {
            assert_eq!(want, got, "{}, line {}", path.display(), line + 1);
        }
        assert_eq!(text, told, "{} ends elsewhere", path.display());
    }
    let path = tests.join("order.txt");
    if writes {
        std::fs::write(&path, &orders).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), orders, "write order.txt anew");
}
