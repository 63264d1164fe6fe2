//! What the clients of a route change over to, once they have asked for it (RFC 9110 §7.8).

/// A protocol that takes the place of HTTP on a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Upgrade {
    /// The bytes of the connection are the job's stdin and stdout, as Docker's attach has it.
    Tcp,
}

impl Upgrade {
    /// Returns the name of the protocol, as the field `Upgrade` has it.
    pub fn protocol(&self) -> &'static str {
        match self {
            Upgrade::Tcp => "tcp",
        }
    }
}
