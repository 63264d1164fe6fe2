//! What the clients of a route change over to, once they have asked for it (RFC 9110 §7.8).

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

/// A protocol that takes the place of HTTP on a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Upgrade {
    /// The bytes of the connection are the job's stdin and stdout, as Docker's attach has it.
    Tcp,
    /// Messages are what the job reads and writes.
    WebSocket(Arc<WebSocket>),
}

/// How a route speaks WebSocket (RFC 6455). Sizes are in bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WebSocket {
    /// How messages stand in a job's stdin and stdout.
    pub messages: Messages,
    /// The largest message, either way.
    pub message_size: usize,
    /// The subprotocols there are, the best first.
    pub protocols: Vec<HeaderValue>,
    /// Who may connect.
    pub origins: Origins,
    /// How long a client may be silent before it is asked whether it is there, and then before it is
    /// given up; none: for ever.
    pub ping: Option<Duration>,
    /// How long there may be no message, either way; none: for ever.
    pub idle: Option<Duration>,
}

/// How messages stand in a job's stdin and stdout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Messages {
    /// A text message is a line; there are no others.
    Lines,
    /// A byte of type, four of length, and the message.
    Frames,
}

/// Pages of which sites may connect; their own and programs that are no browsers always may.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origins {
    /// Those that are granted requests with credentials.
    OfCors,
    /// These.
    Listed(Vec<HeaderValue>),
    /// Any.
    All,
}

impl Upgrade {
    /// Returns the name of the protocol, as the field `Upgrade` has it.
    pub fn protocol(&self) -> &'static str {
        match self {
            Upgrade::Tcp => "tcp",
            Upgrade::WebSocket(_) => "websocket",
        }
    }
}

impl Messages {
    /// Returns its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Messages::Lines => "lines",
            Messages::Frames => "frames",
        }
    }
}
