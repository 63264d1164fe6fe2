//! Every way a job can end involuntarily, and who is to blame.

use std::fmt;
use std::time::Duration;

use super::{Name, Status, StopReason};
use crate::observe::{ByteCount, brief};

/// The maximum length of a guest's own words in our messages, in bytes.
pub const WORDS: usize = 1 << 10;

/// An involuntary end of a job.
#[derive(Debug)]
pub enum Fault {
    /// No job has this name.
    NotFound(String),
    /// The path of the request does not lead to a script of the handler.
    NoScript(String),
    /// All slots are taken and the queue is full.
    Busy {
        /// The handler.
        name: Name,
        /// When to try again.
        retry_after: Duration,
    },
    /// The job waited in the queue for as long as allowed.
    QueuedTooLong {
        /// The handler.
        name: Name,
        /// The time limit in the queue.
        limit: Duration,
        /// When to try again.
        retry_after: Duration,
    },
    /// All slots are held by callers and middlewares that would wait for this job, and this job for them.
    Deadlock {
        /// The handler.
        name: Name,
        /// When to try again.
        retry_after: Duration,
    },
    /// The memory budget that all jobs share is exhausted.
    MemoryTotal {
        /// When to try again.
        retry_after: Duration,
    },
    /// The file descriptor budget that all jobs share is exhausted.
    DescriptorsTotal {
        /// When to try again.
        retry_after: Duration,
    },
    /// The request body cannot be stored until its length is known, for the reason given.
    NoScratch(String),
    /// The client sent no length for its body, and there is no place to store the body until it is
    /// known.
    LengthRequired,
    /// The daemon is shutting down and accepts no new jobs.
    Draining,
    /// The job was told to stop.
    Stopped(StopReason),
    /// The job reached its wall time limit.
    TimedOut(Duration),
    /// The job reached its CPU time limit.
    CpuExceeded(Duration),
    /// The guest reached its memory limit and could not go on.
    OutOfMemory {
        /// The limit in bytes.
        limit: usize,
        /// Its last line on stderr; may be empty.
        last_line: String,
    },
    /// The host refused to give the daemon more memory for the job, with its error.
    NoMemory(String),
    /// The component holds more than this many handles, and its interfaces have no error for that.
    TooManyHandles(usize),
    /// The request body is larger than this many bytes.
    InputTooLarge(u64),
    /// The client broke its own framing, or the connection broke off.
    InputBroken(String),
    /// No byte of the request body arrived for this long.
    InputIdle(Duration),
    /// The request body arrived at less than this many bytes a second.
    InputSlow(u64),
    /// The handler wrote more than this many bytes.
    OutputTooLarge(u64),
    /// The guest trapped.
    Trapped {
        /// The trap as wasmtime describes it, on one line.
        message: String,
        /// The message of a panic, on one line; may be empty.
        said: String,
        /// One frame a line, innermost first; may be empty.
        stack: String,
    },
    /// The job exited before it had answered.
    Exited {
        /// Never 0.
        status: Status,
        /// May be empty.
        last_line: String,
    },
    /// The output of the handler is not a valid response.
    BadAnswer(String),
    /// The reader of the job's stdout has gone.
    ReaderGone,
    /// A failure of the daemon.
    Host(anyhow::Error),
}

/// Who is to blame for a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// The client made an invalid request.
    Caller,
    /// The handler failed.
    Handler,
    /// There is more load than capacity.
    Load,
    /// The daemon failed.
    Ours,
}

impl Fault {
    /// The value of `Retry-After` for a client that was refused.
    pub const RETRY_AFTER: Duration = Duration::from_secs(1);

    /// Makes the fault of an invalid response, with the reason.
    pub fn bad_answer(why: impl fmt::Display) -> Fault {
        Fault::BadAnswer(brief(why, WORDS))
    }

    /// Makes the fault of a trap. What a panic said is filled in later.
    pub fn trapped(message: impl fmt::Display, stack: String) -> Fault {
        Fault::Trapped { message: brief(message, WORDS), said: String::new(), stack }
    }

    /// Returns the guest's stack; may be empty.
    pub fn stack(&self) -> &str {
        match self {
            Fault::Trapped { stack, .. } => stack,
            _ => "",
        }
    }

    /// Returns who is to blame.
    pub fn owner(&self) -> Owner {
        match self {
            Fault::NotFound(_)
            | Fault::NoScript(_)
            | Fault::InputTooLarge(_)
            | Fault::InputBroken(_)
            | Fault::InputIdle(_)
            | Fault::InputSlow(_)
            | Fault::LengthRequired
            | Fault::ReaderGone => Owner::Caller,
            Fault::Stopped(reason) if reason.is_of_the_client() => Owner::Caller,
            Fault::Busy { .. }
            | Fault::QueuedTooLong { .. }
            | Fault::Deadlock { .. }
            | Fault::MemoryTotal { .. }
            | Fault::DescriptorsTotal { .. }
            | Fault::NoScratch(_)
            | Fault::NoMemory(_)
            | Fault::Draining
            | Fault::Stopped(_) => Owner::Load,
            Fault::TimedOut(_)
            | Fault::CpuExceeded(_)
            | Fault::OutOfMemory { .. }
            | Fault::TooManyHandles(_)
            | Fault::OutputTooLarge(_)
            | Fault::Trapped { .. }
            | Fault::Exited { .. }
            | Fault::BadAnswer(_) => Owner::Handler,
            Fault::Host(_) => Owner::Ours,
        }
    }

    /// Reports whether this fault says something about the handler: its own failure, or that it was
    /// too slow for its load. The act of a client or an operator does not.
    pub fn is_about_the_handler(&self) -> bool {
        match self.owner() {
            Owner::Handler | Owner::Ours => true,
            Owner::Load => {
                matches!(self, Fault::Busy { .. } | Fault::QueuedTooLong { .. } | Fault::Deadlock { .. })
            }
            Owner::Caller => false,
        }
    }

    /// Describes the fault for clients, without the guest's own words, which are meant for its
    /// operator.
    pub fn in_public(&self) -> String {
        match self {
            Fault::Trapped { message, .. } => format!("trapped: {}", brief(message, WORDS)),
            Fault::Exited { status, .. } => {
                Fault::Exited { status: *status, last_line: String::new() }.to_string()
            }
            Fault::OutOfMemory { limit, .. } => {
                Fault::OutOfMemory { limit: *limit, last_line: String::new() }.to_string()
            }
            Fault::BadAnswer(_) => "not a valid answer".to_owned(),
            Fault::Host(_) => "internal error: see the daemon's log".to_owned(),
            Fault::NoScratch(_) => {
                "there is no room for the request body: send its Content-Length, or try again".to_owned()
            }
            Fault::LengthRequired => "a request body of this size needs a Content-Length".to_owned(),
            Fault::NoMemory(_) => "the host has no memory left for this job: try again".to_owned(),
            other => other.to_string(),
        }
    }

    /// Describes the fault for the operator, without the guest's own words.
    pub fn without_words(&self) -> String {
        match self {
            // These details are the daemon's, and appear in the log only.
            Fault::Host(_) | Fault::NoMemory(_) | Fault::NoScratch(_) | Fault::LengthRequired => {
                self.to_string()
            }
            other => other.in_public(),
        }
    }

    /// Returns the exit status that stands for this fault.
    pub fn status(&self) -> Status {
        match self {
            Fault::NotFound(_) | Fault::NoScript(_) => Status::NOT_FOUND,
            Fault::TimedOut(_) | Fault::CpuExceeded(_) => Status::TIMED_OUT,
            Fault::OutOfMemory { .. } | Fault::MemoryTotal { .. } | Fault::NoMemory(_) => {
                Status::OUT_OF_MEMORY
            }
            Fault::Trapped { .. } | Fault::TooManyHandles(_) => Status::TRAPPED,
            Fault::Stopped(_) | Fault::ReaderGone => Status::STOPPED,
            Fault::Exited { status, .. } => *status,
            Fault::Busy { .. }
            | Fault::QueuedTooLong { .. }
            | Fault::Deadlock { .. }
            | Fault::DescriptorsTotal { .. }
            | Fault::NoScratch(_)
            | Fault::LengthRequired
            | Fault::Draining
            | Fault::InputTooLarge(_)
            | Fault::InputBroken(_)
            | Fault::InputIdle(_)
            | Fault::InputSlow(_)
            | Fault::OutputTooLarge(_)
            | Fault::BadAnswer(_)
            | Fault::Host(_) => Status::ERROR,
        }
    }

    /// Returns one stable word for logs, metrics and programs.
    pub fn code(&self) -> &'static str {
        match self {
            Fault::NotFound(_) => "job_not_found",
            Fault::NoScript(_) => "no_script",
            Fault::Busy { .. } => "queue_limit",
            Fault::QueuedTooLong { .. } => "queue_time_limit",
            Fault::Deadlock { .. } => "deadlock",
            Fault::MemoryTotal { .. } => "memory_total",
            Fault::DescriptorsTotal { .. } => "descriptors_total",
            Fault::NoScratch(_) => "scratch",
            Fault::LengthRequired => "length_required",
            Fault::Draining => "draining",
            Fault::Stopped(reason) => reason.code(),
            Fault::TimedOut(_) => "time_limit",
            Fault::CpuExceeded(_) => "cpu_limit",
            Fault::OutOfMemory { .. } => "memory_limit",
            Fault::NoMemory(_) => "host_memory",
            Fault::TooManyHandles(_) => "handles_limit",
            Fault::InputTooLarge(_) => "body_limit",
            Fault::InputBroken(_) => "body_broken",
            Fault::InputIdle(_) => "body_idle",
            Fault::InputSlow(_) => "body_rate",
            Fault::OutputTooLarge(_) => "output_limit",
            Fault::Trapped { .. } => "trapped",
            Fault::Exited { .. } => "exited",
            Fault::BadAnswer(_) => "bad_answer",
            Fault::ReaderGone => "client_gone",
            Fault::Host(_) => "internal",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NotFound(name) => write!(f, "{}: command not found", name.escape_debug()),
            Fault::NoScript(path) => write!(f, "there is no script at {:?}", brief(path, WORDS)),
            Fault::Busy { name, retry_after } => {
                write!(
                    f,
                    "{name}: every slot is taken and the queue is full (limits.concurrency, limits.queue); try again in {retry_after:?}"
                )
            }
            Fault::QueuedTooLong { name, limit, retry_after } => {
                write!(
                    f,
                    "{name}: no slot within {limit:?} (limits.queue_time); try again in {retry_after:?}"
                )
            }
            Fault::Deadlock { name, retry_after } => write!(
                f,
                "{name}: every slot is held by a job that would wait for this one, as where handlers call one another, or where routes have the same middlewares in another order (limits.concurrency); try again in {retry_after:?}"
            ),
            Fault::MemoryTotal { retry_after } => write!(
                f,
                "the memory that all jobs share is in use (limits.total_memory); try again in {retry_after:?}"
            ),
            Fault::DescriptorsTotal { retry_after } => write!(
                f,
                "the file descriptors that all jobs share are in use (limits.handles); try again in {retry_after:?}"
            ),
            Fault::NoScratch(why) => write!(
                f,
                "no room to store the request body, which has no Content-Length: {why}; free some space, set another directory (scratch), or let the handler read the body as it arrives (body = \"stream\")"
            ),
            Fault::LengthRequired => f.write_str(
                "a request body without Content-Length is too large to keep in memory, and there is no directory for it: set one (scratch), or let the handler read the body as it arrives (body = \"stream\")"
            ),
            Fault::Draining => f.write_str("the daemon is draining and starts no new jobs"),
            Fault::Stopped(reason) => write!(f, "stopped: {reason}"),
            Fault::TimedOut(limit) => write!(f, "stopped at its time limit of {limit:?} (limits.time)"),
            Fault::CpuExceeded(limit) => {
                write!(f, "stopped at its processor limit of {limit:?} (limits.cpu)")
            }
            Fault::OutOfMemory { limit, last_line } => {
                write!(f, "stopped at its memory limit of {} (limits.memory)", ByteCount(*limit as u64))?;
                if last_line.is_empty() { Ok(()) } else { write!(f, ": {}", brief(last_line, WORDS)) }
            }
            Fault::NoMemory(said) => {
                write!(
                    f,
                    "the host gave no more memory: {said}; allow the daemon more (LimitAS= in its unit, `ulimit -v` in a shell, vm.overcommit_memory) or lower `jobs`"
                )
            }
            Fault::InputTooLarge(limit) => {
                write!(f, "the request body is larger than the limit of {} (limits.body)", ByteCount(*limit))
            }
            Fault::InputBroken(what) => write!(f, "the request body broke off: {what}"),
            Fault::InputIdle(limit) => write!(f, "no byte of the request body came for {limit:?}"),
            Fault::InputSlow(rate) => {
                write!(f, "the request body came at less than {rate} bytes a second (http.min_rate)")
            }
            Fault::TooManyHandles(limit) => {
                write!(f, "stopped at its limit of {limit} handles (limits.handles)")
            }
            Fault::OutputTooLarge(limit) => {
                write!(f, "stopped at its output limit of {} (limits.output)", ByteCount(*limit))
            }
            Fault::Trapped { message, said, .. } => {
                write!(f, "trapped: {}", brief(if said.is_empty() { message } else { said }, WORDS))
            }
            Fault::Exited { status, last_line } if last_line.is_empty() => {
                write!(f, "ended with exit status {} before it had answered", status.0)
            }
            Fault::Exited { status, last_line } => {
                let last_line = brief(last_line, WORDS);
                write!(f, "ended with exit status {} before it had answered: {last_line}", status.0)
            }
            Fault::BadAnswer(what) => write!(f, "not a valid answer: {}", brief(what, WORDS)),
            Fault::ReaderGone => f.write_str("the client has gone"),
            // The error may contain names from a module.
            Fault::Host(error) => f.write_str(&brief(format_args!("{error:#}"), 4 * WORDS)),
        }
    }
}

impl std::error::Error for Fault {}
