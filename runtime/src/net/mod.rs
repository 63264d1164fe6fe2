//! Sockets: listening, accepting, TLS, handover between processes, and connections to other servers.
//!
//! Floors, lowest first: `endpoint`, `forward_io`, `gate`, `proxy_header`; `activation`, `outbound`; `tls::protocol`, and
//! `tls::secured` with its leaves; `stream`, `peer`; `connect`, `loopback`; `listen` up to `bind`; the rest of `tls`,
//! whose options and acceptor take listeners; `listen::listeners`.

mod activation;
mod connect;
mod endpoint;
mod forward_io;
mod gate;
mod listen;
mod loopback;
pub mod outbound;
mod peer;
pub mod proxy_header;
mod stream;
mod tls;

pub use activation::{Activation, ActivationError, Predecessor, Successor, writable};
pub use connect::connect;
pub use endpoint::{Endpoint, EndpointError, FdName, Host, TcpAddress};
pub use gate::{Draining, Gate, GateState, Opened};
pub use listen::{
    BindOptions, DrainSignal, Handout, Listener, ListenerChange, Phase, Sockets, bind, examine, examine_group,
};
pub use loopback::LoopbackListener;
pub use peer::{Credentials, Peer, Remote};
pub use stream::Stream;
pub use tls::{
    AcmeCertificates, AcmeOptions, CertificateFiles, ChallengeKind, ClientAuth, ClientOptions, DomainReport,
    FailureKind, Guide, HandshakeError, Protocol, Secured, Term, Tls, TlsFile, TlsOptions, WaitingChallenge,
    differences,
};
