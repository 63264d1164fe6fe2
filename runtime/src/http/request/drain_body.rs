//! The body of a request, whose rest is drained when it is dropped.

use http::header::{CONNECTION, EXPECT};
use http::request::Parts;
use http::{HeaderValue, Version};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::http::timeouts::DRAIN_BODY;
use crate::http::wire::progress::Progress;

/// The most bytes of a body that are read for nobody, so that the connection can go on behind them. A
/// client that sends more is better off with a new one.
pub(in crate::http) const MOST: u64 = 64 << 10;

/// A body that arrives. Dropping it reads what is left, if that is little; then hyper takes the next
/// request, and otherwise closes the connection behind the answer.
pub(in crate::http) struct DrainBody {
    /// None: it has come to its end, or is given up.
    body: Option<Incoming>,
    progress: Progress,
    /// Its number in `progress`.
    number: u64,
    /// Where what is left is read; none: it is not.
    runtime: Option<Handle>,
}

impl DrainBody {
    /// Takes the body of a request, and notes whether there is one.
    pub(in crate::http) fn new(head: &Parts, body: Incoming, progress: &Progress) -> DrainBody {
        let is_there = !body.is_end_stream();
        let number = progress.body_started(is_there);
        let runtime = Some(Handle::current()).filter(|_| is_there && goes_on(head));
        DrainBody { body: Some(body).filter(|_| is_there), progress: progress.clone(), number, runtime }
    }

    /// Takes the body out; what is left behind is none.
    pub(in crate::http) fn take(&mut self) -> DrainBody {
        DrainBody {
            body: self.body.take(),
            progress: self.progress.clone(),
            number: self.number,
            runtime: self.runtime.take(),
        }
    }

    /// Returns what is there to be read.
    pub(in crate::http) fn body(&mut self) -> Option<&mut Incoming> {
        self.body.as_mut()
    }

    /// Looks at it.
    pub(in crate::http) fn look(&self) -> Option<&Incoming> {
        self.body.as_ref()
    }

    /// Notes that a piece has been read, which may be the last.
    pub(in crate::http) fn read(&self) {
        if self.body.as_ref().is_none_or(Incoming::is_end_stream) {
            self.progress.body_consumed(self.number);
        }
    }

    /// Has nobody read what is left: the connection is closed behind the answer.
    pub(in crate::http) fn abandon(&mut self) {
        self.body = None;
    }
}

impl Drop for DrainBody {
    fn drop(&mut self) {
        let left = self.body.take().filter(|body| !body.is_end_stream() && body.size_hint().lower() <= MOST);
        if let (Some(body), Some(runtime)) = (left, &self.runtime) {
            // Not held: it ends with the connection, and by its own deadline.
            drop(runtime.spawn(timeout(DRAIN_BODY, drain(body, self.progress.clone(), self.number))));
        }
    }
}

/// Reports whether a request may be followed by another that has to wait for its body. A client that
/// waits to be asked for the body need not send it once it has the answer (RFC 9110 §10.1.1).
fn goes_on(head: &Parts) -> bool {
    let closes = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"close");
    let Parts { version, headers, .. } = head;
    *version == Version::HTTP_11
        && !headers.contains_key(EXPECT)
        && !headers.get_all(CONNECTION).iter().any(closes)
}

/// Reads a body to its end, or gives it up beyond [`MOST`].
async fn drain(mut body: Incoming, progress: Progress, number: u64) {
    let mut left = MOST;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len) as u64;
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => return,
        }
        if body.is_end_stream() {
            break;
        }
    }
    progress.body_consumed(number);
}
