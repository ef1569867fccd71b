//! Ranges of addresses (CIDR, RFC 4632 §3.1): which of them a revocation means.
//!
//! Addresses are texts that an authorization server gave; what is none lies in no range. An IPv4
//! address that is written as an IPv6 one (`::ffff:10.0.0.1`, RFC 4291 §2.5.5.2) is the IPv4 one,
//! and lies in no range of IPv6. A zone (`fe80::1%eth0`, RFC 4007 §11) is left out.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IpRange {
    /// Its first address. Bits behind the prefix are 0.
    network: IpAddr,
    /// Bits that all of its addresses share: up to 32, or 128 for IPv6.
    prefix: u8,
}

/// Why a text is no range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IpRangeError {
    /// The part before the slash is no address.
    #[error("no address: write 10.0.0.0/8, 2001:db8::/32, or one address alone")]
    Address,
    /// The part behind the slash is no number of bits.
    #[error("the prefix is no number of bits: write 0 to {max} behind the slash")]
    Prefix {
        /// Most bits of such an address.
        max: u8,
    },
    /// The address goes on behind the prefix: what is meant can't be told.
    #[error("the address has bits behind its prefix: write {meant} if you mean that")]
    Ambiguous {
        /// The range that the address lies in.
        meant: IpRange,
    },
}

impl IpRange {
    /// Whether an address lies in it.
    #[must_use]
    pub fn contains(&self, address: &str) -> bool {
        let address = address.split_once('%').map_or(address, |(address, _zone)| address);
        let Ok(address) = address.parse::<IpAddr>() else { return false };
        let (network, address) = (bits(self.network), bits(address.to_canonical()));
        network.0 == address.0 && mask(address, self.prefix).1 == network.1
    }
}

/// How many bits an address has, and they, leftmost first.
fn bits(address: IpAddr) -> (u8, u128) {
    match address {
        IpAddr::V4(address) => (32, u128::from(address.to_bits()) << 96),
        IpAddr::V6(address) => (128, address.to_bits()),
    }
}

fn mask((len, bits): (u8, u128), prefix: u8) -> (u8, u128) {
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
    (len, bits & mask)
}

fn address((len, bits): (u8, u128)) -> IpAddr {
    let v6 = Ipv6Addr::from_bits(bits);
    if len == 32 {
        IpAddr::V4(std::net::Ipv4Addr::from_bits((bits >> 96) as u32))
    } else {
        v6.into()
    }
}

impl FromStr for IpRange {
    type Err = IpRangeError;

    fn from_str(text: &str) -> Result<Self, IpRangeError> {
        let (network, prefix) = match text.split_once('/') {
            Some((network, prefix)) => (network, Some(prefix)),
            None => (text, None),
        };
        let parsed: IpAddr = network.parse().map_err(|_| IpRangeError::Address)?;
        let max = bits(parsed).0;
        let prefix = match prefix {
            Some(digits) if !digits.bytes().all(|digit| digit.is_ascii_digit()) => {
                return Err(IpRangeError::Prefix { max });
            }
            Some(digits) => digits.parse().map_err(|_| IpRangeError::Prefix { max })?,
            None => max,
        };
        if prefix > max {
            return Err(IpRangeError::Prefix { max });
        }
        let network = address(mask(bits(parsed), prefix));
        let mut meant = Self { network, prefix };
        if network != parsed {
            return Err(IpRangeError::Ambiguous { meant });
        }
        // `::ffff:10.0.0.0/104` is `10.0.0.0/8`: no address would lie in the first.
        if let (true, v4 @ IpAddr::V4(_)) =
            (network.is_ipv6() && prefix >= 96, network.to_canonical())
        {
            meant = Self { network: v4, prefix: prefix - 96 };
        }
        Ok(meant)
    }
}

impl fmt::Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> IpRange {
        text.parse().unwrap()
    }

    #[test]
    fn a_range_holds_its_addresses_and_no_others() {
        let office = range("10.0.0.0/8");
        for inside in ["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3", "10.1.2.3%eth0"] {
            assert!(office.contains(inside), "{inside}");
        }
        for outside in
            ["11.0.0.0", "9.255.255.255", "", "office", "::", "a00::", "10.1", "010.0.0.1"]
        {
            assert!(!office.contains(outside), "{outside}");
        }
        let v6 = range("2001:db8::/32");
        assert!(v6.contains("2001:db8:ffff::1") && v6.contains("2001:db8::1%eth0"));
        assert!(!v6.contains("2001:db9::1") && !v6.contains("32.1.13.184"));
        assert!(range("0.0.0.0/0").contains("255.1.2.3") && !range("0.0.0.0/0").contains("::1"));
        assert!(range("::/0").contains("ff::1") && !range("::/0").contains("::ffff:1.2.3.4"));
        assert!(range("10.1.2.3").contains("10.1.2.3") && !range("10.1.2.3").contains("10.1.2.2"));
        assert_eq!(range("::ffff:10.0.0.0/104"), office);
    }

    #[test]
    fn what_is_no_range_is_told_why() {
        let why = |text: &str| text.parse::<IpRange>().unwrap_err();
        for text in ["", "office", "10.0.0/8", "/8", "10.0.0.0/8/8", "fe80::1%eth0/64"] {
            assert!(
                matches!(why(text), IpRangeError::Address | IpRangeError::Prefix { .. }),
                "{text}"
            );
        }
        for text in ["10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/-1", "10.0.0.0/256"] {
            assert_eq!(why(text), IpRangeError::Prefix { max: 32 }, "{text}");
        }
        assert_eq!(why("::/129"), IpRangeError::Prefix { max: 128 });
        assert_eq!(why("10.1.0.0/8"), IpRangeError::Ambiguous { meant: range("10.0.0.0/8") });
    }

    #[test]
    fn it_is_written_as_it_is_read() {
        for text in ["10.0.0.0/8", "10.1.2.3/32", "2001:db8::/32", "::/0"] {
            assert_eq!(range(text).to_string(), text);
        }
    }
}
