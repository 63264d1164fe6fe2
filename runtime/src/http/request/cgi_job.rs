//! The arguments and the environment of a CGI handler's job, from a routed request.

use std::sync::Arc;

use http::request::Parts;

use super::gate_pass::GatePass;
use super::request_trace;
use crate::catalog::{Catalog, Match};
use crate::cgi::{self, Facts, RequestScheme};
use crate::engine::Engine;
use crate::http::outbound::cdn_loop;
use crate::http::refusal::Refusal;
use crate::job::{Captures, Env, HandlerVersion, Job};
use crate::net::{Peer, Secured};
use crate::observe::traces::{JobTrigger, SpanRef};

/// A request with its route.
#[derive(Clone, Copy)]
pub(in crate::http) struct RoutedRequest<'a> {
    /// The catalog that routed it.
    pub(in crate::http) catalog: &'a Arc<Catalog>,
    /// The route, and the captured parts of the path.
    pub(in crate::http) found: &'a Match<'a, 'a>,
    pub(in crate::http) head: &'a Parts,
    pub(in crate::http) peer: &'a Peer,
    /// What the gates before it have told.
    pub(in crate::http) pass: &'a GatePass,
    /// The span of the request, if it is traced.
    pub(in crate::http) span: Option<&'a SpanRef>,
    /// The middlewares that wait for the answer, outermost first.
    pub(in crate::http) around: &'a [Arc<HandlerVersion>],
}

impl RoutedRequest<'_> {
    /// Sets the fields of a new job that come from the request for every kind of handler, and grants its calls. The job
    /// is changed in place: it is large, and each function that returned it would copy it.
    pub(super) fn begin(self, engine: &Arc<Engine>, job: &mut Job) {
        job.trail = cdn_loop::read(&self.head.headers);
        job.origin = self.peer.origin();
        job.around = self.around.to_vec();
        if let Some(span) = self.span {
            job.trace(span.open(JobTrigger::Request));
        }
        engine.grant(job, self.catalog);
    }

    /// Sets the same fields of a new job of a CGI handler, and its arguments and environment.
    pub(in crate::http) fn begin_cgi(self, engine: &Arc<Engine>, job: &mut Job) {
        self.begin(engine, job);
        if job.entry.conduct.captures != Captures::Nothing {
            job.args.extend(self.found.captures().map(|(_, value)| value.to_owned()));
        }
        job.env = self.env(job);
    }

    /// Makes the environment: the facts of the request, then the variables configured for the
    /// handler.
    fn env(self, job: &Job) -> Env {
        let RoutedRequest { found, head, peer, pass, .. } = self;
        let shown = pass.shown(&head.headers);
        let mut digits = [0; 16];
        let facts = Facts {
            method: &head.method,
            uri: &head.uri,
            version: head.version,
            headers: &shown,
            script_name: found.script_name,
            path_info: found.path_info,
            matched_route: &found.route.pattern,
            request_id: job.id.digits(&mut digits),
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
        request_trace::variables(&job.usage, &mut env);
        env.extend(&job.entry.env);
        env
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
