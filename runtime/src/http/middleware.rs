//! Runs a handler that is a middleware, and answers the requests that it passes on by what stands behind it.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;

use http::header::{CONNECTION, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::uri::Uri;
use http::{Method, Response};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::sync::{mpsc, oneshot};

use super::gate_chain::GateChain;
use super::outbound::cdn_loop::CDN_LOOP;
use super::refusal::Refusal;
use super::request::drain_body::DrainBody;
use super::request::error_page;
use super::request::gate_pass;
use super::request::logged_job::LoggedJob;
use super::request::refusal_response::ErrorFormat;
use super::request::request_body;
use super::request::request_log::RequestLog;
use super::request::reserved_fields::unforged;
use super::request::response_body::Body;
use super::request::runtime_bound_body::RuntimeBoundBody;
use super::service::RequestContext;
use super::wire::client_memory::MemoryAccount;
use super::wire::progress::Progress;
use crate::catalog::Catalog;
use crate::job::{Fault, HandlerVersion, Proxied, ResponseBody};
use crate::observe::traces::{TRACEPARENT, TRACESTATE};

/// How many requests a middleware may pass on for each that it gets: it may try again, and not without end.
const MOST_PASSED: usize = 8;

impl RequestContext<'_, Arc<Catalog>> {
    /// Runs a middleware around what stands behind it. Its response is the response.
    pub(super) async fn around(
        self,
        entry: &Arc<HandlerVersion>,
        behind: GateChain<'_>,
        body: &mut DrainBody,
        log: &mut RequestLog,
    ) -> Result<Response<Body>, Refusal> {
        let (engine, route) = (&self.server.engine, behind.found.route);
        if route.upgrade.is_some() {
            return Err(Refusal::Unsupported("a middleware answers requests, and cannot pass on an upgrade"));
        }
        let request = self.routed(behind.found);
        let job = request.http_job(engine, entry);
        // What is behind it is below its span.
        let span = job.usage.spans.job().cloned();
        log.handler_chosen(LoggedJob::of(&job), request, None);
        let memory = body.memory().clone();
        let intaken = request_body::whole(body.take(), self.body_limits(entry), &job.usage).await;
        let body = intaken.map_err(|fault| log.job_failed(fault))?;
        let (sender, mut passed) = mpsc::channel(1);
        let started = request.start_http(engine, job, body, Some(sender));
        let running = started.map_err(|error| Refusal::Malformed(format!("its host: {error}")))?;
        let around: Vec<_> = self.around.iter().chain([entry]).cloned().collect();
        let inner = RequestContext { span: span.as_ref(), around: &around, ..self };
        let serving = async {
            for _ in 0..MOST_PASSED {
                let Some(request) = passed.recv().await.filter(|_| behind.passed.take()) else { break };
                let user = inner.answer_passed(behind, request, &memory).await;
                log.user_named(user.as_deref());
            }
            refuse(&mut passed).await
        };
        // The middleware is polled while another job answers, because that may read what the middleware writes.
        tokio::select! {
            biased;
            outcome = running.response(&self.head.method) => outcome.map_err(|fault| log.job_failed(fault)),
            never = serving => match never {},
        }
    }

    /// Answers a request that a middleware passes on. A failure is the middleware's to handle. Returns the user that gates
    /// have named.
    async fn answer_passed(
        self,
        behind: GateChain<'_>,
        passed: Proxied,
        memory: &MemoryAccount,
    ) -> Option<String> {
        let Proxied { request, mut answer, next: _ } = passed;
        let (given, body) = request.into_parts();
        let named = given.headers.get(TRACEPARENT).and_then(|field| field.to_str().ok());
        let span = self.span.map(|span| span.or_named(named));
        let head = self.passed_head(given);
        // The client's connection waits for the response of the middleware, not for this one.
        let progress = Progress::of_stream(&Progress::new(memory.clone()));
        let mut log = RequestLog::new(progress.clone());
        let mut body = DrainBody::passed(body, &progress);
        let request = RequestContext { head: &head, span: span.as_ref(), ..self };
        let mut pass = self.pass.facts();
        let work = request.pass_gates_boxed(behind, &mut pass, &mut body, &mut log);
        // A middleware that has dropped its call may pass on another request.
        let outcome = while_awaited(&mut answer, work).await;
        let user = log.take_user();
        let Some(outcome) = outcome else { return user };
        let tell = |mut response: Response<Body>| {
            gate_pass::tell(pass.into_response().as_deref(), response.headers_mut());
            response
        };
        let response = match outcome {
            Ok(response) => Ok(passed_response(tell(response), &head, log, &progress)),
            Err(refusal) => {
                let status = refusal.status();
                log.refused(&refusal);
                match refusal {
                    Refusal::Failed(_, fault) => {
                        log.head_sent(status);
                        Err(fault)
                    }
                    refusal => {
                        self.server.refused.count(refusal.code());
                        let pages = self.pinned.error_pages(behind.found.route.rules.as_deref());
                        let (details, reason) = (self.settings.details, self.pinned.reason_header);
                        let format = ErrorFormat::of(pages);
                        let mut response = refusal.into_response(&head.headers, details, reason, format);
                        error_page::apply(pages, &mut response);
                        Ok(passed_response(tell(response), &head, log, &progress))
                    }
                }
            }
        };
        // The middleware may have ended meanwhile.
        let _gone = answer.send(response);
        user
    }

    /// Makes the head for what stands behind a middleware: its fields and its query. Method, path and host stay the
    /// client's, as the route was found by them.
    fn passed_head(self, given: Parts) -> Parts {
        let mut head = self.head.clone();
        let mut fields = unforged(given.headers);
        // Those of the connection are not the middleware's, and the others belong to the daemon.
        for name in [CONNECTION, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE, CDN_LOOP] {
            fields.remove(name);
        }
        if self.span.is_some() {
            fields.remove(TRACEPARENT);
            fields.remove(TRACESTATE);
        }
        for name in [HOST, CDN_LOOP] {
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
async fn refuse(passed: &mut mpsc::Receiver<Proxied>) -> Infallible {
    passed.close();
    while passed.recv().await.is_some() {}
    pending().await
}

/// Runs work for as long as its outcome is awaited. `None` once the receiver of the answer is dropped.
async fn while_awaited<A, T>(answer: &mut oneshot::Sender<A>, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = answer.closed() => None,
        outcome = work => Some(outcome),
    }
}

/// Makes a response the answer for a middleware. It is counted when its body has ended.
fn passed_response(
    mut response: Response<Body>,
    head: &Parts,
    mut log: RequestLog,
    progress: &Progress,
) -> Response<ResponseBody> {
    log.head_sent(response.status());
    if head.method == Method::HEAD || response.body().size_hint().exact() == Some(0) {
        log.complete();
    }
    response.body_mut().answer(log, progress);
    let broken = |_| Fault::BadAnswer("what stands behind the middleware broke off".to_owned());
    response.map(|body| RuntimeBoundBody::here(body).map_err(broken).boxed_unsync())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Request;
    use tokio::time::timeout;

    use super::*;

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
    async fn nothing_goes_on_behind_a_call_that_the_middleware_has_dropped() {
        let (mut answer, given) = oneshot::channel::<()>();
        drop(given);

        let outcome = while_awaited(&mut answer, pending::<()>()).await;

        assert_eq!(outcome, None);
    }
}
