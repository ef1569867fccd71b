//! A real server on a real node, with a directory and ports of its own, and callers that behave and
//! that don't.

mod access;
mod bad_callers;
mod bad_starts;
mod clusters;
mod configuration;
mod crowded;
mod event_stream;
mod examples;
mod hostile;
mod json;
mod late_calls;
mod locks;
mod oauth;
mod openapi;
mod pipelines;
mod probes;
mod reference_tokens;
mod reflection;
mod rig;
mod stopping;
mod tenants;
mod tokens;
mod transactions;
mod waiting;
mod watches;
mod web;
