//! The stampede of a middleware: a hundred requests of one user arrive, the access token that all
//! of them carry has just expired, and each of them wants to refresh it. The upstream
//! authorization server rotates refresh tokens: the first refresh wins, and all others present a
//! token that is spent.
//!
//! First without help, then with one flight for all. Each middleware would be a process of its own;
//! here each request has a client of its own.
//!
//! ```text
//! JETON_ENDPOINTS=127.0.0.1:7401 cargo run -p jeton-client --example stampede
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use jeton_client::admin::SettingsChange;
use jeton_client::{Client, Config, Error, SingleFlight, Tenant};

const DEADLINE: Duration = Duration::from_secs(20);
const REQUESTS: usize = 100;
/// Middlewares that share the user's session.
const PROCESSES: usize = 4;

/// An authorization server that rotates refresh tokens, somewhere else.
#[derive(Default)]
struct Upstream {
    refreshes: AtomicUsize,
}

impl Upstream {
    /// RFC 6749 §6. A refresh token is good once.
    async fn refresh(&self, refresh_token: &str) -> std::io::Result<String> {
        // It is some way off, and takes its time.
        tokio::time::sleep(Duration::from_millis(50)).await;
        match self.refreshes.fetch_add(1, Ordering::SeqCst) {
            0 => Ok(format!("the access token after {refresh_token}")),
            _ => Err(std::io::Error::other("invalid_grant: this refresh token is spent")),
        }
    }
}

async fn tenants() -> Result<Vec<Tenant>, Box<dyn std::error::Error>> {
    let endpoints = std::env::var("JETON_ENDPOINTS").unwrap_or_else(|_| "127.0.0.1:7401".into());
    let mut tenants = Vec::new();
    for process in 0..PROCESSES {
        let client = Client::connect(Config::new(endpoints.split(','))).await?;
        if process == 0 {
            // A tenant is made once; that it is there already is fine.
            match client.admin().create_tenant("example", SettingsChange::new(), DEADLINE).await {
                Ok(_) | Err(Error::Failed { code: "ALREADY_EXISTS", .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        tenants.push(client.tenant("example")?);
    }
    Ok(tenants)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // What all requests of the session know: its refresh token, which has at least 128 bits.
    let refresh_token = "8f1c7d0e5b2a49c6a3d8e7f60192b4c5";

    let upstream = Upstream::default();
    let alone = join_all((0..REQUESTS).map(|_| upstream.refresh(refresh_token))).await;
    let failed = alone.iter().filter(|refreshed| refreshed.is_err()).count();
    println!("without help: {REQUESTS} refreshes upstream, {failed} users are signed out");

    let (tenants, upstream) = (tenants().await?, Arc::new(Upstream::default()));
    let session = format!("refresh/session-{}", std::process::id());
    let requests = (0..REQUESTS).map(|request| {
        let (tenant, upstream) = (tenants[request % PROCESSES].clone(), Arc::clone(&upstream));
        let flight = SingleFlight::new(&session, refresh_token.as_bytes());
        tokio::spawn(async move {
            let work = async |_: &jeton_client::Lease| {
                upstream.refresh(refresh_token).await.map(String::into_bytes)
            };
            tenant.single_flight(&flight, DEADLINE, work).await
        })
    });
    let (mut own, mut shared) = (0, 0);
    for request in join_all(requests).await {
        let landed = request??;
        let expected = format!("the access token after {refresh_token}");
        assert_eq!(&landed.result[..], expected.as_bytes(), "all get the one result");
        if landed.shared { shared += 1 } else { own += 1 }
    }
    let refreshes = upstream.refreshes.load(Ordering::SeqCst);
    println!("single flight: {refreshes} refresh upstream, {own} did it, {shared} got its result");
    assert_eq!((refreshes, own, shared), (1, 1, REQUESTS - 1));
    Ok(())
}
