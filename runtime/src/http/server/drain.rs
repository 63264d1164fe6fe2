//! Drives a connection to its end, and tells hyper when it has to leave.

use std::future::Future;
use std::pin::{Pin, pin};

use crate::http::poll_on_wake::PollOnWake;

/// Drives a connection until it ends. Once `leave` is ready, `shut` tells hyper to take no more requests; from then
/// on the connection ends when it is `silent` as well.
pub(super) async fn drive<C, E>(
    mut connection: Pin<&mut C>,
    leave: impl Future<Output = ()>,
    shut: impl FnOnce(Pin<&mut C>),
    silent: impl Future<Output = ()>,
) -> Result<(), E>
where
    C: Future<Output = Result<(), E>>,
{
    let leave = pin!(leave);
    let leave = PollOnWake::new(leave);
    tokio::select! {
        // Polled first, so that a request that has arrived is answered.
        biased;
        outcome = connection.as_mut() => return outcome,
        () = leave => {}
    }
    shut(connection.as_mut());
    tokio::select! {
        biased;
        outcome = connection.as_mut() => outcome,
        () = silent => Ok(()),
    }
}
