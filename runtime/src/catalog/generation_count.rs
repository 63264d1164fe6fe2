//! Counts the generations still in memory, which shows whether old ones are freed.

use std::sync::atomic::{AtomicUsize, Ordering};

/// One counter for the process, so that any leaked catalog shows, whatever made it.
static ALIVE: AtomicUsize = AtomicUsize::new(0);

/// Counts one generation for as long as it lives.
#[derive(Debug)]
pub struct Alive(());

impl Alive {
    /// Returns the number of generations in memory: the serving one, older ones with running jobs, and one being
    /// prepared.
    pub fn count() -> usize {
        ALIVE.load(Ordering::Relaxed)
    }
}

impl Default for Alive {
    fn default() -> Alive {
        ALIVE.fetch_add(1, Ordering::Relaxed);
        Alive(())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::Relaxed);
    }
}
