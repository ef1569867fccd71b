//! Transactions in the small world, and what is left of those that were stopped.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use jeton_core::command::*;
use jeton_core::reply::*;

use super::{Step, World};

/// First byte of the rows that remember replies.
const REPLY: u8 = 0x41;
/// First byte of what is due; the row that is meant follows behind its time.
const DUE: u8 = 0x42;

impl World {
    /// The operations of these steps, as far as they can be part of a transaction.
    pub fn parts(&mut self, steps: &[Step]) -> Vec<Part> {
        let operations = steps.iter().map(|step| self.operation(step)).collect::<Vec<_>>();
        let parts = operations.into_iter().zip(0_u64..).filter_map(|(operation, at)| {
            let mut part = Part::try_from(operation).ok()?;
            // No step was done between them: what is new must be so all the same.
            match &mut part {
                Part::Rotate(wish) => wish.successor.0[8] ^= at as u8,
                Part::CreateFamily(wish) => wish.digest.0[8] ^= at as u8,
                _ => {}
            }
            Some(part)
        });
        parts.collect()
    }

    /// A transaction of these operations, as a command of its own.
    pub fn transaction(&mut self, compare: Vec<Comparison>, then: Vec<Part>) -> Arc<Command> {
        let otherwise = then.iter().take(1).cloned().collect();
        let operation = Operation::Transact(Box::new(Transact { compare, then, otherwise }));
        Arc::new(self.command(&Step::calm(), operation))
    }

    /// What must hold, in all variations, of what these steps name.
    pub fn comparisons(&mut self, steps: &[Step]) -> Vec<Comparison> {
        let operations = steps.iter().map(|step| self.operation(step)).collect::<Vec<_>>();
        let compared = operations.into_iter().filter_map(|operation| {
            Some(match operation {
                Operation::PutRecord(wish) => {
                    Comparison::RecordAbsent { kind: wish.kind, key: wish.key }
                }
                Operation::Consume(wish) => {
                    Comparison::RecordExists { kind: wish.kind, key: wish.key }
                }
                Operation::DeleteRecord(wish) => {
                    Comparison::RecordVersion { kind: wish.kind, key: wish.key, version: 1 }
                }
                Operation::CreateFamily(wish) => Comparison::FamilyAlive { family: wish.family },
                Operation::Release(wish) => {
                    Comparison::LockHeld { lock: wish.lease.lock, fence: wish.lease.fence }
                }
                _ => return None,
            })
        });
        compared.collect()
    }

    /// Applies commands in one entry: their replies, and the events.
    pub fn apply(&mut self, commands: Vec<Arc<Command>>) -> (Vec<Reply>, Vec<Event>) {
        let (replies, events) = (self.said.replies.len(), self.said.events.len());
        self.enter(commands);
        (self.said.replies[replies..].to_vec(), self.said.events[events..].to_vec())
    }

    /// An operation of a transaction as a command of its own, under the transaction's name.
    pub fn alone(command: &Command, part: &Part) -> Arc<Command> {
        Arc::new(Command { operation: part.clone().into(), ..command.clone() })
    }

    /// The same, under a name of its own.
    pub fn named_alone(&mut self, part: &Part) -> Arc<Command> {
        Arc::new(self.command(&Step::calm(), part.clone().into()))
    }

    /// All rows but those that remember replies.
    pub fn rows_without_replies(&self) -> BTreeMap<Bytes, Bytes> {
        let remembers = |key: &[u8]| key[0] == REPLY || (key[0] == DUE && key[11] == REPLY);
        let rows = self.tables.rows().filter(|(key, _)| !remembers(key));
        rows.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// The versions and values of all records, and the states of all families, without positions.
    pub fn shown(&self) -> Vec<String> {
        let records = self.records().into_iter().map(|found| {
            let found = found.map(|it| (it.value, it.version, it.consumed_at, it.family));
            format!("{:?}", found.map_err(|refusal| format!("{refusal:?}").len()))
        });
        let families = self.views().into_iter().map(|found| {
            let found = found
                .map(|it| (it.generation, it.version, it.payload, it.grace, it.dead.is_some()));
            format!("{:?}", found.map_err(drop))
        });
        records.chain(families).collect()
    }
}
