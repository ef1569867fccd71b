//! `jeton dev`: one node without questions.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use jeton_client::admin::SettingsChange;
use jeton_client::{Client, Config as ClientConfig, Error};
use jeton_server::StartError;
use jeton_server::config::Layers;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep};

use crate::exit::Exit;
use crate::server::serve;

/// The tenant that every command works in unless told otherwise.
const TENANT: &str = "default";
/// The client of OAuth's endpoints; its secret is another one at each start.
const OAUTH_CLIENT: &str = "dev";
/// How long the node may take to serve.
const READY_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// See [`crate::args::Command::Dev`].
#[derive(Debug, Args)]
pub struct DevArgs {
    /// Keep the data here instead of in a temporary directory that goes with the node.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where clients are served. Port 0: any that is free.
    #[arg(long, value_name = "HOST:PORT", default_value_t = crate::args::default_endpoint())]
    pub listen: String,
    /// What is logged, for example info or debug.
    #[arg(long, value_name = "FILTER", default_value = "warn")]
    pub log_filter: String,
}

/// Runs it.
pub async fn run(args: DevArgs) -> anyhow::Result<Exit> {
    let temporary = match &args.data_dir {
        Some(_) => None,
        None => Some(tempfile::Builder::new().prefix("jeton-dev-").tempdir()?),
    };
    let data_dir = args.data_dir.as_deref().or(temporary.as_ref().map(|dir| dir.path()));
    let data_dir = data_dir.context("no data directory")?.display().to_string();
    let listen = if args.listen.ends_with(":0") {
        jeton_harness::ports::free_address()?.to_string()
    } else {
        args.listen.clone()
    };
    let peers = jeton_harness::ports::free_address()?.to_string();
    let secret = random_secret()?;
    let clients = gateway_clients(&secret);
    let flags = [
        ("gateway-clients", clients.as_str()),
        ("reflection", "true"),
        ("data-dir", data_dir.as_str()),
        ("client-listen", &listen),
        ("peer-listen", &peers),
        ("bootstrap-expect", "1"),
        ("log-filter", &args.log_filter),
    ];
    let flags = flags.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let config = Layers { flags, ..Layers::default() }.load().map_err(StartError::from)?;
    jeton_server::logging::init(&config).map_err(StartError::from)?;
    let greeting = tokio::spawn(async move {
        match prepare(&listen).await {
            Ok(()) => greet(&listen, &data_dir, args.data_dir.is_none(), &secret),
            Err(error) => eprintln!("the tenant {TENANT:?} could not be made: {error:#}"),
        }
    });
    let served = serve(config).await;
    greeting.abort();
    served
}

/// Waits until the node serves, and makes the tenant unless it is there.
async fn prepare(endpoint: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + READY_WITHIN;
    let client = loop {
        match Client::connect(ClientConfig::new([endpoint])).await {
            Ok(client) => break client,
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(_) => sleep(POLL).await,
        }
    };
    match client.admin().create_tenant(TENANT, SettingsChange::new(), deadline).await {
        Ok(_) | Err(Error::Failed { code: "ALREADY_EXISTS", .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// 256 random bits, in hexadecimal digits.
fn random_secret() -> anyhow::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| anyhow::anyhow!("the system gives no randomness"))?;
    Ok(hex(&bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The setting that lets [`OAUTH_CLIENT`] revoke and introspect whatever there is.
fn gateway_clients(secret: &str) -> String {
    let hash = hex(&Sha256::digest(secret));
    format!(
        "[{{ id = \"{OAUTH_CLIENT}\", tenant = \"{TENANT}\", secret_sha256 = \"{hash}\", \
         revoke = \"any\", introspect = \"any\", access_token_kind = \"access_token\" }}]"
    )
}

fn greet(endpoint: &str, data_dir: &str, temporary: bool, secret: &str) {
    let endpoint_flag = if endpoint == crate::args::default_endpoint() {
        String::new()
    } else {
        format!(" --endpoint {endpoint}")
    };
    let kept = if temporary { "gone when it stops" } else { "kept" };
    eprintln!(
        "One node serves at {endpoint}; its data is in {data_dir}, {kept}. Ctrl-C stops it.\n\
         \n\
         Try it in another shell:\n\
         \x20 jeton token create{endpoint_flag} --subject alice --client web\n\
         \x20 jeton token rotate{endpoint_flag} --client web <TOKEN>   twice: one successor\n\
         \x20 jeton revoke{endpoint_flag} --subject alice\n\
         \x20 jeton token validate{endpoint_flag} <TOKEN>\n\
         \n\
         OAuth (RFC 7009, RFC 7662), as the client {OAUTH_CLIENT}, until it stops:\n\
         \x20 SECRET={secret}\n\
         \x20 curl -u {OAUTH_CLIENT}:$SECRET -d token=<TOKEN> http://{endpoint}/oauth2/introspect\n\
         \x20 curl -u {OAUTH_CLIENT}:$SECRET -d token=<TOKEN> http://{endpoint}/oauth2/revoke"
    );
}
