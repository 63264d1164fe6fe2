//! The seam between a job and what runs it.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{
    Conduct, Env, Fault, Job, Limits, Mount, Name, Needs, Outbound, Record, Recorder, Schedule, Slots, Status,
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

    /// Says what a shutdown does about this handler's jobs.
    fn tenure(&self) -> Tenure {
        Tenure::Service
    }

    /// Says how long a job keeps whoever asks for it on the admin socket.
    fn stay(&self) -> Stay {
        Stay::Open
    }

    /// Says how many requests one instance of it answers; none: each has its own.
    fn reuse(&self) -> Option<NonZeroU32> {
        None
    }

    /// Says whether its job is a part of the daemon, without which the daemon does not do what it is
    /// configured to: an operator ends the daemon, and not such a job.
    fn is_of_the_daemon(&self) -> bool {
        false
    }

    /// Says what a job within these limits needs before it starts.
    fn needs(&self, limits: &Limits) -> Needs {
        let _ = limits;
        Needs::default()
    }

    /// Lists the directories of the host that its jobs see.
    fn mounts(&self) -> &[Mount] {
        &[]
    }

    /// Returns how many bytes each of its jobs may have in a directory of its own; `None`: it has none.
    fn tmp(&self) -> Option<u64> {
        None
    }

    /// Returns what carries out the requests of its jobs to other servers; none: they make none.
    fn outbound(&self) -> Option<&dyn Outbound> {
        None
    }
}

/// What a shutdown does about a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tenure {
    /// One that runs is waited for, a new one is refused.
    Service,
    /// One that runs is not waited for, and a new one may still come: it looks at the daemon or ends
    /// it, which an operator wants to do while the daemon drains, too.
    Attendance,
}

/// How long a job keeps whoever asked for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stay {
    /// For a moment: it tells what is there, or stops something.
    Moment,
    /// As long as a module takes to arrive and to be compiled, and those before it.
    Change,
    /// As long as it runs, or somebody reads what it writes.
    Open,
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
pub enum Mapping {
    /// A CGI document: header fields, a blank line, the body (RFC 3875 §6).
    Cgi,
    /// Plain bytes of this content type.
    Raw(String),
}

/// A handler under its name, with all that is fixed about its jobs. Immutable.
pub struct Entry {
    /// What calls it.
    pub name: Name,
    /// What runs it.
    pub handler: Arc<dyn Handler>,
    /// What it is made of.
    pub kind: Kind,
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
    pub mapping: Mapping,
    /// How its requests are taken.
    pub conduct: Conduct,
    /// Where its jobs run.
    pub slots: Slots,
    /// How its requests have ended.
    pub record: Arc<Record>,
    /// Who is given its jobs that fail; none: nobody.
    pub recorder: Option<Arc<dyn Recorder>>,
}

impl Entry {
    /// Says what the log is told of a job that failed: `whole`, with the guest's stack, which may be
    /// empty, or `short`, which has no word of the guest's in it.
    ///
    /// What a guest says of its end is of its stderr, and as much of it is logged: [`Limits::stderr`]
    /// bytes of a job, and [`Limits::stderr_rate`] lines a second over all jobs, or a storm of traps
    /// would be a storm in the log. Lines that are left out are counted, and told.
    pub fn last_words(&self, whole: String, short: String, stack: &str) -> String {
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
