//! Credentials that were verified lately, so that each request need not verify them again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use ring::digest::{Context, SHA256};
use ring::rand::{SecureRandom as _, SystemRandom};

/// The most credentials to remember.
const MOST: usize = 1024;

/// The digest of a credential, with a key of what remembers it.
pub type CredentialDigest = [u8; 32];

/// The bytes that SHA-256 takes at once (FIPS 180-4 §1).
const BLOCK: usize = 64;

/// Verified credentials with what they stand for, each until its time ends.
pub(super) struct VerifiedLately<T> {
    entries: Mutex<Entries<T>>,
    /// The state of a digest behind a key that is one block, so that most credentials take one block more. With the key,
    /// memory shows nothing that could be tried out elsewhere. Digests stay in the process, so nobody can extend them.
    keyed: Box<Context>,
}

/// Entries by digest. Digests depend on a secret key, so no client can choose a collision and a fast hash will do.
type Entries<T> = HashMap<CredentialDigest, (Instant, T), RandomState>;

impl<T: Clone> VerifiedLately<T> {
    /// Remembers nothing yet.
    pub(super) fn new() -> VerifiedLately<T> {
        let mut key = [0; BLOCK];
        // Without randomness the digests are guessable from a dump of memory, and the credentials stay hashed.
        let _filled = SystemRandom::new().fill(&mut key);
        let mut keyed = Context::new(&SHA256);
        keyed.update(&key);
        VerifiedLately { entries: Mutex::default(), keyed: Box::new(keyed) }
    }

    /// Returns the digest of a credential.
    pub(super) fn digest(&self, credential: &[u8]) -> CredentialDigest {
        let mut digest = Context::clone(&self.keyed);
        digest.update(credential);
        digest.finish().as_ref().try_into().unwrap_or_default()
    }

    /// Returns what a credential stands for, if it was verified lately.
    pub(super) fn find(&self, digest: &CredentialDigest) -> Option<T> {
        let entries = self.entries();
        let (until, value) = entries.get(digest)?;
        (*until > Instant::now()).then(|| value.clone())
    }

    /// As [`find`](VerifiedLately::find), and remembers the credential for this time from now.
    pub(super) fn find_renewed(&self, digest: &CredentialDigest, time: Duration) -> Option<T> {
        let (mut entries, now) = (self.entries(), Instant::now());
        let (until, value) = entries.get_mut(digest).filter(|(until, _)| *until > now)?;
        *until = now + time;
        Some(value.clone())
    }

    /// Remembers a credential for this time. If there are too many, the credential that ends first is forgotten.
    pub(super) fn keep(&self, digest: CredentialDigest, value: T, time: Duration) {
        let (mut entries, now) = (self.entries(), Instant::now());
        if entries.len() >= MOST {
            entries.retain(|_, (until, _)| *until > now);
        }
        if entries.len() >= MOST {
            let first = entries.iter().min_by_key(|(_, (until, _))| *until).map(|(digest, _)| *digest);
            first.and_then(|first| entries.remove(&first));
        }
        entries.insert(digest, (now + time, value));
    }

    /// Returns how long a credential is remembered.
    #[cfg(test)]
    pub(super) fn left(&self, digest: &CredentialDigest) -> Duration {
        let until = self.entries().get(digest).map(|(until, _)| *until);
        until.unwrap_or_else(Instant::now).saturating_duration_since(Instant::now())
    }

    fn entries(&self) -> MutexGuard<'_, Entries<T>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_found_as_long_as_it_is_kept_and_no_other_is() {
        let lately = VerifiedLately::new();
        let (kept, ended) = (lately.digest(b"ada:x"), lately.digest(b"bob:x"));
        lately.keep(kept, 1, Duration::from_secs(3600));
        lately.keep(ended, 2, Duration::ZERO);

        assert_eq!((lately.find(&kept), lately.find(&ended)), (Some(1), None));
        assert_eq!(lately.find(&lately.digest(b"ada:")), None);
        let other = VerifiedLately::<u8>::new();
        assert_eq!(other.find(&kept), None);
        assert!(
            other.digest(b"ada:x") != kept && lately.digest(b"ada:x") == kept,
            "each has a key of its own"
        );
        assert_eq!((lately.find_renewed(&kept, Duration::ZERO), lately.find(&kept)), (Some(1), None));
    }

    #[test]
    fn many_credentials_take_no_more_room() {
        let lately = VerifiedLately::new();

        let last = lately.digest(b"last to end");
        lately.keep(last, (), Duration::from_secs(3600));
        for number in 0..3 * MOST as u64 {
            lately.keep(lately.digest(&number.to_be_bytes()), (), Duration::from_secs(60));
        }

        assert!(lately.entries().len() <= MOST && lately.find(&last).is_some());
    }
}
