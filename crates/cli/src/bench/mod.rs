//! `jeton bench`: how fast a cluster of real processes, and its client, is on this machine.

mod check;
mod nodes;
mod report;
mod revoke;
mod rotate;

use clap::{Args, Subcommand};

use crate::exit::Exit;
use crate::output::Format;

const EXAMPLES: &str = "\
Examples:
  jeton bench rotate
  jeton bench rotate --nodes 3 --in-flight 256 --families 10000 --seconds 10 -o json
  jeton bench rotate --in-flight 1                latency of one rotation at a time
  jeton bench revoke -o json                      100,000 families die at once under this load
  jeton bench check -o json                       a resource server's own check of a token

Nodes, and this load, share the machine: compare ratios of runs in turn, not absolute figures.";

/// See [`crate::args::Command::Bench`].
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    /// What to measure.
    #[command(subcommand)]
    pub command: BenchCommand,
}

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Rotations of refresh tokens in a closed loop: each caller waits for its answer, and rotates
    /// the next family.
    Rotate(rotate::RotateArgs),
    /// A revocation of all that was last seen in 10.0.0.0/8, half of all families, while rotations
    /// go on: their speed before, during and after its sweep, and whether each answer was right.
    Revoke(revoke::RevokeArgs),
    /// Checks of access tokens by a resource server's own view of what is revoked, beside a plain
    /// hash map.
    Check(check::CheckArgs),
}

/// Runs it.
pub async fn run(args: BenchArgs, format: Format) -> anyhow::Result<Exit> {
    match args.command {
        BenchCommand::Rotate(rotate) => rotate::run(rotate, format).await,
        BenchCommand::Revoke(revoke) => revoke::run(revoke, format).await,
        BenchCommand::Check(check) => check::run(check, format).await,
    }
}
