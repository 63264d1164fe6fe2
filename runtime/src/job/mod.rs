//! The job: a name, arguments, an environment, three streams and an exit status, like a Unix process.
//!
//! Floors, lowest first: `allotment`, `answer_progress`, `builtin`, `failure_guard`, `request_handling`, `env`, `id`,
//! `mount`, `name`, `log_rate`, `jobs_per_client`, `policy`, `route_stats`, `schedule`, `status`, `stop`, `timing`,
//! `waits`; `env_builder`, `fault`, `latencies`; `fault_text`; `ends`; `usage`; `output`; `arrival`, `input_limit`,
//! `outbound`, `pipe`, `tail`, `http_request`; `limits`, `stdin`; `call`, `capture`, `peaks`; `handler_stats`;
//! `handler`; `version_counts`. `handler` and the recorder in `capture` name each other, and both name [`Job`].

mod allotment;
mod answer_progress;
mod arrival;
pub mod builtin;
mod call;
mod capture;
mod ends;
mod env;
mod env_builder;
mod failure_guard;
mod fault;
mod fault_text;
mod handler;
mod handler_stats;
mod http_request;
mod id;
mod input_limit;
mod jobs_per_client;
mod latencies;
mod limits;
mod log_rate;
mod mount;
mod name;
pub mod outbound;
mod output;
mod peaks;
mod pipe;
mod policy;
mod request_handling;
mod route_stats;
mod schedule;
mod status;
mod stdin;
mod stop;
mod tail;
mod timing;
mod usage;
mod version_counts;
mod waits;

pub use allotment::{Allotment, Needs};
pub use answer_progress::{AnswerProgress, AnswerStage};
pub use arrival::poll_client;
pub use builtin::BUILTIN;
pub use call::{CallError, CallRequest, Callee, Feed, JobCaller, feed};
pub use capture::{Capture, CapturedStdin, FailedJob, JobFailure, Recorder};
pub use ends::JobEnds;
pub use env::{Env, EnvError};
pub use env_builder::EnvBuilder;
pub use failure_guard::FailureGuard;
pub use fault::{Fault, Owner, WORDS};
pub use fault_text::FaultText;
pub use handler::{Grants, Handler, HandlerVersion, Kind, OutputFormat, Run};
pub use handler_stats::{HandlerStats, Outcomes};
pub use http_request::{Proxied, RequestBody, ResponseBody, ResponseSender};
pub use id::{JobId, Label};
pub use input_limit::InputLimit;
pub use jobs_per_client::{JobsPerClient, PeerGuard};
pub use latencies::{HandlerLatencies, OTHER as OTHER_LATENCIES};
pub use limits::{Limits, SlotUse, Slots};
pub use log_rate::LogRate;
pub use mount::{Access, Mount};
pub use name::{Name, NameError};
pub use outbound::Outbound;
pub use output::{Destination, Output, WrittenBytes};
pub use peaks::{Peaks, Used};
pub use pipe::{PIPE_CAPACITY, PipeReader, PipeWriter, pipe, pipe_of};
pub use policy::{AdminQuota, OnDrain, Policy};
pub use request_handling::{Captures, Conduct, Intake, Leaving};
pub use route_stats::{ALL_OTHER as OTHER_ROUTES, OTHER, RoutePosition, RouteStats, RouteTable};
pub use schedule::{Overlap, Schedule, Time};
pub use status::Status;
pub use stdin::Input;
pub use stop::{Stop, StopReason};
pub use tail::Tail;
pub use timing::Timing;
pub use usage::Usage;
pub use version_counts::VersionCounts;
pub use waits::{FromClient, OutputReader, Waits};

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderValue;

use crate::observe::traces::OpenSpan;

/// One piece of work, made by the engine and run once.
///
/// A job cannot run twice: running consumes it.
pub struct Job {
    /// The number that names this job in the log and in every error.
    pub id: JobId,
    /// The handler version that runs the job, resolved when the job is made. A later swap or registration does not
    /// change it.
    pub entry: Arc<HandlerVersion>,
    /// The arguments, without the name.
    pub args: Vec<String>,
    /// The environment: all that the handler knows of the request.
    pub env: Env,
    /// The source of the handler's input.
    pub stdin: Input,
    /// The destination of the handler's response.
    pub stdout: Output,
    /// The destination of the handler's messages. The last line becomes the error text.
    pub stderr: Output,
    /// The request itself, if the handler speaks HTTP. Such a job has no stdin, and its stdout is not a response.
    pub proxied: Option<Box<Proxied>>,
    /// The end of stderr: a destination of [`Job::stderr`].
    pub stderr_tail: Tail,
    /// The signal that ends this job early.
    pub stop: Stop,
    /// The resources that the job has used so far.
    pub usage: Arc<Usage>,
    /// The job that called this one. `None` if a client, an operator or a schedule started it.
    pub parent: Option<JobId>,
    /// The address of the client at the root, for which the job counts. `None` if there is no such address.
    pub origin: Option<IpAddr>,
    /// The middlewares and callers that wait for this job, outermost first. Each holds a slot meanwhile.
    pub around: Vec<Arc<HandlerVersion>>,
    /// Starts jobs on behalf of this one. `None` without grants.
    pub caller: Option<Box<dyn JobCaller>>,
    /// The capture for a record of the job in case it fails. `None` without recording.
    pub capture: Option<Capture>,
    /// Its part of the shared budgets. `None` until it is admitted, and for a job that needs nothing.
    pub allotment: Option<Allotment>,
    /// The `CDN-Loop` field of the request that the job answers (RFC 8586).
    pub trail: Option<HeaderValue>,
    /// Its span, which the engine ends with it. `None` if it is not traced.
    pub span: Option<OpenSpan>,
}

impl Job {
    /// Returns the name of the handler.
    pub fn name(&self) -> &Name {
        &self.entry.name
    }

    /// Traces the job with this span. Its outbound calls, the jobs that it calls and its operations are below it.
    pub fn trace(&mut self, span: OpenSpan) {
        self.usage.spans.begin(span.place().clone(), self.entry.name.shared());
        self.span = Some(span);
    }

    /// Sets `TRACEPARENT` and `TRACESTATE` if the job is traced. What a caller has set is replaced.
    ///
    /// # Errors
    /// Never: the values are printable.
    pub fn set_trace_variables(&mut self) -> Result<(), EnvError> {
        let Some(span) = self.usage.spans.job() else { return Ok(()) };
        self.env.set("TRACEPARENT", span.traceparent())?;
        let state = span.tracestate().unwrap_or_default();
        if !state.is_empty() || self.env.get("TRACESTATE").is_some() {
            self.env.set("TRACESTATE", state)?;
        }
        Ok(())
    }

    /// Returns the label of this job in the log.
    pub fn label(&self) -> Label {
        Label { id: self.id, parent: self.parent }
    }
}

/// Shows the job as a call: `hello(bob, alice)`.
impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.entry.name)?;
        for (position, arg) in self.args.iter().enumerate() {
            if position > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{}", arg.escape_debug())?;
        }
        f.write_str(")")
    }
}
