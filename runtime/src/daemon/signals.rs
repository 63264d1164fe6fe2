//! What an operator sends by kill(1).

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What an operator may send.
pub(super) struct Signals {
    hangup: Signal,
    user: Signal,
    terminate: Signal,
    interrupt: Signal,
}

/// What was sent.
pub(super) enum Sent {
    /// Read everything anew.
    Reload,
    /// Hand over to a new process.
    Upgrade,
    /// Come to an end; the number of the signal.
    End(u8),
}

impl Signals {
    /// Listens from now on.
    pub(super) fn listen() -> io::Result<Signals> {
        Ok(Signals {
            hangup: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined2())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self) -> Sent {
        // signal(7).
        const INTERRUPT: u8 = 2;
        const TERMINATE: u8 = 15;
        tokio::select! {
            _ = self.hangup.recv() => Sent::Reload,
            _ = self.user.recv() => Sent::Upgrade,
            _ = self.terminate.recv() => Sent::End(TERMINATE),
            _ = self.interrupt.recv() => Sent::End(INTERRUPT),
        }
    }

    /// Waits for a signal to end and returns its number; the others are not for now.
    pub(super) async fn end(&mut self) -> u8 {
        loop {
            match self.next().await {
                Sent::End(signal) => return signal,
                Sent::Reload | Sent::Upgrade => {}
            }
        }
    }
}
