//! Answers a request by the target of its route: runs the job of a handler, or gives what needs no job.

use std::sync::Arc;

use http::Response;
use http::header::EXPECT;
use http_body::Body as _;

use super::context::Settings;
use super::refusal::Refusal;
use super::request::cgi_job::{RoutedRequest, harmless};
use super::request::direct_response;
use super::request::drain_body::DrainBody;
use super::request::logged_job::LoggedJob;
use super::request::request_body::{self, AwaitFirst, BodyLimits};
use super::request::request_log::RequestLog;
use super::request::response_body::Body;
use super::request::running_job::RunningJob;
use super::request::spool_file::SpoolSpace;
use super::service::RequestContext;
use super::static_files::file_response::FileRequest;
use super::upgrade::upgrade_request::UpgradeRequest;
use super::upgrade::websocket::handshake::Transport;
use crate::catalog::{Ballot, Catalog, Match, RouteTarget, StaticFiles, Upgrade};
use crate::job::{HandlerVersion, Intake, Job, Kind};

/// The handler version that answers, and the ballot to report to during a trial.
type Picked<'a> = (&'a Arc<HandlerVersion>, Option<Ballot>);

/// The work of a target that does not answer at once.
pub(super) enum TargetWork<'r> {
    /// To run a job of this handler.
    Job(&'r Arc<HandlerVersion>),
    /// To read a file that is not in memory.
    File(FileRequest<'r>),
}

impl<'a> RequestContext<'a, Arc<Catalog>> {
    /// Lets the target of the route answer.
    pub(super) async fn go_on(
        self,
        found: &Match<'_, '_>,
        body: &mut DrainBody,
        log: &mut RequestLog,
    ) -> Result<Response<Body>, Refusal> {
        match self.answer_now(found) {
            Ok(answer) => answer,
            Err(work) => self.answer_later(found, work, body, log).await,
        }
    }

    /// Answers as the route says, unless its target has to wait: then the work is returned. No future has room for such an
    /// answer, and none copies it.
    ///
    /// # Errors
    /// The target has to wait for a job or a file.
    pub(super) fn answer_now<'r>(
        self,
        found: &'r Match<'r, 'r>,
    ) -> Result<Result<Response<Body>, Refusal>, TargetWork<'r>>
    where
        'a: 'r,
    {
        match &found.route.target {
            RouteTarget::Handler(handler) => Err(TargetWork::Job(handler)),
            RouteTarget::Redirect(redirect) => {
                self.server.direct.redirects.count();
                Ok(direct_response::redirect(redirect, found, self.head))
            }
            RouteTarget::Respond(response) => {
                self.server.direct.fixed.count();
                Ok(Ok(direct_response::fixed(response)))
            }
            RouteTarget::Files(files) => {
                self.server.direct.files.count();
                let file = self.file(found, files);
                file.answer_kept().ok_or(TargetWork::File(file))
            }
            // A path is rewritten once, before.
            RouteTarget::Rewrite(_) => Ok(Err(Refusal::Loop)),
        }
    }

    /// Does the work that [`answer_now`](RequestContext::answer_now) has returned.
    pub(super) async fn answer_later(
        &self,
        found: &Match<'_, '_>,
        work: TargetWork<'_>,
        body: &mut DrainBody,
        log: &mut RequestLog,
    ) -> Result<Response<Body>, Refusal> {
        match work {
            TargetWork::Job(handler) => match &found.route.upgrade {
                None => self.run(found, handler, body, log).await,
                // Boxed, so that ordinary requests stay small.
                Some(upgrade) => Box::pin(self.switch(found, (handler, upgrade), body, log)).await,
            },
            TargetWork::File(file) => file.answer().await,
        }
    }

    /// Describes the request for a file of a directory.
    fn file<'r>(self, found: &'r Match<'r, 'r>, files: &'r StaticFiles) -> FileRequest<'r>
    where
        'a: 'r,
    {
        let descriptors = &self.server.engine.budgets().descriptors;
        let tail = found.path_info.strip_prefix('/').unwrap_or_default();
        let (is_gated, sent) = (found.route.has_gates(), self.sent);
        FileRequest { files, head: self.head, sent, tail, is_gated, descriptors }
    }

    /// Runs the job of a route and returns its response.
    async fn run(
        &self,
        found: &Match<'_, '_>,
        handler: &Arc<HandlerVersion>,
        body: &mut DrainBody,
        log: &mut RequestLog,
    ) -> Result<Response<Body>, Refusal> {
        let (entry, ballot) = self.pinned.pick(handler);
        if entry.kind == Kind::Proxy {
            return self.hand_on(found, (entry, ballot), body, log).await;
        }
        harmless(found, entry)?;
        let mut job = self.server.engine.job_of(entry.clone());
        self.begin_cgi(&mut job, found, ballot, log);
        // A new job has an empty stdin.
        if body.look().is_some() {
            let (limits, ground) = (self.body_limits(entry), self.ground(entry, body));
            let intaken = request_body::input(&mut job, body.take(), limits, ground).await;
            intaken.map_err(|fault| log.job_failed(fault))?;
        }
        let running = RunningJob::start_cgi(&self.server.engine, job);
        running.response(&self.head.method, &entry.mapping).await.map_err(|fault| log.job_failed(fault))
    }

    /// Runs the job of a `wasi:http` handler and returns its response.
    async fn hand_on(
        &self,
        found: &Match<'_, '_>,
        (entry, ballot): Picked<'_>,
        body: &mut DrainBody,
        log: &mut RequestLog,
    ) -> Result<Response<Body>, Refusal> {
        let engine = &self.server.engine;
        let request = self.routed(found);
        let job = request.http_job(engine, entry);
        log.handler_chosen(LoggedJob::of(&job), request, ballot);
        let body = if body.look().is_none() {
            request_body::nothing()
        } else {
            let intaken = request_body::whole(body.take(), self.body_limits(entry), &job.usage).await;
            intaken.map_err(|fault| log.job_failed(fault))?
        };
        let started = request.start_http(engine, job, body, None);
        let running = started.map_err(|error| Refusal::Malformed(format!("its host: {error}")))?;
        running.response(&self.head.method).await.map_err(|fault| log.job_failed(fault))
    }

    /// Starts the job that takes over the connection, and runs it until it reads or writes.
    async fn switch(
        self,
        found: &Match<'_, '_>,
        (handler, upgrade): (&Arc<HandlerVersion>, &Upgrade),
        body: &mut DrainBody,
        log: &mut RequestLog,
    ) -> Result<Response<Body>, Refusal> {
        let way = if self.peer.is_secure() { Transport::Tls } else { Transport::Clear };
        let upgrade_request = UpgradeRequest::of(self.head, body, way, upgrade, self.pinned.cors.as_ref())?;
        let (entry, ballot) = self.pinned.pick(handler);
        harmless(found, entry)?;
        let mut job = self.server.engine.job_of(entry.clone());
        self.begin_cgi(&mut job, found, ballot, log);
        let tunnel = upgrade_request.accept(&self.server.engine, job).await;
        Ok(self.pending.offer(tunnel.map_err(|fault| log.job_failed(fault))?))
    }

    /// Describes the request to the jobs that answer it.
    pub(super) fn routed<'r>(self, found: &'r Match<'r, 'r>) -> RoutedRequest<'r>
    where
        'a: 'r,
    {
        let RequestContext { pinned: catalog, head, peer, pass, span, around, .. } = self;
        RoutedRequest { catalog, found, head, peer, pass, span, around }
    }

    /// Sets the fields of a new job of a CGI handler from the request, and notes the job in the log.
    fn begin_cgi(self, job: &mut Job, found: &Match<'_, '_>, ballot: Option<Ballot>, log: &mut RequestLog) {
        let request = self.routed(found);
        request.begin_cgi(&self.server.engine, job);
        log.handler_chosen(LoggedJob::of(job), request, ballot);
        log.captured(job.capture.clone());
    }

    /// Returns where a body of unknown length may be stored. `None` if the length is known, or the handler
    /// reads the body as it comes.
    fn ground(self, entry: &HandlerVersion, body: &DrainBody) -> Option<SpoolSpace> {
        let is_unknown = body.look().is_some_and(|body| body.size_hint().exact().is_none());
        let ground = || SpoolSpace { scratch: self.server.scratch.clone(), client: self.peer.origin() };
        (is_unknown && entry.conduct.intake() == Intake::Whole).then(ground)
    }

    /// Returns the limits of the request body.
    pub(super) fn body_limits(self, entry: &HandlerVersion) -> BodyLimits {
        let Settings { body_idle: idle, deadlines, .. } = self.settings;
        // A client that sent `Expect` gets 100-continue when the job reads, so its body cannot be awaited
        // first.
        let is_awaited = entry.slots.are_scarce(&entry.limits) && !self.head.headers.contains_key(EXPECT);
        let before = if is_awaited { AwaitFirst::Beginning } else { AwaitFirst::Nothing };
        BodyLimits { max: entry.limits.body, idle: *idle, rate: deadlines.rate, before }
    }
}
