//! The Rust client of Jeton.
//!
//! ```no_run
//! use std::time::Duration;
//! use jeton_client::{Client, Config, NewFamily, RotateContext, Rotation};
//!
//! # async fn run() -> Result<(), jeton_client::Error> {
//! let client = Client::connect(Config::new(["10.0.0.1:7401", "10.0.0.2:7401"])).await?;
//! let acme = client.tenant("acme")?;
//! let deadline = Duration::from_secs(5);
//!
//! let new = NewFamily::new("alice", "web").device("laptop");
//! let issued = acme.create_family(new, deadline).await?;
//! match acme.rotate(&issued.token, RotateContext::new("web"), deadline).await? {
//!     // The identical successor for every concurrent caller.
//!     Rotation::Rotated(issued) | Rotation::Replayed(issued) => {
//!         respond_with(issued.token.expose().expose());
//!     }
//!     Rotation::Superseded { .. } => { /* a sibling holds a newer token: use that */ }
//!     Rotation::Refused(why) => println!("sign in again: {why:?}"),
//! }
//! # Ok(())
//! # }
//! # fn respond_with(_: &str) {}
//! ```
//!
//! * Secrets are minted and sealed here: the cluster sees digests and seals, never a usable token.
//! * Everything outstanding at once travels together; see `transport` for how, and for what a
//!   broken connection leaves behind.
//! * After a failure, mutations are repeated under the same name and with the same minted secret,
//!   so that nothing happens twice. When the deadline comes first, the error says whether the
//!   outcome is unknown.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod access;
pub mod admin;
mod answer;
mod client;
mod config;
mod entropy;
mod envelope;
mod error;
mod family;
mod flight;
mod id;
mod keeper;
mod lease;
mod listing;
mod lock;
mod opaque;
mod record;
mod records;
mod revocation;
mod seal;
mod session;
mod suspension;
mod tenant;
mod token;
mod transact;
mod transport;
mod view;
mod watch;
mod words;

pub use answer::{Read, Revocation, Revoked, Rotation, Updated, Validation};
pub use client::{Client, Deadline};
pub use config::{Config, Reach};
pub use entropy::{Entropy, EntropyError, OsEntropy, SeededEntropy};
pub use envelope::{RecordSealError, RecordSecret};
pub use error::{Error, Violation};
pub use family::{Check, FamilyUpdate, NewFamily, RotateContext};
pub use flight::{FlightError, Landed, SingleFlight};
pub use id::IntoId;
pub use jeton_core::access::{Access, Basis, Claims, Denied};
pub use jeton_core::command::{
    AttemptLimits, CapPolicy, CapScope, Criteria, Except, FamilyCap, LeaseName, OnExpiry,
    RecordKindSettings, RecordName, RecordRoots, Suspendable,
};
pub use jeton_core::feed::{Change, FeedEntry};
pub use jeton_core::ids::{
    ClientId, ClusterId, DeviceId, FamilyId, Fence, Generation, HolderId, IdError, IssuerId, Jti,
    KeyDigest, Kid, LockName, Position, RecordKind, RequestId, SessionId, SubjectId, TenantId,
    UnixMs,
};
pub use jeton_core::ip::{IpRange, IpRangeError};
pub use jeton_core::reply::{
    CodeRefusal, ConsumedRecord, FamilyView, HeldView, LockView, MatchCount, RecordView, Refusal,
    Reuse, ReuseClass, RevocationCause, RevocationView as RevocationProgress, RevokedBy,
    SessionView, SweepProgress, TenantView,
};
pub use jeton_core::token::{TokenError, TokenText};
pub use jeton_wire::decode::Consistency;
pub use jeton_wire::watch::FeedPlace;
pub use lease::{Lease, LeaseLost, LeaseWatch};
pub use listing::{Families, FamilyCount, FamilyPage};
pub use lock::{Acquisition, Awaited, NewLease};
pub use opaque::{
    OPAQUE_BYTES_MAX, OPAQUE_BYTES_MIN, OpaqueRotation, OpaqueToken, OpaqueTokenError, Token,
};
pub use record::{Collected, Consumed, Consumption, NewRecord, Pepper, RecordPage, Seen, digest};
pub use revocation::{Cut, RevokedMatching};
pub use seal::SealError;
pub use session::{
    NewSession, Page, SessionChange, SessionMade, SessionOver, SessionUsed, Sessions,
};
pub use suspension::Held;
pub use tenant::Tenant;
pub use token::{Issued, RefreshToken};
pub use transact::{Performed, Step, Stopped, StoppedBy, Transacted, Transaction, When};
pub use view::{OnStale, RevocationView, Verdict, ViewOptions};
pub use watch::{Begin, Notice, Watcher};
