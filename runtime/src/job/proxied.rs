//! A request as HTTP has it, for a handler that speaks HTTP itself.

use std::fmt;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::{BoxBody, UnsyncBoxBody};
use tokio::sync::oneshot;

use super::Fault;

/// The body of a request that is handed on: chunks as they arrive, then trailers. A fault ends the
/// job, whatever its handler makes of it.
pub type RequestBody = BoxBody<Bytes, Fault>;

/// The body of a response that a handler gives by itself: chunks as it writes them, then trailers.
/// A fault is an end that the handler did not mean.
pub type ResponseBody = UnsyncBoxBody<Bytes, Fault>;

/// What a handler that speaks HTTP answers with.
pub type Answer = Result<Response<ResponseBody>, Fault>;

/// What a job has beside its streams when its handler speaks HTTP itself: the request, and the place
/// for the response.
///
/// It is typed, though one layer fills it in and another empties it: both know HTTP's own types, and
/// neither the other's.
pub struct Proxied {
    /// The request, its target in absolute form. Nothing of the body is read before the job reads.
    pub request: Request<RequestBody>,
    /// Takes the response when its head is complete; the job goes on until the body is. Or why the
    /// handler gives none, if it says so.
    pub answer: oneshot::Sender<Answer>,
}

impl fmt::Debug for Proxied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxied({} {})", self.request.method(), self.request.uri())
    }
}
