//! `jeton server`: one node, until it is told to stop.

use std::path::PathBuf;

use clap::Args;
use jeton_server::config::Layers;
use jeton_server::{App, Config, RunError, StartError};

use crate::exit::Exit;
use crate::settings::SettingFlags;

const HELP: &str = "\
Examples:
  jeton server --data-dir /var/lib/jeton              a cluster of one
  jeton server --config /etc/jeton.toml

Three nodes: start each with identical --bootstrap-expect and --join, its own addresses besides.
  jeton server --data-dir /var/lib/jeton --listen 10.0.0.1:7401 --peer-listen 10.0.0.1:7402 \\
    --bootstrap-expect 3 --join 10.0.0.1:7402,10.0.0.2:7402,10.0.0.3:7402
They form one cluster by themselves when all three have met; the same flags serve for every restart.

SIGTERM and SIGINT: no new work, answers to what is outstanding, leadership to another node, exit.

Exit codes of a server:
  0   stopped as told
  2   the command line is wrong
  74  input or output failed, or the data directory's content is damaged, lost or another node's
  75  the port or the data directory is in use
  78  the configuration is wrong";

/// See [`crate::args::Command::Server`].
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct ServerArgs {
    /// The configuration file (TOML); `jeton config default` prints one. The environment
    /// (`JETON_<KEY>`) wins over it, and flags win over both.
    #[arg(long, env = "JETON_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Settings as flags.
    #[command(flatten)]
    pub settings: SettingFlags,
}

/// How a server ended: its own exit codes, not those of the other commands.
pub fn exit_code(error: &anyhow::Error) -> Option<u8> {
    let start = error.downcast_ref::<StartError>();
    let run = || match error.downcast_ref::<RunError>() {
        Some(RunError::Start(start)) => Some(start),
        _ => None,
    };
    start.or_else(run).map(StartError::exit_code)
}

/// Runs it.
pub async fn run(args: ServerArgs) -> anyhow::Result<Exit> {
    let mut layers = Layers::default();
    if let Some(path) = &args.config {
        layers = layers.with_file(path).map_err(StartError::from)?;
    }
    layers = layers.with_environment();
    layers.flags = args.settings.0;
    let config = layers.load().map_err(StartError::from)?;
    jeton_server::logging::init(&config).map_err(StartError::from)?;
    serve(config).await
}

/// Serves until told to stop. A node that still waits for its cluster can be stopped, too.
pub async fn serve(config: Config) -> anyhow::Result<Exit> {
    let app = tokio::select! {
        biased;
        () = stop_signal() => return Ok(Exit::Ok),
        app = App::build(config) => app?,
    };
    app.run(stop_signal()).await?;
    Ok(Exit::Ok)
}

/// Ends when the process is told to stop.
pub async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = match signal(SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(error) => {
            tracing::warn!(%error, "SIGTERM can't be watched: only SIGINT stops this node");
            let _ = tokio::signal::ctrl_c().await;
            return;
        }
    };
    tokio::select! {
        biased;
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
