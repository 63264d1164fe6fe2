//! Divides a process-wide resource among handlers.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, Semaphore, SemaphorePermit};

/// Units of a process-wide resource: job slots, memory, file descriptors.
///
/// An eighth of the units is reserved for handlers that hold few. Even if one handler takes all others and keeps them,
/// another can still start a job. A handler may use up to three quarters of the reserve, as long as a quarter of it stays
/// free for those that hold no more than that.
#[derive(Debug)]
pub struct Budget {
    common: Units,
    kept: Units,
    all: AtomicUsize,
}

/// A pool of units.
#[derive(Debug)]
struct Units {
    free: Semaphore,
    /// How many returned units are withheld from the pool, because it was resized to fewer.
    owed: AtomicUsize,
}

/// A handler that shares a budget.
#[derive(Debug)]
pub struct Holder {
    /// The units that it holds.
    held: AtomicUsize,
    /// Notified when units are given back; the job whose turn it is waits for it.
    given_back: Notify,
    /// Held by the one job that queues for all jobs of this handler.
    turn: Semaphore,
}

/// The units that one job holds. Dropping them gives them back.
pub struct Portion {
    budget: Arc<Budget>,
    holder: Arc<Holder>,
    common: usize,
    kept: usize,
}

impl Budget {
    /// Makes a budget of `units`.
    pub fn new(units: usize) -> Arc<Budget> {
        let all = units.min(Semaphore::MAX_PERMITS);
        let common = max_per_job(all);
        let kept = all - common;
        Arc::new(Budget { common: Units::new(common), kept: Units::new(kept), all: all.into() })
    }

    /// Changes the number of units. Units held beyond the new number stay held until they are given back.
    pub fn resize(&self, units: usize) {
        let all = units.min(Semaphore::MAX_PERMITS);
        let before = self.all.swap(all, Ordering::SeqCst);
        let (common, common_before) = (max_per_job(all), max_per_job(before));
        self.common.resize(common_before, common);
        self.kept.resize(before - common_before, all - common);
    }

    /// Makes a budget without a limit.
    pub fn boundless() -> Arc<Budget> {
        Budget::new(usize::MAX)
    }

    /// Returns the number of units, or `None` if the budget has no limit.
    pub fn all(&self) -> Option<usize> {
        let all = self.all.load(Ordering::SeqCst);
        (all < Semaphore::MAX_PERMITS).then_some(all)
    }

    /// Returns the number of units held now.
    pub fn used(&self) -> usize {
        let all = self.all.load(Ordering::SeqCst);
        let [common, kept] = [&self.common, &self.kept];
        (all + common.owed() + kept.owed()).saturating_sub(common.free() + kept.free())
    }

    /// Returns how many units of the reserve must be free when a handler takes some, so that it holds `units` in all.
    /// Returns `None` if it would hold too many.
    fn spare(&self, units: usize) -> Option<usize> {
        let all = self.all.load(Ordering::SeqCst);
        let reserve = all - max_per_job(all);
        let few = (reserve / 4).max(1);
        if units <= few {
            return Some(0);
        }
        (units <= reserve.saturating_sub(few)).then_some(few)
    }

    /// Takes units if they are free and no job of the handler is queued.
    pub fn try_take(self: &Arc<Self>, holder: &Arc<Holder>, units: usize) -> Option<Portion> {
        let mut portion = self.nothing(holder);
        let taken = portion.grow_commonly(units)
            || holder.turn.available_permits() > 0 && portion.grow_from_kept(units);
        taken.then_some(portion)
    }

    /// Waits for units. Only one job per handler is queued, so the queue goes round the handlers. A handler with many
    /// waiting jobs does not precede one with few.
    ///
    /// Returns `None` at once if no handler may hold that many.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the queue.
    pub async fn take(self: &Arc<Self>, holder: &Arc<Holder>, units: usize) -> Option<Portion> {
        if units == 0 {
            return Some(self.nothing(holder));
        }
        let max = max_per_job(self.all.load(Ordering::SeqCst));
        let wanted = u32::try_from(units).ok().filter(|_| units <= max || self.spare(units).is_some())?;
        let _turn = holder.turn.acquire().await.ok()?;
        // It keeps its place in this queue while it also tries the reserved units.
        let mut common = pin!(self.common.free.acquire_many(wanted));
        let portion = self.nothing(holder);
        loop {
            if let Some(spare) = self.spare(holder.held.load(Ordering::SeqCst) + units) {
                return tokio::select! {
                    permit = &mut common => permit.ok().map(|permit| portion.with(permit, units, 0)),
                    permit = self.kept.acquire(wanted, spare) => permit.map(|permit| portion.with(permit, 0, units)),
                };
            }
            tokio::select! {
                permit = &mut common => return permit.ok().map(|permit| portion.with(permit, units, 0)),
                () = holder.given_back.notified() => {}
            }
        }
    }

    /// Makes a portion of no units, which can grow.
    pub fn nothing(self: &Arc<Self>, holder: &Arc<Holder>) -> Portion {
        Portion { budget: self.clone(), holder: holder.clone(), common: 0, kept: 0 }
    }
}

/// Returns how many of `units` one handler may hold at once.
pub fn max_per_job(units: usize) -> usize {
    units - units / 8
}

impl Default for Holder {
    fn default() -> Holder {
        Holder { held: AtomicUsize::new(0), given_back: Notify::new(), turn: Semaphore::new(1) }
    }
}

impl Portion {
    /// Returns the number of units.
    pub fn units(&self) -> usize {
        self.common + self.kept
    }

    /// Takes another portion for the same handler, if the units are free. Never waits.
    pub fn another(&self, units: usize) -> Option<Portion> {
        let mut portion = self.budget.nothing(&self.holder);
        portion.grow(units).then_some(portion)
    }

    /// Splits off `units`, or all units if there are fewer.
    pub fn split(&mut self, units: usize) -> Portion {
        let kept = units.min(self.kept);
        let common = (units - kept).min(self.common);
        self.kept -= kept;
        self.common -= common;
        Portion { budget: self.budget.clone(), holder: self.holder.clone(), common, kept }
    }

    /// Reports whether more than half of the budget is held.
    pub fn is_scarce(&self) -> bool {
        self.budget.used() > self.budget.all.load(Ordering::SeqCst) / 2
    }

    /// Takes `by` more units, if they are free. Never waits.
    pub fn grow(&mut self, by: usize) -> bool {
        self.grow_commonly(by) || self.grow_from_kept(by)
    }

    fn grow_commonly(&mut self, by: usize) -> bool {
        let taken = by == 0 || self.budget.common.take(by);
        if taken {
            self.common += by;
            self.holder.held.fetch_add(by, Ordering::SeqCst);
        }
        taken
    }

    fn grow_from_kept(&mut self, by: usize) -> bool {
        let before = self.holder.held.fetch_add(by, Ordering::SeqCst);
        let kept = &self.budget.kept;
        let taken =
            self.budget.spare(before + by).is_some_and(|spare| kept.free() >= by + spare && kept.take(by));
        if taken {
            self.kept += by;
        } else {
            self.holder.held.fetch_sub(by, Ordering::SeqCst);
        }
        taken
    }

    /// Takes over the units of a permit.
    fn with(mut self, permit: SemaphorePermit<'_>, common: usize, kept: usize) -> Portion {
        permit.forget();
        self.common += common;
        self.kept += kept;
        self.holder.held.fetch_add(common + kept, Ordering::SeqCst);
        self
    }

    /// Gives units back, until `units` are left.
    pub fn shrink_to(&mut self, units: usize) {
        let surplus = self.units().saturating_sub(units);
        if surplus == 0 {
            return;
        }
        let kept = surplus.min(self.kept);
        let common = surplus - kept;
        self.kept -= kept;
        self.common -= common;
        self.holder.held.fetch_sub(surplus, Ordering::SeqCst);
        self.budget.kept.give_back(kept);
        self.budget.common.give_back(common);
        // `notify_one` stores the notification for a task that is about to wait.
        self.holder.given_back.notify_one();
    }
}

impl Units {
    fn new(units: usize) -> Units {
        Units { free: Semaphore::new(units), owed: AtomicUsize::new(0) }
    }

    fn free(&self) -> usize {
        self.free.available_permits()
    }

    fn owed(&self) -> usize {
        self.owed.load(Ordering::SeqCst)
    }

    /// Waits until `units` are free and so many more, and takes the units.
    async fn acquire(&self, units: u32, spare: usize) -> Option<SemaphorePermit<'_>> {
        let all = units.checked_add(u32::try_from(spare).ok()?)?;
        let mut permit = self.free.acquire_many(all).await.ok()?;
        drop(permit.split(spare));
        Some(permit)
    }

    fn take(&self, units: usize) -> bool {
        let permit = u32::try_from(units).ok().and_then(|units| self.free.try_acquire_many(units).ok());
        permit.map(SemaphorePermit::forget).is_some()
    }

    fn give_back(&self, units: usize) {
        let owed = |owed: usize| Some(owed.saturating_sub(units));
        let owed = self.owed.fetch_update(Ordering::SeqCst, Ordering::SeqCst, owed).unwrap_or_default();
        if units > owed {
            self.free.add_permits(units - owed);
        }
    }

    fn resize(&self, before: usize, now: usize) {
        if now > before {
            self.give_back(now - before);
        } else {
            let surplus = before - now;
            self.owed.fetch_add(surplus - self.free.forget_permits(surplus), Ordering::SeqCst);
        }
    }
}

impl Drop for Portion {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

impl fmt::Debug for Portion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {:?}", self.units(), self.budget.all())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn holder() -> Arc<Holder> {
        Arc::default()
    }

    #[test]
    fn one_handler_takes_seven_eighths_and_another_gets_some_of_the_rest() {
        let (budget, greedy, modest) = (Budget::new(320), holder(), holder());
        let mut taken = budget.try_take(&greedy, 280).unwrap();

        assert!(!taken.grow(1));
        assert_eq!((taken.units(), budget.used()), (280, 280));
        // Three quarters of the 40 reserved units.
        let mut some = budget.try_take(&modest, 20).unwrap();
        assert!(some.grow(10) && !some.grow(1));
        // A quarter is left for one that holds no more than that.
        let late = holder();
        let mut few = budget.try_take(&late, 9).unwrap();
        assert!(few.grow(1) && !few.grow(1) && budget.try_take(&holder(), 1).is_none());
        drop((some, few));
        drop(taken);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let (budget, holder) = (Budget::new(80), holder());
        let mut portion = budget.try_take(&holder, 70).unwrap();

        portion.shrink_to(30);

        assert_eq!((portion.units(), budget.used()), (30, 30));
        assert!(portion.grow(40) && !portion.grow(1));
    }

    #[test]
    fn what_is_split_off_is_held_until_it_is_given_back_by_itself() {
        let (budget, holder) = (Budget::new(80), holder());
        let mut portion = budget.try_take(&holder, 30).unwrap();

        let part = portion.split(10);

        assert_eq!((portion.units(), part.units(), budget.used()), (20, 10, 30));
        drop(portion);
        assert_eq!((budget.used(), holder.held.load(Ordering::SeqCst)), (10, 10));
        drop(part);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_budget_that_shrinks_takes_what_is_given_back_and_one_that_grows_settles_first() {
        let (budget, holder) = (Budget::new(800), holder());
        let mut portion = budget.try_take(&holder, 600).unwrap();

        budget.resize(400);
        assert!(budget.all() == Some(400) && budget.used() == 600 && !portion.grow(1));
        portion.shrink_to(345);
        assert!(budget.used() == 345 && portion.grow(5) && !portion.grow(1), "{}", budget.used());

        budget.resize(800);
        assert!(portion.grow(350) && !portion.grow(1), "{portion:?}");
        budget.resize(0);
        drop(portion);
        assert_eq!((budget.used(), budget.all()), (0, Some(0)));
        budget.resize(80);
        assert!(budget.try_take(&holder, 70).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_served_in_turn_before_those_that_come_later() {
        let (budget, first, second) = (Budget::new(80), holder(), holder());
        let all = budget.try_take(&first, 70).unwrap();
        let mut waiting = pin!(budget.take(&second, 40));
        assert!(timeout(Duration::from_secs(1), &mut waiting).await.is_err());

        drop(all);

        assert!(budget.try_take(&first, 70).is_none());
        assert_eq!(waiting.await.unwrap().units(), 40);
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_comes_to_hold_little_is_served_from_what_is_kept() {
        let (budget, greedy, waiter) = (Budget::new(320), holder(), holder());
        let own = budget.try_take(&waiter, 26).unwrap();
        let _rest = budget.try_take(&greedy, 254).unwrap();
        let mut waiting = pin!(budget.take(&waiter, 5));
        assert!(timeout(Duration::from_secs(1), &mut waiting).await.is_err());

        // They return to the common pool, where another handler takes them first.
        drop(own);

        assert_eq!(waiting.await.unwrap().units(), 5);
    }

    #[tokio::test]
    async fn more_than_any_handler_may_have_is_not_waited_for() {
        let budget = Budget::new(80);

        assert!(budget.take(&holder(), 71).await.is_none());
        assert!(budget.all() == Some(80) && Budget::boundless().all().is_none());
    }
}
