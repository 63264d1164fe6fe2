//! The seam between a job and what runs it.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{
    Conduct, Env, Fault, HandlerStats, Job, Limits, Mount, Name, Needs, Outbound, Policy, Recorder, Schedule,
    Slots, Status,
};

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
    fn run(self: Arc<Self>, job: Job) -> Run;

    /// Checks that a job within these limits could be started. Runs none of the handler's own code
    /// but what comes before its entry point.
    ///
    /// # Errors
    /// Why no job could.
    fn prove(self: Arc<Self>, limits: Limits) -> BoxFuture<'static, anyhow::Result<()>> {
        let _ = limits;
        Box::pin(std::future::ready(Ok(())))
    }

    /// Says what a job within these limits needs before it starts.
    fn needs(&self, limits: &Limits) -> Needs {
        let _ = limits;
        Needs::default()
    }
}

/// What the jobs of a handler are granted besides their limits.
#[derive(Clone, Default)]
pub struct Grants {
    /// The requests that one instance answers. `None`: each request has its own instance.
    pub reuse: Option<NonZeroU32>,
    /// The directories of the host that they see.
    pub mounts: Vec<Mount>,
    /// The bytes of a directory of each job's own. `None`: they have none.
    pub tmp: Option<u64>,
    /// What carries out their requests to other servers. `None`: they make none.
    pub outbound: Option<Arc<dyn Outbound>>,
}

/// What a handler is made of.
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

/// A handler under its name, with all that is fixed about its jobs. Immutable.
pub struct HandlerVersion {
    /// What calls it.
    pub name: Name,
    /// What runs it.
    pub handler: Arc<dyn Handler>,
    /// What it is made of.
    pub kind: Kind,
    /// What the daemon does about its jobs.
    pub policy: Policy,
    /// What its jobs are granted.
    pub grants: Grants,
    /// The first 12 hexadecimal digits of the module's SHA-256; for native jobs the daemon's version.
    pub version: String,
    /// Arguments that come before a request's own.
    pub args: Vec<String>,
    /// Variables that come after a request's own, and so win.
    pub env: Env,
    /// The handlers that its jobs may call.
    pub calls: Vec<Name>,
    /// When it runs by itself; none: never.
    pub schedule: Option<Schedule>,
    /// What each job may use.
    pub limits: Limits,
    /// How stdout becomes a response.
    pub mapping: OutputFormat,
    /// How its requests are taken.
    pub conduct: Conduct,
    /// Where its jobs run.
    pub slots: Slots,
    /// How its requests have ended.
    pub record: Arc<HandlerStats>,
    /// Who is given its jobs that fail; none: nobody.
    pub recorder: Option<Arc<dyn Recorder>>,
}

impl HandlerVersion {
    /// Puts code of the daemon's own under a name, without limits and grants.
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
        }
    }

    /// Says what the log is told of a job that failed: `whole`, with the guest's stack, which may be
    /// empty, or `short`, which has no word of the guest's in it.
    ///
    /// What a guest says of its end is of its stderr, and as much of it is logged: [`Limits::stderr`]
    /// bytes of a job, and [`Limits::stderr_rate`] lines a second over all jobs, or a storm of traps
    /// would be a storm in the log. Lines that are left out are counted, and told.
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
