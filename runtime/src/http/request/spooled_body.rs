//! A request body that is stored until its length is known: its beginning in memory, the rest in a file.

use std::io::{self, SeekFrom};
use std::mem;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http_body::Frame;
use tokio::fs::File;
use tokio::io::{AsyncRead as _, AsyncSeekExt as _, AsyncWriteExt as _, ReadBuf};

use super::read_ahead::ReadAhead;
use crate::http::wire::client_memory::MemoryAccount;
use crate::job::Fault;
use crate::scratch::{Account, GRACE, Scratch};

/// Bytes read from a file at once, and bytes written before the remaining room is checked again.
const PIECE: usize = 64 << 10;

/// The least rate of a client, in bytes a second, which applies after [`GRACE`] once more than half of the room for
/// all bodies is taken. A body at `http.min_rate` would hold some of that room for an hour.
const SCARCE_RATE: u64 = 16 << 10;

/// Where a body may be stored.
pub(in crate::http) struct SpoolSpace {
    /// Makes the files; `None` if there is no place for them.
    pub(in crate::http) scratch: Option<Arc<Scratch>>,
    /// The address of the client.
    pub(in crate::http) client: Option<IpAddr>,
}

/// A stored body, or what has arrived of it.
pub(in crate::http) struct SpooledBody {
    beginning: ReadAhead,
    /// Whether the part in memory is full.
    full: bool,
    rest: Option<SpoolFile>,
}

/// The part of a body in a file.
struct SpoolFile {
    file: File,
    length: u64,
    /// Bytes that were written and not counted yet.
    unseen: usize,
    /// `None` while a blocking thread has it.
    account: Option<Account>,
    since: Instant,
}

impl SpooledBody {
    /// Begins with an empty body.
    pub(in crate::http) fn begin(memory: &MemoryAccount) -> SpooledBody {
        SpooledBody { beginning: ReadAhead::begin(true, memory), full: false, rest: None }
    }

    /// Adds the next frame.
    ///
    /// # Errors
    /// There is no room for it.
    pub(in crate::http) async fn add(
        &mut self,
        frame: Frame<Bytes>,
        ground: &SpoolSpace,
    ) -> Result<(), Fault> {
        if !self.full {
            self.full = self.beginning.add(frame);
            return Ok(());
        }
        // CGI has no trailers.
        let Ok(bytes) = frame.into_data() else { return Ok(()) };
        let rest = match &mut self.rest {
            Some(rest) => rest,
            none => none.insert(SpoolFile::begin(ground).await?),
        };
        rest.add(&bytes).await
    }

    /// Waits until the room of its file is given to another client. Never ready without a file.
    pub(in crate::http) async fn evicted(&self) -> Fault {
        match self.rest.as_ref().and_then(|rest| rest.account.as_ref()) {
            Some(account) => no_room(account.evicted().await),
            None => std::future::pending().await,
        }
    }

    /// Returns how long the body is, and rewinds it.
    ///
    /// # Errors
    /// The last bytes could not be written to the file.
    pub(in crate::http) async fn end(&mut self) -> Result<u64, Fault> {
        let mut length = self.beginning.length();
        if let Some(rest) = &mut self.rest {
            rest.account.iter().try_for_each(Account::settle).map_err(no_room)?;
            rest.rewind().await.map_err(no_room)?;
            length += rest.length;
        }
        Ok(length)
    }
}

impl SpoolFile {
    async fn begin(SpoolSpace { scratch, client }: &SpoolSpace) -> Result<SpoolFile, Fault> {
        let scratch = scratch.clone().ok_or(Fault::LengthRequired)?;
        let account = scratch.account(*client).map_err(no_room)?;
        let file = blocking(move || scratch.file()).await.map_err(no_room)?;
        let (file, since) = (File::from_std(file), Instant::now());
        Ok(SpoolFile { file, length: 0, unseen: 0, account: Some(account), since })
    }

    async fn add(&mut self, bytes: &Bytes) -> Result<(), Fault> {
        self.unseen += bytes.len();
        if self.unseen >= PIECE {
            self.count().await?;
        }
        self.check_rate()?;
        self.file.write_all(bytes).await.map_err(no_room)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Enforces the rate while room is scarce.
    fn check_rate(&self) -> Result<(), Fault> {
        let time = self.since.elapsed();
        let is_slow = time > GRACE && (self.length as f64) < SCARCE_RATE as f64 * time.as_secs_f64();
        let is_scarce = || self.account.as_ref().is_some_and(Account::is_scarce);
        if is_slow && is_scarce() { Err(Fault::InputSlow(SCARCE_RATE)) } else { Ok(()) }
    }

    /// Counts the bytes that came since the last time.
    async fn count(&mut self) -> Result<(), Fault> {
        let bytes = mem::take(&mut self.unseen) as u64;
        let Some(mut account) = self.account.take() else { return Ok(()) };
        let (taken, account) = blocking(move || Ok((account.take(bytes), account))).await.map_err(no_room)?;
        self.account = Some(account);
        taken.map_err(no_room)
    }

    async fn rewind(&mut self) -> io::Result<()> {
        self.file.flush().await?;
        self.file.seek(SeekFrom::Start(0)).await.map(drop)
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        let mut piece = BytesMut::zeroed(PIECE);
        let mut buffer = ReadBuf::new(&mut piece);
        let read = ready!(Pin::new(&mut self.file).poll_read(context, &mut buffer));
        let filled = buffer.filled().len();
        piece.truncate(filled);
        Poll::Ready(match read {
            Err(error) => Some(Err(Fault::Host(anyhow::Error::from(error).context("read a kept body")))),
            Ok(()) if filled == 0 => None,
            Ok(()) => Some(Ok(piece.freeze())),
        })
    }
}

fn no_room(error: io::Error) -> Fault {
    Fault::NoScratch(error.to_string())
}

/// Runs blocking work on a thread for it.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

impl Stream for SpooledBody {
    type Item = Result<Bytes, Fault>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while let Some(frame) = self.beginning.take() {
            if let Some(bytes) = frame.into_data().ok().filter(|bytes| !bytes.is_empty()) {
                return Poll::Ready(Some(Ok(bytes)));
            }
        }
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        let next = ready!(rest.poll_read(context));
        if !matches!(next, Some(Ok(_))) {
            self.rest = None;
        }
        Poll::Ready(next)
    }
}
