//! The process that has taken over from this one in an upgrade.

use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A child that can be sent signals. It is held by a pidfd, so a later process with the same id never gets one.
#[derive(Debug)]
pub struct SuccessorProcess {
    /// The id of the process.
    pub process: u32,
    handle: OwnedFd,
}

impl SuccessorProcess {
    /// Opens a child that was not waited for yet.
    ///
    /// # Errors
    /// The kernel does not support pidfds.
    pub(super) fn of(process: u32) -> Result<SuccessorProcess> {
        let pid = i32::try_from(process).ok().and_then(Pid::from_raw).context("no number of a process")?;
        let handle = pidfd_open(pid, PidfdFlags::empty())
            .context("hold the new process: pidfd_open(2) needs Linux 5.3")?;
        Ok(SuccessorProcess { process, handle })
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// The process has ended.
    pub fn tell(&self, signal: Signal) -> Result<()> {
        pidfd_send_signal(&self.handle, signal).with_context(|| format!("process {} has ended", self.process))
    }
}
