//! A TCP listener on a loopback address, for browsers on this machine.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::sleep;

use super::stream::Stream;

/// The pause after a failed accept(2), as without a free descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Listens on a port of 127.0.0.1.
pub struct LoopbackListener {
    listener: TcpListener,
    port: u16,
}

impl LoopbackListener {
    /// Binds a port of 127.0.0.1; 0 is a free one. Needs a tokio runtime.
    ///
    /// # Errors
    /// The port is taken.
    pub async fn bind(port: u16) -> io::Result<LoopbackListener> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let port = listener.local_addr()?.port();
        Ok(LoopbackListener { listener, port })
    }

    /// Returns the bound port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits for a connection. Cannot fail: it tries again.
    ///
    /// # Cancel safety
    /// A dropped wait loses no connection.
    pub async fn accept(&self) -> Stream {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    // Without it, short replies come late; nothing else changes.
                    let _told = stream.set_nodelay(true);
                    return Stream::Tcp(stream);
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    }
}
