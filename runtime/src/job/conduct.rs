//! How a handler's requests are taken, and its answers given.

use std::fmt;

/// What a handler says of its requests besides their limits.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Conduct {
    /// When a job begins whose request has a body of unknown length; `None`: the handler does not say.
    pub intake: Option<Intake>,
    /// What becomes of a job whose client has left.
    pub leaving: Leaving,
    /// Which parts of a path become arguments.
    pub captures: Captures,
}

impl Conduct {
    /// Says when such a job begins.
    pub fn intake(&self) -> Intake {
        self.intake.unwrap_or_default()
    }
}

/// When a job begins whose request has a body of unknown length.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Intake {
    /// Once all of it is here, so that the job is told how long it is (RFC 3875 §4.1.2).
    #[default]
    Whole,
    /// At once: it reads the body as it comes.
    Stream,
}

/// What becomes of a job whose client has left.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Leaving {
    /// It is cancelled at once.
    #[default]
    Cancel,
    /// It goes on to its own end, within its limits. What it still writes is dropped.
    Finish,
}

/// Which parts of a path become arguments of a program.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Captures {
    /// Those that no program takes for an option: none that begins with `-`, unless the handler's own arguments
    /// end in `--`.
    #[default]
    Words,
    /// Whatever a client sends.
    Any,
    /// None of them: they lead to a script.
    Nothing,
}

impl Captures {
    /// Reports whether a part of a path may be an argument behind these.
    pub fn admit(self, args: &[String], value: &str) -> bool {
        self != Captures::Words || !value.starts_with('-') || args.last().is_some_and(|last| last == "--")
    }
}

/// As the configuration has it.
impl fmt::Display for Captures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Captures::Words => "words",
            Captures::Any => "any",
            Captures::Nothing => "nothing",
        })
    }
}

/// As the configuration has it.
impl fmt::Display for Leaving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Leaving::Cancel => "cancel",
            Leaving::Finish => "finish",
        })
    }
}

/// As the configuration has it.
impl fmt::Display for Intake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Intake::Whole => "whole",
            Intake::Stream => "stream",
        })
    }
}
