//! The `Handler` trait, which runs jobs, and `HandlerVersion`: a handler with its name, grants and limits.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{
    Conduct, Env, Fault, HandlerStats, Job, Limits, Mount, Name, Needs, Outbound, Policy, Recorder, Schedule,
    Slots, Status,
};
use crate::database::DatabaseGrant;
use crate::observe::history::VersionHistory;
use crate::store::StoreGrant;

/// A handler's work on one job. Dropping it cancels the work and frees all it holds.
pub type Run = BoxFuture<'static, Result<Status, Fault>>;

/// Runs jobs.
///
/// A trait, because native jobs are an open set: every layer above may bring its own. It takes the
/// job by value, so that a job can run only once, and an `Arc` of itself, so that the run owns all
/// it needs and may outlive the catalog that named it.
pub trait Handler: Send + Sync + 'static {
    /// Starts the job; nothing happens before the first poll.
    ///
    /// A status other than 0 is not a fault: the job ran to its end and says so. A [`Fault`] is an
    /// end that the job did not choose.
    fn run(self: Arc<Self>, job: Box<Job>) -> Run;

    /// Checks that a job within these limits could start. Runs none of the handler's own code, except code before its
    /// entry point.
    ///
    /// # Errors
    /// Why no job could start.
    fn prove(self: Arc<Self>, limits: Limits) -> BoxFuture<'static, anyhow::Result<()>> {
        let _ = limits;
        Box::pin(std::future::ready(Ok(())))
    }

    /// Returns what a job within these limits needs before it starts.
    fn needs(&self, limits: &Limits) -> Needs {
        let _ = limits;
        Needs::default()
    }
}

/// The grants of a handler's jobs, besides their limits.
#[derive(Clone, Default)]
pub struct Grants {
    /// The number of requests per instance. `None` gives each request a fresh instance.
    pub reuse: Option<NonZeroU32>,
    /// The mounts: directories of the host that jobs see.
    pub mounts: Vec<Mount>,
    /// The size of each job's own `/tmp` in bytes. `None` if jobs have none.
    pub tmp: Option<u64>,
    /// Whether they pass requests on to what stands behind them.
    pub passes_on: bool,
    /// The client for outbound requests. `None` if jobs may make none.
    pub outbound: Option<Arc<dyn Outbound>>,
    /// The stores that they may open, each under their name for it.
    pub stores: Arc<[StoreGrant]>,
    /// The databases that they may open, each under their name for it.
    pub databases: Arc<[DatabaseGrant]>,
}

/// The kind of a handler's code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Rust code inside the daemon.
    Native,
    /// A core module that exports `_start` (wasm32-wasip1).
    Core,
    /// A component that exports `wasi:cli/run` (wasm32-wasip2).
    Command,
    /// A component that exports `wasi:http/incoming-handler` or `wasi:http/handler`.
    Proxy,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Native => "native",
            Kind::Core => "wasip1",
            Kind::Command => "wasip2",
            Kind::Proxy => "wasi:http",
        })
    }
}

/// How a handler's stdout becomes an HTTP response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// A CGI document: header fields, a blank line, the body (RFC 3875 §6).
    Cgi,
    /// Plain bytes of this content type.
    Raw(String),
}

/// A version of a handler: its code, and all settings of its jobs. Immutable.
///
/// The alignment keeps it out of the cache line in which processors count references to it.
#[repr(align(64))]
pub struct HandlerVersion {
    /// The name under which routes and jobs call it.
    pub name: Name,
    /// The code that runs its jobs.
    pub handler: Arc<dyn Handler>,
    /// The kind of that code.
    pub kind: Kind,
    /// How the daemon treats its jobs in a drain and at the admin socket.
    pub policy: Policy,
    /// The grants of its jobs.
    pub grants: Grants,
    /// The first 12 hexadecimal digits of the module's SHA-256; for native jobs the daemon's version.
    pub version: String,
    /// Arguments before those of a request.
    pub args: Vec<String>,
    /// Variables that override those of a request.
    pub env: Env,
    /// The handlers that its jobs may call.
    pub calls: Vec<Name>,
    /// When it runs by itself. `None` if it has no schedule.
    pub schedule: Option<Schedule>,
    /// The limits of each job.
    pub limits: Limits,
    /// How a job's stdout becomes a response.
    pub mapping: OutputFormat,
    /// The settings for its requests.
    pub conduct: Conduct,
    /// The slots and the queue of its jobs.
    pub slots: Slots,
    /// The counters of its requests.
    pub record: Arc<HandlerStats>,
    /// Records its failed jobs. `None` if they are not recorded.
    pub recorder: Option<Arc<dyn Recorder>>,
    /// Keeps its ended jobs for operators. `None` for jobs of the daemon itself.
    pub history: Option<VersionHistory>,
}

#[cfg(test)]
impl HandlerVersion {
    /// Makes a version whose jobs end at once, and well.
    pub(crate) fn idle(name: &str) -> HandlerVersion {
        struct IdleHandler;

        impl Handler for IdleHandler {
            fn run(self: Arc<Self>, _job: Box<Job>) -> Run {
                Box::pin(std::future::ready(Ok(Status::OK)))
            }
        }

        HandlerVersion::native(name.parse().unwrap(), Arc::new(IdleHandler))
    }
}

impl HandlerVersion {
    /// Makes a version from code of the daemon, without limits and grants.
    pub fn native(name: Name, handler: Arc<dyn Handler>) -> HandlerVersion {
        HandlerVersion {
            name,
            handler,
            kind: Kind::Native,
            policy: Policy::WORK,
            grants: Grants::default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            args: Vec::new(),
            env: Env::new(),
            calls: Vec::new(),
            schedule: None,
            limits: Limits::NATIVE,
            mapping: OutputFormat::Cgi,
            conduct: Conduct::default(),
            slots: Slots::new(&Limits::NATIVE),
            record: Arc::default(),
            recorder: None,
            history: None,
        }
    }

    /// Returns the text that the log shows for a failed job: `whole` with the guest's stack, or `short` without any
    /// text of the guest.
    ///
    /// The guest's text counts as stderr and obeys its limits, so a storm of traps does not flood the log:
    /// [`Limits::stderr`] bytes for a job, and [`Limits::stderr_rate`] lines a second for the handler. Lines that are
    /// left out are counted, and the text says how many.
    pub fn failure_text(&self, whole: String, short: String, stack: &str) -> String {
        let stack = stack.trim_end();
        if stack.is_empty() && whole == short {
            return whole;
        }
        let words = whole.len().saturating_sub(short.len()) + stack.len();
        let lines = stack.lines().chain([whole.as_str()]).map(str::len);
        let limit = match u64::try_from(words) {
            Ok(words) if words > self.limits.stderr => "stderr",
            _ if self.record.takes(lines, self.limits.stderr_rate) => {
                return if stack.is_empty() { whole } else { format!("{whole}\n{stack}") };
            }
            _ => "stderr_rate",
        };
        let lines = stack.lines().count() + usize::from(whole != short);
        self.record.leave_out(lines as u64);
        format!("{short}; {lines} lines were left out here (limits.{limit})")
    }
}
