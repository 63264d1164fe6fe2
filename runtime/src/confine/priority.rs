//! Which threads run first where several want a core.
//!
//! Linux gives a woken thread a core at once if its time slice is shorter than that of the running thread (6.12 and
//! later), see sched(7) and `PREEMPT_SHORT` in kernel/sched/features.h. Without that, and on kernels that keep a
//! thread running until its slice of some 3 ms ends, a request waits for a computing job though the job is nice.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{getpriority_process, setpriority_process};
use rustix::thread::gettid;

/// The time slice of a thread that serves sockets, in nanoseconds: the shortest that the kernel takes.
const SERVING: u64 = 100_000;
/// The kernel's own time slice.
const DEFAULT: u64 = 0;

/// Whether the process serves no requests, so none of its threads has to run after the others.
static SERVES_NONE: AtomicBool = AtomicBool::new(false);

/// The arguments of sched_setattr(2), in its first version.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Has this thread run at once when it is woken. Older kernels ignore this.
///
/// # Errors
/// The system call is forbidden.
pub fn serve_first() -> io::Result<()> {
    set_slice(SERVING)
}

/// Has this thread, and those it starts, run after the threads that serve. `nice` is as in nice(2). A thread that is
/// nicer stays so: only root may take that back. After [`serve_none`] the nice value stays as it is.
///
/// # Errors
/// A system call is forbidden.
pub fn serve_last(nice: i32) -> io::Result<()> {
    if !SERVES_NONE.load(Ordering::Relaxed) {
        let thread = Some(gettid());
        setpriority_process(thread, getpriority_process(thread)?.max(nice))?;
    }
    set_slice(DEFAULT)
}

/// Has [`serve_last`] keep the nice value from here on, in the whole process: it runs one job for a terminal, and no
/// request waits while the job computes. Other processes of the host would delay a nicer job.
pub fn serve_none() {
    SERVES_NONE.store(true, Ordering::Relaxed);
}

/// Sets the time slice of this thread, and leaves its nice value as it is.
fn set_slice(runtime: u64) -> io::Result<()> {
    let size = u32::try_from(size_of::<Attributes>()).map_err(io::Error::other)?;
    let mut attributes = Attributes { size, ..Attributes::default() };
    // SAFETY: the kernel writes `size` bytes at most into a structure of that size, for thread 0, the caller.
    if unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    attributes.runtime = runtime;
    // SAFETY: the kernel reads a structure of the size that it names.
    match unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_serves_keeps_its_nice_value_and_one_that_computes_is_nicer() {
        let nice = || rustix::process::getpriority_process(Some(gettid())).unwrap();
        std::thread::spawn(move || {
            let before = nice();
            serve_first().unwrap();
            assert_eq!(nice(), before);
            serve_last(15).unwrap();
            assert_eq!(nice(), 15);
            serve_last(10).unwrap();
            assert_eq!(nice(), 15);
        })
        .join()
        .unwrap();
    }
}
