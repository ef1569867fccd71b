//! The connection to one endpoint.

use std::sync::Arc;

use jeton_wire::Failure;
use jeton_wire::failure::reason;
use jeton_wire::pb::v1::PipelineResponse;
use jeton_wire::pb::v1::operation::Request;
use jeton_wire::pb::v1::operation_result::Response;
use jeton_wire::pb::v1::pipeline_service_client::PipelineServiceClient;
use tokio::task::AbortHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

use super::call::{Attempt, CallError};
use super::pipe::{Inbox, Pipe};
use super::unary;
use crate::config::Config;

/// Largest message that is accepted. Nodes send about one megabyte at most.
const MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A connection to one node. Closed when dropped.
pub(crate) struct Node {
    /// Where it is.
    pub uri: Arc<str>,
    /// For calls of their own.
    pub channel: Channel,
    way: Way,
}

/// How operations get there.
enum Way {
    /// Each as a call of its own.
    Unary,
    /// Through one stream.
    Piped(Piped),
    /// Not at all: the node waits for its cluster. Only its operator has something to ask it.
    NotStarted(Failure),
}

struct Piped {
    pipe: Pipe,
    reader: AbortHandle,
}

impl Drop for Piped {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Node {
    /// Connects, and opens the pipe unless the configuration wants unary calls.
    ///
    /// # Errors
    /// In words: it can't be reached, doesn't speak the protocol, or takes too long.
    pub async fn connect(uri: &Arc<str>, config: &Config) -> Result<Self, String> {
        let connecting = Self::connect_unhurried(uri, config);
        match tokio::time::timeout(config.connect_timeout, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(format!("no answer within {:?}", config.connect_timeout)),
        }
    }

    async fn connect_unhurried(uri: &Arc<str>, config: &Config) -> Result<Self, String> {
        let channel = channel(uri, config).await?;
        let way = match config.unary {
            true => Way::Unary,
            false => match Piped::open(channel.clone()).await {
                Ok(piped) => Way::Piped(piped),
                Err(status) => not_started(&status)?,
            },
        };
        Ok(Self { uri: Arc::clone(uri), channel, way })
    }

    /// Whether operations can still be sent through it. Channels of unary calls mend themselves.
    pub fn is_open(&self) -> bool {
        match &self.way {
            Way::Unary => true,
            Way::Piped(piped) => piped.pipe.is_open(),
            Way::NotStarted(_) => false,
        }
    }

    /// Whether it waited for its cluster when it was connected.
    pub fn waits(&self) -> bool {
        matches!(self.way, Way::NotStarted(_))
    }

    /// One attempt at an operation.
    ///
    /// # Errors
    /// [`CallError`]: what came instead of an answer.
    pub async fn call(&self, request: Request, attempt: Attempt) -> Result<Response, CallError> {
        match &self.way {
            Way::Piped(piped) => piped.pipe.call(request, attempt).await,
            Way::Unary => unary::call(self.channel.clone(), request, attempt).await,
            Way::NotStarted(failure) => Err(CallError::Failed(failure.clone())),
        }
    }
}

impl Piped {
    /// Opens the stream, and waits until the node accepted it: a stopped process accepts
    /// connections, too.
    async fn open(channel: Channel) -> Result<Self, Status> {
        let (pipe, outbox, inbox) = Pipe::new();
        let answers = PipelineServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .pipeline(outbox)
            .await?
            .into_inner();
        let reader = tokio::spawn(read(inbox, answers)).abort_handle();
        Ok(Self { pipe, reader })
    }
}

/// A node that said why it takes no operations can still be asked other things.
fn not_started(status: &Status) -> Result<Way, String> {
    let failure = Failure::from(status);
    match &*failure.reason {
        reason::NOT_STARTED => Ok(Way::NotStarted(failure)),
        _ => Err(format!("{:?}: {}", status.code(), status.message())),
    }
}

async fn read(inbox: Inbox, mut answers: Streaming<PipelineResponse>) {
    let why = loop {
        match answers.message().await {
            Ok(Some(message)) => inbox.deliver(message),
            Ok(None) => break "the node ended the stream".to_owned(),
            Err(status) => break format!("the stream broke: {}", status.message()),
        }
    };
    inbox.close(&why);
}

/// A connection to the node at `uri`.
///
/// # Errors
/// In words: it can't be reached.
pub(crate) async fn channel(uri: &str, config: &Config) -> Result<Channel, String> {
    let endpoint = Endpoint::from_shared(uri.to_owned())
        .map_err(|error| chain(&error))?
        .tcp_nodelay(true)
        .connect_timeout(config.connect_timeout)
        .http2_keep_alive_interval(config.keep_alive)
        .keep_alive_timeout(config.keep_alive);
    endpoint.connect().await.map_err(|error| chain(&error))
}

/// An error and what is behind it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_words = cause.to_string();
        if !words.ends_with(&cause_words) {
            words.push_str(": ");
            words.push_str(&cause_words);
        }
        source = cause.source();
    }
    words
}
