//! How a handler takes requests: when a job starts, its arguments, and what happens when its client disconnects.

use std::fmt;

/// The settings of a handler for its requests, besides limits.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Conduct {
    /// When a job starts whose request body has no known length. `None` if the handler does not set it.
    pub intake: Option<Intake>,
    /// What happens to a job when its client disconnects.
    pub leaving: Leaving,
    /// Which parts of a path become arguments.
    pub captures: Captures,
}

impl Conduct {
    /// Returns when such a job starts, with the default applied.
    pub fn intake(&self) -> Intake {
        self.intake.unwrap_or_default()
    }
}

/// When a job starts whose request body has no known length.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Intake {
    /// Once the whole body has arrived, so its length can be passed to the job (RFC 3875 §4.1.2).
    #[default]
    Whole,
    /// At once. The job reads the body as it arrives.
    Stream,
}

/// What happens to a job when its client disconnects.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Leaving {
    /// The job is cancelled at once.
    #[default]
    Cancel,
    /// The job runs to its end, within its limits. Further output is dropped.
    Finish,
}

/// Which parts of a path become arguments of a program.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Captures {
    /// Parts that no program takes for an option: a leading `-` is refused, unless the handler's own arguments
    /// end in `--`.
    #[default]
    Words,
    /// All parts, whatever a client sends.
    Any,
    /// No parts: the path selects a script.
    Nothing,
}

impl Captures {
    /// Reports whether a part of a path may become an argument after `args`.
    pub fn admit(self, args: &[String], value: &str) -> bool {
        self != Captures::Words || !value.starts_with('-') || args.last().is_some_and(|last| last == "--")
    }
}

/// The spelling of the configuration.
impl fmt::Display for Captures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Captures::Words => "words",
            Captures::Any => "any",
            Captures::Nothing => "nothing",
        })
    }
}

/// The spelling of the configuration.
impl fmt::Display for Leaving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Leaving::Cancel => "cancel",
            Leaving::Finish => "finish",
        })
    }
}

/// The spelling of the configuration.
impl fmt::Display for Intake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Intake::Whole => "whole",
            Intake::Stream => "stream",
        })
    }
}
