//! Words about transactions. Operations follow behind ` & `, those for otherwise behind `else`.
//!
//! ```text
//! transact if=absent:consent/c,alive:f & put consent/c value=yes & rotate f.0 & else & touch f.0
//! transact if=version:consent/c:1,held:l:3.0 & delete consent/c
//! ```

use std::fmt::Write as _;

use jeton_core::command::*;
use jeton_core::ids::*;
use jeton_core::reply::*;

use super::words::{self, Words, position};
use super::{Store, Story, named, records};

fn record(text: &str) -> (RecordKind, KeyDigest) {
    let (kind, key) = text.split_once('/').expect("kind/key");
    (RecordKind::new(kind).unwrap(), records::digest(key))
}

fn comparison(text: &str) -> Comparison {
    let (verb, noun) = text.split_once(':').expect("what is compared");
    match verb {
        "absent" => {
            let (kind, key) = record(noun);
            Comparison::RecordAbsent { kind, key }
        }
        "exists" => {
            let (kind, key) = record(noun);
            Comparison::RecordExists { kind, key }
        }
        "version" => {
            let (noun, version) = noun.split_once(':').expect("a version");
            let (kind, key) = record(noun);
            Comparison::RecordVersion { kind, key, version: version.parse().unwrap() }
        }
        "alive" => Comparison::FamilyAlive { family: FamilyId(named(noun)) },
        "held" => {
            let (lock, fence) = noun.split_once(':').expect("a fence");
            let lock = LockName::new(lock).unwrap();
            Comparison::LockHeld { lock, fence: position(fence).into() }
        }
        other => panic!("nothing is compared by {other}"),
    }
}

impl<S: Store> Story<S> {
    pub(super) fn transact(&mut self, words: &Words, request: Option<RequestName>) -> Operation {
        let compare = words.get("if").into_iter().flat_map(|all| all.split(','));
        let compare = compare.map(comparison).collect();
        let (mut then, mut otherwise, mut held) = (Vec::new(), Vec::new(), true);
        for words in words.parts() {
            if words.verb() == "else" {
                held = false;
                continue;
            }
            let part = Part::try_from(self.operation(words, request)).unwrap();
            if held { then.push(part) } else { otherwise.push(part) }
        }
        Operation::Transact(Box::new(Transact { compare, then, otherwise }))
    }

    /// Remembers the tokens that a transaction handed out.
    pub(super) fn learn_all(&mut self, it: &Transacted, words: &Words, command: &Command) {
        let (Ran::Through(answers), Operation::Transact(wish)) = (&it.ran, &command.operation)
        else {
            return;
        };
        let (held, parts) = (it.unmet.is_none(), words.parts());
        let mut branches = parts.split(|words| words.verb() == "else");
        let words = branches.nth(usize::from(!held)).unwrap_or_default();
        for ((answer, words), part) in answers.iter().zip(words).zip(wish.branch(held)) {
            let operation = part.clone().into();
            self.learn(answer, words, &Command { operation, ..command.clone() });
        }
    }
}

pub fn done(out: &mut String, it: &Transacted) -> std::fmt::Result {
    match it.unmet {
        None => write!(out, "THEN")?,
        Some(at) => write!(out, "OTHERWISE, comparison {at} did not hold")?,
    }
    let mut inner = String::new();
    match &it.ran {
        Ran::Through(answers) => {
            writeln!(out)?;
            answers.iter().for_each(|answer| words::reply(&mut inner, answer));
        }
        Ran::Stopped { operation, answer } => {
            writeln!(out, ", STOPPED by operation {operation}")?;
            words::reply(&mut inner, answer);
        }
    }
    inner.lines().try_for_each(|line| writeln!(out, "    {line}"))
}
