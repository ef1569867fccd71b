//! How operations get to a node and answers back, whatever breaks in between.
//!
//! ```text
//! call ─▶ retry ─▶ router ─▶ node ─▶ pipe ═══ one stream ═══▶ node's server
//!   name, deadline   which    unary  tags, queue
//! ```
//!
//! * [`pipe`]: many operations on one stream, answered in any order.
//! * [`node`]: the connection to one endpoint: its pipe, or unary calls.
//! * [`router`]: which endpoint to use, and when to leave it.
//! * [`hints`]: who leads, as the nodes said, and whether to go there.
//! * [`retry`]: what may be repeated, when, and what to say in the end.
//!
//! What a break leaves behind: operations that had not left are known not to have happened;
//! those that had are *unknown*, and are repeated under their own name, so that the cluster answers
//! a repetition with what it did the first time. Nothing here survives the process; a caller that
//! must survive its own crash chooses the request id itself and keeps it.

pub(crate) mod call;
pub(crate) mod hints;
pub(crate) mod node;
pub(crate) mod pipe;
pub(crate) mod retry;
pub(crate) mod router;
pub(crate) mod unary;
