//! Clocks that are wrong.

use std::sync::Arc;

use jeton_core::ids::UnixMs;
use jeton_raft::{Clock, Health, Seams, SystemClock};

use crate::harness::{Cluster, deadline, done, family, new_family, pause};

/// Runs an hour ahead.
struct HourAhead;

impl Clock for HourAhead {
    fn wall(&self) -> UnixMs {
        UnixMs(SystemClock.wall().0 + 3_600_000)
    }
}

fn broken(at: usize, seams: &mut Seams) {
    if at == 0 {
        seams.clock = Arc::new(HourAhead);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_broken_clock_moves_no_time_and_does_not_lead() {
    let cluster = Cluster::start_seamed(3, broken).await;
    let until = deadline();
    loop {
        let status = cluster.nodes[0].status();
        let skewed =
            matches!(status.health, Health::ClockSkewed { skew_ms } if skew_ms > 3_500_000);
        if skewed && status.leader.is_some_and(|leader| leader != status.node) {
            break;
        }
        pause(until).await;
    }
    family(&cluster.nodes[0]).await;
    for node in &cluster.nodes {
        let family = new_family(node).await;
        let (rotate, _) = family.rotate();
        let reply = done(node, rotate).await;
        let ahead = reply.at.0.saturating_sub(SystemClock.wall().0);
        assert!(ahead < 60_000, "an entry is stamped {ahead} ms ahead of time");
    }
    assert_eq!(cluster.nodes[1].status().health, Health::Serving);
    cluster.stop().await;
}
