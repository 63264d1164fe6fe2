//! The party whose limit a connection counts against.

use std::fmt;
use std::net::IpAddr;

/// The party whose limit a connection counts against.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(in crate::http) enum Party {
    /// Nobody: a Unix client, a trusted proxy, or a connection whose header of the PROXY protocol has not come yet.
    Nobody,
    /// All clients of one address.
    Address(IpAddr),
    /// All users of the admin socket, except root and the user of the daemon.
    OtherUsers,
}

impl Party {
    /// Returns the party of all clients at an address, or [`Nobody`](Party::Nobody) without an address.
    pub(in crate::http) fn of(address: Option<IpAddr>) -> Party {
        address.map_or(Party::Nobody, Party::Address)
    }

    /// Returns the address, or `None` if the party is not that of an address.
    pub(in crate::http) fn address(self) -> Option<IpAddr> {
        match self {
            Party::Address(address) => Some(address),
            Party::Nobody | Party::OtherUsers => None,
        }
    }

    /// Returns how many connections beyond its limit the party may have while idle ones of its own are asked to leave.
    pub(in crate::http) fn ahead(self, limit: usize) -> usize {
        match self {
            Party::Nobody | Party::Address(_) => limit,
            Party::OtherUsers => limit / 5,
        }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Party::Nobody => "a Unix client or a proxy",
            Party::Address(_) => "one address",
            Party::OtherUsers => "users other than root and the daemon's",
        })
    }
}
