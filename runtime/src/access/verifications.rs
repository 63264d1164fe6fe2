//! Password verifications in progress. Concurrent requests with the same credentials share one verification.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OnceCell;

use super::verified_lately::CredentialDigest;

/// The verifications that requests wait for, by the digest of the credentials.
#[derive(Default)]
pub(super) struct Verifications(Mutex<HashMap<CredentialDigest, Weak<OnceCell<bool>>>>);

impl Verifications {
    /// Returns the verification of a credential. Its first caller verifies the password and sets the outcome. If that caller
    /// leaves, the next caller does so.
    pub(super) fn of(&self, digest: &CredentialDigest) -> Arc<OnceCell<bool>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = all.get(digest).and_then(Weak::upgrade) {
            return running;
        }
        // Drops the verifications that no request waits for any more.
        all.retain(|_, verification| verification.strong_count() > 0);
        let verification = Arc::default();
        all.insert(*digest, Arc::downgrade(&verification));
        verification
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_has_one_verification_until_nobody_waits_for_it() {
        let verifications = Verifications::default();
        let one = verifications.of(&[1; 32]);

        assert!(Arc::ptr_eq(&one, &verifications.of(&[1; 32])));
        assert!(!Arc::ptr_eq(&one, &verifications.of(&[2; 32])));
        drop(one);
        let _other = verifications.of(&[3; 32]);
        assert_eq!(verifications.0.lock().unwrap().len(), 1);
    }
}
