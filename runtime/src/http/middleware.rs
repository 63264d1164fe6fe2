//! Converts what a middleware passes on into a request of the daemon, and the response to it into the answer.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;

use http::header::{CONNECTION, DATE, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::uri::Uri;
use http::{Method, Response};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::sync::{mpsc, oneshot};

use super::outbound::cdn_loop::CDN_LOOP;
use super::request::request_log::RequestLog;
use super::request::reserved_fields::unforged;
use super::request::response_body::Body;
use super::request::runtime_bound_body::RuntimeBoundBody;
use super::service::RequestContext;
use super::wire::progress::Progress;
use crate::catalog::Catalog;
use crate::job::{Fault, Proxied, ResponseBody};
use crate::observe::traces::{TRACEPARENT, TRACESTATE};

/// How many requests a middleware may pass on for each that it gets: it may try again, and not without end.
pub(super) const MOST_PASSED: usize = 8;

impl RequestContext<'_, Arc<Catalog>> {
    /// Makes the head for what stands behind a middleware: its fields and its query. Method, path and host stay the
    /// client's, as the route was found by them.
    pub(super) fn passed_head(self, given: Parts) -> Parts {
        let mut head = self.head.clone();
        let mut fields = unforged(given.headers);
        // Those of the connection are not the middleware's, and the others belong to the daemon.
        for name in [CONNECTION, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE, CDN_LOOP.clone()] {
            fields.remove(name);
        }
        if self.span.is_some() {
            fields.remove(TRACEPARENT);
            fields.remove(TRACESTATE);
        }
        for name in [HOST, CDN_LOOP.clone()] {
            for value in self.head.headers.get_all(&name) {
                fields.append(&name, value.clone());
            }
        }
        head.headers = fields;
        let path = self.head.uri.path();
        let target = given.uri.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
        let mut parts = self.head.uri.clone().into_parts();
        if let Ok(target) = target.parse() {
            parts.path_and_query = Some(target);
            if let Ok(uri) = Uri::from_parts(parts) {
                head.uri = uri;
            }
        }
        head
    }
}

/// Refuses what a middleware passes on from now on, and what waits in the channel already. The middleware goes on.
pub(super) async fn refuse(passed: &mut mpsc::Receiver<Proxied>) -> Infallible {
    passed.close();
    while passed.recv().await.is_some() {}
    pending().await
}

/// Runs work for as long as its outcome is awaited. Returns `None` once the receiver of the answer is dropped.
pub(super) async fn while_awaited<A, T>(
    answer: &mut oneshot::Sender<A>,
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        () = answer.closed() => None,
        outcome = work => Some(outcome),
    }
}

/// Makes a response the answer for a middleware. It is counted when its body has ended.
pub(super) fn passed_response(
    mut response: Response<Body>,
    head: &Parts,
    mut log: RequestLog,
    progress: &Progress,
) -> Response<ResponseBody> {
    // `service::respond` sets it in the response for the client. That of a fixed response is empty until then.
    response.headers_mut().remove(DATE);
    log.head_sent(response.status());
    if head.method == Method::HEAD || response.body().size_hint().exact() == Some(0) {
        log.complete();
    }
    response.body_mut().answer(Box::new(log), progress);
    let broken = |_| Fault::BadAnswer("what stands behind the middleware broke off".to_owned());
    response.map(|body| RuntimeBoundBody::here(body).map_err(broken).boxed_unsync())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderValue, Request};
    use tokio::time::timeout;

    use super::*;
    use crate::http::request::request_body;
    use crate::http::wire::client_memory::MemoryAccount;

    #[tokio::test(start_paused = true)]
    async fn a_request_that_waits_behind_the_last_one_is_refused() {
        let (sender, mut passed) = mpsc::channel(1);
        let (answer, given) = oneshot::channel();
        let request = Request::new(request_body::nothing());
        sender.try_send(Proxied { request, answer, next: None }).unwrap();

        let refused = tokio::select! {
            never = refuse(&mut passed) => match never {},
            given = timeout(Duration::from_secs(9), given) => given,
        };

        assert!(refused.is_ok_and(|given| given.is_err()) && sender.is_closed());
    }

    #[tokio::test]
    async fn a_middleware_sees_no_empty_date_of_a_fixed_response() {
        let progress = Progress::new(MemoryAccount::unlimited());
        let mut response = Response::new(Body::empty());
        response.headers_mut().insert(DATE, HeaderValue::from_static(""));
        let (head, ()) = Request::new(()).into_parts();

        let passed = passed_response(response, &head, RequestLog::new(progress.clone()), &progress);

        assert!(passed.headers().is_empty());
    }

    #[tokio::test]
    async fn nothing_goes_on_behind_a_call_that_the_middleware_has_dropped() {
        let (mut answer, given) = oneshot::channel::<()>();
        drop(given);

        let outcome = while_awaited(&mut answer, pending::<()>()).await;

        assert_eq!(outcome, None);
    }
}
