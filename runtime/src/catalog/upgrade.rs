//! `upgrade` of a route: the protocols that replace HTTP on a connection (RFC 9110 §7.8).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

/// A protocol that replaces HTTP on a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Upgrade {
    /// The connection's bytes are the job's stdin and stdout, like Docker's attach.
    Tcp,
    /// WebSocket messages are the job's stdin and stdout.
    WebSocket(Arc<WebSocket>),
}

/// How a route speaks WebSocket (RFC 6455). Sizes are in bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WebSocket {
    /// The format of messages in a job's stdin and stdout.
    pub messages: Messages,
    /// The largest message in either direction.
    pub message_size: usize,
    /// The supported subprotocols, the preferred one first.
    pub protocols: Vec<HeaderValue>,
    /// The origins that may connect.
    pub origins: Origins,
    /// How long a client may be silent before it is pinged, and then before the connection is closed. `None` means no
    /// limit.
    pub ping: Option<Duration>,
    /// How long there may be no message in either direction. `None` means no limit.
    pub idle: Option<Duration>,
}

/// The format of messages in a job's stdin and stdout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Messages {
    /// Each text message is one line. Other messages are not supported.
    Lines,
    /// A type byte, four bytes of length, then the message.
    Frames,
}

/// The sites whose pages may connect. Pages of the same origin, and programs that are no browsers, always may.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origins {
    /// The origins that CORS grants requests with credentials.
    OfCors,
    /// These origins.
    Listed(BTreeSet<HeaderValue>),
    /// All origins.
    All,
}

impl Upgrade {
    /// Returns the name of the protocol in the field `Upgrade`.
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
