//! Every way a job can end involuntarily, and who is to blame.

use std::fmt;
use std::time::Duration;

use super::{Name, Status, StopReason};
use crate::observe::brief;

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
    /// The job ended by itself with a status other than 0.
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

    /// Makes the fault of a body that is shorter than the `Content-Length` of its head.
    pub fn short_answer(announced: u64, found: u64) -> Fault {
        Fault::BadAnswer(format!("Content-Length says {announced}, the body has {found} bytes"))
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
            Owner::Load => self.is_without_slot(),
            Owner::Caller => false,
        }
    }

    /// Reports whether the job got no slot of its handler. The text of such a fault begins with the handler's name.
    pub fn is_without_slot(&self) -> bool {
        matches!(self, Fault::Busy { .. } | Fault::QueuedTooLong { .. } | Fault::Deadlock { .. })
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

impl std::error::Error for Fault {}
