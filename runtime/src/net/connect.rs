//! Client connections to a Unix socket on this machine.

use std::io;
use std::path::Path;

use tokio::net::UnixStream;

use super::stream::Stream;

/// Connects to a Unix socket. Needs a tokio runtime.
///
/// # Errors
/// As connect(2): `NotFound` if the path holds no socket, `ConnectionRefused` if no process listens on it.
pub async fn connect(path: &Path) -> io::Result<Stream> {
    UnixStream::connect(path).await.map(Stream::Unix)
}
