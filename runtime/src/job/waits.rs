//! Measures how long a job waits for its client, since that time is not charged to the handler.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// The waits of one job for its client. Without a wait or a time limit, a job rarely locks it.
#[derive(Debug, Default)]
pub struct Waits {
    account: Mutex<WaitAccount>,
    /// Whether there was a wait. Without one, the sum takes no lock.
    has_waited: AtomicBool,
    /// Notified when the client has acted and the job may go on.
    over: Notify,
    /// Whether the job has ended, and only the host still works for it.
    ended: AtomicBool,
    /// Whether the client has announced input. If not, its silence does not count as a wait.
    owes_input: AtomicBool,
    /// Bytes of input that have arrived.
    arrived: AtomicU64,
    /// The reader of the output.
    taker: OnceLock<Arc<dyn OutputReader>>,
}

/// A client that reads the output of a job.
pub trait OutputReader: fmt::Debug + Send + Sync {
    /// Returns a count of the bytes it has read. It may start anywhere and need not be exact.
    fn taken(&self) -> u64;

    /// Stops waiting for the client, since its job has lost its slot to others.
    fn give_up(&self);
}

/// The minimum rate of a client that does not keep others waiting, in bytes for each second in which the client
/// has to act.
const PACE: u64 = 16 << 10;

/// What a job waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FromClient {
    /// The next bytes of its input.
    Input,
    /// Room for the next bytes of its output.
    Room,
}

#[derive(Debug, Default)]
struct WaitAccount {
    input: Wait,
    room: Wait,
    /// Waits for input, for room, or for both.
    any: Wait,
    /// The counted waits and the bytes moved at the last time the client kept pace.
    kept_pace: (Duration, u64),
}

/// A repeated wait.
#[derive(Debug, Default)]
struct Wait {
    /// The start of the current wait, or `None` if there is none.
    since: Option<Instant>,
    /// The sum of earlier waits.
    past: Duration,
}

impl Wait {
    fn begin(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// Ends the wait. Returns `false` if there was none.
    fn end(&mut self, now: Instant) -> bool {
        let since = self.since.take();
        self.past += since.map(|since| now - since).unwrap_or_default();
        since.is_some()
    }

    fn sum(&self) -> Duration {
        self.past + self.since.map(|since| since.elapsed()).unwrap_or_default()
    }
}

impl WaitAccount {
    fn of(&mut self, awaited: FromClient) -> &mut Wait {
        match awaited {
            FromClient::Input => &mut self.input,
            FromClient::Room => &mut self.room,
        }
    }
}

impl Waits {
    /// Records that the job cannot go on before its client acts.
    pub fn begin(&self, awaited: FromClient) {
        let (mut account, now) = (self.lock(), Instant::now());
        self.has_waited.store(true, Ordering::Relaxed);
        account.of(awaited).begin(now);
        account.any.begin(now);
    }

    /// Records that the client has acted.
    pub fn end(&self, awaited: FromClient) {
        let (mut account, now) = (self.lock(), Instant::now());
        account.of(awaited).end(now);
        let goes_on = account.input.since.is_none() && account.room.since.is_none();
        if goes_on && account.any.end(now) {
            self.over.notify_one();
        }
    }

    /// Returns the sum of the waits so far, including the current one.
    pub fn sum(&self) -> Duration {
        if self.has_waited.load(Ordering::Relaxed) { self.lock().any.sum() } else { Duration::ZERO }
    }

    /// Returns how long the job has waited for input.
    pub fn for_input(&self) -> Duration {
        self.lock().input.sum()
    }

    /// Reports whether the job waits now.
    pub fn is_waiting(&self) -> bool {
        self.lock().any.since.is_some()
    }

    /// Records that the client has announced input.
    pub fn owes_input(&self) {
        self.owes_input.store(true, Ordering::Relaxed);
    }

    /// Counts bytes of input that have arrived.
    pub fn arrived(&self, bytes: u64) {
        self.arrived.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Sets the reader of the output. Only the first call has an effect.
    pub fn taken_by(&self, taker: Arc<dyn OutputReader>) {
        let _first = self.taker.set(taker);
    }

    /// Stops waiting for the client.
    pub fn give_up(&self) {
        self.taker.get().iter().for_each(|taker| taker.give_up());
    }

    /// Returns how long the job has waited for a client that moves almost nothing. `None` if the job does not
    /// wait now, or if the client keeps pace. Waits for input that the client has not announced do not count.
    pub fn lag(&self) -> Option<Duration> {
        let moved = self.arrived.load(Ordering::Relaxed) + self.taker.get().map_or(0, |taker| taker.taken());
        let owes_input = self.owes_input.load(Ordering::Relaxed);
        let mut account = self.lock();
        let wait = if owes_input { &account.any } else { &account.room };
        wait.since?;
        let waited = wait.sum();
        let (waited_before, moved_before) = account.kept_pace;
        let lag = waited.saturating_sub(waited_before);
        let wanted = u128::from(PACE) * lag.as_millis() / 1000;
        if u128::from(moved.saturating_sub(moved_before)) < wanted {
            return Some(lag);
        }
        account.kept_pace = (waited, moved);
        None
    }

    /// Records that the job has ended: from now on, no time is charged to it.
    pub fn has_ended(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Waits until the job has spent this much time of its own from now on. Waits for ever once the job [has
    /// ended](Waits::has_ended). Time in which the job waits for its client is not its own.
    pub async fn spent(&self, limit: Duration) {
        let (start, before) = (Instant::now(), self.sum());
        loop {
            let over = self.over.notified();
            let is_waiting = self.is_waiting();
            let own = start.elapsed().saturating_sub(self.sum().saturating_sub(before));
            if self.ended.load(Ordering::Relaxed) {
                return std::future::pending().await;
            }
            if own >= limit {
                return;
            }
            if is_waiting {
                over.await;
            } else {
                tokio::time::sleep(limit - own).await;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, WaitAccount> {
        // The account is consistent after every statement.
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{advance, timeout};

    const LIMIT: Duration = Duration::from_secs(3);

    #[tokio::test(start_paused = true)]
    async fn time_in_which_the_client_is_awaited_is_not_the_jobs_own() {
        for awaited in [FromClient::Input, FromClient::Room] {
            let (waits, start) = (Waits::default(), Instant::now());
            let mut spent = std::pin::pin!(waits.spent(LIMIT));
            assert!(timeout(Duration::from_secs(1), spent.as_mut()).await.is_err());

            waits.begin(awaited);
            assert!(timeout(Duration::from_secs(60), spent.as_mut()).await.is_err());
            waits.end(awaited);

            spent.await;
            assert_eq!(start.elapsed(), Duration::from_secs(1 + 60 + 2));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_waits_for_both_goes_on_when_neither_is_awaited() {
        let waits = Waits::default();
        waits.begin(FromClient::Input);
        waits.begin(FromClient::Room);
        advance(Duration::from_secs(1)).await;

        waits.end(FromClient::Input);
        advance(Duration::from_secs(1)).await;

        assert!(waits.is_waiting());
        waits.end(FromClient::Room);
        assert_eq!((waits.is_waiting(), waits.sum()), (false, Duration::from_secs(2)));
    }

    #[derive(Debug, Default)]
    struct Counter(AtomicU64);

    impl OutputReader for Counter {
        fn taken(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }

        fn give_up(&self) {}
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_keeps_pace_has_no_lag_however_long_it_is_waited_for() {
        let (waits, client) = (Waits::default(), Arc::new(Counter::default()));
        waits.taken_by(client.clone());
        waits.begin(FromClient::Room);
        for _ in 0..600 {
            advance(Duration::from_millis(100)).await;
            client.0.fetch_add(PACE / 8, Ordering::Relaxed);
            assert_eq!(waits.lag(), None);
        }

        advance(Duration::from_secs(3)).await;
        client.0.fetch_add(100, Ordering::Relaxed);

        assert_eq!(waits.lag(), Some(Duration::from_secs(3)));
        waits.end(FromClient::Room);
        assert_eq!(waits.lag(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_no_lag_of_a_client_that_owes_no_input() {
        let waits = Waits::default();
        waits.begin(FromClient::Input);
        advance(Duration::from_secs(60)).await;

        assert_eq!(waits.lag(), None);
        waits.owes_input();
        assert_eq!(waits.lag(), Some(Duration::from_secs(60)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_host_does_behind_the_end_of_a_job_is_not_the_jobs_own() {
        let waits = Waits::default();
        let mut spent = std::pin::pin!(waits.spent(LIMIT));
        assert!(timeout(LIMIT - Duration::from_millis(1), spent.as_mut()).await.is_err());

        waits.has_ended();

        assert!(timeout(LIMIT * 10, spent.as_mut()).await.is_err());
    }
}
