//! The signals that end `top`, which restores the terminal first.

use std::sync::mpsc::{Receiver, sync_channel};

use anyhow::Result;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

/// The numbers of SIGHUP, SIGINT, SIGQUIT and SIGTERM, from signal(7).
const ENDING: [u8; 4] = [1, 2, 3, 15];

/// Waits for a signal that ends the program. While it listens, the default action of these signals is not taken.
pub(super) struct EndingSignal {
    numbers: Receiver<u8>,
    /// Runs the tasks that wait.
    _runtime: Runtime,
}

impl EndingSignal {
    /// Listens from now on.
    ///
    /// # Errors
    /// The host refuses to start a thread, or to handle a signal.
    pub(super) fn listen() -> Result<EndingSignal> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (sender, numbers) = sync_channel(ENDING.len());
        let context = runtime.enter();
        for number in ENDING {
            let mut received = signal(SignalKind::from_raw(number.into()))?;
            let sender = sender.clone();
            runtime.spawn(async move {
                if received.recv().await.is_some() {
                    // There is room for the first signal of each kind.
                    let _told = sender.try_send(number);
                }
            });
        }
        drop(context);
        Ok(EndingSignal { numbers, _runtime: runtime })
    }

    /// Returns the number of a signal that has arrived.
    pub(super) fn caught(&self) -> Option<u8> {
        self.numbers.try_recv().ok()
    }
}
