//! How many rotations three nodes in one process can do, over loopback and real syncs, without the
//! public API: `cargo run --release -p jeton-raft --example rotations -- [in flight] [seconds]`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jeton_core::command::{
    Command, CreateFamily, CreateTenant, KeyMaterial, Operation, PresentedToken, RequestName,
    Rotate, TenantSettings,
};
use jeton_core::ids::{
    ClientId, DurationMs, FamilyId, Generation, Kid, RequestId, SecretDigest, SubjectId, TenantId,
};
use jeton_core::reply::{Done, Reply};
use jeton_raft::{Node, NodeConfig, ProposeError, ReplySink, Seams};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::Instant;

type Error = Box<dyn std::error::Error + Send + Sync>;
type Answer = (u64, Result<Reply, ProposeError>);

/// Answers go into one channel, with their tags.
struct Sink(mpsc::UnboundedSender<Answer>);

impl ReplySink for Sink {
    fn reply(&self, tag: u64, result: Result<Reply, ProposeError>) {
        // The measurement may be over.
        let _ = self.0.send((tag, result));
    }
}

static NEXT: AtomicU64 = AtomicU64::new(1);

fn sixteen() -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    bytes
}

fn command(tenant: &TenantId, operation: Operation) -> Command {
    let request = RequestName { id: RequestId(sixteen()), age: DurationMs(0) };
    Command { tenant: Some(tenant.clone()), request: Some(request), operation }
}

async fn cluster(dir: &std::path::Path, nodes: usize) -> Result<Vec<Node>, Error> {
    let mut listeners = Vec::new();
    for _ in 0..nodes {
        listeners.push(TcpListener::bind("127.0.0.1:0").await?);
    }
    let addrs = listeners.iter().map(|l| l.local_addr()).collect::<Result<Vec<_>, _>>()?;
    let starting = listeners.into_iter().zip(&addrs).enumerate().map(|(at, (listener, addr))| {
        let mut config = NodeConfig::new(dir.join(at.to_string()), *addr);
        config.bootstrap_expect = nodes;
        config.join = addrs.iter().map(ToString::to_string).collect();
        Node::start(config, Seams { peer_listener: Some(listener), ..Seams::default() })
    });
    let nodes = futures::future::try_join_all(starting).await?;
    for node in &nodes {
        node.wait_ready(Instant::now() + Duration::from_secs(30)).await?;
    }
    Ok(nodes)
}

/// One family and what its client holds.
struct Holder {
    head: PresentedToken,
    next: SecretDigest,
    sent: Instant,
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    let in_flight: u64 = args.next().map_or(Ok(256), |arg| arg.parse())?;
    let seconds: u64 = args.next().map_or(Ok(5), |arg| arg.parse())?;
    let nodes_count: usize = args.next().map_or(Ok(3), |arg| arg.parse())?;
    let through_follower = args.next().is_some();
    let dir = tempfile::tempdir_in(".")?;
    let nodes = cluster(dir.path(), nodes_count).await?;
    let leads = |node: &&Node| node.status().leader == Some(node.id()) && !through_follower;
    let node = nodes.iter().find(leads).or(nodes.first()).ok_or("no node")?.clone();
    let tenant = TenantId::new("bench")?;
    let client = ClientId::new("web")?;
    let late = || Instant::now() + Duration::from_secs(10);
    let settings = TenantSettings { rotations_per_s: 0, ..TenantSettings::default() };
    let create = CreateTenant { settings, key: KeyMaterial([7; 32]) };
    node.propose(command(&tenant, Operation::CreateTenant(create)), late()).await?;
    let (sender, mut answers) = mpsc::unbounded_channel();
    let sink: Arc<dyn ReplySink> = Arc::new(Sink(sender));
    let mut holders = Vec::new();
    for tag in 0..in_flight {
        let (id, digest) = (FamilyId(sixteen()), SecretDigest(sixteen()));
        let create = CreateFamily {
            family: id,
            digest,
            opaque: false,
            subject: SubjectId::new(&format!("subject-{tag}"))?,
            client: client.clone(),
            device: None,
            binding: jeton_core::command::Binding::default(),
            ip: None,
            attributes: Vec::new(),
            payload: Bytes::new(),
            lifetime: None,
            idle: None,
            grace: None,
            authenticated_at: None,
            cap: None,
            session: None,
            code: None,
        };
        let create = command(&tenant, Operation::CreateFamily(Box::new(create)));
        node.submit(create, Instant::now(), late(), tag, Arc::clone(&sink));
        let head = PresentedToken { kid: Kid(0), family: id, generation: Generation(0), digest };
        holders.push(Holder { head, next: digest, sent: Instant::now() });
    }
    let rotate = |holder: &mut Holder, tag: u64| {
        holder.next = SecretDigest(sixteen());
        let rotate = Rotate {
            token: holder.head.into(),
            successor: holder.next,
            seal: Bytes::from_static(&[0; 130]),
            losers: jeton_core::command::Losers::Replay,
            client: client.clone(),
            binding: jeton_core::command::Binding::default(),
            origin: jeton_core::command::Origin::default(),
        };
        holder.sent = Instant::now();
        let rotate = command(&tenant, Operation::Rotate(Box::new(rotate)));
        node.submit(rotate, Instant::now(), late(), tag, Arc::clone(&sink));
    };
    let (mut done, mut latencies) = (0_u64, Vec::new());
    let before = node.status();
    let start = Instant::now();
    while let Some((tag, result)) = answers.recv().await {
        let holder = holders.get_mut(usize::try_from(tag)?).ok_or("a tag that was never given")?;
        match result?.outcome {
            Ok(Done::FamilyCreated(created)) => {
                holder.head.kid = created.first.kid.ok_or("an opaque token")?;
            }
            Ok(Done::Rotated(rotated)) => {
                holder.head.generation = rotated.generation;
                holder.head.digest = holder.next;
                done += 1;
                latencies.push(holder.sent.elapsed());
            }
            other => return Err(format!("{other:?}").into()),
        }
        if start.elapsed() > Duration::from_secs(seconds) {
            break;
        }
        rotate(holder, tag);
    }
    let took = start.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let at = |share: f64| latencies.get((latencies.len() as f64 * share) as usize).copied();
    let after = node.status();
    println!(
        "{in_flight} in flight: {:.0} rotations/s, p50 {:?}, p99 {:?}, {:.1} commands a batch, \
         {} syncs/s of the leader",
        done as f64 / took,
        at(0.5),
        at(0.99),
        (after.commands - before.commands) as f64 / (after.batches - before.batches).max(1) as f64,
        ((after.log.syncs - before.log.syncs) as f64 / took) as u64,
    );
    for node in &nodes {
        node.shutdown().await;
    }
    Ok(())
}
