//! The kernel's merging of pages that are alike (KSM), which this process does without.
//!
//! A page that a guest has filled with zeros would be merged with the one page of zeros (`use_zero_pages`), and a scan
//! takes that for a page that nobody wrote: where the memory of a module starts with something else, the next job
//! would find zeros there. What one job has in memory could also be guessed by another, from the time that a write
//! to a merged page takes. No memory of ours asks to be merged (`MADV_MERGEABLE`); but a process may ask for all
//! memory of those that it starts (`MemoryKSM=` of systemd), and it is inherited.

use rustix::io::Errno;

/// linux/prctl.h, since Linux 6.4.
const PR_SET_MEMORY_MERGE: libc::c_int = 67;
const PR_GET_MEMORY_MERGE: libc::c_int = 68;

/// Ends the merging of this process's pages, and separates those that were merged; false: the kernel merges them
/// still.
pub fn unmerged() -> bool {
    // Where the kernel knows no such request it merges nothing that has not asked for it, and we have not.
    prctl(PR_SET_MEMORY_MERGE, 0).is_err_and(|refusal| refusal == Errno::INVAL)
        || prctl(PR_GET_MEMORY_MERGE, 0) == Ok(0)
}

fn prctl(request: libc::c_int, value: libc::c_ulong) -> Result<libc::c_int, Errno> {
    const NOTHING: libc::c_ulong = 0;
    // SAFETY: prctl(2): neither request reads or writes memory of ours.
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
        // Linux without KSM knows neither request.
        let begun = prctl(PR_SET_MEMORY_MERGE, 1);
        assert_eq!(prctl(PR_GET_MEMORY_MERGE, 0).ok(), begun.ok().map(|_| 1));

        assert!(unmerged());

        assert_eq!(prctl(PR_GET_MEMORY_MERGE, 0).ok(), begun.ok());
    }
}
