//! The passwords that are being verified: the same one once, however many requests bring it at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OnceCell;

use super::verified_lately::CredentialDigest;

/// The verifications that somebody waits for.
#[derive(Default)]
pub(super) struct Verifications(Mutex<HashMap<CredentialDigest, Weak<OnceCell<bool>>>>);

impl Verifications {
    /// Returns the verification of a credential. The first who initializes it verifies; if that one leaves, the next does.
    pub(super) fn of(&self, digest: &CredentialDigest) -> Arc<OnceCell<bool>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = all.get(digest).and_then(Weak::upgrade) {
            return running;
        }
        // Those that nobody waits for any more.
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
