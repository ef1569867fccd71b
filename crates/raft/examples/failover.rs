//! How long writes are refused when the leader vanishes: three nodes in one process, real syncs.
//! `cargo run --release -p jeton-raft --example failover`.

use std::time::Duration;

use jeton_core::command::{
    Command, CreateTenant, KeyMaterial, Operation, RequestName, TenantSettings,
};
use jeton_core::ids::{DurationMs, RequestId, TenantId};
use jeton_raft::{Node, NodeConfig, Seams};
use tokio::net::TcpListener;
use tokio::time::Instant;

type Error = Box<dyn std::error::Error + Send + Sync>;

async fn cluster(dir: &std::path::Path) -> Result<Vec<Node>, Error> {
    let mut listeners = Vec::new();
    for _ in 0..3 {
        listeners.push(TcpListener::bind("127.0.0.1:0").await?);
    }
    let addrs = listeners.iter().map(|l| l.local_addr()).collect::<Result<Vec<_>, _>>()?;
    let starting = listeners.into_iter().zip(&addrs).enumerate().map(|(at, (listener, addr))| {
        let mut config = NodeConfig::new(dir.join(at.to_string()), *addr);
        config.bootstrap_expect = 3;
        config.join = addrs.iter().map(ToString::to_string).collect();
        Node::start(config, Seams { peer_listener: Some(listener), ..Seams::default() })
    });
    let nodes = futures::future::try_join_all(starting).await?;
    for node in &nodes {
        node.wait_ready(Instant::now() + Duration::from_secs(30)).await?;
    }
    Ok(nodes)
}

fn write(number: u8) -> Result<Command, Error> {
    let create =
        CreateTenant { settings: TenantSettings::default(), key: KeyMaterial([number; 32]) };
    Ok(Command {
        tenant: Some(TenantId::new(&format!("tenant-{number}"))?),
        request: Some(RequestName { id: RequestId([number; 16]), age: DurationMs(0) }),
        operation: Operation::CreateTenant(create),
    })
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut gaps = Vec::new();
    for round in 0..7 {
        let dir = tempfile::tempdir_in(".")?;
        let start = Instant::now();
        let mut nodes = cluster(dir.path()).await?;
        let formed = start.elapsed();
        let late = || Instant::now() + Duration::from_secs(10);
        nodes[0].propose(write(1)?, late()).await?;
        let leader = nodes.iter().position(|node| node.status().leader == Some(node.id()));
        drop(nodes.remove(leader.ok_or("no leader")?));
        let start = Instant::now();
        let mut number = 1;
        loop {
            number += 1;
            let soon = Instant::now() + Duration::from_millis(100);
            if nodes[usize::from(number) % 2].propose(write(number)?, soon).await.is_ok() {
                break;
            }
        }
        let gap = start.elapsed();
        println!("round {round}: formed in {formed:?}, no write for {gap:?}");
        gaps.push(gap);
        for node in &nodes {
            node.shutdown().await;
        }
    }
    gaps.sort_unstable();
    println!("median {:?}, longest {:?}", gaps[gaps.len() / 2], gaps[gaps.len() - 1]);
    Ok(())
}
