//! A panic of ours while a request is answered: a bug, which ends that request and no other.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;

/// Has an answer made.
///
/// # Errors
/// Whoever made it panicked: with which words. What it held is dropped, and its jobs with it.
pub(in crate::http) async fn caught<T>(answer: impl Future<Output = T>) -> Result<T, String> {
    // What is left behind is looked at by nobody but who drops it.
    AssertUnwindSafe(answer).catch_unwind().await.map_err(|payload| words(&*payload))
}

/// Returns what a panic says, on one line.
fn words(payload: &(dyn Any + Send)) -> String {
    let said = payload.downcast_ref::<&str>().copied();
    let said = said.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    said.unwrap_or("without a word").escape_debug().to_string()
}

/// A connection that panicked is our bug, and nobody else's problem.
pub(in crate::http) fn told(ended: Result<(), tokio::task::JoinError>) {
    if let Err(failure) = ended {
        tracing::error!("a connection failed: {failure}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_caught_with_its_words_also_behind_a_wait() {
        let harmless = async { 7 };
        let formatted = async {
            tokio::task::yield_now().await;
            panic!("as {} would\n", "a bug");
        };
        let other = async { std::panic::panic_any(7) };

        assert_eq!(caught(harmless).await, Ok(7));
        assert_eq!(caught::<()>(formatted).await, Err("as a bug would\\n".to_owned()));
        assert_eq!(caught::<()>(other).await, Err("without a word".to_owned()));
    }
}
