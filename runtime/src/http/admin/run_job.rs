//! The admin API: runs jobs of the engine over HTTP, for any process that may open the socket.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HOST, ORIGIN, TE, TRAILER};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use rustix::process::geteuid;
use tracing::{debug, info};

use super::{dashboard_files, observe, profiler};
use crate::access::OperatorRights;
use crate::catalog::ReasonHeader;
use crate::cgi::path;
use crate::engine::Engine;
use crate::http::context::Observed;
use crate::http::limits::admin_slots::{AdminSlots, SlotUser};
use crate::http::refusal::{Details, Refusal};
use crate::http::request::drain_body::DrainBody;
use crate::http::request::job_body::{JobBody, StatusTrailers};
use crate::http::request::job_run::{JobEvent, JobRun};
use crate::http::request::job_task::{JobDriver, JobTask};
use crate::http::request::logged_job::LoggedJob;
use crate::http::request::refusal_response::ErrorFormat;
use crate::http::request::request_body::{self, AwaitFirst, BodyLimits};
use crate::http::request::response_body::Body;
use crate::http::service::RequestContext;
use crate::job::{
    Destination, Fault, Job, JobId, Kind, OnDrain, Output, PIPE_CAPACITY, Run, Status, Tail, builtin, pipe,
};
use crate::net::{GateState, Peer};

/// What a client is told that may only read.
const READ_ONLY: &str =
    "this user may only look (admin_group_access = \"read\"): act as root or as the user of the daemon";

/// The number of the job.
const JOB_ID: HeaderName = HeaderName::from_static("job-id");
/// The name of the job.
const JOB_NAME: HeaderName = HeaderName::from_static("job-name");
/// An argument of the job, percent-encoded; one field for each.
const JOB_ARGS: HeaderName = HeaderName::from_static("job-args");
/// An environment variable of the job as `NAME=VALUE`, the value percent-encoded; one field for
/// each.
pub(in crate::http) const JOB_ENV: HeaderName = HeaderName::from_static("job-env");
/// The exit status: a field if the job ended before its first byte, a trailer otherwise.
pub(in crate::http) const JOB_STATUS: HeaderName = HeaderName::from_static("job-status");
/// The end of the job's stderr, percent-encoded; sent with the status.
pub(in crate::http) const JOB_ERROR: HeaderName = HeaderName::from_static("job-error");

/// The bytes that are percent-encoded in a field.
pub(in crate::http) const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

/// A request to the admin socket.
#[derive(Clone, Copy)]
pub(super) struct AdminRequest<'a> {
    pub(super) request: RequestContext<'a, ()>,
    pub(super) observed: &'a Observed,
    pub(super) slots: &'a AdminSlots,
}

impl AdminRequest<'_> {
    /// Answers the request.
    ///
    /// # Errors
    /// It is refused, or its job failed before its first byte.
    pub(super) async fn answer(self, body: &mut DrainBody) -> Result<Response<Body>, Refusal> {
        let Parts { method, uri, headers, .. } = self.request.head;
        refuse_browsers(headers, uri.host())?;
        let path = path::decode(uri.path()).map_err(|error| Refusal::Malformed(error.to_string()))?;
        let (rights, has_profiler) = (self.rights(), self.request.server.settings.load().profiler);
        match (path.strip_prefix("/jobs/"), &*path) {
            (Some(name), _) if rights == OperatorRights::Read && !builtin::READING.contains(&name) => {
                Err(Refusal::Forbidden(READ_ONLY))
            }
            (Some(name), _) if method == Method::POST => self.run(name, body).await,
            (Some(_), _) => Err(Refusal::WrongMethod("POST".to_owned())),
            (None, "/metrics") if method == Method::GET => {
                let RequestContext { server, head, .. } = self.request;
                Ok(observe::metrics(server, self.observed, head))
            }
            (None, "/metrics") => Err(Refusal::WrongMethod("GET".to_owned())),
            (None, path) if path.starts_with(dashboard_files::ROOT) => {
                let answer = match path {
                    dashboard_files::ACCESS => dashboard_files::access(rights, has_profiler),
                    path => dashboard_files::file(path).ok_or(Refusal::NoRoute)?,
                };
                if method == Method::GET { Ok(answer) } else { Err(Refusal::WrongMethod("GET".to_owned())) }
            }
            (None, path) => match profiler::Page::at(path).filter(|_| has_profiler) {
                Some(page) if method == Method::GET => {
                    let _place = page.lasts().then(|| self.slots.profile(self.user())).transpose()?;
                    page.show(&self.request.server.engine, uri.query().unwrap_or_default()).await
                }
                Some(_) => Err(Refusal::WrongMethod("GET".to_owned())),
                None => Err(Refusal::NoRoute),
            },
        }
    }

    /// Returns what the client may do now. A connection that was open at a reload keeps no right that the reload took away.
    fn rights(self) -> OperatorRights {
        let RequestContext { server, peer, .. } = self.request;
        let user = uid(peer);
        server.settings.load().operators.of(user, geteuid().as_raw())
    }

    /// Returns who takes a slot.
    fn user(self) -> SlotUser {
        if is_owner(self.request.peer) { SlotUser::Owner } else { SlotUser::Other }
    }

    /// Runs a job. The response has its output and its outcome.
    async fn run(self, name: &str, body: &mut DrainBody) -> Result<Response<Body>, Refusal> {
        let RequestContext { server, settings, peer, .. } = self.request;
        let engine = &server.engine;
        let mut job = self.job(engine, name)?;
        let place = self.slots.job(job.entry.policy.admin_quota, self.user())?;
        // A dashboard and `top` ask every second.
        if builtin::READING.contains(&name) {
            debug!("admin: {} runs [{}] {job}", peer.remote(), job.id);
        } else {
            info!("admin: {} runs [{}] {job}", peer.remote(), job.id);
        }
        let logged = LoggedJob::of(&job);
        let (id, entry) = (logged.id, &logged.entry);
        // Refused here, before the engine would: while it drains, the engine still admits jobs of
        // accepted connections.
        if entry.policy.on_drain == OnDrain::Wait && self.observed.gate.state() == GateState::Draining {
            return Err(Refusal::Failed(id, Fault::Draining));
        }
        let mut fields = fields(&job);
        // A built-in job limits its input by itself, with an error that names the configuration
        // key.
        let max = entry.limits.body;
        let (idle, rate) = (settings.body_idle, settings.deadlines.rate);
        let limits = BodyLimits { max, idle, rate, before: AwaitFirst::Nothing };
        let intaken = request_body::input(&mut job, body.take(), limits, None).await;
        intaken.map_err(|fault| Refusal::Failed(id, fault))?;
        let (writer, mut reader) = pipe(PIPE_CAPACITY);
        let writer: Arc<dyn Destination> = Arc::new(writer);
        job.stdout = Output::to(vec![writer]);
        let (stderr_tail, stop) = (job.stderr_tail.clone(), job.stop.clone());

        let run = engine.start(Box::new(job));
        let mut run: JobRun<Run> = JobRun::Running(Box::pin(async move {
            let _place = place;
            run.await
        }));
        let mut response = match run.written(&mut reader).await {
            Some(JobEvent::Output(())) | None => {
                let verdict = takes_trailers(&self.request.head.headers).then(|| {
                    fields.insert(TRAILER, HeaderValue::from_static("Job-Status, Job-Error"));
                    let trailers = Box::new(move |outcome| verdict(&outcome, &stderr_tail));
                    StatusTrailers { trailers }
                });
                let job = JobTask::start(JobDriver::new(run, stop));
                let body = JobBody::new(reader, Bytes::new(), job, None);
                Response::new(Body::of_job(body.with(verdict)))
            }
            Some(JobEvent::Exited(outcome)) => {
                let mut said = BytesMut::new();
                while let Some(chunk) = reader.take() {
                    said.extend_from_slice(&chunk);
                }
                fields.extend(verdict(&outcome, &stderr_tail));
                if let Err(fault) = &outcome {
                    logged.complain(fault);
                }
                match failure(id, entry.kind, outcome, &stderr_tail).filter(|_| said.is_empty()) {
                    Some(refusal) => refusal.into_response(
                        &self.request.head.headers,
                        Details::Told,
                        ReasonHeader::Absent,
                        ErrorFormat::Negotiated,
                    ),
                    None => Response::new(Body::full(said.freeze())),
                }
            }
        };
        let headers = response.headers_mut();
        headers.extend(fields);
        // A refusal has a type of its own. The type of a job's output is unknown.
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/octet-stream"));
        Ok(response)
    }

    /// Makes the job: arguments from the query, variables from the fields.
    fn job(self, engine: &Arc<Engine>, name: &str) -> Result<Job, Refusal> {
        let mut job = engine.job(name).map_err(|_| Refusal::NoJob(name.to_owned()))?;
        let args = arguments(self.request.head.uri.query().unwrap_or_default())?;
        if job.entry.policy.has_urls {
            // The log and the reply show them.
            let mask = &self.request.settings.mask_query;
            job.args.extend(args.iter().map(|arg| mask.mask(arg).into_owned()));
        } else {
            job.args.extend(args);
        }
        job.env.extend(&job.entry.env.clone());
        for field in self.request.head.headers.get_all(JOB_ENV) {
            let malformed = || Refusal::Malformed("Job-Env: wanted NAME=VALUE".to_owned());
            let (name, value) =
                field.to_str().ok().and_then(|text| text.split_once('=')).ok_or_else(malformed)?;
            let value = percent_decode_str(value).decode_utf8().map_err(|_| malformed())?;
            let set = job.env.set(name.trim(), value);
            set.map_err(|error| Refusal::Malformed(format!("Job-Env: {error}")))?;
        }
        Ok(job)
    }
}

fn uid(peer: &Peer) -> Option<u32> {
    peer.credentials().map(|credentials| credentials.uid)
}

/// Reports whether a client of the admin socket is root or the user of the daemon.
pub(super) fn is_owner(peer: &Peer) -> bool {
    OperatorRights::is_owner(uid(peer), geteuid().as_raw())
}

/// Refuses requests that a web page may have made a browser send. They carry an origin, or a host
/// that the author of the page chose. A program that opened the socket itself sends neither.
fn refuse_browsers(headers: &HeaderMap, authority: Option<&str>) -> Result<(), Refusal> {
    if headers.contains_key(ORIGIN) {
        return Err(Refusal::Forbidden("the admin socket refuses requests of web pages (Origin)"));
    }
    let local = |host: &str| {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        name.is_empty() || name.eq_ignore_ascii_case("localhost")
    };
    let named = headers.get_all(HOST).iter().map(|host| host.to_str().unwrap_or("?"));
    if named.chain(authority).all(local) {
        Ok(())
    } else {
        Err(Refusal::Forbidden(
            "a web page may have sent this: the host of the admin socket is `localhost`, as in http://localhost/",
        ))
    }
}

/// Parses `a=one&a=two`.
fn arguments(query: &str) -> Result<Vec<String>, Refusal> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let value = pair.strip_prefix("a=").ok_or_else(|| {
                Refusal::Malformed("the query of a job is its arguments: ?a=FIRST&a=SECOND".to_owned())
            })?;
            // application/x-www-form-urlencoded: a plus is a space.
            let value = value.replace('+', " ");
            let decoded = percent_decode_str(&value).decode_utf8();
            decoded.map(String::from).map_err(|_| Refusal::Malformed("an argument is not UTF-8".to_owned()))
        })
        .collect()
}

/// Makes the fields that name the job.
fn fields(job: &Job) -> HeaderMap {
    let mut fields = HeaderMap::new();
    fields.extend([(JOB_ID, value(&job.id.to_string())), (JOB_NAME, value(job.name().as_str()))]);
    for arg in &job.args {
        fields.append(JOB_ARGS, value(arg));
    }
    fields
}

/// Makes the fields that report how a job ended.
fn verdict(outcome: &Result<Status, Fault>, stderr_tail: &Tail) -> HeaderMap {
    let (status, error) = match outcome {
        Ok(status) => (*status, stderr_tail.text()),
        Err(fault) => (fault.status(), format!("{}{fault}", stderr_tail.text())),
    };
    let mut fields = HeaderMap::new();
    fields.insert(JOB_STATUS, HeaderValue::from(u16::from(status.0)));
    if !error.is_empty() {
        fields.insert(JOB_ERROR, value(error.trim_end()));
    }
    fields
}

/// Encodes a text as the value of a field.
fn value(text: &str) -> HeaderValue {
    let encoded = utf8_percent_encode(text, ENCODED).to_string();
    // A text without control characters and without bytes beyond ASCII is a valid value.
    HeaderValue::try_from(encoded).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Makes the refusal for a job that failed, if it did. A built-in job fails to refuse its caller.
fn failure(id: JobId, kind: Kind, outcome: Result<Status, Fault>, stderr_tail: &Tail) -> Option<Refusal> {
    match outcome {
        Ok(status) if status.is_ok() => None,
        Ok(status) => Some(match kind {
            Kind::Native => Refusal::Rejected(id, stderr_tail.text()),
            Kind::Core | Kind::Command | Kind::Proxy => {
                Refusal::Failed(id, Fault::Exited { status, last_line: stderr_tail.last_line() })
            }
        }),
        Err(fault) => Some(Refusal::Failed(id, fault)),
    }
}

/// Reports whether the client reads trailers (RFC 9110 §10.1.4).
fn takes_trailers(headers: &HeaderMap) -> bool {
    let values = headers.get_all(TE).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_decoded_and_nothing_else_is_taken() {
        let read = |query| arguments(query).map_err(|_| ());
        assert_eq!(
            read("a=one&a=two+words&a=%C3%A9&a="),
            Ok(["one", "two words", "é", ""].map(String::from).into())
        );
        assert_eq!(read(""), Ok(Vec::new()));
        assert!(read("b=1").is_err() && read("a=%ff").is_err());
    }

    #[test]
    fn a_web_page_is_refused_and_a_program_is_not() {
        let refused = |name: &'static str, value: &'static str| {
            let name = HeaderName::from_static(name);
            refuse_browsers(&HeaderMap::from_iter([(name, HeaderValue::from_static(value))]), None).is_err()
        };
        assert!(refused("origin", "null") && refused("origin", "http://localhost"));
        assert!(refused("host", "evil.example") && refused("host", "evil.example:80"));
        assert!(!refused("host", "localhost") && !refused("host", "LOCALHOST:1") && !refused("host", ""));
        assert!(refuse_browsers(&HeaderMap::new(), Some("evil.example")).is_err());
    }

    #[test]
    fn an_error_of_several_lines_fits_a_field() {
        let tail = Tail::new(100);
        tail.write(&Bytes::from_static("50% é\nlast\n".as_bytes())).unwrap();
        let fields = verdict(&Ok(Status(3)), &tail);
        assert_eq!(fields[JOB_STATUS], "3");
        assert_eq!(fields[JOB_ERROR], "50%25 %C3%A9%0Alast");
    }
}
