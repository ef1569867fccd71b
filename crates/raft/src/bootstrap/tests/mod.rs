//! Tests of the bootstrap.
