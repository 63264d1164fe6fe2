//! The standard input of a job: nothing, some bytes, or a stream that is pulled on demand.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;

use super::{Fault, Usage, poll_client};

/// The standard input of a job. It has one source, which is read once.
///
/// Nothing is read ahead: a chunk is pulled from the source when the job wants it, so a slow job
/// slows its client down.
#[derive(Default)]
pub struct Input {
    /// Bytes that have arrived and are not read yet.
    buffered: Bytes,
    /// The mutex is never locked: a job is shared while it runs and must be `Sync`, but a stream
    /// need not be.
    source: Option<Mutex<InputStream>>,
    /// The job whose waits for input are counted. `None` for an input that is read by the daemon
    /// itself.
    reader: Option<Arc<Usage>>,
}

/// A stream of chunks; an error ends the job with that fault.
type InputStream = Pin<Box<dyn Stream<Item = Result<Bytes, Fault>> + Send>>;

impl Input {
    /// Makes an input that is at its end.
    pub fn empty() -> Input {
        Input::default()
    }

    /// Makes an input out of a stream.
    pub fn stream(source: impl Stream<Item = Result<Bytes, Fault>> + Send + 'static) -> Input {
        Input { buffered: Bytes::new(), source: Some(Mutex::new(Box::pin(source))), reader: None }
    }

    /// Counts the waits for this input as waits of a job for its client.
    pub fn read_by(&mut self, usage: &Arc<Usage>) {
        if self.source.is_some() {
            self.reader = Some(usage.clone());
        }
    }

    /// Waits until [`Input::take`] has bytes to give (`true`) or the input is at its end (`false`).
    ///
    /// # Errors
    /// The fault that ended the source. The input is at its end afterwards.
    pub fn poll_filled(&mut self, context: &mut Context<'_>) -> Poll<Result<bool, Fault>> {
        while self.buffered.is_empty() {
            let Some(source) = &mut self.source else { return Poll::Ready(Ok(false)) };
            let source = source.get_mut().unwrap_or_else(PoisonError::into_inner);
            let next = match &self.reader {
                Some(usage) => poll_client(usage, context, |context| source.as_mut().poll_next(context)),
                None => source.as_mut().poll_next(context),
            };
            match ready!(next) {
                Some(Ok(chunk)) => self.buffered = chunk,
                Some(Err(fault)) => {
                    self.source = None;
                    return Poll::Ready(Err(fault));
                }
                None => self.source = None,
            }
        }
        Poll::Ready(Ok(true))
    }

    /// Takes at most `size` of the bytes that have arrived. Never waits. Returns an empty buffer if
    /// there are none.
    pub fn take(&mut self, size: usize) -> Bytes {
        self.buffered.split_to(size.min(self.buffered.len()))
    }

    /// Reports whether the input is at its end. Never waits.
    pub fn is_ended(&self) -> bool {
        self.buffered.is_empty() && self.source.is_none()
    }

    /// Reads the rest of the input, up to `max` bytes.
    ///
    /// # Errors
    /// [`Fault::InputTooLarge`] past `max`, or the fault that ended the source.
    pub async fn read_to_end(&mut self, max: u64) -> Result<Vec<u8>, Fault> {
        let mut all = Vec::new();
        while poll_fn(|context| self.poll_filled(context)).await? {
            all.extend_from_slice(&self.take(usize::MAX));
            if all.len() as u64 > max {
                return Err(Fault::InputTooLarge(max));
            }
        }
        Ok(all)
    }
}

impl From<Bytes> for Input {
    fn from(bytes: Bytes) -> Input {
        Input { buffered: bytes, ..Input::default() }
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Input({} bytes here, {})",
            self.buffered.len(),
            if self.source.is_some() { "more may come" } else { "no more" }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    #[tokio::test]
    async fn chunks_are_read_in_order_and_empty_ones_are_skipped() {
        let chunks = ["one ", "", "two"].map(|text| Ok(Bytes::from_static(text.as_bytes())));
        let mut input = Input::stream(stream::iter(chunks));

        let all = input.read_to_end(7).await;

        assert_eq!(all.ok().as_deref(), Some(&b"one two"[..]));
        assert!(input.is_ended());
    }

    #[tokio::test]
    async fn one_byte_past_the_bound_is_refused() {
        let mut input = Input::from(Bytes::from_static(b"12345678"));
        assert!(matches!(input.read_to_end(7).await, Err(Fault::InputTooLarge(7))));
    }
}
