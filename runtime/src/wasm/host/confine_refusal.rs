//! Ends the jobs of a handler if one of its file threads could not be confined to its mounts.

use std::sync::OnceLock;

use anyhow::anyhow;
use tokio::sync::Notify;

use crate::job::Fault;

/// Records that a thread could not be confined. The thread has ended, and the pool may lack it. So the jobs that use this
/// pool end, and the next job starts a new pool.
#[derive(Default)]
pub(super) struct ConfineRefusal {
    pub(super) why: OnceLock<String>,
    told: Notify,
}

impl ConfineRefusal {
    /// Records why a thread could not be confined, and wakes the jobs.
    pub(super) fn note(&self, why: &anyhow::Error) {
        let _first = self.why.set(format!("{why:#}"));
        self.told.notify_waiters();
    }

    /// Waits until a thread could not be confined.
    pub(super) async fn fault(&self) -> Fault {
        loop {
            // Created before the check, so a later notification is not missed.
            let told = self.told.notified();
            if let Some(why) = self.why.get() {
                return Fault::Host(anyhow!("a thread for files cannot be confined to the mounts: {why}"));
            }
            told.await;
        }
    }
}
