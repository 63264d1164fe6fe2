//! A stream of an instance whose destination changes with each request.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::job::{Destination, Output};

/// Forwards the output of an instance to its current job, and drops it between two jobs.
#[derive(Default)]
pub(in crate::wasm) struct OutputSwitch(Mutex<Option<Output>>);

impl OutputSwitch {
    /// Sends later output to another destination, or drops it if `None`.
    pub(in crate::wasm) fn point_at(&self, output: Option<Output>) {
        *self.lock() = output;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Output>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Destination for OutputSwitch {
    fn poll_room(&self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match &*self.lock() {
            Some(output) => output.poll_room(context),
            None => Poll::Ready(Ok(usize::MAX)),
        }
    }

    fn write(&self, bytes: &Bytes) -> io::Result<()> {
        match &*self.lock() {
            Some(output) => output.write(bytes),
            None => Ok(()),
        }
    }
}
