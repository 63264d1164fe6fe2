//! The keys of JSON Web Tokens, and what a token must say.

use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, Jwk, JwkSet, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, Validation};

use super::ring_provider;
use super::verified_lately::VerifiedLately;

/// The shortest secret of an HMAC, in bytes: RFC 7518 §3.2 for HS256.
const SHORTEST_SECRET: usize = 32;

/// Why a key of the right family is refused.
const UNSUITED: &str = "the key suits none of the algorithms: ES256 wants one of the curve P-256, ES384 of P-384, both with an \
                        uncompressed point, as from `openssl ec -pubin -conv_form uncompressed`; RS and PS want one of 2048 \
                        bits at least, EdDSA one of 32 bytes";

/// The end of the first line of a private key in PEM, of each kind (RFC 7468 §10, §11, and PKCS #1).
const PRIVATE: &[u8] = b"PRIVATE KEY-----";

/// The first line of a public key in PEM, of each kind.
const PUBLIC: [&[u8]; 2] = [b"-----BEGIN PUBLIC KEY-----", b"-----BEGIN RSA PUBLIC KEY-----"];

/// The most keys of a set. A token is tried with each key of its name.
const MOST_KEYS: usize = 100;

/// A key, and what a token that it signed must say.
pub(super) struct TokenKey {
    /// Its name in tokens. `None` if any token may be signed with it.
    pub(super) id: Option<String>,
    pub(super) key: DecodingKey,
    pub(super) validation: Validation,
}

/// Keys, with the tokens that they have verified lately. A token is not remembered beyond its keys.
pub(super) struct TokenKeyRing {
    pub(super) keys: Vec<TokenKey>,
    /// The subjects of tokens. A signature with a public key takes tens of microseconds to verify.
    pub(super) verified: VerifiedLately<Option<String>>,
}

/// What a token must say besides its signature.
#[derive(Clone, PartialEq, Eq, Debug)]
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

/// Reads the keys of a source.
///
/// # Errors
/// A key is invalid, too short, or not one for the algorithms. The message does not show it.
pub(super) fn read(source: &TokenKeySource<'_>, claims: &TokenClaims) -> Result<Vec<TokenKey>, String> {
    ring_provider::install();
    let algorithms = &claims.algorithms;
    let key = match source {
        TokenKeySource::Secret(secret) => {
            long_enough(secret)?;
            DecodingKey::from_secret(secret).map_err(|error| error.to_string())?
        }
        TokenKeySource::Pem(pem) => public_key(pem, algorithms)?,
        TokenKeySource::KeySet(json) => return key_set(json, claims),
    };
    let family = key.family();
    let is_listed = algorithms.iter().any(|algorithm| algorithm.family() == family);
    match claims.of(None, key, None) {
        Some(key) => Ok(vec![key]),
        None if is_listed => Err(UNSUITED.to_owned()),
        None => Err(format!("the key is of the family {family:?}, and no algorithm of that is listed")),
    }
}

impl TokenKeyRing {
    pub(super) fn new(keys: Vec<TokenKey>) -> TokenKeyRing {
        TokenKeyRing { keys, verified: VerifiedLately::new() }
    }
}

impl TokenClaims {
    /// Reports whether an algorithm is listed whose key is a secret that the issuer shares.
    pub fn share_secret(&self) -> bool {
        self.algorithms.iter().any(|algorithm| algorithm.family() == AlgorithmFamily::Hmac)
    }

    /// Makes the checks of tokens that a key signs: only by algorithms of its own family, and only by `alone` if the key
    /// is for that one. Returns `None` if no algorithm is left.
    fn of(&self, id: Option<String>, key: DecodingKey, alone: Option<KeyAlgorithm>) -> Option<TokenKey> {
        let is_for = |algorithm: &Algorithm| {
            algorithm.family() == key.family()
                && suits(&key, *algorithm)
                && alone.is_none_or(|alone| KeyAlgorithm::from(*algorithm) == alone)
        };
        let mut validation = Validation::new(Algorithm::HS256);
        validation.algorithms = self.algorithms.iter().copied().filter(is_for).collect();
        if validation.algorithms.is_empty() {
            return None;
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
        Some(TokenKey { id, key, validation })
    }
}

/// Reports whether a key of the family of an algorithm may be one of it, by its length. Another key verifies no token.
fn suits(key: &DecodingKey, algorithm: Algorithm) -> bool {
    let length = match key.kind() {
        DecodingKeyKind::SecretOrDer(bytes) => bytes.len(),
        DecodingKeyKind::RsaModulusExponent { n, .. } => n.len(),
    };
    match algorithm.family() {
        // A point without compression (SEC 1 §2.3.3): a byte, and two coordinates of 32 or 48 bytes.
        AlgorithmFamily::Ec => length == if algorithm == Algorithm::ES384 { 97 } else { 65 },
        // RFC 7518 §3.3: 2048 bits at least.
        AlgorithmFamily::Rsa => length >= 256,
        // RFC 8032 §5.1.5.
        AlgorithmFamily::Ed => length == 32,
        AlgorithmFamily::Hmac => true,
    }
}

fn long_enough(secret: &[u8]) -> Result<(), String> {
    match secret.len() < SHORTEST_SECRET {
        true => Err(format!(
            "a secret of {} bytes: wanted {SHORTEST_SECRET} at least, as from `openssl rand 32`",
            secret.len()
        )),
        false => Ok(()),
    }
}

/// Reads a public key in PEM, of the family of the algorithms.
fn public_key(pem: &[u8], algorithms: &[Algorithm]) -> Result<DecodingKey, String> {
    if pem.windows(PRIVATE.len()).any(|text| text == PRIVATE) {
        return Err("a private key: name the file of the public one, as from `openssl pkey -in KEY -pubout`"
            .to_owned());
    }
    let count = |first: &[u8]| pem.windows(first.len()).filter(|text| *text == first).count();
    if PUBLIC.into_iter().map(count).sum::<usize>() > 1 {
        return Err("several public keys, of which the first alone would be used: leave one in the file, or name a set of \
                    keys in `jwks`"
            .to_owned());
    }
    let families: Vec<AlgorithmFamily> = algorithms.iter().map(|algorithm| algorithm.family()).collect();
    let Some(family) = families.first().filter(|first| families.iter().all(|family| family == *first)) else {
        return Err("one key is for algorithms of one family: RS and PS, ES, or EdDSA".to_owned());
    };
    let read = match family {
        AlgorithmFamily::Rsa => DecodingKey::from_rsa_pem(pem),
        AlgorithmFamily::Ec => DecodingKey::from_ec_pem(pem),
        AlgorithmFamily::Ed => DecodingKey::from_ed_pem(pem),
        AlgorithmFamily::Hmac => {
            return Err(
                "HS algorithms have a secret, and no public key: name its file in `secret`".to_owned()
            );
        }
    };
    read.map_err(|error| format!("no public key of this kind in PEM: {error}"))
}

/// Reads a set of keys. Keys for other algorithms, and those that verify no signatures, are left out.
fn key_set(json: &[u8], claims: &TokenClaims) -> Result<Vec<TokenKey>, String> {
    let set: JwkSet = serde_json::from_slice(json).map_err(|error| match error.is_data() {
        // The words of serde would name types of the program.
        true => format!(
            "no set of keys: wanted {{\"keys\": [...]}} with keys as in RFC 7517, found something else at line {}, column {}",
            error.line(),
            error.column()
        ),
        false => format!("no set of keys: {error}"),
    })?;
    if set.keys.len() > MOST_KEYS {
        return Err(format!("the set has {} keys: wanted {MOST_KEYS} at most", set.keys.len()));
    }
    let mut keys = Vec::new();
    for jwk in set.keys.iter().filter(|jwk| verifies(&jwk.common)) {
        let Ok(key) = DecodingKey::from_jwk(jwk) else { continue };
        let CommonParameters { key_id, key_algorithm, .. } = &jwk.common;
        let Some(key) = claims.of(key_id.clone(), key, *key_algorithm) else { continue };
        if is_secret(jwk) {
            let bytes = key.key.try_get_as_bytes().map_err(|error| error.to_string())?;
            long_enough(bytes).map_err(|message| format!("a key of the set is {message}"))?;
        }
        keys.push(key);
    }
    match keys.len() {
        0 => Err("the set has no key for these algorithms: list those that its keys are for".to_owned()),
        1 => Ok(keys),
        _ if keys.iter().all(|key| key.id.is_some()) => Ok(keys),
        _ => Err("each key of a set needs a kid, because tokens name their key by it".to_owned()),
    }
}

/// Reports whether a key of a set verifies signatures, by its `use` and `key_ops` (RFC 7517 §4.2 and §4.3).
fn verifies(CommonParameters { public_key_use, key_operations, .. }: &CommonParameters) -> bool {
    let is_for_signatures = |wanted: &PublicKeyUse| *wanted == PublicKeyUse::Signature;
    public_key_use.as_ref().is_none_or(is_for_signatures)
        && key_operations.as_ref().is_none_or(|all| all.contains(&KeyOperations::Verify))
}

fn is_secret(jwk: &Jwk) -> bool {
    matches!(jwk.algorithm, AlgorithmParameters::OctetKey(_))
}
