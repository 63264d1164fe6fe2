//! Bodies on their way into a component and out of it.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use wasmtime::Result;
use wasmtime_wasi_http::{Error, WasiBody};

use crate::job::{Entry, Fault, Job, Output, RequestBody, Usage, poll_client};

/// A request's body, as the component reads it.
pub(in crate::wasm) struct Ours {
    body: Lent,
    broken: Broken,
    /// The job that waits while nothing of the body is here.
    usage: Arc<Usage>,
}

/// A body that is lent to a component: whatever handle it is in, it can be taken back.
#[derive(Clone)]
pub(in crate::wasm) struct Lent(Arc<Mutex<Option<RequestBody>>>);

/// The fault that a body ended with, which is the job's end as well: what the component makes of an
/// error that it reads, or of a reader that is gone, does not count.
#[derive(Clone, Default)]
pub(in crate::wasm) struct Broken(Arc<Mutex<Breach>>);

#[derive(Default)]
struct Breach {
    fault: Option<Fault>,
    /// Wakes the component; none: it has ended, or not begun.
    at_work: Option<Waker>,
}

/// Says at its drop that the component has ended.
struct Ending<'a>(&'a Broken);

/// A response's body, as the component writes it: counted, and no longer than it may be.
pub(in crate::wasm) struct Theirs {
    body: WasiBody,
    written: Written,
    /// Whether it waits for the end of its job, which says why it breaks off.
    ending: bool,
}

/// The account of a response's body.
pub(in crate::wasm) struct Written {
    /// Without a destination: it counts.
    output: Output,
    /// Whose limit it has, and whose failure it is to go beyond it.
    entry: Arc<Entry>,
    broken: Broken,
}

impl Ours {
    /// Lends a body for as long as its job lasts.
    pub(in crate::wasm) fn lend(body: RequestBody, broken: Broken, job: &Job) -> (Ours, Lent) {
        let lent = Lent(Arc::new(Mutex::new(Some(body))));
        (Ours { body: lent.clone(), broken, usage: job.usage.clone() }, lent)
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
        let next =
            ready!(poll_client(&self.usage, context, |context| Pin::new(&mut *body).poll_frame(context)));
        Poll::Ready(next.map(|frame| {
            frame.map_err(|fault| {
                // A component that has ended is not to blame for it.
                let _ended = self.broken.end_with(fault);
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
    pub(in crate::wasm) fn take_back(self) {
        drop(self.lock().take());
    }

    fn lock(&self) -> MutexGuard<'_, Option<RequestBody>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Broken {
    /// Ends the component with a fault.
    ///
    /// # Errors
    /// It has ended by itself: gives the fault back.
    fn end_with(&self, fault: Fault) -> std::result::Result<(), Fault> {
        let mut breach = self.lock();
        let Breach { fault: first, at_work: Some(waker) } = &mut *breach else { return Err(fault) };
        first.get_or_insert(fault);
        waker.wake_by_ref();
        Ok(())
    }

    /// Lets a component work until it ends, or a body of its request or response breaks off.
    pub(in crate::wasm) async fn end<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let mut work = pin!(work);
        let _ending = Ending(self);
        poll_fn(|context| {
            self.lock().at_work.get_or_insert_with(|| context.waker().clone()).clone_from(context.waker());
            let outcome = work.as_mut().poll(context);
            let mut breach = self.lock();
            if let Some(fault) = breach.fault.take() {
                return Poll::Ready(Err(wasmtime::Error::new(fault)));
            }
            if outcome.is_ready() {
                // Under the same lock: no fault comes in between and is lost.
                breach.at_work = None;
            }
            outcome
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, Breach> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.lock().at_work = None;
    }
}

impl Written {
    /// Starts the account of a job's response.
    pub(in crate::wasm) fn by(job: &Job, broken: Broken) -> Written {
        Written { output: job.stdout.clone(), entry: job.entry.clone(), broken }
    }
}

impl Theirs {
    pub(in crate::wasm) fn new(body: WasiBody, written: Written) -> Theirs {
        Theirs { body, written, ending: false }
    }
}

impl Body for Theirs {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        if self.ending {
            return Poll::Pending;
        }
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            None => return Poll::Ready(None),
            Some(Err(error)) => {
                let fault = Fault::BadAnswer(format!("the handler did not finish its body: {error}"));
                return Poll::Ready(Some(Err(fault)));
            }
            Some(Ok(frame)) => frame,
        };
        if let Some(bytes) = frame.data_ref() {
            let Written { output, entry, broken } = &self.written;
            let most = entry.limits.output;
            let _counted = output.write(bytes);
            if output.written() > most {
                let Err(fault) = broken.end_with(Fault::OutputTooLarge(most)) else {
                    // Told by the job's end, which is counted once and wakes whoever reads this.
                    self.ending = true;
                    return Poll::Pending;
                };
                // What it left behind is read after its end, which was counted as a good one.
                entry.record.blame(fault.code());
                return Poll::Ready(Some(Err(fault)));
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }
}
