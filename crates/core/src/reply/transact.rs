//! Answers of transactions.

use serde::{Deserialize, Serialize};

use super::Reply;

/// What a transaction came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transacted {
    /// The first comparison that did not hold: `otherwise` was to run. `None`: all of them held.
    pub unmet: Option<u32>,
    /// How far its operations came.
    pub ran: Ran,
}

/// How far the operations of a transaction came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Ran {
    /// All of them took effect. Their answers, in order.
    Through(Vec<Reply>),
    /// One was refused, and none took effect. Only what the refusal itself does was done: the
    /// revocation of a family whose spent token came back, a miss that was counted, an event.
    Stopped {
        /// Its place among the operations of its branch.
        operation: u32,
        /// Its answer: a refusal, or [`super::Done::Superseded`].
        answer: Box<Reply>,
    },
}
