//! Bytes in: the sockets the daemon listens on, from the address as written to the accepted stream.

mod announced;
mod bind;
mod connect;
mod endpoint;
mod gate;
mod group;
mod handover;
mod listener;
mod occupant;
pub mod outbound;
mod patience;
mod peer;
mod socket_file;
mod sockets;
mod stream;
mod systemd;
mod tcp;
mod tls;
mod unix;

pub use bind::{BindOptions, bind, examine};
pub use connect::connect;
pub use endpoint::{Endpoint, EndpointError, FdName, Host, TcpAddress};
pub use gate::{Draining, Gate, GateState, Opened};
pub use group::examine as examine_group;
pub use handover::{Predecessor, Successor, writable};
pub use listener::Listener;
pub use peer::{Credentials, Peer, Remote};
pub use sockets::{Change, Leaving, Phase, Post, Sockets};
pub use stream::Stream;
pub use systemd::{Activation, ActivationError};
pub use tls::{
    CertificateFiles, ClientOptions, Demand, FailureKind, Guide, HandshakeError, Protocol, Secured, Term,
    Tls, TlsFile, TlsOptions, differences,
};
