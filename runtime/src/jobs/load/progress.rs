//! What a load tells of its progress.

use crate::job::Name;

/// Is told of every module that is ready, from whatever thread loads it.
pub type Progress = Box<dyn Fn(Compiled<'_>) + Send + Sync>;

/// One module of several is ready.
pub struct Compiled<'a> {
    /// Whose module it is.
    pub name: &'a Name,
    /// How many are ready.
    pub done: usize,
    /// How many there are.
    pub total: usize,
}
