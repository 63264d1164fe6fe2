//! The addresses that every handler may reach, and the addresses that need a grant.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A range of addresses (CIDR): `10.1.0.0/16`, `::1`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block {
    first: IpAddr,
    bits: u8,
}

/// Why a text is no block, and what to write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlockError(String);

/// An address that needs a grant and has none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prohibited {
    /// The address.
    pub address: IpAddr,
    /// Its kind, for messages: `loopback`.
    pub what: &'static str,
}

/// The IPv4 addresses that are not public: IANA's registry of special-purpose addresses (RFC 6890), multicast, and the
/// metadata addresses of cloud providers.
const SPECIAL_V4: [(Ipv4Addr, u8, &str); 18] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, "this network"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "shared by a carrier"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
    // Cloud metadata. It precedes link-local, which contains it.
    (Ipv4Addr::new(169, 254, 169, 254), 32, "metadata"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local"),
    (Ipv4Addr::new(168, 63, 129, 16), 32, "metadata"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "for protocols"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "for documentation"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "a 6to4 relay"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "for benchmarks"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "for documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "for documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    (Ipv4Addr::new(255, 255, 255, 255), 32, "broadcast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved"),
];

/// The IPv6 addresses that are not public, the most specific first. Outside this list, [`PUBLIC_V6`] is public and
/// everything else is reserved.
const SPECIAL_V6: [(Ipv6Addr, u8, &str); 14] = [
    (Ipv6Addr::UNSPECIFIED, 128, "unspecified"),
    (Ipv6Addr::LOCALHOST, 128, "loopback"),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, "an IPv4 address in IPv6"),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 0), 96, "an IPv4 address in IPv6"),
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96, "NAT64"),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, "NAT64"),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, "Teredo"),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "for protocols"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "for documentation"),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "6to4"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "for documentation"),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, "private"),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, "link-local"),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "multicast"),
];

/// The global unicast addresses of IPv6 that IANA assigns from (RFC 4291 §2.4).
const PUBLIC_V6: Block = Block { first: IpAddr::V6(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0)), bits: 3 };

impl Block {
    /// Reports whether an address lies in the block. An IPv4-mapped address counts as IPv6.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                let host = u32::MAX.checked_shr(self.bits.into()).unwrap_or(0);
                first.to_bits() | host == address.to_bits() | host
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                let host = u128::MAX.checked_shr(self.bits.into()).unwrap_or(0);
                first.to_bits() | host == address.to_bits() | host
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// Checks an address from a URL or a name lookup.
    ///
    /// # Errors
    /// The address is not public and in none of the `grants`, or it embeds such an IPv4 address and a translator would
    /// forward to it.
    pub fn check(address: IpAddr, grants: &[Block]) -> Result<(), Prohibited> {
        let granted = || grants.iter().any(|block| block.contains(address));
        match special(address) {
            Some(what) if !granted() => Err(Prohibited { address, what }),
            Some(_) | None => match embedded(address) {
                Some(inner) => Block::check(inner.into(), grants),
                None => Ok(()),
            },
        }
    }

    /// Returns the blocks that hold every address, of IPv4 and of IPv6.
    pub fn everything() -> [Block; 2] {
        let [v4, v6] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        [Block { first: v4, bits: 0 }, Block { first: v6, bits: 0 }]
    }

    /// Returns the block that holds this address alone.
    pub fn of(address: IpAddr) -> Block {
        Block { first: address, bits: max(address) }
    }
}

/// Returns the kind of an address, or `None` if it is public.
fn special(address: IpAddr) -> Option<&'static str> {
    let within = |first: IpAddr, bits| Block { first, bits }.contains(address);
    match address {
        IpAddr::V4(_) => SPECIAL_V4.iter().find(|(first, bits, _)| within((*first).into(), *bits)),
        IpAddr::V6(_) => {
            let found = SPECIAL_V6.iter().find(|(first, bits, _)| within((*first).into(), *bits));
            match found {
                Some((.., what)) => return Some(what),
                None if PUBLIC_V6.contains(address) => None,
                None => return Some("reserved"),
            }
        }
    }
    .map(|(.., what)| *what)
}

/// Returns the IPv4 address that receives packets sent to an IPv6 address.
fn embedded(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else { return None };
    let [.., high, low] = address.segments();
    let last = || Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        // RFC 4291 §2.5.5: mapped and compatible; RFC 6052 §2.1 and RFC 8215: NAT64.
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 1, ..] => {
            Some(last())
        }
        // RFC 3056 §2: 6to4.
        [0x2002, high, low, ..] => Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))),
        // RFC 4380 §4: Teredo holds the client's address with all bits inverted.
        [0x2001, 0, ..] => Some(Ipv4Addr::from_bits(!last().to_bits())),
        _ => None,
    }
}

fn max(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl FromStr for Block {
    type Err = BlockError;

    fn from_str(text: &str) -> Result<Block, BlockError> {
        let wanted =
            || BlockError(format!("wanted a block such as \"10.1.0.0/16\" or \"::1\", found {text:?}"));
        let (first, bits) = match text.split_once('/') {
            Some((first, bits)) => (first, Some(bits)),
            None => (text, None),
        };
        let first: IpAddr = first.parse().map_err(|_| wanted())?;
        let digits = |bits: &str| bits.bytes().all(|byte| byte.is_ascii_digit()) && bits.len() < 4;
        let bits = match bits {
            Some(bits) if digits(bits) => bits.parse().map_err(|_| wanted())?,
            Some(_) => return Err(wanted()),
            None => max(first),
        };
        if bits > max(first) {
            return Err(wanted());
        }
        let start = match first {
            IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from_bits(
                ip.to_bits() & !u32::MAX.checked_shr(bits.into()).unwrap_or(0),
            )),
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(
                ip.to_bits() & !u128::MAX.checked_shr(bits.into()).unwrap_or(0),
            )),
        };
        if start == first {
            Ok(Block { first, bits })
        } else {
            Err(BlockError(format!("{text:?} is an address within a block: write \"{start}/{bits}\"")))
        }
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BlockError {}

impl fmt::Display for Prohibited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}", self.address, self.what)
    }
}

impl std::error::Error for Prohibited {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn passes(address: &str, grants: &[&str]) -> bool {
        let grants: Vec<Block> = grants.iter().map(|text| text.parse().unwrap()).collect();
        Block::check(address.parse().unwrap(), &grants).is_ok()
    }

    #[test]
    fn public_addresses_need_no_grant() {
        for address in
            ["1.1.1.1", "8.8.8.8", "172.15.0.1", "172.32.0.1", "100.128.0.1", "2606:4700::1", "2001:4860::8"]
        {
            assert!(passes(address, &[]), "{address}");
        }
    }

    #[test]
    fn what_is_not_public_needs_a_grant_of_its_own() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "169.254.0.1",
            "168.63.129.16",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "64:ff9b:1::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "4000::1",
            "5f00::1",
        ] {
            assert!(!passes(address, &[]), "{address}");
        }
    }

    #[test]
    fn a_grant_is_for_its_block_alone() {
        assert!(passes("127.0.0.1", &["127.0.0.1"]));
        assert!(!passes("127.0.0.2", &["127.0.0.1"]));
        assert!(passes("10.1.255.255", &["10.1.0.0/16"]));
        assert!(!passes("10.2.0.0", &["10.1.0.0/16"]));
        assert!(passes("10.2.0.0", &["0.0.0.0/0"]));
        assert!(!passes("::1", &["0.0.0.0/0"]));
        assert!(passes("fd00::1", &["fd00::/8"]));
    }

    #[test]
    fn a_detour_needs_a_grant_for_both_of_its_ends() {
        assert!(!passes("::ffff:127.0.0.1", &["127.0.0.0/8"]));
        assert!(!passes("::ffff:127.0.0.1", &["::ffff:0.0.0.0/96"]));
        assert!(passes("::ffff:127.0.0.1", &["::ffff:0.0.0.0/96", "127.0.0.0/8"]));
        assert!(passes("64:ff9b::8.8.8.8", &["64:ff9b::/96"]));
        assert!(!passes("64:ff9b::169.254.169.254", &["64:ff9b::/96"]));
        assert!(!passes("2002:7f00:1::", &["2002::/16"]));
        // 127.0.0.1 with all its bits inverted.
        assert!(!passes("2001::80ff:fffe", &["2001::/32"]));
    }

    #[test]
    fn a_block_starts_at_its_first_address() {
        let refusal = "10.1.2.3/16".parse::<Block>().unwrap_err().to_string();
        assert_eq!(refusal, "\"10.1.2.3/16\" is an address within a block: write \"10.1.0.0/16\"");
        for text in ["", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "::/129", "10/8", "a/8", "010.0.0.0/8"] {
            assert!(text.parse::<Block>().is_err(), "{text:?} was accepted");
        }
    }

    proptest! {
        #[test]
        fn a_block_survives_being_printed_and_holds_its_first_address(address: IpAddr) {
            let block = Block::of(address);
            prop_assert_eq!(block.to_string().parse::<Block>().unwrap(), block);
            prop_assert!(block.contains(address));
            let end = embedded(address).is_none_or(|inner| special(inner.into()).is_none());
            prop_assert_eq!(Block::check(address, &[block]).is_ok(), end);
        }
    }
}
