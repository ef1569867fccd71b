//! A resource server that stands still while a session is revoked: the first thing that it says
//! when it goes on must not be that the session lives.
//!
//! It is a process of its own: this test's binary, told to be one. It asks its view again and
//! again, as fast as it can, so that it is stopped in the middle of it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jeton_client::{Claims, Client, Config, NewSession, Position, Verdict, ViewOptions};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::actor::{Actor, clock_ns};
use crate::world::{CLIENT, PATIENCE, TENANT, World};

/// Tells the binary that it is a resource server: endpoints, a space, and sessions.
const SERVER: &str = "JETON_TEST_RESOURCE_SERVER";
const SUBJECT: &str = "alice";
const MAX_STALENESS: Duration = Duration::from_secs(1);
/// Who was not asked for so long stood still.
const STOOD_STILL_NS: u128 = 100_000_000;

/// What the view said of a session, and when it was asked.
#[derive(Debug, Clone, Copy)]
struct Said {
    session: usize,
    verdict: Kind,
    asked_ns: u128,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Active,
    Denied,
    Stale,
}

impl Said {
    fn print(self) {
        let Self { session, verdict, asked_ns } = self;
        println!("\nsaid {session} {verdict:?} {asked_ns}");
    }

    fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["said", session, verdict, asked_ns] = words[..] else { return None };
        let verdict = match verdict {
            "Active" => Kind::Active,
            "Denied" => Kind::Denied,
            "Stale" => Kind::Stale,
            _ => return None,
        };
        Some(Self { session: session.parse().ok()?, verdict, asked_ns: asked_ns.parse().ok()? })
    }
}

/// No test of its own: what a resource server's process does. It ends when it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resource_server() -> Result<()> {
    let Ok(told) = std::env::var(SERVER) else { return Ok(()) };
    let (endpoints, positions) = told.split_once(' ').context("endpoints, then sessions")?;
    let positions: Vec<Position> =
        positions.split(',').map(|text| Ok(Position(text.parse()?))).collect::<Result<_>>()?;
    let names: Vec<String> = (0..positions.len()).map(session).collect();
    let client = Client::connect(Config::new(endpoints.split(','))).await?;
    let options = ViewOptions { max_staleness: MAX_STALENESS, ..ViewOptions::default() };
    let view = client.tenant(TENANT)?.view(options)?;
    let mut last: Vec<Option<(Kind, u128)>> = vec![None; names.len()];
    // Away from the runtime's own threads, so that the view is kept meanwhile.
    tokio::task::block_in_place(|| {
        loop {
            for (number, name) in names.iter().enumerate() {
                let claims = Claims {
                    subject: Some(SUBJECT),
                    client: Some(CLIENT),
                    session: Some(name),
                    position: Some(positions[number]),
                    ..Claims::default()
                };
                let asked_ns = clock_ns();
                let verdict = match view.check(&claims) {
                    Verdict::Active => Kind::Active,
                    Verdict::Denied(_) => Kind::Denied,
                    Verdict::Stale(_) => Kind::Stale,
                };
                // What is new, and whatever comes first after a pause.
                let is_news = last[number].is_none_or(|(before, at)| {
                    before != verdict || asked_ns.saturating_sub(at) > STOOD_STILL_NS
                });
                last[number] = Some((verdict, asked_ns));
                if is_news {
                    Said { session: number, verdict, asked_ns }.print();
                }
            }
        }
    })
}

fn session(number: usize) -> String {
    format!("sid-{number}")
}

#[tokio::test]
async fn a_resource_server_that_stood_still_over_a_revocation_never_calls_it_active() -> Result<()>
{
    // Beyond what the view may be stale, and well within it.
    let pauses = [1_500, 2_500, 300, 1_200].map(Duration::from_millis);
    let mut world = World::new(&[]).await?;
    let tenant = world.tenant()?;
    let mut positions = Vec::new();
    for number in 0..pauses.len() {
        let new = NewSession::new(session(number).as_str(), SUBJECT);
        positions.push(tenant.create_session(new, PATIENCE).await?.position.0.to_string());
    }
    let told = format!("{} {}", world.cluster.endpoints().join(","), positions.join(","));
    let mut server = Server::start(&told, pauses.len())?;
    for (number, pause) in pauses.into_iter().enumerate() {
        while server.last[number] != Some(Kind::Active) {
            server.hear().await?;
        }
        server.process.freeze().await?;
        tenant.end_session(session(number).as_str(), None, PATIENCE).await?;
        let revoked_ns = clock_ns();
        tokio::time::sleep(pause).await;
        let resumed_ns = clock_ns();
        server.process.thaw().await?;
        let late_ns = revoked_ns + MAX_STALENESS.as_nanos();
        let mut first = None;
        while server.last[number] != Some(Kind::Denied) {
            let line = server.hear().await?;
            if line.session != number {
                continue;
            }
            let stood_still = !(revoked_ns..resumed_ns).contains(&line.asked_ns);
            ensure!(stood_still, "it was never stopped: {line:?}");
            let is_late = line.verdict == Kind::Active && line.asked_ns > late_ns;
            ensure!(!is_late, "active {} ns after its end", line.asked_ns - revoked_ns);
            if line.asked_ns >= resumed_ns {
                first = first.or(Some(line.verdict));
            }
        }
        println!("after a pause of {pause:?} it said {first:?} first, and then that it is denied");
    }
    drop(server);
    world.cluster.stop_all(PATIENCE).await
}

/// A resource server's process, and what it said last of each session.
struct Server {
    process: Actor,
    said: mpsc::UnboundedReceiver<Said>,
    last: Vec<Option<Kind>>,
}

impl Server {
    fn start(told: &str, sessions: usize) -> Result<Self> {
        let (says, said) = mpsc::unbounded_channel();
        let role = "resource_servers::resource_server";
        let process = Actor::start(role, (SERVER, told), Said::parse, says)?;
        Ok(Self { process, said, last: vec![None; sessions] })
    }

    async fn hear(&mut self) -> Result<Said> {
        let line = timeout(PATIENCE, self.said.recv()).await.context("it says nothing")?;
        let line = line.context("the resource server has ended")?;
        self.last[line.session] = Some(line.verdict);
        Ok(line)
    }
}
