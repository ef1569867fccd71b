//! The state against a model that is a map: with crashes, with damage, with real processes killed.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod backups;
mod crash;
mod damage;
mod kill;
mod layers;
mod model;
mod pressure;
mod readers;
mod world;
