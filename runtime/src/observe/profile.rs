//! The sampling profiler of handlers: counts their stacks at ticks while a profile is taken.
//!
//! A [`ProfileRun`] switches the profiler on for the whole process; several may run at once. While none runs, a poll of
//! a job costs one additional load, and so does a tick.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The number of running profiles.
static LOOKS: AtomicUsize = AtomicUsize::new(0);
/// The number of ticks so far.
static TICKS: AtomicU64 = AtomicU64::new(0);
/// The samples, while a profile runs.
static SEEN: Mutex<Option<Seen>> = Mutex::new(None);

/// How many ticks the last stack of a job is kept; longer than a look at the places of jobs takes.
const RECENT: u64 = 100;

/// The most distinct stacks kept; later ones are counted together.
const STACKS: usize = 4000;

/// The longest stack kept, in bytes. A guest can make function names of any length.
const LONGEST: usize = 4 << 10;

thread_local! {
    /// The job that this thread runs.
    static WORK: RefCell<Option<ProfiledWork>> = const { RefCell::new(None) };
}

/// Sample counts by stack: the handler and its functions, outermost first, separated by semicolons, as flame graph
/// tools read it.
pub type StackCounts = BTreeMap<String, u64>;

#[derive(Default)]
struct Seen {
    stacks: StackCounts,
    /// The last stack of each job, and its tick.
    jobs: HashMap<u64, (u64, String)>,
}

/// The job of a thread.
struct ProfiledWork {
    job: u64,
    handler: String,
    /// The tick at which this poll of the job began. A job that waited over a tick did not compute then.
    since: u64,
}

/// A running profile. Dropping it ends the profile.
pub struct ProfileRun {
    /// The counts when the profile began, from other profiles.
    before: StackCounts,
    /// The tick at which the profile began.
    since: u64,
}

/// The guard of a thread that runs a job. Dropping it ends the job's claim on the thread.
pub struct Working(());

impl ProfileRun {
    /// Starts a profile.
    pub fn begin() -> ProfileRun {
        let since = TICKS.load(Ordering::Relaxed);
        let before = {
            let mut seen = seen();
            LOOKS.fetch_add(1, Ordering::Relaxed);
            let seen = seen.get_or_insert_default();
            seen.jobs.retain(|_, (tick, _)| *tick + RECENT > since);
            seen.stacks.clone()
        };
        ProfileRun { before, since }
    }

    /// Returns how often each stack was sampled since the start.
    pub fn stacks(&self) -> StackCounts {
        let seen = seen();
        let stacks = seen.iter().flat_map(|seen| &seen.stacks);
        let fresh = stacks.map(|(stack, count)| {
            let before = self.before.get(stack).copied().unwrap_or_default();
            (stack.clone(), count.saturating_sub(before))
        });
        fresh.filter(|(_, count)| *count > 0).collect()
    }

    /// Returns the last stack of a job, or `None` if the job was not sampled during this profile.
    pub fn place(&self, job: u64) -> Option<String> {
        let seen = seen();
        let (tick, stack) = seen.as_ref()?.jobs.get(&job)?;
        (*tick > self.since).then(|| stack.clone())
    }
}

impl Drop for ProfileRun {
    fn drop(&mut self) {
        let mut seen = seen();
        if LOOKS.fetch_sub(1, Ordering::Relaxed) == 1 {
            *seen = None;
        }
    }
}

/// Records the job that this thread runs, if a profile is running.
pub fn work(job: u64, handler: &str) -> Option<Working> {
    is_on().then(|| {
        let work = ProfiledWork { job, handler: handler.to_owned(), since: TICKS.load(Ordering::Relaxed) };
        WORK.set(Some(work));
        Working(())
    })
}

impl Drop for Working {
    fn drop(&mut self) {
        WORK.set(None);
    }
}

/// Counts a tick.
pub fn tick() {
    TICKS.fetch_add(1, Ordering::Relaxed);
}

/// Reports whether a profile runs and this thread has run one job since before the last tick.
pub fn is_due() -> bool {
    let worked = |work: &Option<ProfiledWork>| {
        work.as_ref().is_some_and(|work| work.since < TICKS.load(Ordering::Relaxed))
    };
    is_on() && WORK.with_borrow(worked)
}

/// Records a sample of this thread. `functions` are the names of functions, outermost first, without control
/// characters.
pub fn sample(functions: impl Iterator<Item = String>) {
    WORK.with_borrow(|work| {
        let Some(ProfiledWork { job, handler, .. }) = work else { return };
        let mut stack = handler.clone();
        for name in functions {
            if stack.len() + name.len() >= LONGEST {
                stack += ";...";
                break;
            }
            stack.push(';');
            stack += &name.replace(';', ":");
        }
        if let Some(seen) = &mut *seen() {
            let room = seen.stacks.len() < STACKS || seen.stacks.contains_key(&stack);
            *seen.stacks.entry(if room { stack.clone() } else { "other stacks".to_owned() }).or_default() +=
                1;
            if seen.jobs.len() < STACKS || seen.jobs.contains_key(job) {
                seen.jobs.insert(*job, (TICKS.load(Ordering::Relaxed), stack));
            }
        }
    });
}

fn is_on() -> bool {
    LOOKS.load(Ordering::Relaxed) > 0
}

fn seen() -> MutexGuard<'static, Option<Seen>> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A single test, because the profiler's state is global to the process.
    #[test]
    fn stacks_are_counted_for_everybody_who_looks_and_for_nobody_else() {
        let names = |names: [&str; 2]| names.map(str::to_owned).into_iter();
        assert!(work(1, "nobody looks").is_none() && !is_due());
        let first = ProfileRun::begin();
        let working = work(7, "hello");
        assert!(!is_due(), "it has only begun");
        tick();
        assert!(is_due());
        sample(names(["main", "a;b"]));
        let second = ProfileRun::begin();
        assert_eq!(second.place(7), None, "another look has seen it, before this one");
        tick();
        sample(names(["main", "a;b"]));

        let stack = "hello;main;a:b".to_owned();
        assert_eq!(first.stacks(), StackCounts::from([(stack.clone(), 2)]));
        assert_eq!(second.stacks(), StackCounts::from([(stack.clone(), 1)]));
        assert_eq!((second.place(7), second.place(8)), (Some(stack), None));
        sample((0..1000).map(|number| format!("a function of some length {number}")));
        assert!(second.stacks().keys().all(|stack| stack.len() < LONGEST + 8));
        drop((first, second, working));
        assert!(work(1, "nobody looks").is_none() && seen().is_none());
    }
}
