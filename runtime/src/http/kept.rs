//! A request's body that is kept until its length is known: its beginning in memory, the rest in a file.

use std::io::{self, SeekFrom};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http_body::Frame;
use tokio::fs::File;
use tokio::io::{AsyncRead as _, AsyncSeekExt as _, AsyncWriteExt as _, ReadBuf};

use super::gathered::Gathered;
use crate::budget::Portion;
use crate::job::Fault;
use crate::scratch::Scratch;

/// Bytes that are read of a file at once, and written of it before the room there is looked at again.
const PIECE: usize = 64 << 10;

/// Where a body is kept.
pub(super) struct Ground {
    /// Where files are made; `None`: nowhere.
    pub(super) scratch: Option<Arc<Scratch>>,
    /// Nothing of the file descriptors that jobs share, to take one of for the file.
    pub(super) descriptors: Portion,
}

/// A body, or what has come of it.
pub(super) struct Kept {
    beginning: Gathered,
    /// Whether the beginning takes no more.
    full: bool,
    rest: Option<Rest>,
}

/// What is in a file.
struct Rest {
    file: File,
    length: u64,
    /// What was written since the room was looked at.
    unseen: usize,
    scratch: Arc<Scratch>,
    _descriptor: Portion,
}

impl Kept {
    /// Begins with nothing.
    pub(super) fn begin() -> Kept {
        Kept { beginning: Gathered::begin(true), full: false, rest: None }
    }

    /// Adds what has come.
    ///
    /// # Errors
    /// There is no room for it.
    pub(super) async fn add(&mut self, frame: Frame<Bytes>, ground: &Ground) -> Result<(), Fault> {
        if !self.full {
            self.full = self.beginning.add(frame);
            return Ok(());
        }
        // CGI has no place for trailers.
        let Ok(bytes) = frame.into_data() else { return Ok(()) };
        let rest = match &mut self.rest {
            Some(rest) => rest,
            none => none.insert(Rest::begin(ground).await?),
        };
        rest.add(&bytes).await.map_err(|error| Fault::NoScratch(error.to_string()))
    }

    /// Says how long the body is, and goes to its beginning.
    ///
    /// # Errors
    /// What was written last did not reach the file.
    pub(super) async fn end(&mut self) -> Result<u64, Fault> {
        let mut length = self.beginning.length();
        if let Some(rest) = &mut self.rest {
            rest.rewind().await.map_err(|error| Fault::NoScratch(error.to_string()))?;
            length += rest.length;
        }
        Ok(length)
    }
}

impl Rest {
    async fn begin(Ground { scratch, descriptors }: &Ground) -> Result<Rest, Fault> {
        let Some(scratch) = scratch.clone() else {
            return Err(Fault::NoScratch("there is no directory for it: set `scratch`".to_owned()));
        };
        let descriptor = descriptors.another(1);
        let descriptor = descriptor.ok_or(Fault::DescriptorsTotal { retry_after: Fault::RETRY_AFTER })?;
        let made = scratch.clone();
        let file = tokio::task::spawn_blocking(move || made.file()).await;
        let file = file.map_err(io::Error::other).and_then(|made| made);
        let file = file.map_err(|error| Fault::NoScratch(error.to_string()))?;
        // So that the first piece is looked at.
        let unseen = PIECE;
        Ok(Rest { file: File::from_std(file), length: 0, unseen, scratch, _descriptor: descriptor })
    }

    async fn add(&mut self, bytes: &Bytes) -> io::Result<()> {
        self.unseen += bytes.len();
        if self.unseen >= PIECE {
            self.scratch.has_room(self.unseen as u64)?;
            self.unseen = 0;
        }
        self.file.write_all(bytes).await?;
        self.length += bytes.len() as u64;
        Ok(())
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

impl Stream for Kept {
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
