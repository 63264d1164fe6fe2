//! A stream that an instance is given once and that goes to another job with each request.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::job::{Destination, Output};

/// What an instance prints, on its way to the job that it works for; between two jobs it is dropped.
#[derive(Default)]
pub(in crate::wasm) struct Retarget(Mutex<Option<Output>>);

impl Retarget {
    /// Sends what is written from now on to another job, or nowhere.
    pub(in crate::wasm) fn point_at(&self, output: Option<Output>) {
        *self.lock() = output;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Output>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Destination for Retarget {
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
