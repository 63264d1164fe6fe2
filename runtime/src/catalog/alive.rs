//! How many generations are held by somebody: what shows that the old ones are freed.

use std::sync::atomic::{AtomicUsize, Ordering};

/// One for the process: a catalog that leaks is a leak whoever made it.
static ALIVE: AtomicUsize = AtomicUsize::new(0);

/// Counts one generation for as long as it lives.
#[derive(Debug)]
pub struct Alive(());

impl Alive {
    /// Returns how many generations there are: the one that serves, older ones whose last job has
    /// not ended, and one that is being made.
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
