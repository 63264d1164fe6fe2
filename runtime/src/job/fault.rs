//! Every way a job can end that it did not choose, and whose doing it was.

use std::fmt;
use std::time::Duration;

use super::{Name, Status, StopReason};
use crate::observe::brief;

/// Bytes that are told of what a guest says in a message of ours.
pub const WORDS: usize = 1 << 10;

/// An end that the job did not choose.
#[derive(Debug)]
pub enum Fault {
    /// No job has this name.
    NotFound(String),
    /// The path of the request leads to no script of the handler.
    NoScript(String),
    /// All slots are taken and the line in front of them is full.
    Busy {
        /// The handler in demand.
        name: Name,
        /// When to try again.
        retry_after: Duration,
    },
    /// The job stood in line for as long as it may.
    QueuedTooLong {
        /// The handler in demand.
        name: Name,
        /// How long that was.
        limit: Duration,
        /// When to try again.
        retry_after: Duration,
    },
    /// The memory that all jobs share is in use.
    MemoryTotal {
        /// When to try again.
        retry_after: Duration,
    },
    /// The file descriptors that all jobs share are in use.
    DescriptorsTotal {
        /// When to try again.
        retry_after: Duration,
    },
    /// There is no room to keep the request body until its length is known: why.
    NoScratch(String),
    /// The client did not say how long its body is, and nothing can keep it until that is known.
    LengthRequired,
    /// The daemon takes no new jobs.
    Draining,
    /// The job was told to stop.
    Stopped(StopReason),
    /// The wall clock ran out.
    TimedOut(Duration),
    /// The time on a processor ran out.
    CpuExceeded(Duration),
    /// The memory limit was reached and the guest could not go on.
    OutOfMemory {
        /// In bytes.
        limit: usize,
        /// Its last line on stderr; may be empty.
        last_line: String,
    },
    /// The host gave the daemon no more memory for the job: what it said.
    NoMemory(String),
    /// The component went beyond this many handles, for which its interfaces have no error.
    TooManyHandles(usize),
    /// The client sent more than this many bytes.
    InputTooLarge(u64),
    /// The client broke its own framing, or off.
    InputBroken(String),
    /// The client sent no byte of its body for this long.
    InputIdle(Duration),
    /// The client sent less than this many bytes of its body a second.
    InputSlow(u64),
    /// The handler wrote more than this many bytes.
    OutputTooLarge(u64),
    /// The guest trapped: what happened, and the guest's stack.
    Trapped {
        /// What the engine says, on one line.
        message: String,
        /// What a panic said, on one line; may be empty.
        said: String,
        /// One frame a line, innermost first; may be empty.
        stack: String,
    },
    /// The job ended by itself before it had answered: its status, and its last line on stderr.
    Exited {
        /// Never 0.
        status: Status,
        /// May be empty.
        last_line: String,
    },
    /// What the handler wrote is not an answer.
    BadAnswer(String),
    /// Whoever read the job's stdout has gone.
    ReaderGone,
    /// A failure of ours.
    Host(anyhow::Error),
}

/// Whose doing a fault is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// The client asked for something that cannot be.
    Caller,
    /// The handler failed.
    Handler,
    /// There is more work than room.
    Load,
    /// The daemon failed.
    Ours,
}

impl Fault {
    /// When a client that was sent away may try again.
    pub const RETRY_AFTER: Duration = Duration::from_secs(1);

    /// Makes the fault of an answer that is none, and says why, in the guest's words or ours.
    pub fn bad_answer(why: impl fmt::Display) -> Fault {
        Fault::BadAnswer(brief(why, WORDS))
    }

    /// Makes the fault of a trap, of which nothing is known yet but what the engine says.
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

    /// Says whose doing this is.
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

    /// Reports whether this tells something about the handler: its own failure, or that it was too
    /// slow for those who asked. What a caller did, or an operator, does not.
    pub fn is_about_the_handler(&self) -> bool {
        match self.owner() {
            Owner::Handler | Owner::Ours => true,
            Owner::Load => matches!(self, Fault::Busy { .. } | Fault::QueuedTooLong { .. }),
            Owner::Caller => false,
        }
    }

    /// Says it without the guest's own words: whoever asked need not see what a handler says to its
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
            Fault::Host(_) => "internal error: the log says more".to_owned(),
            Fault::NoScratch(_) => {
                "there is no room for the request body: say its length, or try again".to_owned()
            }
            Fault::LengthRequired => {
                "a request body of this size needs its length said (Content-Length)".to_owned()
            }
            Fault::NoMemory(_) => "the host has no memory left for this job: try again".to_owned(),
            other => other.to_string(),
        }
    }

    /// Says it to the operator, without the guest's own words.
    pub fn without_words(&self) -> String {
        match self {
            // Ours, and told in the log alone.
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
                "no room to keep the request body until its length is known: {why}; make room, name another directory (scratch), or let the handler read it as it comes (body = \"stream\")"
            ),
            Fault::LengthRequired => f.write_str(
                "a request body whose length is not said is larger than memory keeps, and there is no directory for it: name one (scratch), or let the handler read it as it comes (body = \"stream\")"
            ),
            Fault::Draining => f.write_str("engine is shutdown"),
            Fault::Stopped(reason) => write!(f, "stopped: {reason}"),
            Fault::TimedOut(limit) => write!(f, "stopped at its time limit of {limit:?} (limits.time)"),
            Fault::CpuExceeded(limit) => {
                write!(f, "stopped at its processor limit of {limit:?} (limits.cpu)")
            }
            Fault::OutOfMemory { limit, last_line } => {
                write!(f, "stopped at its memory limit of {limit} bytes (limits.memory)")?;
                if last_line.is_empty() { Ok(()) } else { write!(f, ": {}", brief(last_line, WORDS)) }
            }
            Fault::NoMemory(said) => {
                write!(
                    f,
                    "the host gave no more memory: {said}; allow the daemon more (LimitAS= in its unit, `ulimit -v` in a shell, vm.overcommit_memory) or lower `jobs`"
                )
            }
            Fault::InputTooLarge(limit) => {
                write!(f, "the request body is larger than the limit of {limit} bytes (limits.body)")
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
                write!(f, "stopped at its output limit of {limit} bytes (limits.output)")
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
            // A module's own names may be in it.
            Fault::Host(error) => f.write_str(&brief(format_args!("{error:#}"), 4 * WORDS)),
        }
    }
}

impl std::error::Error for Fault {}
