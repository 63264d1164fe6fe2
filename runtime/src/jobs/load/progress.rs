//! What a load tells of its progress.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::job::Name;

/// Is told of every step, from whatever thread takes it.
pub type OnProgress = Box<dyn Fn(Step<'_>) + Send + Sync>;

/// A step of a load.
#[derive(Clone, Copy)]
pub enum Step<'a> {
    /// A module is compiled from now on: nobody has its code.
    Compiling(StepTurn<'a>),
    /// A handler is ready.
    Ready(StepTurn<'a>),
    /// The load has ended, well or not.
    Ended,
}

/// Tells of the end of a load when it is dropped.
pub(super) struct Telling<'a>(pub(super) &'a OnProgress);

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        (self.0)(Step::Ended);
    }
}

/// One of several.
#[derive(Clone, Copy)]
pub struct StepTurn<'a> {
    /// The handler, or the one whose module it is.
    pub name: &'a Name,
    /// Its number, from 1 on.
    pub number: usize,
    /// How many there are.
    pub total: usize,
}

/// Counts the modules that are compiled.
#[derive(Default)]
pub(super) struct CompileCount {
    total: AtomicUsize,
    begun: AtomicUsize,
}

impl CompileCount {
    /// Says how many there will be, as far as is known.
    pub(super) fn expect(&self, total: usize) {
        self.total.store(total, Ordering::Relaxed);
    }

    /// Counts one that begins.
    pub(super) fn begin<'a>(&self, name: &'a Name) -> StepTurn<'a> {
        let number = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
        // Code that was kept and is not to be trusted is compiled as well.
        StepTurn { name, number, total: self.total.load(Ordering::Relaxed).max(number) }
    }
}
