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

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use bytes::Bytes;
    use http::Request;
    use http_body_util::Empty;
    use hyper::client::conn::http1;
    use hyper_util::rt::TokioIo;
    use rustix::io::Errno;
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::*;

    /// A connection that receives nothing, and whose writes fail with this error.
    struct UnwritableIo(Errno);

    impl AsyncRead for UnwritableIo {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for UnwritableIo {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(self.0.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Sends a request over such a connection.
    async fn sent(errno: Errno) -> OutboundError {
        let io = TokioIo::new(UnwritableIo(errno));
        let (mut sender, connection) = http1::handshake::<_, Empty<Bytes>>(io).await.unwrap();
        let _driver = tokio::spawn(connection);
        let request = Request::get("/").body(Empty::new()).unwrap();
        blame(&sender.send_request(request).await.unwrap_err())
    }

    /// What is incomplete is sent once more over a new connection, if it can be. Which of these errors a request
    /// meets depends on how far the kernel is with a connection that the server has left.
    #[tokio::test]
    async fn a_connection_that_its_server_has_left_is_known_whichever_error_says_so() {
        for errno in [Errno::PIPE, Errno::CONNRESET, Errno::CONNABORTED, Errno::NOTCONN] {
            assert_eq!(sent(errno).await, OutboundError::Incomplete, "{errno}");
        }

        let other = sent(Errno::NETDOWN).await;
        assert!(matches!(other, OutboundError::Protocol(_)), "{other:?}");
    }
}
