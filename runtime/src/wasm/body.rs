//! Bodies on their way into a component and out of it.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use wasmtime::Result;
use wasmtime_wasi_http::{Error, WasiBody};

use crate::job::{Fault, Output, RequestBody};

/// A request's body, as the component reads it.
pub(super) struct Ours {
    body: Lent,
    broken: Broken,
}

/// A body that is lent to a component: whatever handle it is in, it can be taken back.
#[derive(Clone)]
pub(super) struct Lent(Arc<Mutex<Option<RequestBody>>>);

/// The fault that a body ended with, which is the job's end as well: what the component makes of an
/// error that it reads, or of a reader that is gone, does not count.
#[derive(Clone, Default)]
pub(super) struct Broken(Arc<Mutex<Option<Fault>>>);

/// A response's body, as the component writes it: counted, and no longer than it may be.
pub(super) struct Theirs {
    body: WasiBody,
    written: Written,
}

/// The account of a response's body.
pub(super) struct Written {
    /// Without a destination: it counts.
    pub(super) output: Output,
    /// Bytes it may have.
    pub(super) most: u64,
    pub(super) broken: Broken,
}

impl Ours {
    /// Lends a body for as long as its job lasts.
    pub(super) fn lend(body: RequestBody, broken: Broken) -> (Ours, Lent) {
        let lent = Lent(Arc::new(Mutex::new(Some(body))));
        (Ours { body: lent.clone(), broken }, lent)
    }
}

impl Body for Ours {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut lent = self.body.lock();
        let Some(body) = &mut *lent else { return Poll::Ready(None) };
        let next = ready!(Pin::new(body).poll_frame(context));
        Poll::Ready(next.map(|frame| {
            frame.map_err(|fault| {
                self.broken.set(fault);
                Error::ConnectionTerminated
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.lock().as_ref().is_none_or(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.body.lock().as_ref().map(|body| body.size_hint()).unwrap_or_default()
    }
}

impl Lent {
    /// Takes the body back: to the component it has come to its end.
    pub(super) fn take_back(self) {
        drop(self.lock().take());
    }

    fn lock(&self) -> MutexGuard<'_, Option<RequestBody>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Broken {
    fn set(&self, fault: Fault) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }

    /// Lets a component work until it ends, or a body of its request or response breaks off.
    pub(super) async fn end<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let mut work = pin!(work);
        poll_fn(|context| {
            let outcome = work.as_mut().poll(context);
            match self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
                Some(fault) => Poll::Ready(Err(wasmtime::Error::new(fault))),
                None => outcome,
            }
        })
        .await
    }
}

impl Theirs {
    pub(super) fn new(body: WasiBody, written: Written) -> Theirs {
        Theirs { body, written }
    }
}

impl Body for Theirs {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            None => return Poll::Ready(None),
            Some(Err(error)) => {
                let fault = Fault::BadAnswer(format!("the handler did not finish its body: {error}"));
                return Poll::Ready(Some(Err(fault)));
            }
            Some(Ok(frame)) => frame,
        };
        if let Some(bytes) = frame.data_ref() {
            let Written { output, most, broken } = &self.written;
            let _counted = output.write(bytes);
            if output.written() > *most {
                broken.set(Fault::OutputTooLarge(*most));
                return Poll::Ready(Some(Err(Fault::OutputTooLarge(*most))));
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }
}
