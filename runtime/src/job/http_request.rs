//! The request of a `wasi:http` handler in HTTP's own types, and the place for its response.

use std::fmt;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::{BoxBody, UnsyncBoxBody};
use tokio::sync::{mpsc, oneshot};

use super::Fault;

/// The body of a forwarded request: chunks as they arrive, then trailers. A fault ends the job,
/// whatever its handler does with it.
pub type RequestBody = BoxBody<Bytes, Fault>;

/// The body of a response by an HTTP handler: chunks as it writes them, then trailers. A fault means
/// that the handler did not finish the body.
pub type ResponseBody = UnsyncBoxBody<Bytes, Fault>;

/// The answer of an HTTP handler.
pub type ResponseSender = Result<Response<ResponseBody>, Fault>;

/// The request of a job whose handler speaks HTTP itself, and the place for its response.
///
/// It uses HTTP's types, which the layers on both sides know, instead of a type of either layer.
pub struct Proxied {
    /// The request, with its target in absolute form. No byte of the body is read before the job
    /// reads.
    pub request: Request<RequestBody>,
    /// Takes the response once its head is complete, or the reason why the handler gives none. The
    /// job goes on until the body is complete.
    pub answer: oneshot::Sender<ResponseSender>,
    /// Takes the requests that the handler passes on. `None` if nothing stands behind it.
    pub next: Option<mpsc::Sender<Proxied>>,
}

impl fmt::Debug for Proxied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxied({} {})", self.request.method(), self.request.uri())
    }
}
