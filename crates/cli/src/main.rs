//! `jeton`: the one binary. Every command is a module; this only starts the runtime and turns what
//! went wrong into words and an exit code.

#![forbid(unsafe_code)]

mod args;
mod backup;
mod bench;
mod check;
mod cluster;
mod completions;
mod config;
mod connect;
mod demo;
mod dev;
mod duration;
mod exit;
mod family;
mod inspect;
mod listing;
mod lock;
mod opaque;
mod output;
mod record;
mod refused;
mod revocation;
mod revoke;
mod server;
mod session;
mod settings;
mod suspend;
mod tenant;
mod token;
mod watch;

use std::process::ExitCode;

use clap::Parser;
use serde_json::json;

use args::{Cli, Command};
use exit::Exit;
use output::Format;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let format = cli.output;
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the runtime could not be started: {error}");
            return Exit::Failed.into();
        }
    };
    match runtime.block_on(run(cli)) {
        Ok(exit) => exit.into(),
        Err(error) => complain(&error, format),
    }
}

async fn run(cli: Cli) -> anyhow::Result<Exit> {
    let format = cli.output;
    match cli.command {
        Command::Server(args) => server::run(*args).await,
        Command::Dev(args) => dev::run(args).await,
        Command::Demo(args) => demo::run(args, format).await,
        Command::Cluster(args) => cluster::run(args, format).await,
        Command::Tenant(args) => tenant::run(args, format).await,
        Command::Token(args) => token::run(args, format).await,
        Command::Family(args) => family::run(args, format).await,
        Command::Record(args) => record::run(args, format).await,
        Command::Revoke(args) => revoke::run(args, format).await,
        Command::Revocation(args) => revocation::run(args, format).await,
        Command::Check(args) => check::run(args, format).await,
        Command::Session(args) => session::run(args, format).await,
        Command::Suspend(args) => suspend::suspend(args, format).await,
        Command::Resume(args) => suspend::resume(args, format).await,
        Command::Reauthenticate(args) => suspend::reauthenticate(args, format).await,
        Command::Lock(args) => lock::run(args, format).await,
        Command::Watch(args) => watch::run(args, format).await,
        Command::Backup(args) => backup::run(args, format).await,
        Command::Inspect(args) => inspect::run(&args, format),
        Command::Bench(args) => bench::run(args, format).await,
        Command::Config(args) => config::run(&args),
        Command::Completions(args) => completions::run(&args),
    }
}

/// Says what went wrong, on standard error: a sentence, or a JSON object on one line.
fn complain(error: &anyhow::Error, format: Format) -> ExitCode {
    let exit = Exit::of(error);
    match format {
        Format::Table => eprintln!("error: {error:#}"),
        Format::Json => {
            let message = format!("{error:#}");
            eprintln!("{}", json!({ "error": { "code": exit.name(), "message": message } }));
        }
    }
    server::exit_code(error).map_or_else(|| exit.into(), ExitCode::from)
}
