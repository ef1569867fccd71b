//! Which replies of which operations a story has shown.
//!
//! Replies are called as they are in code, `FamilyCreated`, and refusals as in the API,
//! `ALREADY_EXISTS`. A word in parentheses tells two answers of one name apart. `again` is the
//! first answer to a request that comes once more.

use std::collections::BTreeSet;
use std::fmt::Debug;

use jeton_core::access::{Access, Denied};
use jeton_core::command::Command;
use jeton_core::ids::Position;
use jeton_core::reply::*;

/// Operations and their replies.
#[derive(Default)]
pub struct Shown {
    /// Each of them once.
    pub all: BTreeSet<(String, String)>,
    /// In the order in which they were heard, since somebody took them.
    pub heard: Vec<(String, String)>,
}

impl Shown {
    /// A read was answered: `what` names its answer.
    pub fn read<T>(&mut self, operation: &str, what: &str, answer: &Result<T, Refusal>) {
        match answer {
            Ok(_) => self.insert(operation, what.to_owned()),
            Err(why) => self.refused(operation, why),
        }
    }

    /// A read was refused.
    pub fn refused(&mut self, operation: &str, why: &Refusal) {
        self.insert(operation, refusal(why));
    }

    /// A read that is never refused was answered, with more than nothing if `told`.
    pub fn told(&mut self, operation: &str, what: &str, told: bool) {
        if told {
            self.insert(operation, what.to_owned());
        }
    }

    /// Whether an access token may be used.
    pub fn access(&mut self, answer: &Access) {
        let label = match answer {
            Access::Active => "Active".to_owned(),
            Access::Denied(Denied { basis, .. }) => format!("Denied({basis:?})"),
        };
        self.insert("CheckAccess", label);
    }

    /// A command of the entry that begins at `entry` was answered.
    pub fn reply(&mut self, command: &Command, entry: Position, reply: &Reply) {
        let operation = ident(&command.operation);
        // A rotation is answered from the family's row, with replies of their own.
        if reply.position < entry && operation != "Rotate" {
            self.insert(&operation, "again".to_owned());
        }
        self.outcome(&operation, &reply.outcome);
    }

    /// Someone who waited was answered.
    pub fn settled(&mut self, reply: &Reply) {
        self.outcome("Acquire", &reply.outcome);
    }

    fn outcome(&mut self, operation: &str, outcome: &Result<Done, Refusal>) {
        match outcome {
            Ok(answer) => self.insert(operation, done(answer)),
            Err(why) => self.refused(operation, why),
        }
    }

    fn insert(&mut self, operation: &str, label: String) {
        let pair = (operation.to_owned(), label);
        self.heard.push(pair.clone());
        self.all.insert(pair);
    }
}

/// The variant's name.
fn ident(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}

fn done(done: &Done) -> String {
    let which = match done {
        Done::Revoked { already: true }
        | Done::Suspended { already: true }
        | Done::Resumed { already: true } => "already",
        Done::SessionEnded(ended) if ended.already => "already",
        Done::Renewed { lost } if !lost.is_empty() => "lost",
        Done::RecordDeleted { existed: false } => "nothing",
        Done::RevokedWhere(it) if it.predicate => "predicate",
        Done::Granted(granted) if granted.waited => "waited",
        Done::Transacted(it) if matches!(it.ran, Ran::Stopped { .. }) => "stopped",
        _ => return ident(done),
    };
    format!("{}({which})", ident(done))
}

/// As the API calls it.
fn refusal(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Code(why) => loud(&format!("Code{}", ident(why))),
        other => loud(&ident(other)),
    }
}

/// `NAME_REUSED` of `NameReused`. What is invalid is called as in failures.
pub fn loud(name: &str) -> String {
    if name == "Invalid" {
        return "INVALID_REQUEST".to_owned();
    }
    let mut label = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !label.is_empty() {
            label.push('_');
        }
        label.push(letter.to_ascii_uppercase());
    }
    label
}
