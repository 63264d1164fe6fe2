//! A file as the body of a response.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use anyhow::anyhow;
use bytes::Bytes;
use http_body::Frame;
use tracing::warn;

use crate::budget::Portion;
use crate::files::{FileRoot, OpenError, OpenedFile};
use crate::http::request::frame_source::FrameSource;
use crate::job::Fault;

/// How much is read at once, in bytes: the memory of a response.
pub(super) const CHUNK: usize = 64 << 10;

/// A read that waits for the file system.
type WaitingRead = Pin<Box<dyn Future<Output = Result<Bytes, OpenError>> + Send>>;

/// A part of a file, read while it is sent.
///
/// A file that is changed meanwhile breaks the body off: the parts of two versions must not look like one file.
pub(super) struct FileBody {
    root: Arc<FileRoot>,
    file: Arc<OpenedFile>,
    at: u64,
    left: u64,
    reading: Option<WaitingRead>,
    /// The descriptor, as a part of the budget of the process.
    _descriptor: Portion,
}

impl FileBody {
    /// Sends `left` bytes from `at` on.
    pub(super) fn new(
        root: Arc<FileRoot>,
        file: Arc<OpenedFile>,
        at: u64,
        left: u64,
        descriptor: Portion,
    ) -> FileBody {
        FileBody { root, file, at, left, reading: None, _descriptor: descriptor }
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, String>> {
        let wanted = usize::try_from(self.left).unwrap_or(CHUNK).min(CHUNK);
        let outcome = match &mut self.reading {
            Some(reading) => ready!(reading.as_mut().poll(context)),
            None => match self.file.read_now(self.at, wanted) {
                Some(outcome) => outcome.map_err(OpenError::Failed),
                None => {
                    let (root, file, at) = (self.root.clone(), self.file.clone(), self.at);
                    let reading = async move { root.read(file, at, wanted).await };
                    let reading = self.reading.insert(Box::pin(reading));
                    ready!(reading.as_mut().poll(context))
                }
            },
        };
        self.reading = None;
        Poll::Ready(match outcome {
            // Checked after the read, so that the bytes are of the version that the head describes.
            Ok(_) if self.file.has_changed() => Err("it was changed while it was sent".to_owned()),
            Ok(bytes) => Ok(bytes),
            Err(OpenError::Failed(_)) if self.file.has_changed() => {
                Err("it was changed while it was sent".to_owned())
            }
            Err(OpenError::Failed(error)) => Err(error.to_string()),
            Err(OpenError::Busy) => Err("its file system does not answer".to_owned()),
            Err(OpenError::Absent) => Err("it is no longer there".to_owned()),
        })
    }
}

impl FrameSource for FileBody {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let read = ready!(self.poll_read(context));
        Poll::Ready(Some(match read {
            Ok(bytes) => {
                self.at += bytes.len() as u64;
                self.left -= bytes.len() as u64;
                Ok(Frame::data(bytes))
            }
            Err(why) => {
                warn!("a file below {} broke off: {why}", self.root.path().display());
                Err(Fault::Host(anyhow!("a file broke off: {why}")))
            }
        }))
    }

    fn left(&self) -> Option<u64> {
        Some(self.left)
    }

    fn held(&self) -> usize {
        CHUNK
    }
}
