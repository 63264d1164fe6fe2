//! Out instead of in: the connection of a client on this machine.

use std::io;
use std::path::Path;

use tokio::net::UnixStream;

use super::stream::Stream;

/// Connects to a Unix socket. Needs a tokio runtime.
///
/// # Errors
/// As connect(2): `NotFound` where there is no socket, `ConnectionRefused` where nobody listens.
pub async fn connect(path: &Path) -> io::Result<Stream> {
    UnixStream::connect(path).await.map(Stream::Unix)
}
