//! Follows the frames of an HTTP/2 connection in both directions, beside hyper.
//!
//! Floors, lowest first: `frames`; `flood`, `sent`; the follower in this file.

pub(in crate::http) mod flood;
mod frames;
pub(in crate::http) mod sent;

use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;

use super::client_memory::estimate;
use flood::Flood;
use sent::H2Event;

/// Follows both directions.
pub(in crate::http) struct H2Guard {
    received: flood::ReceivedFrames,
    sent: sent::SentFrames,
}

/// The frame header of a GOAWAY (RFC 9113 §6.8). The last stream that may have been processed follows, then
/// the error code.
const GOAWAY: [u8; 9] = [0, 0, 8, 7, 0, 0, 0, 0, 0];

/// The error code (RFC 9113 §7).
const ENHANCE_YOUR_CALM: [u8; 4] = [0, 0, 0, 11];

impl H2Guard {
    /// Starts before the preface. `requests` counts the accepted requests of the connection.
    pub(in crate::http) fn new(preface: usize, requests: Arc<AtomicU64>) -> H2Guard {
        H2Guard { received: flood::ReceivedFrames::new(preface, requests), sent: sent::SentFrames::default() }
    }

    /// Follows the next bytes from the client.
    ///
    /// # Errors
    /// They cause too much work.
    pub(in crate::http) fn received(&mut self, bytes: &[u8]) -> Result<(), Flood> {
        self.received.push(bytes, |stream| self.sent.forget(stream))
    }

    /// Makes the frame that ends the connection because it causes too much work. The last stream is named as processed,
    /// so that a proxy does not send it again.
    pub(in crate::http) fn goaway(&self) -> Bytes {
        Bytes::from([&GOAWAY[..], &self.received.newest().to_be_bytes(), &ENHANCE_YOUR_CALM].concat())
    }

    /// Returns the number of the field section that has begun and not ended, counted from 1.
    pub(in crate::http) fn open_section(&self) -> Option<u64> {
        self.received.open_section()
    }

    /// Reports whether the connection should take no new streams, and let the others finish.
    pub(in crate::http) fn is_full(&self) -> bool {
        self.received.is_full()
    }

    /// Follows the bytes that were written to the client, and passes what they mean to `told`.
    pub(in crate::http) fn sent(
        &mut self,
        slices: &[IoSlice<'_>],
        written: usize,
        mut told: impl FnMut(H2Event),
    ) {
        self.received.sent(written);
        let mut left = written;
        for slice in slices {
            let taken = slice.len().min(left);
            left -= taken;
            self.sent.push(&slice[..taken], &mut told);
        }
    }

    /// Reports whether a response has begun and not ended.
    pub(in crate::http) fn is_answering(&self) -> bool {
        self.sent.answering() > 0
    }

    /// Estimates the memory that the connection holds for its client, apart from the tasks of its requests.
    pub(in crate::http) fn held(&self) -> usize {
        estimate::H2 + 2 * self.received.fields() + self.sent.answering() * estimate::H2_PIECE
    }
}
