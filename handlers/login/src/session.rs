//! Sessions: a cookie with a user and an end, signed with a key.

use crate::users::Users;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The shortest key, in bytes: the output length of SHA-256 (RFC 2104 §3), if each byte were random.
const SHORTEST: usize = 32;

/// Begins sessions and recognises them.
pub(crate) struct Sessions {
    key: Hmac<Sha256>,
    lifetime: Duration,
}

impl Sessions {
    /// Takes the key. Returns `None` if it is too short.
    pub(crate) fn new(key: &str, lifetime: Duration) -> Option<Sessions> {
        if key.len() < SHORTEST {
            return None;
        }
        Some(Sessions { key: Hmac::new_from_slice(key.as_bytes()).ok()?, lifetime })
    }

    /// Returns how long a session lasts.
    pub(crate) fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// Makes the value of the cookie: `USER.END.SIGNATURE`. `hash` is that of the user's password.
    pub(crate) fn begin(&self, user: &str, hash: &str, now: SystemTime) -> String {
        let user = URL_SAFE_NO_PAD.encode(user);
        let end = seconds(now).saturating_add(self.lifetime.as_secs()).to_string();
        let signature = self.signed(&user, &end, hash).finalize().into_bytes();
        format!("{user}.{end}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Returns the user of a session that has not ended, whose user still has the same password.
    pub(crate) fn user(&self, value: &str, users: &Users, now: SystemTime) -> Option<String> {
        let mut parts = value.split('.');
        let (encoded, end, signature) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let user = String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let hash = users.hash(&user);
        // Compares in constant time, and for an unknown user too.
        self.signed(encoded, end, hash.unwrap_or_default()).verify_slice(&signature).ok().and(hash)?;
        let (end, now) = (end.parse::<u64>().ok()?, seconds(now));
        // A lifetime that was made shorter holds for earlier sessions too.
        (end > now && end - now <= self.lifetime.as_secs()).then_some(user)
    }

    /// Signs the parts of a cookie. No part has a line break, so no two sets of parts are the same text. The hash of the
    /// password is one of them: with another password, the signature is another.
    fn signed(&self, user: &str, end: &str, hash: &str) -> Hmac<Sha256> {
        let mut mac = self.key.clone();
        mac.update(format!("portcullis login session\n{user}\n{end}\n{hash}").as_bytes());
        mac
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
