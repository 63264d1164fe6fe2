//! Write a Portcullis request handler: a function from a request to a response.
//!
//! ```no_run
//! use portcullis_guest::{Error, Request, Response, serve};
//! use std::process::ExitCode;
//!
//! fn main() -> ExitCode {
//!     serve(|request: Request| -> Result<Response, Error> {
//!         let greeting = request.var("GREETING").unwrap_or("Hello");
//!         let who = request.capture("who").ok_or_else(|| Error::bad_request("who is it?"))?;
//!         Ok(Response::text(format!("{greeting}, {who}!\n")))
//!     })
//! }
//! ```
//!
//! Build it with `cargo build --release --target wasm32-wasip1` (or `wasm32-wasip2`), and serve the
//! module. Every request runs `main` in a fresh instance: no memory is shared between requests.
//!
//! # Testing a handler
//!
//! A handler is a function, and its tests are ordinary tests on the machine that builds it:
//!
//! ```
//! use portcullis_guest::{Request, Response};
//!
//! fn greet(request: &Request) -> Response {
//!     Response::text(format!("Hello, {}!\n", request.capture("who").unwrap_or("world")))
//! }
//!
//! let response = greet(&Request::test("GET", "/hello/ada").route("/hello/{who}"));
//! assert_eq!(response.status(), 200);
//! assert_eq!(response.into_bytes(), b"Hello, ada!\n");
//! ```
//!
//! # The protocol
//!
//! The protocol is CGI/1.1 (RFC 3875): the request is the environment and stdin, the response is
//! written to stdout. `Request` reads a variable when it is asked for; nothing is read ahead. What a
//! handler prints to stderr appears in the daemon's log. Do not print to stdout: that is the response.

mod body;
mod code_error;
mod cookie;
mod document;
mod error;
#[cfg(feature = "fetch")]
pub mod fetch;
mod job;
mod multipart;
#[cfg(feature = "serde")]
mod pairs;
mod query;
mod request;
mod response;
pub mod sql;
mod sse;
mod stdout;
pub mod store;
mod vars;
pub mod websocket;

pub use body::Body;
pub use cookie::{SameSite, SetCookie};
pub use document::write_document;
pub use error::Error;
pub use job::{Job, JobError, JobErrorKind, JobOutput, JobStatus, Running, job};
pub use multipart::{Multipart, Part};
pub use request::{Request, TestRequest};
pub use response::{IntoResponse, Response};
pub use sse::{Event, Events};

use std::io::Write as _;
use std::process::ExitCode;

/// Answers the one request of this process.
///
/// Succeeds when the response was written, even an error response: a 500 that a handler chose is a
/// successful job. Fails when the response could not be written or a streamed body broke off. The
/// daemon then tells the client that the response is incomplete.
pub fn serve<F, R>(handler: F) -> ExitCode
where
    F: FnOnce(Request) -> R,
    R: IntoResponse,
{
    let response = handler(Request::of_this_process()).into_response();
    if let Some(complaint) = response.complaint() {
        complain(complaint);
    }
    let mut out = stdout::Stdout::new();
    match write_document(response, &mut out) {
        Ok(()) => ExitCode::SUCCESS,
        // The client has gone, or the daemon has stopped reading: no reader is left for a message.
        Err(_) if out.is_broken() => ExitCode::FAILURE,
        Err(error) => {
            complain(&format!("the body broke off: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Writes a line to the daemon's log.
fn complain(line: &str) {
    // A log that fails is no reason to fail the request.
    let _unheard = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}
