//! Many operations on one stream.

use std::collections::BTreeMap;

use jeton_wire::Failure;
use jeton_wire::pb::v1;
use jeton_wire::pb::v1::operation::Request as Ask;
use jeton_wire::pb::v1::operation_result::Response as Answer;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::rig::{PATIENCE, Rig, TENANT, creation, id};

pub struct Pipeline {
    send: mpsc::Sender<v1::PipelineRequest>,
    answers: Streaming<v1::PipelineResponse>,
}

impl Pipeline {
    pub async fn open(rig: &Rig) -> Self {
        let (send, requests) = mpsc::channel(16);
        let opened = rig.pipelines().pipeline(ReceiverStream::new(requests)).await;
        Self { send, answers: opened.expect("a stream").into_inner() }
    }

    pub async fn send(&self, operations: Vec<v1::Operation>) {
        self.send.send(v1::PipelineRequest { operations }).await.expect("the stream is open");
    }

    /// Takes answers until `count` have come.
    pub async fn answers(&mut self, count: usize) -> BTreeMap<u64, Answer> {
        let mut all = BTreeMap::new();
        while all.len() < count {
            let message = self.message().await.expect("no failure").expect("more answers");
            for result in message.results {
                let response = result.response.expect("a response");
                assert!(all.insert(result.tag, response).is_none(), "answered twice");
            }
        }
        all
    }

    pub async fn message(&mut self) -> Result<Option<v1::PipelineResponse>, Status> {
        timeout(PATIENCE, self.answers.message()).await.expect("an answer in time")
    }

    /// No more operations.
    pub fn finish(self) -> Streaming<v1::PipelineResponse> {
        self.answers
    }
}

pub fn operation(tag: u64, request: Ask) -> v1::Operation {
    v1::Operation { tag, deadline_ms: 20_000, request: Some(request) }
}

pub fn create(tag: u64) -> v1::Operation {
    operation(tag, Ask::CreateFamily(creation(tag as u8)))
}

fn get(tag: u64, level: Option<v1::consistency::Level>) -> v1::Operation {
    let request = v1::GetFamilyRequest {
        tenant: TENANT.into(),
        family_id: id(1),
        consistency: Some(v1::Consistency { level }),
        ..Default::default()
    };
    operation(tag, Ask::GetFamily(request))
}

/// A read that waits until its deadline, since its position never comes.
pub fn never(tag: u64, deadline_ms: u64) -> v1::Operation {
    let future = get(tag, Some(v1::consistency::Level::AtLeastPosition(u64::MAX)));
    v1::Operation { deadline_ms, ..future }
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_of_one_message_are_answered_by_tag() {
    let rig = Rig::start().await;
    let mut pipeline = Pipeline::open(&rig).await;
    pipeline.send((1..=200).map(create).collect()).await;
    let answers = pipeline.answers(200).await;
    for (tag, answer) in answers {
        let Answer::CreateFamily(created) = answer else { panic!("{tag}: {answer:?}") };
        let outcome = created.outcome.expect("an outcome");
        assert!(matches!(outcome, v1::create_family_response::Outcome::Created(_)), "{tag}");
    }
    let batched = rig.status().await;
    assert!(
        batched.log_entries < 200,
        "what waits together shares entries: {} entries",
        batched.log_entries
    );
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_operation_fails_alone() {
    let rig = Rig::start().await;
    let mut pipeline = Pipeline::open(&rig).await;
    let mut nameless = creation(2);
    nameless.subject.clear();
    let late = v1::Operation { deadline_ms: 0, ..create(4) };
    let empty = v1::Operation { request: None, ..create(5) };
    let bad = operation(2, Ask::CreateFamily(nameless));
    pipeline.send(vec![create(1), bad, create(3), late, empty]).await;
    let answers = pipeline.answers(5).await;
    for tag in [1, 3] {
        assert!(matches!(answers[&tag], Answer::CreateFamily(_)), "{tag}");
    }
    for (tag, field) in [(2, "subject"), (4, "deadline_ms"), (5, "request")] {
        let Answer::Failure(failure) = &answers[&tag] else { panic!("{tag} did not fail") };
        assert_eq!(failure.code, Code::InvalidArgument as i32);
        assert_eq!(failure.violations[0].field, field);
        assert!(failure.not_executed && failure.reason == "INVALID_REQUEST");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_of_all_kinds_share_a_message() {
    use v1::consistency::Level;
    let rig = Rig::start().await;
    rig.family(1).await;
    let mut pipeline = Pipeline::open(&rig).await;
    let levels = [None, Some(Level::BoundedMaxAgeMs(5_000)), Some(Level::AtLeastPosition(1))];
    pipeline.send((0..60).map(|tag| get(tag, levels[tag as usize % 3])).collect()).await;
    for (tag, answer) in pipeline.answers(60).await {
        let Answer::GetFamily(seen) = answer else { panic!("{tag}: {answer:?}") };
        let outcome = seen.outcome.expect("an outcome");
        assert!(matches!(outcome, v1::get_family_response::Outcome::Family(_)), "{tag}");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_never_comes_is_told_at_the_deadline() {
    let rig = Rig::start().await;
    let mut pipeline = Pipeline::open(&rig).await;
    pipeline.send(vec![never(1, 50), get(2, None)]).await;
    let answers = pipeline.answers(2).await;
    let Answer::Failure(failure) = &answers[&1] else { panic!("it can't have been read") };
    assert_eq!(failure.code, Code::DeadlineExceeded as i32, "{failure:?}");
    assert!(failure.not_executed, "reads change nothing");
    assert!(matches!(answers[&2], Answer::GetFamily(_)), "others need not wait for it");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_with_too_many_operations_ends_the_stream_after_what_is_owed() {
    let rig = Rig::start().await;
    let mut pipeline = Pipeline::open(&rig).await;
    pipeline.send(vec![create(1)]).await;
    pipeline.send((0..1_025).map(|tag| get(tag, None)).collect()).await;
    let answers = pipeline.answers(1).await;
    assert!(matches!(answers[&1], Answer::CreateFamily(_)));
    let status = pipeline.message().await.expect_err("the stream ends");
    let failure = Failure::from(&status);
    assert_eq!(
        (status.code(), &*failure.violations[0].field),
        (Code::InvalidArgument, "operations")
    );
    assert!(status.message().contains("1025 entries: the limit is 1024"), "{status:?}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_finished_gets_its_last_answers() {
    let rig = Rig::start().await;
    let pipeline = Pipeline::open(&rig).await;
    pipeline.send((1..=10).map(create).collect()).await;
    let mut rest = pipeline.finish();
    let mut count = 0;
    while let Some(message) =
        timeout(PATIENCE, rest.message()).await.expect("in time").expect("no failure")
    {
        count += message.results.len();
    }
    assert_eq!(count, 10);
    rig.stop().await;
}
