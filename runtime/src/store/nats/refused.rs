//! Why a message was not stored.

use std::error::Error as _;

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::{self, ErrorCode};

use crate::store::error::StoreError;

/// Why a message was not stored.
pub(super) enum Refused {
    /// The key has another sequence than was expected.
    Stale,
    /// The bucket has a bound of its own, and is at it.
    Full,
    Failed(StoreError),
}

impl From<&PublishError> for Refused {
    fn from(error: &PublishError) -> Refused {
        let answer = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
        match (error.kind(), answer) {
            (PublishErrorKind::WrongLastSequence, _) => Refused::Stale,
            // The code stands for any failure to store; only the text says that it is the quota.
            (_, Some(answer))
                if answer.error_code() == ErrorCode::STREAM_STORE_FAILED
                    && answer.to_string().contains("maximum bytes") =>
            {
                Refused::Full
            }
            (_, Some(answer)) => Refused::Failed(StoreError::Unavailable(answer.to_string())),
            (PublishErrorKind::StreamNotFound | PublishErrorKind::MaxPayloadExceeded, _) => {
                Refused::Failed(StoreError::Unavailable(error.to_string()))
            }
            _ => Refused::Failed(StoreError::Interrupted(error.to_string())),
        }
    }
}

/// Makes the error of a request that changes nothing.
pub(super) fn unavailable(error: &dyn std::error::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}
