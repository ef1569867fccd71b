//! The wire as both ends see it: what is sent arrives, what is wrong is named, nothing panics.

mod bad_requests;
mod errors;
mod hostile;
mod listings;
mod locks;
mod opaque;
mod records;
mod round_trips;
mod samples;
mod sessions;
mod transactions;
