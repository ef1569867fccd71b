//! Three nodes that form a cluster by themselves, and operators' commands.

use super::{PATIENCE, cluster, code, jeton, json};

#[tokio::test]
async fn three_nodes_form_one_cluster_and_hand_leadership_over() {
    let cluster = cluster(3).await;
    let at = cluster.endpoints().join(",");
    let (status, exit) = json("cluster status", &at).await;
    assert_eq!(exit, 0);
    let members = status["members"].as_array().unwrap();
    assert_eq!(members.len(), 3);
    assert!(members.iter().all(|member| member["role"] != "learner"), "{status}");
    let before = cluster.leader(PATIENCE).await.unwrap();
    let leader = cluster.status(before).await.unwrap().node_id;
    let other = members.iter().filter_map(|m| m["node_id"].as_u64()).find(|id| *id != leader);
    let words = format!("cluster transfer-leader {} --timeout 30s", other.unwrap());
    let follower = &cluster.endpoints()[(before + 1) % 3];
    let (moved, exit) = json(&words, follower).await;
    assert_eq!((moved["leader_id"].as_u64(), exit), (other, 0), "any node will do");
    let table = jeton("cluster status", &at).await;
    let text = String::from_utf8(table.stdout.clone()).unwrap();
    assert_eq!(code(&table), 0);
    assert!(text.starts_with("NODE") && text.contains("leader"), "{text}");
}

#[tokio::test]
async fn a_stopped_node_comes_back_with_its_data() {
    let mut cluster = cluster(1).await;
    let at = cluster.endpoints().join(",");
    json("tenant create acme", &at).await;
    cluster.stop(0, PATIENCE).await.expect("SIGTERM ends it with code 0");
    cluster.restart(0).unwrap();
    cluster.wait_ready(PATIENCE).await.unwrap();
    let (tenant, exit) = json("tenant get acme", &at).await;
    assert_eq!((tenant["tenant"].as_str(), exit), (Some("acme"), 0));
}

#[tokio::test]
async fn a_directory_in_use_is_refused_with_words() {
    let cluster = cluster(1).await;
    let free = || jeton_harness::ports::free_address().unwrap();
    let words = format!(
        "server --data-dir {} --listen {} --peer-listen {}",
        cluster.data_dir(0).display(),
        free(),
        free()
    );
    let output = jeton(&words, "").await;
    assert_eq!(code(&output), 75, "{}", super::errors(&output));
    assert!(super::errors(&output).contains("in use"), "{}", super::errors(&output));
    let taken = &cluster.endpoints()[0];
    let dir = tempfile::tempdir().unwrap();
    let words = format!(
        "server --data-dir {} --listen {taken} --peer-listen {}",
        dir.path().display(),
        free()
    );
    let output = jeton(&words, "").await;
    assert_eq!(code(&output), 75, "{}", super::errors(&output));
    assert!(super::errors(&output).contains("in use"), "{}", super::errors(&output));
}
