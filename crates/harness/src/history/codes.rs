//! What callers saw of authorization codes: one grant, many who want it.

use jeton_core::ids::TenantId;

use super::{Call, FamilyKey, Roots};

/// One code, and all that became of it.
#[derive(Debug, Clone)]
pub struct CodeHistory {
    /// Its tenant.
    pub tenant: TenantId,
    /// What the family made from it hangs on.
    pub roots: Roots,
    /// In the order in which the answers came.
    pub redemptions: Vec<Redemption>,
}

/// One attempt to make a family from a code.
#[derive(Debug, Clone)]
pub struct Redemption {
    /// By whom.
    pub by: Redeemer,
    /// When it was called and answered.
    pub call: Call,
    /// The answer.
    pub seen: Redeemed,
}

/// Who presents a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redeemer {
    /// The client that it was made for, or a copy of it.
    Client,
    /// Another client: it must neither get nor burn it.
    Stranger,
    /// Somebody who has stolen it, after it was redeemed: that ends what was made from it.
    Thief,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redeemed {
    /// A family, made from the code.
    First(FamilyKey),
    /// Somebody else was first.
    Already,
    /// The code is for another client.
    Mismatch,
    /// There is no such code: there never was, or the user was logged out since it was made.
    Gone,
    /// Any other refusal, in words.
    Refused(String),
    /// Nobody knows.
    Unknown,
}

impl CodeHistory {
    /// The families that it made, one if all is well.
    pub fn families(&self) -> impl Iterator<Item = &FamilyKey> {
        self.redemptions.iter().filter_map(|redemption| match &redemption.seen {
            Redeemed::First(key) => Some(key),
            _ => None,
        })
    }
}
