//! Tests of the peer server and its clients.
