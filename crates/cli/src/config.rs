//! `jeton config`: the configuration of a node.

use std::io::Write as _;

use clap::{Args, Subcommand};

use crate::exit::Exit;

/// See [`crate::args::Command::Config`].
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What to do with configurations.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the documented configuration file with all defaults.
    Default,
}

/// Runs it.
pub fn run(args: &ConfigArgs) -> anyhow::Result<Exit> {
    let ConfigCommand::Default = args.command;
    std::io::stdout().lock().write_all(jeton_server::Config::default_file().as_bytes())?;
    Ok(Exit::Ok)
}
