//! The request and response bodies of a component that answers HTTP.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use wasmtime::Result;
use wasmtime_wasi_http::{Error, WasiBody};

use crate::job::{Fault, FromClient, HandlerVersion, Job, Output, RequestBody, Usage, poll_client};

/// A request body, as the component reads it.
pub(in crate::wasm) struct LentRequestBody {
    body: Lent,
    broken: BodyFault,
    /// Accounts the time that the job waits for the client to send the body.
    usage: Arc<Usage>,
    /// Whether the last read waits for the client.
    is_awaited: bool,
}

/// A request body on loan to a component. It can be taken back from whatever handle holds it.
#[derive(Clone)]
pub(in crate::wasm) struct Lent(Arc<Mutex<Option<RequestBody>>>);

/// The fault that ended a body, which also ends the job. It counts even if the component ignores
/// the read error or the missing reader.
#[derive(Clone, Default)]
pub(in crate::wasm) struct BodyFault(Arc<Mutex<BodyBreach>>);

#[derive(Default)]
struct BodyBreach {
    fault: Option<Fault>,
    /// Wakes the component; `None` before it begins and after it has ended.
    at_work: Option<Waker>,
}

/// Marks the component as ended when dropped.
struct EndGuard<'a>(&'a BodyFault);

/// A response body, as the component writes it: counted, and bounded by the output limit.
pub(in crate::wasm) struct MeteredResponseBody {
    body: WasiBody,
    written: ResponseAccount,
    /// Whether it has reported a fault; it then waits for its job to end, which breaks it off with the reason.
    ending: bool,
}

/// The account of a response body.
pub(in crate::wasm) struct ResponseAccount {
    /// Has no destination; used for its count.
    output: Output,
    /// The handler version with the limit, which is charged with a failure beyond it.
    entry: Arc<HandlerVersion>,
    broken: BodyFault,
}

impl LentRequestBody {
    /// Lends a request body to a component until it is taken back.
    pub(in crate::wasm) fn lend(body: RequestBody, broken: BodyFault, job: &Job) -> (LentRequestBody, Lent) {
        let lent = Lent(Arc::new(Mutex::new(Some(body))));
        (LentRequestBody { body: lent.clone(), broken, usage: job.usage.clone(), is_awaited: false }, lent)
    }
}

impl Drop for LentRequestBody {
    fn drop(&mut self) {
        // Nobody reads what the client sends any more, so the time of the job is its own again.
        if self.is_awaited {
            self.usage.waits.end(FromClient::Input);
        }
    }
}

impl Body for LentRequestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let LentRequestBody { body, broken, usage, is_awaited } = &mut *self;
        let mut lent = body.lock();
        let Some(body) = &mut *lent else { return Poll::Ready(None) };
        let next = poll_client(usage, context, |context| Pin::new(&mut *body).poll_frame(context));
        *is_awaited = next.is_pending();
        Poll::Ready(ready!(next).map(|frame| {
            frame.map_err(|fault| {
                // An error means that the component has ended: the job does not fail for it.
                let _ended = broken.end_with(fault);
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
    /// Takes the body back. The component then sees its end.
    pub(in crate::wasm) fn take_back(self) {
        drop(self.lock().take());
    }

    fn lock(&self) -> MutexGuard<'_, Option<RequestBody>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BodyFault {
    /// Ends the component with a fault.
    ///
    /// # Errors
    /// The component has ended by itself. Returns the fault.
    fn end_with(&self, fault: Fault) -> std::result::Result<(), Fault> {
        let mut breach = self.lock();
        let BodyBreach { fault: first, at_work: Some(waker) } = &mut *breach else { return Err(fault) };
        first.get_or_insert(fault);
        waker.wake_by_ref();
        Ok(())
    }

    /// Runs a component until it ends, or until the body of its request or response reports a fault. The caller pins
    /// it: the future is large, and a parameter would be copied.
    pub(in crate::wasm) async fn end<T>(
        &self,
        mut work: Pin<&mut impl Future<Output = Result<T>>>,
    ) -> Result<T> {
        let _ending = EndGuard(self);
        poll_fn(|context| {
            self.lock().at_work.get_or_insert_with(|| context.waker().clone()).clone_from(context.waker());
            let outcome = work.as_mut().poll(context);
            let mut breach = self.lock();
            if let Some(fault) = breach.fault.take() {
                return Poll::Ready(Err(wasmtime::Error::new(fault)));
            }
            if outcome.is_ready() {
                // Under the same lock, so no fault is lost in between.
                breach.at_work = None;
            }
            outcome
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, BodyBreach> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for EndGuard<'_> {
    fn drop(&mut self) {
        self.0.lock().at_work = None;
    }
}

impl ResponseAccount {
    /// Opens the account of a job's response.
    pub(in crate::wasm) fn by(job: &Job, broken: BodyFault) -> ResponseAccount {
        ResponseAccount { output: job.stdout.clone(), entry: job.entry.clone(), broken }
    }
}

impl MeteredResponseBody {
    pub(in crate::wasm) fn new(body: WasiBody, written: ResponseAccount) -> MeteredResponseBody {
        MeteredResponseBody { body, written, ending: false }
    }
}

impl Body for MeteredResponseBody {
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
            let ResponseAccount { output, entry, broken } = &self.written;
            let max = entry.limits.output;
            let _counted = output.write(bytes);
            if output.written() > max {
                let Err(fault) = broken.end_with(Fault::OutputTooLarge(max)) else {
                    // The end of the job reports this fault, and wakes the reader.
                    self.ending = true;
                    return Poll::Pending;
                };
                // The component has ended; the rest of its body is read after that.
                return Poll::Ready(Some(Err(fault)));
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    /// The body of a client that sends nothing.
    struct SilentBody;

    impl Body for SilentBody {
        type Data = Bytes;
        type Error = Fault;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn a_job_that_drops_its_request_body_does_not_wait_for_the_client() {
        let usage = Arc::<Usage>::default();
        let body = Lent(Arc::new(Mutex::new(Some(SilentBody.boxed()))));
        let (broken, paid) = (BodyFault::default(), usage.clone());
        let mut lent = LentRequestBody { body: body.clone(), broken, usage: paid, is_awaited: false };
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut lent).poll_frame(&mut context).is_pending() && usage.waits.is_waiting());

        drop(lent);

        assert!(!usage.waits.is_waiting() && body.lock().is_some());
    }
}
