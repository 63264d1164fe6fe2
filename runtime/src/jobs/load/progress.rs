//! Reports the progress of a load: which module is compiled, and which handler is ready.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::job::Name;

/// Called for every step, on the thread that takes it.
pub type OnProgress = Box<dyn Fn(Step<'_>) + Send + Sync>;

/// A step of a load.
#[derive(Clone, Copy)]
pub enum Step<'a> {
    /// Compiling a module begins, because neither the loader nor the cache has its code.
    Compiling(LoadNumber, StepTurn<'a>),
    /// A handler is ready.
    Ready(StepTurn<'a>),
    /// The load has ended, well or not.
    Ended(LoadNumber),
}

/// Tells loads apart: that of a swap may go on beside that of a reload.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LoadNumber(u64);

/// Reports the end of a load when dropped.
pub(super) struct LoadEndGuard<'a>(pub(super) &'a OnProgress, pub(super) LoadNumber);

impl Drop for LoadEndGuard<'_> {
    fn drop(&mut self) {
        (self.0)(Step::Ended(self.1));
    }
}

/// The position of a handler in a load.
#[derive(Clone, Copy)]
pub struct StepTurn<'a> {
    /// The handler, or the first handler with this module.
    pub name: &'a Name,
    /// Its number, counted from 1.
    pub number: usize,
    /// The number of all.
    pub total: usize,
}

/// Counts the modules that are compiled in a load.
pub(super) struct CompileCount {
    pub(super) load: LoadNumber,
    total: AtomicUsize,
    begun: AtomicUsize,
}

impl CompileCount {
    /// Starts a load.
    pub(super) fn new() -> CompileCount {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        CompileCount {
            load: LoadNumber(NEXT.fetch_add(1, Ordering::Relaxed)),
            total: AtomicUsize::new(0),
            begun: AtomicUsize::new(0),
        }
    }

    /// Sets the expected number of modules to compile.
    pub(super) fn expect(&self, total: usize) {
        self.total.store(total, Ordering::Relaxed);
    }

    /// Counts a module that begins to compile.
    pub(super) fn begin<'a>(&self, name: &'a Name) -> StepTurn<'a> {
        let number = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
        // The number may exceed the expected one: a cache entry that fails its check is compiled again.
        StepTurn { name, number, total: self.total.load(Ordering::Relaxed).max(number) }
    }
}
