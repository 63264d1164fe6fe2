//! A connection to the admin socket of a daemon, for its clients.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::path::Path;

use anyhow::{Result, bail};
use bytes::Bytes;
use hyper::body::Body;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;

use crate::net;

/// The connection to the daemon. Dropping it closes the connection, which ends the job.
pub(super) struct DaemonConnection(JoinHandle<()>);

impl Drop for DaemonConnection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Connects to the daemon at this socket. Needs a tokio runtime.
///
/// # Errors
/// No daemon listens there. The text says what to do.
pub(super) async fn connect<B>(socket: &Path) -> Result<(SendRequest<B>, DaemonConnection)>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let stream = match net::connect(socket).await {
        Ok(stream) => stream,
        Err(error) => bail!(unreachable(socket, &error)),
    };
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let task = tokio::spawn(async move {
        // A connection error is reported by the body that fails with it.
        let _told = connection.await;
    });
    Ok((sender, DaemonConnection(task)))
}

/// Says what to do about a socket that cannot be opened.
fn unreachable(socket: &Path, error: &io::Error) -> String {
    let path = socket.display();
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => format!(
            "no daemon listens at {path}: start one with `portcullis up`, or with `portcullis serve` and \
             admin = \"unix://...\" in its configuration; if one runs, call this in the directory that `up` serves, or \
             give --socket PATH, which is DIR/.portcullis.sock for `up`"
        ),
        ErrorKind::PermissionDenied => format!(
            "{path}: permission denied: run as its owner, or set admin_group and admin_mode in the \
             daemon's configuration"
        ),
        _ => format!("{path}: {error}"),
    }
}
