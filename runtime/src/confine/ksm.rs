//! Turns off the kernel's merging of identical pages (KSM) for this process.
//!
//! KSM would merge a page that a guest has filled with zeros into the shared zero page (`use_zero_pages`). The scan
//! for written pages takes such a page for untouched. If a module's memory starts with other content, the next job
//! would find zeros there. A job could also guess the memory of another from the time that a write to a merged page
//! takes. This process requests no merging (`MADV_MERGEABLE`). Its parent can request it for all memory of its
//! children (`MemoryKSM=` of systemd), and the setting is inherited.

use rustix::io::Errno;

/// linux/prctl.h, since Linux 6.4.
const PR_SET_MEMORY_MERGE: libc::c_int = 67;
const PR_GET_MEMORY_MERGE: libc::c_int = 68;

/// Stops the merging of this process's pages, and separates those already merged. Returns `false` if the kernel still
/// merges them.
pub fn unmerged() -> bool {
    // A kernel without this request merges only memory that requested it, and this process requests none.
    prctl(PR_SET_MEMORY_MERGE, 0).is_err_and(|refusal| refusal == Errno::INVAL)
        || prctl(PR_GET_MEMORY_MERGE, 0) == Ok(0)
}

fn prctl(request: libc::c_int, value: libc::c_ulong) -> Result<libc::c_int, Errno> {
    const NOTHING: libc::c_ulong = 0;
    // SAFETY: prctl(2): neither request reads or writes memory of this process.
    let outcome = unsafe { libc::prctl(request, value, NOTHING, NOTHING, NOTHING) };
    if outcome < 0 {
        Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
    } else {
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_that_was_inherited_is_ended() {
        // A kernel without KSM supports neither request.
        let begun = prctl(PR_SET_MEMORY_MERGE, 1);
        assert_eq!(prctl(PR_GET_MEMORY_MERGE, 0).ok(), begun.ok().map(|_| 1));

        assert!(unmerged());

        assert_eq!(prctl(PR_GET_MEMORY_MERGE, 0).ok(), begun.ok());
    }
}
