//! Converts hyper's errors on a call to another server into `OutboundError`.

use std::error::Error as _;
use std::io;

use crate::job::outbound::OutboundError;

/// Finds the cause of a broken exchange.
pub(super) fn blame(error: &hyper::Error) -> OutboundError {
    let mut cause = error.source();
    while let Some(inner) = cause {
        // Our own error is wrapped in an `io::Error` if the connection reported it.
        let within = inner.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let own =
            within.and_then(|error| error.downcast_ref()).or_else(|| inner.downcast_ref::<OutboundError>());
        if let Some(own) = own {
            return own.clone();
        }
        // A server that resets a connection has left it, as if it had closed it.
        if inner.downcast_ref::<io::Error>().is_some_and(|error| has_left(error.kind())) {
            return OutboundError::Incomplete;
        }
        cause = inner.source();
    }
    if error.is_parse_too_large() {
        OutboundError::HeadTooLarge
    } else if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        OutboundError::Incomplete
    } else {
        OutboundError::Protocol(error.to_string())
    }
}

/// Reports whether an error means that the peer has left the connection.
fn has_left(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof)
}
