//! Makes the job of a CGI handler from a routed request.

use std::sync::Arc;

use http::request::Parts;

use super::gate_pass::GatePass;
use super::running_job::RunningJob;
use crate::catalog::{Catalog, Match};
use crate::cgi::{self, Facts, RequestScheme};
use crate::engine::Engine;
use crate::http::outbound::cdn_loop;
use crate::http::refusal::Refusal;
use crate::job::{
    Captures, Destination, Env, HandlerVersion, Input, Job, JobId, Output, PIPE_CAPACITY, PipeReader, pipe_of,
};
use crate::net::{Peer, Secured};

/// A request, its route and its handler version.
#[derive(Clone, Copy)]
pub(in crate::http) struct RoutedRequest<'a> {
    /// The catalog that routed it.
    pub(in crate::http) catalog: &'a Arc<Catalog>,
    /// The handler version that answers.
    pub(in crate::http) entry: &'a Arc<HandlerVersion>,
    /// The route, and the captured parts of the path.
    pub(in crate::http) found: &'a Match<'a, 'a>,
    pub(in crate::http) head: &'a Parts,
    pub(in crate::http) peer: &'a Peer,
    /// What the gates before it have told.
    pub(in crate::http) pass: &'a GatePass,
}

/// A job with a pipe for its stdout. Only the stdin is missing.
pub(in crate::http) struct PreparedJob {
    pub(in crate::http) job: Job,
    reader: PipeReader,
}

impl RoutedRequest<'_> {
    /// Makes a job of the handler version, with the calls that it is granted.
    pub(super) fn begin(self, engine: &Arc<Engine>) -> Job {
        let mut job = engine.job_of(self.entry.clone());
        job.trail = cdn_loop::read(&self.head.headers);
        job.origin = self.peer.origin();
        engine.grant(&mut job, self.catalog);
        job
    }

    /// Makes the job: arguments, environment and stdout.
    pub(in crate::http) fn job(self, engine: &Arc<Engine>) -> PreparedJob {
        let mut job = self.begin(engine);
        if self.entry.conduct.captures != Captures::Nothing {
            job.args.extend(self.found.captures().map(|(_, value)| value.to_owned()));
        }
        job.env = self.env(job.id);
        let (writer, reader) = pipe_of(&job.usage, PIPE_CAPACITY);
        let writer: Arc<dyn Destination> = Arc::new(writer);
        job.stdout = Output::to(vec![writer]);
        PreparedJob { job, reader }
    }

    /// Makes the environment: the facts of the request, then the variables configured for the
    /// handler.
    fn env(self, id: JobId) -> Env {
        let RoutedRequest { entry, found, head, peer, pass, .. } = self;
        let facts = Facts {
            method: &head.method,
            uri: &head.uri,
            version: head.version,
            headers: &head.headers,
            script_name: found.script_name,
            path_info: found.path_info,
            matched_route: &found.route.pattern,
            request_id: &id.to_string(),
            remote_addr: peer.remote_addr(),
            remote_port: peer.remote_port(),
            server_addr: peer.server_addr(),
            server_port: peer.server_port(),
            scheme: if peer.is_secure() { RequestScheme::Https } else { RequestScheme::Http },
            api_version: found.api_version(),
        };
        let captures = found.captures().map(|(capture, value)| (capture.variable.as_str(), value));
        let mut env = cgi::meta::encode(&facts, captures);
        for (name, value) in peer.secured().map(Secured::variables).unwrap_or_default() {
            // The values come from a certificate and hold no NUL.
            let _left_out = env.set(name.clone(), value.clone());
        }
        pass.variables(&mut env);
        env.extend(&entry.env);
        env
    }
}

impl PreparedJob {
    /// Sets the job's CONTENT_LENGTH, unless the handler is configured with one.
    pub(in crate::http) fn tell_length(&mut self, length: u64) {
        const NAME: &str = "CONTENT_LENGTH";
        if self.job.env.get(NAME).is_none() {
            // Digits hold no NUL.
            let _set = self.job.env.set(NAME, length.to_string());
        }
    }

    /// Starts the job.
    pub(in crate::http) fn start(mut self, engine: &Arc<Engine>, stdin: Input) -> RunningJob<PipeReader> {
        self.job.stdin = stdin;
        RunningJob::start(engine, self.job, self.reader)
    }
}

/// Refuses a captured part of the path that the program would take for an option.
///
/// # Errors
/// There is such a part.
pub(in crate::http) fn harmless(found: &Match<'_, '_>, entry: &HandlerVersion) -> Result<(), Refusal> {
    match found.option(entry) {
        None => Ok(()),
        Some(capture) => Err(Refusal::Malformed(format!(
            "the part of the path for {} begins with `-`, which a program would read as an option",
            capture.variable
        ))),
    }
}
