//! The threads of the process, with state and CPU time, as the kernel reports them.

use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A thread of this process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Thread {
    /// Its number.
    pub id: u32,
    /// Its name, which is its role: `worker`, `lane`, `ticker`.
    pub name: String,
    /// `R` is running, `S` sleeping, `D` waiting for a disk; see proc_pid_stat(5) for others.
    pub state: char,
    /// Its CPU time.
    pub cpu: Duration,
}

/// Returns the CPU time of this thread. The wall clock would also charge a job for time in which another thread
/// has the processor or the process is throttled.
pub fn thread_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// Lists the threads that can be read. A thread that ends meanwhile is left out.
pub fn all() -> Vec<Thread> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let stats = tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
    stats.filter_map(|stat| read(&stat)).collect()
}

/// Returns the function of the kernel that a thread waits in. `None` if it runs, or the kernel does not tell.
pub fn wait(id: u32) -> Option<String> {
    let function = fs::read_to_string(format!("/proc/self/task/{id}/wchan")).ok()?;
    (function != "0").then_some(function)
}

/// Parses a line of proc_pid_stat(5). The name is in parentheses and may contain some.
fn read(stat: &str) -> Option<Thread> {
    let (before, after) = stat.rsplit_once(')')?;
    let (id, name) = before.split_once('(')?;
    let (id, name) = (id.trim_end().parse().ok()?, name.to_owned());
    let mut fields = after.split_whitespace();
    let state = fields.next()?.chars().next()?;
    // The state is the third; utime and stime are the fourteenth and fifteenth.
    let mut times = fields.skip(10).map(str::parse::<u64>);
    let ticks = times.next()?.ok()? + times.next()?.ok()?;
    let a_second = rustix::param::clock_ticks_per_second().max(1);
    Some(Thread { id, name, state, cpu: Duration::from_millis(ticks * 1000 / a_second) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_read_whatever_its_name() {
        let line = "12 (a (b) c) R 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1";

        let thread = read(line).unwrap();

        let a_second = rustix::param::clock_ticks_per_second();
        assert_eq!((thread.id, &*thread.name, thread.state), (12, "a (b) c", 'R'));
        assert_eq!(thread.cpu, Duration::from_millis(200 * 1000 / a_second));
        assert_eq!(read("12 (cut off"), None);
        assert!(!all().is_empty());
    }
}
