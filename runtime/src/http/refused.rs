//! Requests that no handler had a part in, refused in one way however early that is.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, Response};
use tracing::info;

use super::connection::Accepted;
use super::error::{Details, Refusal};
use super::frames::{Scope, Told};
use super::response_body::Body;
use super::server::{Purpose, Server};
use crate::catalog::ReasonHeader;

/// Counts requests and connections that were refused, by the code of the reason. Locked by refusals only.
#[derive(Debug, Default)]
pub struct Refused(Mutex<BTreeMap<&'static str, u64>>);

impl Refused {
    fn count(&self, code: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(code).or_default() += 1;
    }

    /// Returns how many there were, sorted by code.
    pub(super) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Server {
    /// Counts a refusal, unless it tells of a job that failed: those are counted with their handler.
    pub(super) fn refused(&self, refusal: &Refusal) {
        if !matches!(refusal, Refusal::Failed(..)) {
            self.count(refusal.code());
        }
    }

    fn count(&self, code: &'static str) {
        match self.purpose {
            Purpose::Admin { .. } | Purpose::Observe(_) => {}
            Purpose::Handlers => self.refused.count(code),
        }
    }

    /// Makes the answer to what is no request. Its origin is not known, so only what is granted to all is granted.
    fn refusal(&self, refusal: Refusal) -> Response<Body> {
        let (nothing, withheld) = (HeaderMap::new(), Details::Withheld);
        match self.purpose {
            Purpose::Handlers => {
                let catalog = self.engine.live().pin();
                let mut response = refusal.into_response(&nothing, withheld, catalog.reason_header);
                catalog.cors.iter().for_each(|cors| cors.grant(None, response.headers_mut()));
                response
            }
            Purpose::Admin { .. } | Purpose::Observe(_) => {
                refusal.into_response(&nothing, withheld, ReasonHeader::Absent)
            }
        }
    }
}

impl Accepted {
    /// Answers what never becomes a request: returns the whole answer as it is on the wire, counted and
    /// logged as all refusals of its socket are. `asked` is what is known of the request line, fit for a log.
    pub(super) fn turn_away(&self, refusal: Refusal, asked: &str) -> Bytes {
        let server = &self.server;
        server.refused(&refusal);
        let code = refusal.code();
        let response = server.refusal(refusal);
        let (status, bytes) = (response.status().as_u16(), response.body().here().len());
        self.log(asked, format_args!("{status} {bytes} bytes"), code);
        on_the_wire(&response)
    }

    /// Notes that a connection is ended that no answer can be given on any more.
    pub(super) fn cut_off(&self, refusal: &Refusal, why: impl fmt::Display) {
        self.note(format_args!("closed: {why}"), refusal.code());
    }

    /// Notes what a client of HTTP/2 was told by h2, which refuses by itself what breaks the protocol.
    pub(super) fn told(&self, told: Told) {
        // Only the code of it is used.
        let (wrong, large) = (Refusal::Malformed(String::new()), Refusal::HeadTooLarge(String::new()));
        match told {
            Told::Answer => {}
            Told::HeadTooLarge => self.note(format_args!("431 0 bytes"), large.code()),
            Told::TooManyStreams => self.note(format_args!("reset: REFUSED_STREAM"), "too_many_streams"),
            Told::Wrong(Scope::Stream, how) => self.note(format_args!("reset: {how}"), wrong.code()),
            Told::Wrong(Scope::Connection, how) => self.cut_off(&wrong, how),
            Told::Flood(what) => self.cut_off(&Refusal::Flood, what),
        }
    }

    /// Counts and logs what happened to a client whose request nobody knows.
    fn note(&self, end: fmt::Arguments<'_>, code: &'static str) {
        self.server.count(code);
        self.log("-", end, code);
    }

    /// Logs a refusal in the way of its socket.
    fn log(&self, asked: &str, end: fmt::Arguments<'_>, code: &str) {
        let Accepted { server, settings, peer, .. } = self;
        match server.purpose {
            Purpose::Admin { .. } => info!("admin: {asked} by {}: refused", peer.remote()),
            Purpose::Handlers if settings.access_log => {
                info!("{asked} -> {end} ({code}) for {}", peer.remote());
            }
            Purpose::Observe(_) | Purpose::Handlers => {}
        }
    }
}

/// Writes a response whose body is here, for a connection that hyper has no part in any more.
fn on_the_wire(response: &Response<Body>) -> Bytes {
    let (status, body) = (response.status(), response.body().here());
    let date = chrono::Utc::now().format("%a, %d %b %Y %H:%M:%S GMT");
    let mut bytes = format!("HTTP/1.1 {status}\r\n").into_bytes();
    for (name, value) in response.headers() {
        bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    bytes.extend(format!("content-length: {}\r\ndate: {date}\r\n\r\n", body.len()).bytes());
    bytes.extend_from_slice(body);
    bytes.into()
}
