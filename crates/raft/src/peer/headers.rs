//! The headers that every call between members carries: cluster, sender, and the node meant.

use jeton_core::ids::ClusterId;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Request, Status};

use crate::types::NodeId;

const CLUSTER: &str = "jeton-cluster";
const FROM: &str = "jeton-from";
const TO: &str = "jeton-to";

/// Wraps a message with the headers for node `to`.
pub(super) fn addressed<T>(message: T, cluster: ClusterId, from: NodeId, to: NodeId) -> Request<T> {
    let mut request = Request::new(message);
    let headers = request.metadata_mut();
    for (name, value) in
        [(CLUSTER, cluster.to_string()), (FROM, from.to_string()), (TO, to.to_string())]
    {
        // Hexadecimal and decimal digits are always valid in a header.
        if let Ok(value) = MetadataValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    request
}

/// Checks that a call was meant for this node, and returns its sender.
///
/// # Errors
/// `FAILED_PRECONDITION` in words for the operator of the other node.
pub(super) fn sender(
    headers: &MetadataMap,
    cluster: ClusterId,
    node: NodeId,
) -> Result<NodeId, Status> {
    let meant = text(headers, CLUSTER)?;
    if meant != cluster.to_string() {
        return Err(Status::failed_precondition(format!(
            "this node belongs to cluster {cluster}, the call was meant for cluster {meant}: \
             check the peer addresses, two clusters are mixed up"
        )));
    }
    let to = number(headers, TO)?;
    if to != node {
        return Err(Status::failed_precondition(format!(
            "this is node {node}, the call was meant for node {to}: \
             another node listens at its address now"
        )));
    }
    number(headers, FROM)
}

fn text<'a>(headers: &'a MetadataMap, name: &str) -> Result<&'a str, Status> {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| Status::failed_precondition(format!("the header {name} is missing")))
}

fn number(headers: &MetadataMap, name: &str) -> Result<NodeId, Status> {
    text(headers, name)?
        .parse()
        .map_err(|_| Status::failed_precondition(format!("the header {name} is no number")))
}
