//! A request body that is stored until its length is known: its beginning in memory, the rest in a file.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use http_body::Frame;

use super::read_ahead::ReadAhead;
use super::spool_file::{SpoolFile, SpoolSpace};
use crate::http::wire::client_memory::MemoryAccount;
use crate::job::Fault;

/// A stored body, or what has arrived of it.
pub(in crate::http) struct SpooledBody {
    beginning: ReadAhead,
    /// Whether the beginning is complete.
    full: bool,
    rest: Option<SpoolFile>,
    memory: MemoryAccount,
}

impl SpooledBody {
    /// Begins with an empty body.
    pub(in crate::http) fn begin(memory: &MemoryAccount) -> SpooledBody {
        let beginning = ReadAhead::begin(true, memory);
        SpooledBody { beginning, full: false, rest: None, memory: memory.clone() }
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
        // CGI has no trailers. Many clients end a body over HTTP/2 with an empty frame.
        let Some(bytes) = frame.into_data().ok().filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
        let rest = match &mut self.rest {
            Some(rest) => rest,
            none => none.insert(SpoolFile::begin(ground, &self.memory)?),
        };
        rest.add(&bytes).await
    }

    /// Waits until the room of its file is given to another client. Never ready while the beginning is all of it.
    pub(in crate::http) async fn evicted(&self) -> Fault {
        match &self.rest {
            Some(rest) => rest.evicted().await,
            None => std::future::pending().await,
        }
    }

    /// Notes that the body is complete. Returns how long it is.
    ///
    /// # Errors
    /// The last bytes could not be written to the file.
    pub(in crate::http) async fn end(&mut self) -> Result<u64, Fault> {
        let rest = match &mut self.rest {
            Some(rest) => rest.end().await?,
            None => 0,
        };
        Ok(self.beginning.length() + rest)
    }
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
        let next = ready!(rest.poll_next(context));
        if !matches!(next, Some(Ok(_))) {
            self.rest = None;
        }
        Poll::Ready(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::PIPE_CAPACITY;

    #[tokio::test]
    async fn an_empty_frame_behind_a_full_beginning_needs_no_file() {
        let nowhere = SpoolSpace { scratch: None, client: None };
        let mut body = SpooledBody::begin(&MemoryAccount::unlimited());
        body.add(Frame::data(vec![b'x'; PIPE_CAPACITY].into()), &nowhere).await.unwrap();

        body.add(Frame::data(Bytes::new()), &nowhere).await.unwrap();

        assert_eq!(body.end().await.unwrap(), PIPE_CAPACITY as u64);
        let more = body.add(Frame::data(Bytes::from_static(b"x")), &nowhere).await;
        assert!(matches!(more, Err(Fault::LengthRequired)));
    }
}
