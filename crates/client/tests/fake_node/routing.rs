//! Which node is asked, and when another one is.

use std::time::Duration;

use jeton_client::{Client, RotateContext, Rotation};
use jeton_wire::failure::reason;
use tonic::Code;

use super::node::{Act, FakeNode, config, failure, rotated, token};

const SOON: Duration = Duration::from_secs(20);

async fn rotate(client: &Client) -> Rotation {
    let acme = client.tenant("acme").unwrap();
    acme.rotate(&token(4), RotateContext::new("web"), SOON).await.unwrap()
}

async fn good() -> FakeNode {
    FakeNode::start(|operation| Act::Answer(rotated(operation))).await
}

#[tokio::test]
async fn a_client_stays_with_its_node_until_that_goes_down() {
    let nodes = [good().await, good().await, good().await];
    let client = Client::connect(config(&nodes)).await.unwrap();
    for _ in 0..5 {
        rotate(&client).await;
    }
    let asked: Vec<_> = nodes.iter().map(|node| node.operations().len()).collect();
    let mut sorted = asked.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [0, 0, 5], "one node has it all");

    let home = asked.iter().position(|asked| *asked == 5).unwrap();
    nodes[home].go_down();
    for _ in 0..5 {
        assert!(matches!(rotate(&client).await, Rotation::Rotated(_)));
    }
    let elsewhere: usize = nodes
        .iter()
        .enumerate()
        .filter(|(place, _)| *place != home)
        .map(|(_, node)| node.operations().len())
        .sum();
    assert_eq!(elsewhere, 5);
}

#[tokio::test]
async fn a_node_that_cannot_serve_is_left_for_one_that_can() {
    let unable = || {
        FakeNode::start(|_| {
            Act::Fail(failure(Code::Unavailable, reason::SHUTTING_DOWN).not_executed())
        })
    };
    let nodes = [unable().await, unable().await, good().await];
    let client = Client::connect(config(&nodes)).await.unwrap();
    rotate(&client).await;
    rotate(&client).await;
    assert_eq!(nodes[2].operations().len(), 2);
    assert!(nodes[0].operations().len() <= 1 && nodes[1].operations().len() <= 1);
}

#[tokio::test]
async fn a_node_that_never_answers_costs_one_attempt() {
    let silent = FakeNode::start(|_| Act::Swallow).await;
    let nodes = [silent, good().await];
    let config = config(&nodes).attempt_timeout(Duration::from_millis(500));
    let client = Client::connect(config).await.unwrap();
    for _ in 0..3 {
        assert!(matches!(rotate(&client).await, Rotation::Rotated(_)));
    }
    assert!(nodes[0].operations().len() <= 1);
    assert_eq!(nodes[1].operations().len(), 3);
}

#[tokio::test]
async fn endpoints_that_nobody_listens_at_are_passed_over() {
    let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = dead.local_addr().unwrap();
    drop(dead);
    let node = good().await;
    for seed in 0..4 {
        let config = jeton_client::Config::new([address.to_string(), node.address.to_string()])
            .entropy(std::sync::Arc::new(jeton_client::SeededEntropy::new(seed)));
        let client = Client::connect(config).await.unwrap();
        assert!(matches!(rotate(&client).await, Rotation::Rotated(_)));
    }
}
