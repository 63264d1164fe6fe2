//! The tokens of the dashboard: a link that works once, and the sessions that links begin.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, ensure};
use data_encoding::BASE64URL_NOPAD;
use rustix::rand::{GetRandomFlags, getrandom};
use sha2::{Digest as _, Sha256};

/// Sessions at once. One more ends the oldest.
const SESSIONS: usize = 16;

/// The bytes of a token: nobody guesses 256 bits.
const LENGTH: usize = 32;

/// The tokens that are valid.
#[derive(Default)]
pub(super) struct DashboardTokens(Mutex<ValidTokens>);

/// Digests of the valid tokens. They are compared instead of the tokens, so that the time of a comparison says nothing
/// about a token.
#[derive(Default)]
struct ValidTokens {
    link: Option<[u8; LENGTH]>,
    sessions: VecDeque<[u8; LENGTH]>,
}

impl DashboardTokens {
    /// Makes the token of a new link. The link before it is void.
    ///
    /// # Errors
    /// The kernel gives no random bytes.
    pub(super) fn link(&self) -> Result<String> {
        let (token, digest) = draw()?;
        self.valid().link = Some(digest);
        Ok(token)
    }

    /// Exchanges the token of the link for that of a session. Returns `None` if the token is not that of the link, or
    /// has been used.
    ///
    /// # Errors
    /// The kernel gives no random bytes.
    pub(super) fn open(&self, token: &str) -> Result<Option<String>> {
        let (session, of_session) = draw()?;
        let mut valid = self.valid();
        if valid.link != Some(digest(token)) {
            return Ok(None);
        }
        valid.link = None;
        if valid.sessions.len() >= SESSIONS {
            valid.sessions.pop_front();
        }
        valid.sessions.push_back(of_session);
        Ok(Some(session))
    }

    /// Reports whether a token is that of a session.
    pub(super) fn is_open(&self, token: &str) -> bool {
        self.valid().sessions.contains(&digest(token))
    }

    fn valid(&self) -> MutexGuard<'_, ValidTokens> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Draws a token from the kernel. Returns it with its digest.
fn draw() -> Result<(String, [u8; LENGTH])> {
    let mut bytes = [0; LENGTH];
    // getrandom(2): requests of up to 256 bytes are not cut short.
    let drawn = getrandom(&mut bytes[..], GetRandomFlags::empty()).context("draw random bytes")?;
    ensure!(drawn == LENGTH, "the kernel gave {drawn} of {LENGTH} random bytes");
    let token = BASE64URL_NOPAD.encode(&bytes);
    let digest = digest(&token);
    Ok((token, digest))
}

fn digest(token: &str) -> [u8; LENGTH] {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_works_once_and_its_session_goes_on() {
        let tokens = DashboardTokens::default();
        let link = tokens.link().unwrap();

        let session = tokens.open(&link).unwrap().unwrap();

        assert!(tokens.is_open(&session) && !tokens.is_open(&link));
        assert_eq!(tokens.open(&link).unwrap(), None);
        assert_eq!(tokens.open(&session).unwrap(), None);
        assert_eq!(tokens.open("").unwrap(), None);
    }

    #[test]
    fn a_new_link_voids_the_one_before_and_sessions_are_bounded() {
        let tokens = DashboardTokens::default();
        let before = tokens.link().unwrap();
        let mut sessions = Vec::new();

        for _ in 0..=SESSIONS {
            let link = tokens.link().unwrap();
            sessions.extend(tokens.open(&link).unwrap());
        }

        assert_eq!(tokens.open(&before).unwrap(), None);
        let open: Vec<bool> = sessions.iter().map(|session| tokens.is_open(session)).collect();
        assert_eq!((open[0], open[1], open[SESSIONS]), (false, true, true));
    }
}
