//! Three real node processes on loopback, seen only through the client.
