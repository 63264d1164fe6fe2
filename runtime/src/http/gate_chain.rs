//! Drives the limits and the gates of a route, in front of its target.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use http::Response;

use super::refusal::Refusal;
use super::request::drain_body::DrainBody;
use super::request::gate_pass::GatePass;
use super::request::gates::GateDecision;
use super::request::rate_limit::{self, RemainingQuota};
use super::request::request_log::RequestLog;
use super::request::response_body::Body;
use super::service::RequestContext;
use crate::catalog::{Catalog, EntryChecks, Match, RouteGate, RouteLimit};

/// How many requests all middlewares of a route together may pass on for one request of a client. If each middleware
/// tries again, the tries multiply along the chain.
const MOST_IN_CHAIN: usize = 64;

/// What stands between a request and the answer of its route.
#[derive(Clone, Copy)]
pub(super) struct GateChain<'r> {
    /// The route.
    pub(super) found: &'r Match<'r, 'r>,
    /// The gates that are still to be passed.
    gates: &'r [RouteGate],
    /// The limits that count what has passed all gates.
    limits: &'r [RouteLimit],
    /// What the middlewares of the route have passed on so far.
    pub(super) passed: &'r PassedCount,
}

/// Counts what the middlewares of a route pass on for one request of a client.
#[derive(Default)]
pub(super) struct PassedCount(AtomicUsize);

impl PassedCount {
    /// Counts one more. Returns `false` if it is one too many.
    pub(super) fn take(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) < MOST_IN_CHAIN
    }
}

impl<'a> RequestContext<'a, Arc<Catalog>> {
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
        let quota = rate_limit::admit(&checks.limits, self.peer, &self.head.headers, None).await?;
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
                let behind = rate_limit::admit(limits, self.peer, &self.head.headers, pass.user()).await?;
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
    pub(super) fn pass_gates_boxed<'r>(
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
