//! A stream of results that a guest reads at its own pace.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use wasmtime::component::{Destination, StreamProducer, StreamResult, VecBuffer};
use wasmtime::{Result, StoreContextMut};

use super::memory_meter::HeldMemory;

/// Items that are in memory until the guest has read them. Until then, their operation counts as
/// awaited, and their memory is charged.
pub(super) struct HeldStream<T> {
    items: std::vec::IntoIter<T>,
    _under_way: Arc<()>,
    _memory: HeldMemory,
}

impl<T> HeldStream<T> {
    pub(super) fn new(items: Vec<T>, under_way: Arc<()>, memory: HeldMemory) -> HeldStream<T> {
        HeldStream { items: items.into_iter(), _under_way: under_way, _memory: memory }
    }
}

impl<T, D> StreamProducer<D> for HeldStream<T>
where
    T: Unpin + Send + Sync + 'static,
    D: 'static,
{
    type Item = T;
    type Buffer = VecBuffer<T>;

    fn poll_produce<'a>(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        store: StoreContextMut<'a, D>,
        mut destination: Destination<'a, T, VecBuffer<T>>,
        _: bool,
    ) -> Poll<Result<StreamResult>> {
        let items = &mut self.get_mut().items;
        // No more than the guest takes now: what is in the buffer is not counted.
        let wanted = destination.remaining(store).unwrap_or(items.len());
        let next: Vec<T> = items.by_ref().take(wanted).collect();
        destination.set_buffer(next.into());
        Poll::Ready(Ok(match items.len() {
            0 => StreamResult::Dropped,
            _ => StreamResult::Completed,
        }))
    }
}
