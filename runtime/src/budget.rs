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
    /// Notified when reserved units are given back.
    returned: Notify,
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

/// A wait for reserved units. Dropping it wakes the others that wait: units that had come for it are free again.
struct ReserveWait<'a>(&'a Budget);

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
        let (common, kept, returned) = (Units::new(common), Units::new(kept), Notify::new());
        Arc::new(Budget { common, kept, all: all.into(), returned })
    }

    /// Changes the number of units. Units held beyond the new number stay held until they are given back.
    pub fn resize(&self, units: usize) {
        let all = units.min(Semaphore::MAX_PERMITS);
        let before = self.all.swap(all, Ordering::SeqCst);
        let (common, common_before) = (max_per_job(all), max_per_job(before));
        self.common.resize(common_before, common);
        self.kept.resize(before - common_before, all - common);
        self.returned.notify_waiters();
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
        let mut portion = self.nothing(holder);
        loop {
            // Made before the check, so that no return in between is missed.
            let returned = self.returned.notified();
            match self.spare(holder.held.load(Ordering::SeqCst) + units) {
                Some(0) => {
                    // Dropped after the two futures below.
                    let _wait = ReserveWait(self);
                    return tokio::select! {
                        permit = &mut common => permit.ok().map(|permit| portion.with(permit, units, 0)),
                        permit = self.kept.free.acquire_many(wanted) => permit.ok().map(|permit| portion.with(permit, 0, units)),
                    };
                }
                // Not in the queue of those that hold few: a large request at its front would hold them up.
                Some(_) if portion.grow_from_kept(units) => return Some(portion),
                _ => {}
            }
            tokio::select! {
                permit = &mut common => return permit.ok().map(|permit| portion.with(permit, units, 0)),
                () = returned => {}
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
        let taken =
            self.budget.spare(before + by).is_some_and(|spare| self.budget.kept.take_beside(by, spare));
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
        // Most portions have no reserved units. To wake those who wait takes a lock that all jobs share.
        if kept > 0 {
            self.budget.kept.give_back(kept);
            self.budget.returned.notify_waiters();
        }
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

    fn take(&self, units: usize) -> bool {
        self.take_beside(units, 0)
    }

    /// Takes units if `spare` more are free. Never waits.
    fn take_beside(&self, units: usize, spare: usize) -> bool {
        let all = u32::try_from(units + spare).ok();
        let Some(mut permit) = all.and_then(|all| self.free.try_acquire_many(all).ok()) else { return false };
        drop(permit.split(spare));
        permit.forget();
        true
    }

    fn give_back(&self, units: usize) {
        // Units are owed only after a resize. An exchange that changes nothing would take the cache line from others.
        let less = |owed: usize| Some(owed.saturating_sub(units)).filter(|_| owed > 0);
        let owed = self.owed.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).unwrap_or_default();
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

impl Drop for ReserveWait<'_> {
    fn drop(&mut self) {
        self.0.returned.notify_waiters();
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
mod tests;
