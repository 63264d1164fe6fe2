//! Maps the end of a WebSocket to its close code (RFC 6455 §7.4).

use std::io;

use tokio_tungstenite::tungstenite::error::{CapacityError, Error, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::flood;
use super::messages::MessageError;
use crate::job::{Fault, Status, StopReason};

/// Makes the close frame for the end of a job.
pub(super) fn frame(outcome: &Result<Status, Fault>) -> CloseFrame {
    match outcome {
        Ok(status) if status.is_ok() => close(CloseCode::Normal, ""),
        Ok(_) => close(CloseCode::Error, "exited"),
        Err(fault) => close(code(fault), fault.code()),
    }
}

/// Makes the close frame for an error of the client. Returns `None` if the client has gone, or
/// would not take a frame.
pub(super) fn of_client(error: &Error) -> Option<CloseFrame> {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => Some(close(CloseCode::Size, "message_size")),
        Error::Utf8(_) => Some(close(CloseCode::Invalid, "not UTF-8")),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        Error::Io(error) if flood::is_flood(error) => Some(close(CloseCode::Policy, "flood")),
        Error::Protocol(_) => Some(close(CloseCode::Protocol, "protocol error")),
        _ => None,
    }
}

/// Makes the close frame for a message that does not fit on a line.
pub(super) fn unfit(unfit: MessageError) -> CloseFrame {
    close(
        CloseCode::Unsupported,
        match unfit {
            MessageError::Binary => "a binary message, where messages are lines of text",
            MessageError::SeveralLines => "a message of several lines, where a message is a line",
        },
    )
}

/// Makes the close frame for an idle connection.
pub(super) fn idle() -> CloseFrame {
    close(CloseCode::Away, "idle")
}

/// Makes the close frame for a connection that drains.
pub(super) fn draining() -> CloseFrame {
    close(CloseCode::Away, "shutdown")
}

/// Converts an error of the client for the log.
pub(super) fn told(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        error => io::Error::other(error),
    }
}

fn code(fault: &Fault) -> CloseCode {
    match fault {
        Fault::Stopped(StopReason::Shutdown) | Fault::Draining => CloseCode::Away,
        Fault::Stopped(StopReason::Killed | StopReason::Answered) | Fault::InputTooLarge(_) => {
            CloseCode::Policy
        }
        _ => CloseCode::Error,
    }
}

fn close(code: CloseCode, reason: &'static str) -> CloseFrame {
    CloseFrame { code, reason: reason.into() }
}
