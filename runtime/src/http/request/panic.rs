//! Catches a panic of the daemon while it answers a request, so that it ends only that request.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;

use futures_util::FutureExt as _;

/// Runs a future that makes a response. It stays where it is pinned: moving it would copy all its room, 4 KiB.
///
/// # Errors
/// The future panicked; the text is the panic message. The caller drops what the future held, including its jobs, and
/// never looks at it.
pub(in crate::http) async fn caught<T>(answer: Pin<&mut impl Future<Output = T>>) -> Result<T, String> {
    AssertUnwindSafe(answer).catch_unwind().await.map_err(|payload| words(&*payload))
}

/// Runs a function that changes a response.
///
/// # Errors
/// The function panicked; the text is the panic message. The response may be half changed, and must be replaced.
pub(in crate::http) fn caught_call<T>(change: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(change)).map_err(|payload| words(&*payload))
}

/// Returns the message of a panic on one line.
fn words(payload: &(dyn Any + Send)) -> String {
    let said = payload.downcast_ref::<&str>().copied();
    let said = said.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    said.unwrap_or("without a word").escape_debug().to_string()
}

/// Logs a connection that panicked. That is a bug of the daemon, and other connections go on.
pub(in crate::http) fn told(ended: Result<(), tokio::task::JoinError>) {
    if let Err(failure) = ended {
        tracing::error!("a connection failed: {failure}");
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_caught_with_its_words_also_behind_a_wait() {
        let harmless = async { 7 };
        let formatted = async {
            tokio::task::yield_now().await;
            panic!("as {} would\n", "a bug");
        };
        let other = async { std::panic::panic_any(7) };

        assert_eq!(caught(pin!(harmless)).await, Ok(7));
        assert_eq!(caught::<()>(pin!(formatted)).await, Err("as a bug would\\n".to_owned()));
        assert_eq!(caught::<()>(pin!(other)).await, Err("without a word".to_owned()));
        assert_eq!(caught_call(|| 7), Ok(7));
        assert_eq!(caught_call::<()>(|| panic!("alas")), Err("alas".to_owned()));
    }
}
