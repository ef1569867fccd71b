//! Loopback ports that nobody uses.
//!
//! They are taken from below the range that the kernel gives to outgoing connections: a node that
//! is down for a moment must find its port free when it comes back.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};

const FIRST: u32 = 15_000;
const COUNT: u32 = 16_000;

/// How many ports this process has looked at. Processes start at different places, so that those
/// that run at the same time rarely meet.
static LOOKED_AT: AtomicU32 = AtomicU32::new(0);

/// A loopback address that is free now and that this process won't be given again.
pub fn free_address() -> Result<SocketAddr> {
    let start = std::process::id().wrapping_mul(331);
    for _ in 0..COUNT {
        let step = LOOKED_AT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(FIRST + start.wrapping_add(step) % COUNT)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no free loopback port between {FIRST} and {}", FIRST + COUNT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_differ_and_can_be_bound() {
        let a = free_address().unwrap();
        let b = free_address().unwrap();
        assert_ne!(a, b);
        let (one, two) = (TcpListener::bind(a).unwrap(), TcpListener::bind(b).unwrap());
        assert_eq!(one.local_addr().unwrap(), a);
        assert_eq!(two.local_addr().unwrap(), b);
    }
}
