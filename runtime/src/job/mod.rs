//! The job: a name, arguments, an environment, three streams and an exit status, as a Unix process has.
//!
//! Floors, lowest first: `id`, `env`, `mount`, `name`, `output`, `pace`, `peers`, `schedule`, `conduct`, `status`, `stop`,
//! `waits`, `allotment`; `fault`, `usage`; `arrival`, `measure`, `outbound`, `pipe`, `proxied`; `limits`, `stdin`; `call`,
//! `peaks`; `record`; [`Job`], [`Entry`], [`Handler`] and [`Recorder`], which name one another: a job holds what runs it,
//! and what runs it takes the job; `counts`.

mod allotment;
mod arrival;
mod call;
mod capture;
mod conduct;
mod counts;
mod env;
mod fault;
mod handler;
mod id;
mod limits;
mod measure;
mod mount;
mod name;
pub mod outbound;
mod output;
mod pace;
mod peaks;
mod peers;
mod pipe;
mod proxied;
mod record;
mod schedule;
mod status;
mod stdin;
mod stop;
mod usage;
mod waits;

pub use allotment::{Allotment, Needs};
pub use arrival::poll_client;
pub use call::{CallError, Callee, Caller, Feed, Wanted, feed};
pub use capture::{Capture, End, Incident, Read, Recorder};
pub use conduct::{Captures, Conduct, Intake, Leaving};
pub use counts::Counts;
pub use env::{Env, EnvError};
pub use fault::{Fault, Owner, WORDS};
pub use handler::{Entry, Handler, Kind, Mapping, Run, Stay, Tenure};
pub use id::{JobId, Label};
pub use limits::{Limits, Slots, Taken};
pub use measure::Measure;
pub use mount::{Access, Mount};
pub use name::{BUILTIN, Name, NameError};
pub use outbound::Outbound;
pub use output::{Destination, Output, Tail, Written};
pub use pace::Pace;
pub use peaks::{Peaks, Used};
pub use peers::{Counted, Peers};
pub use pipe::{PipeReader, PipeWriter, pipe, pipe_of};
pub use proxied::{Answer, Proxied, RequestBody, ResponseBody};
pub use record::{Ends, Record};
pub use schedule::{Overlap, Schedule, Time};
pub use status::Status;
pub use stdin::Input;
pub use stop::{Stop, StopReason};
pub use usage::{Usage, thread_time};
pub use waits::{FromClient, Taker, Waits};

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderValue;

/// One piece of work, made by the engine and run once.
///
/// A job that ran cannot run again: running consumes it.
pub struct Job {
    /// The number that names this job in the log and in every error.
    pub id: JobId,
    /// What runs the job. Resolved when the job is made: a later swap or registration cannot change it.
    pub entry: Arc<Entry>,
    /// The arguments, without the name.
    pub args: Vec<String>,
    /// The environment: everything the handler may know.
    pub env: Env,
    /// Where the handler reads from.
    pub stdin: Input,
    /// Where the handler's answer goes.
    pub stdout: Output,
    /// Where the handler's complaints go; the last line becomes the error text.
    pub stderr: Output,
    /// The request itself, if the handler speaks HTTP: it has no stdin and its stdout is no response.
    pub proxied: Option<Box<Proxied>>,
    /// The last line of stderr, where [`Job::stderr`] goes as well.
    pub last_words: Tail,
    /// The signal that ends this job early.
    pub stop: Stop,
    /// What the job has used so far, for whoever looks.
    pub usage: Arc<Usage>,
    /// The job that called this one; none: a client, an operator or the clock did.
    pub parent: Option<JobId>,
    /// The address of the client at the root, which the job counts for; none: it has none.
    pub origin: Option<IpAddr>,
    /// What starts jobs for this one; none: it is granted none.
    pub caller: Option<Box<dyn Caller>>,
    /// What is kept of the job in case it fails; none: nothing.
    pub capture: Option<Capture>,
    /// What it has of what all jobs share; `None` until it is admitted, and of a job that needs nothing.
    pub allotment: Option<Allotment>,
    /// Who has passed on the request that the job answers: its field `CDN-Loop` (RFC 8586).
    pub trail: Option<HeaderValue>,
}

impl Job {
    /// Names the handler this job runs.
    pub fn name(&self) -> &Name {
        &self.entry.name
    }

    /// Returns what the log calls this job.
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
