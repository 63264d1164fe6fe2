//! A GET without a body that the daemon makes of a handler itself, whatever the kind of its module.

use std::sync::Arc;

use http::{Method, Response};

use super::cgi_job::RoutedRequest;
use super::logged_job::LoggedJob;
use super::request_body;
use super::response_body::Body;
use super::running_job::RunningJob;
use crate::engine::Engine;
use crate::job::{Fault, HandlerVersion, Kind};

impl RoutedRequest<'_> {
    /// Lets a handler version answer as a GET without a body is answered. Returns the job, and its response or why it has
    /// failed before its head.
    ///
    /// # Errors
    /// The client names a host that is invalid in a URI.
    pub(super) async fn get(
        self,
        engine: &Arc<Engine>,
        entry: &Arc<HandlerVersion>,
    ) -> Result<(LoggedJob, Result<Response<Body>, Fault>), http::Error> {
        if entry.kind == Kind::Proxy {
            let job = self.http_job(engine, entry);
            let logged = LoggedJob::of(&job);
            let running = self.start_http(engine, job, request_body::nothing(), None)?;
            return Ok((logged, running.response(&Method::GET).await));
        }
        let job = self.cgi_job(engine, entry);
        let logged = LoggedJob::of(&job);
        Ok((logged, RunningJob::start_cgi(engine, job).response(&Method::GET, &entry.mapping).await))
    }
}
