//! Drives the limits, the gates and the middlewares of a route, in front of its target.
//!
//! A middleware stands among the gates, and what it passes on goes to those behind it. Both are therefore in one file.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use http::Response;
use tokio::sync::mpsc;

use super::middleware::{MOST_PASSED, passed_response, refuse, while_awaited};
use super::refusal::Refusal;
use super::request::drain_body::DrainBody;
use super::request::error_page;
use super::request::gate_pass::{self, GatePass};
use super::request::gates::GateDecision;
use super::request::logged_job::LoggedJob;
use super::request::rate_limit::{self, RemainingQuota};
use super::request::refusal_response::ErrorFormat;
use super::request::request_body;
use super::request::request_log::RequestLog;
use super::request::response_body::Body;
use super::service::RequestContext;
use super::wire::client_memory::MemoryAccount;
use super::wire::progress::Progress;
use crate::catalog::{Catalog, EntryChecks, Match, RouteGate, RouteLimit};
use crate::job::{HandlerVersion, Proxied};
use crate::observe::traces::TRACEPARENT;

/// How many requests all middlewares of a route together may pass on for one request of a client. If each middleware
/// tries again, the tries multiply along the chain.
const MOST_IN_CHAIN: usize = 64;

/// What stands between a request and the answer of its route.
#[derive(Clone, Copy)]
struct GateChain<'r> {
    /// The route.
    found: &'r Match<'r, 'r>,
    /// The gates that are still to be passed.
    gates: &'r [RouteGate],
    /// The limits that count what has passed all gates.
    limits: &'r [RouteLimit],
    /// What the middlewares of the route have passed on so far.
    passed: &'r PassedCount,
}

/// Counts what the middlewares of a route pass on for one request of a client.
#[derive(Default)]
struct PassedCount(AtomicUsize);

impl PassedCount {
    /// Counts one more. Returns `false` if it is one too many.
    fn take(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) < MOST_IN_CHAIN
    }
}

impl<'a> RequestContext<'a, Arc<Catalog>> {
    /// Makes the checks of the route, if they are built-in gates that need no wait. Returns what they tell, and `None` if
    /// the checks have to be made by [`guarded`](RequestContext::guarded).
    pub(super) fn pass_at_once(
        self,
        found: &Match<'_, '_>,
        checks: &EntryChecks,
        log: &mut RequestLog,
    ) -> Result<Option<GatePass>, Refusal> {
        if checks.all_limits().next().is_some() {
            return Ok(None);
        }
        self.routed(found).pass_at_once(&checks.gates, log)
    }

    /// Makes the checks of the route, then goes on. The client gets what gates tell it whatever comes of it.
    pub(super) async fn guarded(
        self,
        found: &Match<'_, '_>,
        checks: &EntryChecks,
        body: &mut DrainBody,
        log: &mut RequestLog,
    ) -> Result<Response<Body>, Refusal> {
        let mut pass = GatePass::default();
        let outcome = self.checked(found, (checks, &mut pass), body, log).await;
        log.told = pass.into_response();
        outcome
    }

    /// Counts the request for the limits before the gates, then lets the gates and what is behind them answer.
    async fn checked(
        self,
        found: &Match<'_, '_>,
        (checks, pass): (&EntryChecks, &mut GatePass),
        body: &mut DrainBody,
        log: &mut RequestLog,
    ) -> Result<Response<Body>, Refusal> {
        let quota = rate_limit::admit(&checks.limits, self.peer, self.head, None).await?;
        let passed = PassedCount::default();
        let chain = GateChain { found, gates: &checks.gates, limits: &checks.limits_behind, passed: &passed };
        self.pass_gates(chain, (pass, quota), body, log).await
    }

    /// Asks the gates of a chain in their order, counts the request for the limits behind them, and lets the target of the
    /// route answer. `pass` is what gates before the chain have told, and `quota` what is left of the limits before it.
    async fn pass_gates<'r>(
        self,
        chain: GateChain<'r>,
        (pass, mut quota): (&mut GatePass, RemainingQuota<'r>),
        body: &mut DrainBody,
        log: &mut RequestLog,
    ) -> Result<Response<Body>, Refusal> {
        let GateChain { found, gates, limits, .. } = chain;
        let decision = self.routed(found).ask_gates(&self.server.engine, gates, pass, log).await;
        log.user_named(pass.user());
        let mut response = match decision? {
            GateDecision::Answer(response) => *response,
            GateDecision::Pass => {
                let behind = rate_limit::admit(limits, self.peer, self.head, pass.user()).await?;
                quota = quota.and(behind);
                RequestContext { pass, ..self }.go_on(found, body, log).await?
            }
            GateDecision::PassOn { entry, behind } => {
                // Boxed, so that requests without a middleware stay small.
                let behind = GateChain { gates: behind, ..chain };
                Box::pin(RequestContext { pass, ..self }.around(entry, behind, body, log)).await?
            }
        };
        quota.tell(response.headers_mut());
        Ok(response)
    }

    /// As [`pass_gates`](RequestContext::pass_gates), boxed: a chain with several middlewares calls it within itself.
    fn pass_gates_boxed<'r>(
        self,
        chain: GateChain<'r>,
        pass: &'r mut GatePass,
        body: &'r mut DrainBody,
        log: &'r mut RequestLog,
    ) -> BoxFuture<'r, Result<Response<Body>, Refusal>>
    where
        'a: 'r,
    {
        Box::pin(self.pass_gates(chain, (pass, RemainingQuota::default()), body, log))
    }

    /// Runs a middleware around what stands behind it. Its response is the response.
    async fn around(
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
        let memory = log.memory().clone();
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_middlewares_of_a_route_together_pass_on_so_many_requests() {
        let passed = PassedCount::default();

        assert!((0..MOST_IN_CHAIN).all(|_| passed.take()));
        assert!(!passed.take());
    }
}
