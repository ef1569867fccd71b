//! The gRPC services. Each method is dull: check, ask the desk or the node, answer.

pub(crate) mod backup;
pub(crate) mod cluster;
pub(crate) mod locks;
pub(crate) mod pipeline;
pub(crate) mod record;
pub(crate) mod revocation;
pub(crate) mod session;
pub(crate) mod tenants;
pub(crate) mod token;
pub(crate) mod transaction;
pub(crate) mod unary;
pub(crate) mod waiting;
pub(crate) mod watch;
