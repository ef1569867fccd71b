//! `/livez`, `/readyz` and `/metrics`.

use std::time::Duration;

use jeton_server::metrics::list::{METRICS, reference};
use tokio::time::Instant;

use crate::rig::{PATIENCE, Rig, id, soon};
use crate::web::{get, request};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_serves_is_live_and_ready() {
    let rig = Rig::start().await;
    for path in ["/livez", "/readyz"] {
        let answer = get(rig.addr, path).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"), "{path}");
    }
    let head = request(rig.addr, "HEAD", "/livez", &[], b"").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    rig.stop().await;
}

/// A node that lost its quorum says so within a few elections, and why.
pub async fn says_not_ready(rig: &Rig) {
    let until = Instant::now() + PATIENCE;
    let answer = loop {
        let answer = get(rig.addr, "/readyz").await;
        if answer.status != 200 {
            break answer;
        }
        assert!(Instant::now() < until, "it never noticed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(answer.status, 503);
    assert!(answer.body.starts_with("not ready: "), "{answer:?}");
    let ready = "jeton_ready 0";
    let page = get(rig.addr, "/metrics").await.body;
    assert!(page.lines().any(|line| line == ready), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_page_shows_what_happened_and_nothing_that_is_not_listed() {
    let rig = Rig::start().await;
    let holder = rig.family(1).await;
    for number in [2, 2] {
        rig.tokens().rotate(soon(holder.rotate(number))).await.expect("an answer");
    }
    let nonsense = jeton_wire::pb::v1::IssuedToken { mac: id(9), ..Default::default() };
    let forged = holder.next(&nonsense);
    let stranger =
        jeton_wire::pb::v1::RotateRequest { client: "thief".to_owned(), ..forged.rotate(3) };
    rig.tokens().rotate(soon(stranger)).await.expect("a forged token is an answer");

    let answer = get(rig.addr, "/metrics").await;
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    for line in [
        "jeton_ready 1",
        "jeton_raft_is_leader 1",
        "jeton_raft_voters 1",
        "jeton_operations_total{operation=\"create_family\",outcome=\"ok\"} 1",
        "jeton_operations_total{operation=\"rotate\",outcome=\"ok\"} 2",
        "jeton_operations_total{operation=\"rotate\",outcome=\"not_found\"} 1",
        "jeton_rotations_total{outcome=\"rotated\"} 1",
        "jeton_rotations_total{outcome=\"replayed\"} 1",
        "jeton_operations_outstanding 0",
    ] {
        assert!(answer.body.lines().any(|l| l == line), "{line} is not in\n{}", answer.body);
    }
    for metric in METRICS {
        let header = format!("# TYPE {} {}", metric.name, metric.kind.as_str());
        assert!(answer.body.lines().any(|l| l == header), "{header} is missing");
    }
    for line in answer.body.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        assert!(METRICS.iter().any(|metric| metric.name == name), "{line} is not listed");
        let value = line.rsplit(' ').next().unwrap_or_default();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_counted_by_kind() {
    let rig = Rig::start().await;
    let holder = rig.family(1).await;
    let mut stranger = holder.rotate(3);
    stranger.client = "thief".to_owned();
    rig.tokens().rotate(soon(stranger)).await.expect("an answer");
    let body = get(rig.addr, "/metrics").await.body;
    let line = "jeton_events_total{event=\"client_mismatch\"} 1";
    assert!(body.lines().any(|l| l == line), "{body}");
    rig.stop().await;
}

#[test]
fn the_reference_of_metrics_is_up_to_date() {
    let written = include_str!("../../../../docs/reference/metrics.md");
    assert!(
        written == reference(),
        "run: cargo run -p jeton-server --example reference -- metrics > docs/reference/metrics.md"
    );
}
