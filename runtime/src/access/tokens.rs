//! Verifies JSON Web Tokens (RFC 7519) by keys and claims that the configuration names.

use std::time::Duration;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, Validation, decode, decode_header, get_current_timestamp,
};
use serde::Deserialize;

use super::ring_provider;
use super::verified_lately::VerifiedLately;

/// The shortest secret of an HMAC, in bytes: RFC 7518 §3.2 for HS256.
const SHORTEST_SECRET: usize = 32;

/// The longest token. A head has no room for more by default.
const LONGEST: usize = 16 << 10;

/// The keys and claims of valid tokens.
pub struct TokenRules {
    keys: Vec<TokenKey>,
    /// By how many seconds clocks may differ.
    leeway: u64,
    /// The subjects of tokens. A signature with a public key takes tens of microseconds to verify.
    verified: VerifiedLately<Option<String>>,
}

/// A key, and what a token that it signed must say.
struct TokenKey {
    /// Its name in tokens. `None` if any token may be signed with it.
    id: Option<String>,
    key: DecodingKey,
    validation: Validation,
}

/// What a token must say besides its signature.
#[derive(Clone, Debug)]
pub struct TokenClaims {
    /// The algorithms that may have signed it.
    pub algorithms: Vec<Algorithm>,
    /// Its issuer. `None` allows any.
    pub issuer: Option<String>,
    /// Its audience. `None` allows any.
    pub audience: Option<String>,
    /// By how many seconds clocks may differ.
    pub leeway: u64,
}

/// Where the key comes from.
pub enum TokenKeySource<'a> {
    /// A public key in PEM.
    Pem(&'a [u8]),
    /// The secret of an HMAC.
    Secret(&'a [u8]),
    /// A set of keys in JSON (RFC 7517).
    KeySet(&'a [u8]),
}

/// The claims that are used.
#[derive(Deserialize)]
struct Subject {
    sub: Option<String>,
    /// Seconds since 1970, which may have a fraction (RFC 7519 §2).
    exp: f64,
}

/// Reads the name of an algorithm.
///
/// # Errors
/// The name is unknown, or `none`.
pub fn algorithm(text: &str) -> Result<Algorithm, String> {
    text.parse().map_err(|_| {
        format!(
            "wanted HS256 to HS512, RS256 to RS512, PS256 to PS512, ES256, ES384 or EdDSA, found {text:?}"
        )
    })
}

impl TokenRules {
    /// Makes the rules.
    ///
    /// # Errors
    /// The key is invalid, too short, or not one for the algorithms. The message does not show it.
    pub fn new(source: &TokenKeySource<'_>, claims: &TokenClaims) -> Result<TokenRules, String> {
        ring_provider::install();
        let keys = match source {
            TokenKeySource::Secret(secret) if secret.len() < SHORTEST_SECRET => {
                return Err(format!(
                    "a secret of {} bytes: wanted {SHORTEST_SECRET} at least, as from `openssl rand 32`",
                    secret.len()
                ));
            }
            TokenKeySource::Secret(secret) => {
                vec![(None, DecodingKey::from_secret(secret).map_err(|error| error.to_string())?)]
            }
            TokenKeySource::Pem(pem) => vec![(None, public_key(pem, &claims.algorithms)?)],
            TokenKeySource::KeySet(json) => key_set(json, &claims.algorithms)?,
        };
        let keys = keys.into_iter().map(|(id, key)| claims.of(id, key)).collect::<Result<Vec<_>, _>>()?;
        Ok(TokenRules { keys, leeway: claims.leeway, verified: VerifiedLately::new() })
    }

    /// Verifies a token, and returns its subject if it has one. A verified token is remembered for a minute, and not
    /// beyond its end.
    ///
    /// # Errors
    /// Why the token is invalid, for the log.
    pub fn verify(&self, token: &str) -> Result<Option<String>, String> {
        if token.len() > LONGEST {
            return Err(format!("the token is longer than {LONGEST} bytes"));
        }
        let digest = self.verified.digest(&[token.as_bytes()]);
        if let Some(subject) = self.verified.find(&digest) {
            return Ok(subject);
        }
        let header = decode_header(token).map_err(|error| error.to_string())?;
        let fits = |key: &&TokenKey| match (&key.id, &header.kid) {
            (Some(id), Some(kid)) => id == kid,
            (Some(_), None) => self.keys.len() == 1,
            (None, _) => true,
        };
        let key = self.keys.iter().find(fits).ok_or("no key has this kid")?;
        let decoded =
            decode::<Subject>(token, &key.key, &key.validation).map_err(|error| error.to_string())?;
        let Subject { sub, exp } = decoded.claims;
        let subject = sub.filter(|subject| !subject.is_empty() && !subject.contains(char::is_control));
        let left = exp + self.leeway as f64 - get_current_timestamp() as f64;
        let left = Duration::try_from_secs_f64(left).unwrap_or_default();
        self.verified.keep(digest, subject.clone(), left);
        Ok(subject)
    }
}

impl TokenClaims {
    /// Makes the checks of tokens that a key signs: only by algorithms of its own family.
    fn of(&self, id: Option<String>, key: DecodingKey) -> Result<TokenKey, String> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.algorithms =
            self.algorithms.iter().copied().filter(|one| one.family() == key.family()).collect();
        if validation.algorithms.is_empty() {
            return Err(format!(
                "the key is of the family {:?}, and no algorithm of that is listed",
                key.family()
            ));
        }
        validation.leeway = self.leeway;
        validation.validate_nbf = true;
        validation.validate_aud = self.audience.is_some();
        let mut required = vec!["exp"];
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        if let Some(audience) = &self.audience {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        validation.set_required_spec_claims(&required);
        Ok(TokenKey { id, key, validation })
    }
}

/// Reads a public key in PEM, of the family of the algorithms.
fn public_key(pem: &[u8], algorithms: &[Algorithm]) -> Result<DecodingKey, String> {
    let families: Vec<AlgorithmFamily> = algorithms.iter().map(|algorithm| algorithm.family()).collect();
    let Some(family) = families.first().filter(|first| families.iter().all(|family| family == *first)) else {
        return Err("one key is for algorithms of one family: RS and PS, ES, or EdDSA".to_owned());
    };
    let read = match family {
        AlgorithmFamily::Rsa => DecodingKey::from_rsa_pem(pem),
        AlgorithmFamily::Ec => DecodingKey::from_ec_pem(pem),
        AlgorithmFamily::Ed => DecodingKey::from_ed_pem(pem),
        AlgorithmFamily::Hmac => return Err("HS algorithms have a secret, and no public key".to_owned()),
    };
    read.map_err(|error| format!("no public key of this kind in PEM: {error}"))
}

/// Reads a set of keys. Keys of other families than the algorithms are left out.
fn key_set(json: &[u8], algorithms: &[Algorithm]) -> Result<Vec<(Option<String>, DecodingKey)>, String> {
    let set: JwkSet = serde_json::from_slice(json).map_err(|error| format!("no set of keys: {error}"))?;
    let mut keys = Vec::new();
    for jwk in &set.keys {
        let Ok(key) = DecodingKey::from_jwk(jwk) else { continue };
        if algorithms.iter().any(|algorithm| algorithm.family() == key.family()) {
            keys.push((jwk.common.key_id.clone(), key));
        }
    }
    match keys.len() {
        0 => Err("the set has no key for these algorithms".to_owned()),
        1 => Ok(keys),
        _ if keys.iter().all(|(id, _)| id.is_some()) => Ok(keys),
        _ => Err("each key of a set needs a kid, because tokens name their key by it".to_owned()),
    }
}

#[cfg(test)]
mod tests;
