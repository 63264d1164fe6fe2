//! GET requests without a body that the daemon itself makes to a handler, whatever the kind of its module.

use std::sync::Arc;

use http::{Method, Response};

use super::cgi_job::RoutedRequest;
use super::request_body;
use super::response_body::Body;
use super::running_job::RunningJob;
use crate::engine::Engine;
use crate::job::{Fault, HandlerVersion, Job, Kind};

impl RoutedRequest<'_> {
    /// Makes the job in which a handler version answers a GET without a body.
    pub(super) fn bodiless_job(self, engine: &Arc<Engine>, entry: &Arc<HandlerVersion>) -> Box<Job> {
        match entry.kind {
            Kind::Proxy => self.http_job(engine, entry),
            Kind::Native | Kind::Core | Kind::Command => {
                let mut job = engine.job_of(entry.clone());
                self.begin_cgi(engine, &mut job);
                job
            }
        }
    }

    /// Runs such a job. Returns its response, or why it has failed before its head.
    ///
    /// # Errors
    /// The client names a host that is invalid in a URI.
    pub(super) async fn get(
        self,
        engine: &Arc<Engine>,
        job: Box<Job>,
    ) -> Result<Result<Response<Body>, Fault>, http::Error> {
        let entry = job.entry.clone();
        if entry.kind == Kind::Proxy {
            let running = self.start_http(engine, job, request_body::nothing(), None)?;
            return Ok(running.response(&Method::GET).await);
        }
        Ok(RunningJob::start_cgi(engine, job).response(&Method::GET, &entry.mapping).await)
    }
}
