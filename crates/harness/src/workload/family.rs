//! A family as its owner holds it: the newest token, and some spent ones that a thief may have.

use std::collections::VecDeque;

use jeton_client::RefreshToken;

use crate::history::{FamilyKey, Roots};

/// Spent tokens that are kept: more than the store's ring, so that thieves come with tokens of
/// every age.
const SPENT_MAX: usize = 8;

/// A family in its owner's hands.
pub struct Held {
    /// Which of the plan's tenants.
    pub(crate) tenant: usize,
    pub(crate) key: FamilyKey,
    pub(crate) roots: Roots,
    /// The newest token that its owner got.
    pub(crate) token: RefreshToken,
    /// Oldest first.
    pub(crate) spent: VecDeque<RefreshToken>,
}

impl Held {
    pub(crate) fn new(tenant: usize, key: FamilyKey, roots: Roots, token: RefreshToken) -> Self {
        Self { tenant, key, roots, token, spent: VecDeque::new() }
    }

    /// The owner got a successor.
    pub(crate) fn renewed(&mut self, token: RefreshToken) {
        if token.generation() == self.token.generation() {
            return;
        }
        let spent = std::mem::replace(&mut self.token, token);
        self.spent.push_back(spent);
        if self.spent.len() > SPENT_MAX {
            self.spent.pop_front();
        }
    }
}
