//! A set of IP networks, in CIDR notation.

use std::fmt;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// A set of networks. A lookup takes time in the logarithm of their number.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Networks {
    /// Disjoint, in the order of their addresses: IPv4 before IPv6.
    disjoint: Vec<IpNet>,
}

impl Networks {
    /// Makes the set that holds these networks.
    pub fn new(networks: &[IpNet]) -> Networks {
        let mut disjoint = IpNet::aggregate(&networks.to_vec());
        disjoint.sort_by_key(IpNet::network);
        Networks { disjoint }
    }

    /// Reads a network, such as `10.0.0.0/8`, or a single address. Those of IPv4 that are mapped to IPv6 become IPv4.
    ///
    /// # Errors
    /// The text is neither, or the address has bits behind the prefix: it was probably meant otherwise.
    pub fn one(text: &str) -> Result<IpNet, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(IpNet::from(address.to_canonical()));
        }
        let network: IpNet = text
            .parse()
            .map_err(|_| format!("wanted a network such as \"10.0.0.0/8\", or an address, found {text:?}"))?;
        match network.trunc() {
            truncated if truncated.addr() == network.addr() => Ok(unmapped(network)),
            truncated => Err(format!("{text:?} has bits behind its prefix: write \"{truncated}\"")),
        }
    }

    /// Reports whether an address lies in one of the networks. An IPv4 address that is mapped to IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.before(address).is_some_and(|network| network.contains(&address))
    }

    /// Reports whether the set holds all of another set. Networks that are one together count as one.
    pub fn hold(&self, other: &Networks) -> bool {
        let is_held =
            |network: &IpNet| self.before(network.network()).is_some_and(|own| own.contains(network));
        other.disjoint.iter().all(is_held)
    }

    /// Finds the last network that begins at this address or before it. No other holds the address.
    fn before(&self, address: IpAddr) -> Option<&IpNet> {
        let behind = self.disjoint.partition_point(|network| network.network() <= address);
        self.disjoint[..behind].last()
    }

    /// Reports whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.disjoint.is_empty()
    }

    /// Reports whether the set holds every address of a family.
    pub fn is_everybody(&self) -> bool {
        self.disjoint.iter().any(|network| network.prefix_len() == 0)
    }
}

/// Converts an IPv4-mapped network, such as `::ffff:10.0.0.0/104`, to its IPv4 network. Leaves other networks unchanged.
fn unmapped(network: IpNet) -> IpNet {
    let IpNet::V6(mapped) = network else { return network };
    let found = mapped.addr().to_ipv4_mapped().zip(mapped.prefix_len().checked_sub(MAPPED));
    found.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok()).map_or(network, IpNet::V4)
}

/// The bits in front of an IPv4 address that is mapped to IPv6 (RFC 4291 §2.5.5.2).
const MAPPED: u8 = 96;

/// The networks in a row: `10.0.0.0/8, 2001:db8::/32`.
impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, network) in self.disjoint.iter().enumerate() {
            let comma = if position == 0 { "" } else { ", " };
            write!(f, "{comma}{network}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Networks {
        Networks::new(&texts.iter().map(|text| Networks::one(text).unwrap()).collect::<Vec<_>>())
    }

    #[test]
    fn an_address_is_found_in_any_of_many_networks() {
        let set = networks(&["10.0.0.0/8", "10.1.0.0/16", "192.0.2.7", "2001:db8::/32", "0.0.0.0/32"]);

        for inside in ["10.0.0.0", "10.255.255.255", "192.0.2.7", "::ffff:10.1.2.3", "2001:db8::9", "0.0.0.0"]
        {
            assert!(set.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["9.255.255.255", "11.0.0.0", "192.0.2.6", "192.0.2.8", "2001:db9::", "::", "0.0.0.1"]
        {
            assert!(!set.contains(outside.parse().unwrap()), "{outside}");
        }
        assert!(!networks(&[]).contains("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn a_network_with_bits_behind_its_prefix_is_refused_with_what_was_meant() {
        assert_eq!(
            Networks::one("10.1.2.3/8").unwrap_err(),
            "\"10.1.2.3/8\" has bits behind its prefix: write \"10.0.0.0/8\""
        );
        assert!(Networks::one("10.0.0.0/33").is_err() && Networks::one("all").is_err());
    }

    #[test]
    fn a_network_that_is_mapped_to_ipv6_is_one_of_ipv4() {
        let set = networks(&["::ffff:10.1.0.0/112", "::ffff:192.0.2.7/128"]);

        assert_eq!(set.to_string(), "10.1.0.0/16, 192.0.2.7/32");
        assert!(
            set.contains("10.1.2.3".parse().unwrap()) && set.contains("::ffff:10.1.2.3".parse().unwrap())
        );
        assert!(!set.contains("10.2.0.0".parse().unwrap()));
        assert_eq!(Networks::one("::ffff:0:0/96").unwrap(), Networks::one("0.0.0.0/0").unwrap());
        assert!(Networks::one("::ffff:10.0.0.0/90").is_err());
    }

    #[test]
    fn everybody_is_recognised() {
        assert!(
            networks(&["0.0.0.0/0"]).is_everybody() && networks(&["0.0.0.0/1", "128.0.0.0/1"]).is_everybody()
        );
        assert!(!networks(&["10.0.0.0/8", "::/1"]).is_everybody());
    }

    #[test]
    fn a_set_holds_another_if_it_holds_each_network() {
        let set = networks(&["10.0.0.0/9", "10.128.0.0/9", "2001:db8::/32"]);

        for held in [&["10.0.0.0/8"][..], &["10.1.0.0/16", "2001:db8:1::/48"], &[]] {
            assert!(set.hold(&networks(held)), "{held:?}");
        }
        for other in [&["0.0.0.0/0"][..], &["10.1.0.0/16", "192.0.2.1"], &["2001::/16"], &["::/0"]] {
            assert!(!set.hold(&networks(other)), "{other:?}");
        }
    }
}
