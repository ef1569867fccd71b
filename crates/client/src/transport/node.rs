//! The connection to one endpoint.

use std::sync::Arc;

use jeton_wire::pb::v1::PipelineResponse;
use jeton_wire::pb::v1::operation::Request;
use jeton_wire::pb::v1::operation_result::Response;
use jeton_wire::pb::v1::pipeline_service_client::PipelineServiceClient;
use tokio::task::AbortHandle;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

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
    pipe: Option<Piped>,
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
        let endpoint = Endpoint::from_shared(uri.to_string())
            .map_err(|error| chain(&error))?
            .tcp_nodelay(true)
            .connect_timeout(config.connect_timeout)
            .http2_keep_alive_interval(config.keep_alive)
            .keep_alive_timeout(config.keep_alive);
        let channel = endpoint.connect().await.map_err(|error| chain(&error))?;
        let pipe = match config.unary {
            true => None,
            false => Some(Piped::open(channel.clone()).await?),
        };
        Ok(Self { uri: Arc::clone(uri), channel, pipe })
    }

    /// Whether operations can still be sent through it. Channels of unary calls mend themselves.
    pub fn is_open(&self) -> bool {
        self.pipe.as_ref().is_none_or(|piped| piped.pipe.is_open())
    }

    /// One attempt at an operation.
    ///
    /// # Errors
    /// [`CallError`]: what came instead of an answer.
    pub async fn call(&self, request: Request, attempt: Attempt) -> Result<Response, CallError> {
        match &self.pipe {
            Some(piped) => piped.pipe.call(request, attempt).await,
            None => unary::call(self.channel.clone(), request, attempt).await,
        }
    }
}

impl Piped {
    /// Opens the stream, and waits until the node accepted it: a stopped process accepts
    /// connections, too.
    async fn open(channel: Channel) -> Result<Self, String> {
        let (pipe, outbox, inbox) = Pipe::new();
        let answers = PipelineServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .pipeline(outbox)
            .await
            .map_err(|status| format!("{:?}: {}", status.code(), status.message()))?
            .into_inner();
        let reader = tokio::spawn(read(inbox, answers)).abort_handle();
        Ok(Self { pipe, reader })
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
