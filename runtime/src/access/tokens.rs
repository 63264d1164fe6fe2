//! Verifies JSON Web Tokens (RFC 7519) by keys and claims that the configuration names; `ring_provider` checks their
//! signatures.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{decode, decode_header, get_current_timestamp};
use serde::Deserialize;
use serde_json::Value;

use super::key_set::FetchedKeySet;
use super::token_keys::{self, TokenClaims, TokenKey, TokenKeyRing, TokenKeySource};

/// How long a token that was verified is taken without its signature, and not beyond its end.
const TOKEN_REMEMBERED: Duration = Duration::from_secs(60);

/// The longest token. A head has no room for more by default.
const LONGEST: usize = 16 << 10;

/// The keys and claims of valid tokens.
pub struct TokenRules {
    keys: TokenKeys,
    /// Whether a token of any issuer for any audience passes.
    is_open: bool,
}

/// Where the keys are.
enum TokenKeys {
    /// In files that were read with the configuration.
    Fixed(TokenKeyRing),
    /// At a URL.
    Fetched(Arc<FetchedKeySet>),
}

/// Why a token does not pass.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TokenError {
    /// No key has the name that the token gives.
    UnknownKey,
    /// It is malformed, wrongly signed, expired or for somebody else; the text says which.
    Invalid(String),
    /// The keys could not be fetched yet, so no token can be verified.
    NoKeys,
}

/// The claims that are used.
#[derive(Deserialize)]
struct Subject {
    sub: Option<String>,
    /// Seconds since 1970, which may have a fraction (RFC 7519 §2).
    exp: f64,
    iss: Option<Value>,
}

impl TokenRules {
    /// Makes the rules with keys that are there.
    ///
    /// # Errors
    /// The key is invalid, too short, or not one for the algorithms. The message does not show it.
    pub fn new(source: &TokenKeySource<'_>, claims: &TokenClaims) -> Result<TokenRules, String> {
        let keys = TokenKeys::Fixed(TokenKeyRing::new(token_keys::read(source, claims)?));
        Ok(TokenRules { keys, is_open: is_open(claims) })
    }

    /// Makes the rules with keys from a URL.
    pub fn fetched(set: Arc<FetchedKeySet>) -> TokenRules {
        let is_open = is_open(&set.source.claims);
        TokenRules { keys: TokenKeys::Fetched(set), is_open }
    }

    /// Returns the keys that come from a URL. `None` if they come from a file.
    pub fn key_set(&self) -> Option<&Arc<FetchedKeySet>> {
        match &self.keys {
            TokenKeys::Fixed(_) => None,
            TokenKeys::Fetched(set) => Some(set),
        }
    }

    /// Reports whether a token of any issuer for any audience passes, as far as its key is known.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Verifies a token, and returns its subject if it has one. A verified token is remembered for a minute, as long as the
    /// keys are the same, and not beyond its end. A key that is unknown is asked for at its URL, in time for later tokens.
    ///
    /// # Errors
    /// Why the token does not pass, for the log.
    pub fn verify(&self, token: &str) -> Result<Option<String>, TokenError> {
        match &self.keys {
            TokenKeys::Fixed(ring) => verify(ring, token),
            TokenKeys::Fetched(set) => {
                let ring = set.ring();
                if ring.keys.is_empty() {
                    return Err(TokenError::NoKeys);
                }
                let verified = verify(&ring, token);
                if verified == Err(TokenError::UnknownKey) {
                    set.ask();
                }
                verified
            }
        }
    }
}

fn is_open(claims: &TokenClaims) -> bool {
    claims.issuer.is_none() && claims.audience.is_none()
}

fn verify(TokenKeyRing { keys, verified }: &TokenKeyRing, token: &str) -> Result<Option<String>, TokenError> {
    if token.len() > LONGEST {
        return Err(TokenError::Invalid(format!("the token is longer than {LONGEST} bytes")));
    }
    let digest = verified.digest(token.as_bytes());
    if let Some(subject) = verified.find(&digest) {
        return Ok(subject);
    }
    let header = decode_header(token).map_err(|error| TokenError::Invalid(error.to_string()))?;
    let fits = |key: &&TokenKey| match (&key.id, &header.kid) {
        (Some(id), Some(kid)) => id == kid,
        (Some(_), None) => keys.len() == 1,
        (None, _) => true,
    };
    let mut refused = TokenError::UnknownKey;
    // A set may have several keys of one name, such as one for each algorithm.
    for key in keys.iter().filter(fits) {
        match decode::<Subject>(token, &key.key, &key.validation) {
            // jsonwebtoken also accepts a list that contains the issuer, which is one text (RFC 7519 §4.1.1).
            Ok(decoded)
                if key.validation.iss.is_some()
                    && !decoded.claims.iss.as_ref().is_some_and(Value::is_string) =>
            {
                refused = TokenError::Invalid("the issuer is no text".to_owned());
            }
            Ok(decoded) => {
                let is_sound = |subject: &String| !subject.is_empty() && !subject.contains(char::is_control);
                let Subject { sub, exp, iss: _ } = decoded.claims;
                let subject = sub.filter(is_sound);
                let left = exp + key.validation.leeway as f64 - get_current_timestamp() as f64;
                let left = Duration::try_from_secs_f64(left).unwrap_or_default();
                verified.keep(digest, subject.clone(), left.min(TOKEN_REMEMBERED));
                return Ok(subject);
            }
            Err(error) => refused = TokenError::Invalid(error.to_string()),
        }
    }
    Err(refused)
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenError::UnknownKey => f.write_str("no key has this kid"),
            TokenError::Invalid(why) => f.write_str(why),
            TokenError::NoKeys => f.write_str("the keys are not there yet"),
        }
    }
}

#[cfg(test)]
mod tests;
