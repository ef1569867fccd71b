//! The black box around Jeton: real node processes, workloads that record what callers saw, and
//! the verdict over what they recorded.
//!
//! It talks to nodes as any program would, through `jeton-client` and through signals. It never
//! links the server: what it proves, it proves about the binary.
//!
//! ```text
//!   process ── cluster ──┐
//!                        ├── workload ── recorder ── history ─┐
//!   client  ─────────────┘                                    ├── verdict
//!                                    survey (every node) ─────┘
//! ```

#![forbid(unsafe_code)]

pub mod check;
pub mod cluster;
pub mod history;
pub mod ports;
pub mod process;
pub mod recorder;
pub mod survey;
pub mod workload;
