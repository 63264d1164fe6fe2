//! A set of client addresses: networks, and the clients of Unix sockets.

use std::fmt;
use std::net::IpAddr;

use super::networks::Networks;

/// A set of client addresses.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct AddressSet {
    /// The networks of TCP clients.
    pub networks: Networks,
    /// Whether the set holds the clients of Unix sockets, which have no address.
    pub unix: UnixClients,
}

/// Whether a set holds the clients of Unix sockets.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum UnixClients {
    /// It does not.
    #[default]
    Excluded,
    /// It does.
    Included,
}

impl AddressSet {
    /// The word for the clients of Unix sockets in a list.
    pub const UNIX: &str = "unix";

    /// Reports whether the set holds a client. `None` stands for a client of a Unix socket.
    pub fn contains(&self, address: Option<IpAddr>) -> bool {
        match address {
            Some(address) => self.networks.contains(address),
            None => self.unix == UnixClients::Included,
        }
    }

    /// Reports whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && self.unix == UnixClients::Excluded
    }
}

/// As in the configuration: `10.0.0.0/8, unix`.
impl fmt::Display for AddressSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.networks.is_empty(), self.unix) {
            (_, UnixClients::Excluded) => self.networks.fmt(f),
            (true, UnixClients::Included) => f.write_str(AddressSet::UNIX),
            (false, UnixClients::Included) => write!(f, "{}, {}", self.networks, AddressSet::UNIX),
        }
    }
}
