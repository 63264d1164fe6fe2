//! A request body whose rest is drained when it is dropped.

use std::mem;

use http::header::{CONNECTION, EXPECT};
use http::request::Parts;
use http::{HeaderValue, Version};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::arriving_body::ArrivingBody;
use crate::http::timeouts::DRAIN_BODY;
use crate::http::wire::client_memory::{MemoryAccount, MemoryCharge, estimate};
use crate::http::wire::progress::{OwedBody, Progress};
use crate::job::RequestBody;

/// The most bytes of a body that are drained, so that the connection can be used for another request.
/// With more left to send, a client is better off with a new connection.
pub(in crate::http) const MOST: u64 = 64 << 10;

/// A body that is being received. Dropping it drains the rest if that is little, and hyper then takes
/// the next request. Otherwise hyper closes the connection after the response.
#[derive(Default)]
pub(in crate::http) struct DrainBody {
    /// `None` once the body has ended or is abandoned.
    body: Option<ArrivingBody>,
    /// `None` if there never was a body.
    owed: Option<OwedBody>,
    /// What hyper or h2 may keep of it before it is read.
    held: Option<MemoryCharge>,
    /// The runtime that drains the rest, or `None` if it is not drained.
    runtime: Option<Handle>,
}

impl DrainBody {
    /// Takes the body of a request, and notes whether there is one.
    pub(in crate::http) fn new(head: &Parts, body: Incoming, progress: &Progress) -> DrainBody {
        if body.is_end_stream() {
            progress.owe_nothing();
            return DrainBody::default();
        }
        let owed = Some(progress.owe_body(true));
        let runtime = goes_on(head).then(Handle::current);
        let ahead = if head.version == Version::HTTP_2 { estimate::H2_BODY } else { estimate::H1_BODY };
        let max = body.size_hint().upper().and_then(|bytes| usize::try_from(bytes).ok());
        let bytes = max.unwrap_or(usize::MAX).min(ahead);
        let held = (bytes > estimate::COVERED).then(|| progress.memory.charge(bytes));
        DrainBody { body: Some(ArrivingBody::Client(body)), owed, held, runtime }
    }

    /// Takes the body of a request that a middleware passes on. Nothing of it is drained.
    pub(in crate::http) fn passed(body: RequestBody, progress: &Progress) -> DrainBody {
        let body = Some(body).filter(|body| !body.is_end_stream()).map(ArrivingBody::Passed);
        DrainBody { body, owed: Some(progress.owe_body(false)), held: None, runtime: None }
    }

    /// Moves the body out, and leaves an empty one behind.
    pub(in crate::http) fn take(&mut self) -> DrainBody {
        mem::take(self)
    }

    /// Returns the body to read from, or `None` if none is left.
    pub(in crate::http) fn body(&mut self) -> Option<&mut ArrivingBody> {
        self.body.as_mut()
    }

    /// Returns the body to look at, or `None` if none is left.
    pub(in crate::http) fn look(&self) -> Option<&ArrivingBody> {
        self.body.as_ref()
    }

    /// Returns the account of the memory that its connection holds, or `None` if there never was a body.
    pub(in crate::http) fn memory(&self) -> Option<&MemoryAccount> {
        self.owed.as_ref().map(|owed| &owed.progress.memory)
    }

    /// Notes that a piece was read, which may be the last.
    pub(in crate::http) fn read(&mut self) {
        if self.body.as_ref().is_none_or(ArrivingBody::is_end_stream) {
            self.held = None;
            self.owed.iter().for_each(OwedBody::consumed);
        }
    }

    /// Drops the body without draining it. The connection is closed after the response.
    pub(in crate::http) fn abandon(&mut self) {
        (self.body, self.held) = (None, None);
    }
}

impl Drop for DrainBody {
    fn drop(&mut self) {
        let left = self.body.take().filter(|body| !body.is_end_stream() && body.size_hint().lower() <= MOST);
        if let (Some(body), Some(runtime), Some(owed)) = (left, &self.runtime, self.owed.take()) {
            // Not held: the task ends with the connection, or at its own deadline.
            drop(runtime.spawn(timeout(DRAIN_BODY, drain(body, owed))));
        }
    }
}

/// Reports whether another request may follow that has to wait for the rest of this body. A client
/// that waits for 100-continue need not send the body once it has the response (RFC 9110 §10.1.1).
fn goes_on(head: &Parts) -> bool {
    let closes = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"close");
    let Parts { version, headers, .. } = head;
    *version == Version::HTTP_11
        && !headers.contains_key(EXPECT)
        && !headers.get_all(CONNECTION).iter().any(closes)
}

/// Reads a body to its end, or gives it up beyond [`MOST`].
async fn drain(mut body: ArrivingBody, owed: OwedBody) {
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
    owed.consumed();
}
