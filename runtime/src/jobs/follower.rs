//! The process that serves instead of this one, after an upgrade.

use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process of ours that can be told something for as long as it lives; never another one that got its
/// number later.
#[derive(Debug)]
pub struct Follower {
    /// Its number.
    pub process: u32,
    handle: OwnedFd,
}

impl Follower {
    /// Takes hold of a child that was not waited for yet.
    ///
    /// # Errors
    /// The kernel has no such handles.
    pub(super) fn of(process: u32) -> Result<Follower> {
        let pid = i32::try_from(process).ok().and_then(Pid::from_raw).context("no number of a process")?;
        let handle = pidfd_open(pid, PidfdFlags::empty())
            .context("hold the new process: pidfd_open(2) needs Linux 5.3")?;
        Ok(Follower { process, handle })
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It has ended.
    pub fn tell(&self, signal: Signal) -> Result<()> {
        pidfd_send_signal(&self.handle, signal).with_context(|| format!("process {} has ended", self.process))
    }
}
