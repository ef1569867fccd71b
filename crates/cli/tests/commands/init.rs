//! Nodes that wait, and an operator who tells one of them to form their cluster.

use std::collections::BTreeSet;

use jeton_harness::cluster::{Cluster, ClusterSpec};
use tokio::time::Instant;

use super::{PATIENCE, code, errors, jeton, json};

/// Nodes that form nothing by themselves; all of them wait.
async fn waiting(nodes: usize) -> Cluster {
    let mut spec = ClusterSpec::new(env!("CARGO_BIN_EXE_jeton"), nodes);
    spec.bootstrap_expect = Some(0);
    spec.flags = vec!["--log-filter".into(), "warn".into()];
    let cluster = Cluster::start(spec).expect("nodes start");
    for at in cluster.endpoints() {
        until_state(&at, "WAITING").await;
    }
    cluster
}

async fn until_state(at: &str, state: &str) {
    let until = Instant::now() + PATIENCE;
    loop {
        let output = jeton("cluster status -o json", at).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if text.contains(&format!("\"state\":\"{state}\"")) {
            return;
        }
        assert!(Instant::now() < until, "{at} is not {state}: {text} {}", errors(&output));
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn one_of_three_is_told_and_all_serve() {
    let mut cluster = waiting(3).await;
    let at = cluster.endpoints();
    let table = jeton("cluster status", &at[2]).await;
    let text = String::from_utf8(table.stdout.clone()).unwrap();
    assert_eq!(code(&table), 0);
    assert!(text.contains("WAITING") && text.contains("jeton cluster init"), "{text}");
    // What it can't do yet is not done, and the words say why.
    let refused = jeton("tenant list --timeout 1s", &at[0]).await;
    assert_eq!(code(&refused), 3, "{}", errors(&refused));
    assert!(errors(&refused).contains("not started"), "{}", errors(&refused));

    let members: Vec<_> = (0..3).map(|node| cluster.peer_address(node)).collect();
    let words = format!("cluster init --timeout 60s --members {}", members.join(","));
    let (made, exit) = json(&words, &at[1]).await;
    assert_eq!((made["result"].as_str(), exit), (Some("CREATED"), 0), "{made}");
    cluster.wait_ready(PATIENCE).await.unwrap();
    for endpoint in &at {
        let (again, exit) = json("cluster init", endpoint).await;
        assert_eq!((again["result"].as_str(), exit), (Some("EXISTS"), 0), "{again}");
        assert_eq!(again["cluster"], made["cluster"]);
        let (status, _) = json("cluster status", endpoint).await;
        assert_eq!(
            (status["state"].as_str(), status["ready"].as_bool()),
            (Some("RUNNING"), Some(true))
        );
        assert_eq!(status["members"].as_array().unwrap().len(), 3);
    }
    // Who knows a node that serves goes there, not to one that waits; it starts with any of them.
    let idle = cluster.grow().unwrap();
    let idle = cluster.endpoints().remove(idle);
    until_state(&idle, "WAITING").await;
    for _ in 0..4 {
        let listed = jeton("tenant list --timeout 10s", &format!("{idle},{}", at[0])).await;
        assert_eq!(code(&listed), 0, "{}", errors(&listed));
    }
    // Repeated at another node, it could begin twice: that is not done to several.
    let several = jeton("cluster init", &at.join(",")).await;
    assert_eq!(code(&several), 2, "{}", errors(&several));
    assert!(errors(&several).contains("one endpoint"), "{}", errors(&several));
    // The same flags serve for every restart.
    cluster.stop(1, PATIENCE).await.unwrap();
    cluster.restart(1).unwrap();
    cluster.wait_node_ready(1, Instant::now() + PATIENCE).await.unwrap();
    let (status, _) = json("cluster status", &at[1]).await;
    assert_eq!(status["cluster"], made["cluster"]);
}

#[tokio::test]
async fn a_member_that_is_not_there_is_named_and_the_order_is_taken_back() {
    let mut cluster = waiting(1).await;
    let at = cluster.endpoints();
    let own = cluster.peer_address(0);
    let missing = jeton_harness::ports::free_address().unwrap();
    let words = format!("cluster init --timeout 2s --members {own},{missing}");
    let output = jeton(&words, &at[0]).await;
    assert_ne!(code(&output), 0);
    let said = errors(&output);
    assert!(said.contains(&format!("no answer from {missing}")), "{said}");
    let (made, exit) = json("cluster init --timeout 60s", &at[0]).await;
    assert_eq!((made["result"].as_str(), exit), (Some("CREATED"), 0), "{made}");
    cluster.wait_ready(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn two_that_are_told_at_once_never_make_two_clusters() {
    let mut cluster = waiting(3).await;
    let at = cluster.endpoints();
    let members: Vec<_> = (0..3).map(|node| cluster.peer_address(node)).collect();
    let words = format!("cluster init --timeout 5s --members {}", members.join(","));
    let (one, two) = tokio::join!(jeton(&words, &at[0]), jeton(&words, &at[2]));
    let made = [&one, &two].map(|output| code(output) == 0);
    let mut formed = BTreeSet::new();
    for endpoint in &at {
        let (status, exit) = json("cluster status", endpoint).await;
        assert_eq!(exit, 0, "it must stay and say why");
        if status["members"].as_array().is_some_and(|members| !members.is_empty()) {
            formed.insert(status["cluster"].as_str().unwrap().to_owned());
        }
    }
    assert!(formed.len() <= 1, "{formed:?}");
    if made.contains(&true) {
        cluster.wait_ready(PATIENCE).await.unwrap();
    } else {
        for output in [&one, &two] {
            assert!(errors(output).contains("empty"), "it says what to do: {}", errors(output));
        }
    }
}

#[tokio::test]
async fn a_node_that_waits_stops_when_it_is_told_to() {
    let mut cluster = waiting(1).await;
    cluster.stop(0, PATIENCE).await.expect("SIGTERM ends it with code 0");
}
