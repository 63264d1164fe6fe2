//! Handover of sockets from one process of the daemon to the next, and the messages the two exchange.
//!
//! The sockets are passed as systemd passes them (sd_listen_fds(3)), under names made of their endpoints (`fd_name`).
//! They may therefore also come from systemd's file descriptor store. Three more descriptors are passed: the channel,
//! stderr, and the list of files that handlers may write to.

use super::systemd::Activation;
use anyhow::{Context as _, bail};
use std::io;
use std::os::fd::OwnedFd;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// The new process's end of the channel.
const CHANNEL: &str = "portcullis%3A//channel";
/// The stderr of the old process. The new process logs through the old one until it is allowed to use this descriptor.
const STDERR: &str = "portcullis%3A//stderr";
/// The list of files that handlers of the old process may write to.
const WRITABLE: &str = "portcullis%3A//writable";

const READY: u8 = b'r';
const GO: u8 = b'g';
const OPEN: u8 = b'o';

/// The old process, as the new one sees it.
#[derive(Debug)]
pub struct Predecessor {
    channel: UnixStream,
    stderr: Option<OwnedFd>,
}

/// The new process, as the old one sees it.
#[derive(Debug)]
pub struct Successor {
    channel: UnixStream,
}

/// Makes the channel between two processes. Adds the new process's end and this process's stderr to `passed`.
///
/// # Errors
/// This process has no free descriptors.
pub(in crate::net) fn channel(passed: &mut Vec<(String, OwnedFd)>) -> io::Result<Successor> {
    use std::os::fd::AsFd as _;
    let (ours, theirs) = UnixStream::pair()?;
    passed.push((CHANNEL.to_owned(), theirs.into_std()?.into()));
    passed.push((STDERR.to_owned(), io::stderr().as_fd().try_clone_to_owned()?));
    Ok(Successor { channel: ours })
}

/// Names the list of files that handlers of this process may write to, for the next process.
pub fn writable(list: OwnedFd) -> (String, OwnedFd) {
    (WRITABLE.to_owned(), list)
}

impl Activation {
    /// Takes the list of files that handlers of the previous process may write to, if one was passed.
    pub fn writable(&mut self) -> Option<OwnedFd> {
        self.inherited(WRITABLE).pop()
    }
}

impl Predecessor {
    /// Finds the previous process by the channel it passed. Returns `None` if no channel was passed.
    pub(in crate::net) fn find(activation: &mut Activation) -> io::Result<Option<Predecessor>> {
        let (channel, stderr) = (activation.inherited(CHANNEL).pop(), activation.inherited(STDERR).pop());
        let Some(channel) = channel else { return Ok(None) };
        let channel = std::os::unix::net::UnixStream::from(channel);
        channel.set_nonblocking(true)?;
        Ok(Some(Predecessor { channel: UnixStream::from_std(channel)?, stderr }))
    }

    /// Reports that everything is loaded, and waits for permission to serve. From then on this process logs to the
    /// stderr of the old one.
    ///
    /// # Errors
    /// The old process has ended, or has given up on this one.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        let refused = "the old process did not hand over to this one";
        self.channel.write_u8(READY).await.context(refused)?;
        if self.channel.read_u8().await.context(refused)? != GO {
            bail!(refused);
        }
        if let Some(stderr) = self.stderr.take() {
            rustix::stdio::dup2_stderr(&stderr).context("stderr cannot be taken over")?;
        }
        Ok(())
    }

    /// Reports that this process accepts connections, so the old one may exit. It is no failure if the old one has
    /// exited already.
    pub async fn open(mut self) {
        let _gone = self.channel.write_u8(OPEN).await;
    }
}

impl Successor {
    /// Waits until the new process has loaded everything.
    ///
    /// # Errors
    /// The new process has ended, or sent something other than `READY`.
    pub async fn ready(&mut self) -> io::Result<()> {
        self.expect(READY).await
    }

    /// Permits the new process to serve, and waits until it accepts connections.
    ///
    /// # Errors
    /// The new process has ended.
    pub async fn open(&mut self) -> io::Result<()> {
        self.channel.write_u8(GO).await?;
        self.expect(OPEN).await
    }

    async fn expect(&mut self, wanted: u8) -> io::Result<()> {
        if self.channel.read_u8().await? == wanted { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_new_process_is_let_in_once_it_is_ready() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut old = Successor { channel: ours };
        let mut new = Predecessor { channel: theirs, stderr: None };

        let (waited, started) = tokio::join!(
            async {
                old.ready().await?;
                old.open().await
            },
            async {
                new.ready().await?;
                new.open().await;
                anyhow::Ok(())
            }
        );

        assert!(waited.is_ok() && started.is_ok());
    }

    #[tokio::test]
    async fn a_new_process_that_ends_is_noticed_and_so_is_an_old_one() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        assert!(Successor { channel: ours }.ready().await.is_err());

        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(ours);
        assert!(Predecessor { channel: theirs, stderr: None }.ready().await.is_err());
    }
}
