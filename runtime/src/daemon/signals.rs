//! The signals that control the daemon: SIGHUP, SIGUSR1, SIGUSR2, SIGTERM and SIGINT.

use std::collections::VecDeque;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::change_queue::Change;
use crate::observe::access_file;

/// The signals that the daemon listens to.
pub(super) struct Signals {
    /// Changes that were asked for while [`Signals::end`] waited.
    put_off: VecDeque<Change>,
    hangup: Signal,
    reopen: Signal,
    user: Signal,
    terminate: Signal,
    interrupt: Signal,
}

/// What a signal asks for.
pub(super) enum SignalEvent {
    /// A reload or an upgrade.
    Change(Change),
    /// The end of the daemon, with the number of the signal.
    End(u8),
}

impl Signals {
    /// Listens from now on.
    pub(super) fn listen() -> io::Result<Signals> {
        Ok(Signals {
            put_off: VecDeque::new(),
            hangup: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined1())?,
            user: signal(SignalKind::user_defined2())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self) -> SignalEvent {
        if let Some(change) = self.put_off.pop_front() {
            return SignalEvent::Change(change);
        }
        self.fresh().await
    }

    async fn fresh(&mut self) -> SignalEvent {
        // signal(7).
        const INTERRUPT: u8 = 2;
        const TERMINATE: u8 = 15;
        loop {
            tokio::select! {
                _ = self.hangup.recv() => return SignalEvent::Change(Change::Reload),
                _ = self.user.recv() => return SignalEvent::Change(Change::Upgrade),
                _ = self.terminate.recv() => return SignalEvent::End(TERMINATE),
                _ = self.interrupt.recv() => return SignalEvent::End(INTERRUPT),
                // On a thread of its own: a network file system may take long. The outcome is logged.
                _ = self.reopen.recv() => drop(tokio::task::spawn_blocking(access_file::reopen_logged)),
            }
        }
    }

    /// Waits for a signal to end and returns its number. Other signals are kept for [`next`](Signals::next).
    pub(super) async fn end(&mut self) -> u8 {
        loop {
            match self.fresh().await {
                SignalEvent::End(signal) => return signal,
                SignalEvent::Change(change) if self.put_off.contains(&change) => {}
                SignalEvent::Change(change) => self.put_off.push_back(change),
            }
        }
    }
}
