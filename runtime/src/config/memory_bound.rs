//! A limit of memory, as it is meant.

/// A limit of memory: of all jobs together, or of what connections hold for their clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemoryBound {
    /// A part of what the control group or the machine has.
    Auto,
    /// This number of bytes.
    Bytes(usize),
    /// No limit of its own.
    Unlimited,
}
