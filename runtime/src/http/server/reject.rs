//! Refuses connections and requests that never reach a handler.

use std::fmt;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use tracing::info;

use crate::http::context::Accepted;
use crate::http::refusal::{Details, Refusal};
use crate::http::request::access_line;
use crate::http::request::response_body::Body;
use crate::http::service::Service;
use crate::http::wire::h2::sent::{ErrorScope, H2Event};
use crate::http::wire::report::ConnectionReport;
use crate::observe::history::RequestSummary;

impl<S: Service> ConnectionReport for Accepted<S> {
    fn reject_raw(&self, refusal: Refusal, asked: &str) -> Bytes {
        let (service, code) = (&*self.service, refusal.code());
        service.count_refusal(&refusal);
        let pinned = service.pin();
        let reason = service.reason_header(&pinned);
        let mut response = refusal.into_response(
            &HeaderMap::new(),
            Details::Withheld,
            reason,
            service.error_format(&pinned, None),
        );
        service.finish(&pinned, None, &mut response);
        let (status, bytes) = (response.status().as_u16(), response.body().here().len());
        self.log(asked, (Some(status), bytes as u64, format_args!("{status} {bytes} bytes")), code);
        self.tell_listeners(asked, (status, bytes as u64), code);
        on_the_wire(&response)
    }

    fn drop_connection(&self, refusal: &Refusal, why: &dyn fmt::Display) {
        self.note(format_args!("closed: {why}"), refusal.code());
    }

    fn h2_event(&self, event: H2Event) {
        // Only their codes are used.
        let (wrong, large) = (Refusal::Malformed(String::new()), Refusal::HeadTooLarge(String::new()));
        match event {
            H2Event::Answer => {}
            H2Event::ManyCancels => {
                info!(
                    "{} has cancelled too many requests: no new ones are accepted on this connection",
                    self.peer.remote()
                );
            }
            H2Event::HeadTooLarge => {
                self.service.count(large.code());
                self.log("-", (Some(431), 0, format_args!("431 0 bytes")), large.code());
            }
            H2Event::TooManyStreams => self.note(format_args!("reset: REFUSED_STREAM"), "too_many_streams"),
            H2Event::Wrong(ErrorScope::Stream, how) => self.note(format_args!("reset: {how}"), wrong.code()),
            H2Event::Wrong(ErrorScope::Connection, how) => self.drop_connection(&wrong, &how),
            H2Event::Flood(what) => self.drop_connection(&Refusal::Flood, &what),
        }
    }
}

impl<S: Service> Accepted<S> {
    /// Counts and logs the refusal of a client whose request is unknown.
    fn note(&self, end: fmt::Arguments<'_>, code: &'static str) {
        self.service.count(code);
        self.log("-", (None, 0, end), code);
    }

    /// Tells the listeners of the history of a refusal, if a request is known.
    fn tell_listeners(&self, asked: &str, (status, sent): (u16, u64), code: &'static str) {
        let Some((history, (method, path))) = self.service.tapped().zip(method_and_path(asked)) else {
            return;
        };
        let now = Instant::now();
        let story = RequestSummary {
            head_sent: Some(now),
            status: Some(status),
            sent,
            is_complete: true,
            reason: Some(code),
            ..RequestSummary::begun(now, &method, path, self.peer.address())
        };
        history.refused(story, None);
    }

    /// Logs a refusal in the format of its socket.
    fn log(&self, asked: &str, end: (Option<u16>, u64, fmt::Arguments<'_>), code: &str) {
        let Accepted { service, settings, peer, .. } = self;
        if let Some(access_log) = service.access_log(settings) {
            access_line::refused(access_log, asked, end, code, peer.remote());
        }
        service.log_refusal(format_args!("{}", settings.mask_query.shown(asked)), peer);
    }
}

/// Splits what is known of a request into its method and path. `None` if it is not a request line. The query and the
/// authority of an absolute target are left out, because they may hold a credential.
fn method_and_path(asked: &str) -> Option<(Method, &str)> {
    let (method, target) = asked.split_once(' ')?;
    let target = target.split_once('?').map_or(target, |(target, _)| target);
    let absolute = target.split_once("://").filter(|(scheme, _)| !scheme.contains('/'));
    let path = absolute.map_or(target, |(_, rest)| rest.find('/').map_or("/", |at| &rest[at..]));
    Some((method.parse().ok()?, path))
}

/// Encodes a response with its body, for a connection that hyper no longer uses.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_request_line_has_a_method_and_a_path() {
        assert_eq!(method_and_path("GET /a?token=s3cret"), Some((Method::GET, "/a")));
        assert_eq!(method_and_path("BREW /pot"), Some((Method::from_bytes(b"BREW").unwrap(), "/pot")));
        assert_eq!(
            method_and_path("GET http://u:s3cret@h/a?b"),
            Some((Method::GET, "/a")),
            "an absolute target"
        );
        assert_eq!(method_and_path("GET http://u:s3cret@h"), Some((Method::GET, "/")));
        assert_eq!(method_and_path("GET /a/http://h/b"), Some((Method::GET, "/a/http://h/b")));
        for other in ["-", "", "\"nonsense\"", "\"no such line\""] {
            assert_eq!(method_and_path(other), None, "{other}");
        }
    }
}
