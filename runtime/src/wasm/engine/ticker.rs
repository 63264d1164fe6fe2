//! The epoch ticker, a thread that makes running guests yield.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::EngineWeak;

use crate::observe::profile;

/// How long a guest runs before it yields to the other tasks on its thread.
const TICK: Duration = Duration::from_millis(10);

/// A thread that advances the engine's epoch. Dropping it ends the thread.
///
/// A timer of the async runtime would not do: guests that spin on every worker would keep it from
/// firing, and only the epoch can interrupt them.
pub(in crate::wasm) struct Ticker {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Starts the thread.
    ///
    /// # Errors
    /// The host cannot start a thread.
    pub(in crate::wasm) fn start(engine: EngineWeak) -> io::Result<Ticker> {
        let (stop, stopped) = channel();
        let tick = move || {
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                match engine.upgrade() {
                    Some(engine) => {
                        profile::tick();
                        engine.increment_epoch();
                    }
                    None => return,
                }
            }
        };
        let thread = std::thread::Builder::new().name("ticker".to_owned()).spawn(tick)?;
        Ok(Ticker { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The thread cannot panic: it only waits and adds.
            let _ended = thread.join();
        }
    }
}
