//! Counts connections or requests, and waits until the count has been zero for a given time.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// Counts connections, or the requests of one.
#[derive(Debug)]
pub struct Activity(watch::Sender<usize>);

/// A guard that is counted until it is dropped.
#[derive(Debug)]
pub(in crate::http) struct ActivityGuard(watch::Sender<usize>);

impl Default for Activity {
    fn default() -> Activity {
        Activity(watch::Sender::new(0))
    }
}

impl Activity {
    /// Counts a connection or request until the guard is dropped.
    pub(in crate::http) fn enter(&self) -> ActivityGuard {
        self.0.send_modify(|count| *count += 1);
        ActivityGuard(self.0.clone())
    }

    /// Waits until the count has been zero for this long.
    ///
    /// # Cancel safety
    /// Dropping the future loses the time waited so far.
    pub async fn ceased(&self, time: Duration) {
        let mut count = self.0.subscribe();
        loop {
            // Fails only when the sender is gone, and `self` holds it.
            let _ = count.wait_for(|count| *count == 0).await.map(drop);
            if timeout(time, count.changed()).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for ActivityGuard {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Instant, sleep};

    #[tokio::test(start_paused = true)]
    async fn only_a_whole_time_without_a_connection_is_idle() {
        let (activity, start) = (Activity::default(), Instant::now());
        let clients = async {
            for _ in 0..3 {
                let _present = activity.enter();
                sleep(Duration::from_secs(20)).await;
                drop(_present);
                sleep(Duration::from_secs(4)).await;
            }
        };

        tokio::join!(clients, activity.ceased(Duration::from_secs(5)));

        assert_eq!(start.elapsed().as_secs(), 2 * 24 + 20 + 5);
    }
}
