//! Tests of tokens: what is verified, and what attackers try.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::super::token_keys::algorithm;
use super::*;
use jsonwebtoken::Algorithm;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn claims(algorithms: &[Algorithm]) -> TokenClaims {
    let algorithms = algorithms.to_vec();
    TokenClaims { algorithms, issuer: Some("us".into()), audience: Some("api".into()), leeway: 60 }
}

fn now() -> u64 {
    jsonwebtoken::get_current_timestamp()
}

fn body() -> Value {
    json!({"sub": "ada", "iss": "us", "aud": "api", "exp": now() + 600})
}

/// Writes a token with this signature over its first two parts.
fn token(header: &Value, body: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(body.to_string()));
    format!("{message}.{}", BASE64.encode(sign(message.as_bytes())))
}

fn hs256(body: &Value, secret: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    token(&json!({"alg": "HS256"}), body, |message| hmac::sign(&key, message).as_ref().to_vec())
}

#[test]
fn a_token_of_the_secret_names_its_subject() {
    let rules = TokenRules::new(&TokenKeySource::Secret(SECRET), &claims(&[Algorithm::HS256])).unwrap();

    assert_eq!(rules.verify(&hs256(&body(), SECRET)).unwrap().as_deref(), Some("ada"));
    let nameless = json!({"iss": "us", "aud": ["x", "api"], "exp": now() - 30});
    assert_eq!(rules.verify(&hs256(&nameless, SECRET)).unwrap(), None, "within the leeway");
}

#[test]
fn a_verified_token_passes_again_and_one_that_differs_in_its_last_letter_does_not() {
    let rules = TokenRules::new(&TokenKeySource::Secret(SECRET), &claims(&[Algorithm::HS256])).unwrap();
    let token = hs256(&body(), SECRET);
    assert_eq!(rules.verify(&token).unwrap().as_deref(), Some("ada"));

    assert_eq!(rules.verify(&token).unwrap().as_deref(), Some("ada"));
    assert!(rules.verify(&token[..token.len() - 1]).is_err());
    assert!(rules.verify(&format!("{token}A")).is_err());
}

#[test]
fn a_token_is_not_remembered_beyond_its_end() {
    let claims = TokenClaims { leeway: 0, ..claims(&[Algorithm::HS256]) };
    let rules = TokenRules::new(&TokenKeySource::Secret(SECRET), &claims).unwrap();
    let mut body = body();
    body["exp"] = json!(now() + 1);
    let token = hs256(&body, SECRET);
    let first = rules.verify(&token);

    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while rules.verify(&token).is_ok() {
        assert!(std::time::Instant::now() < deadline, "{first:?}");
        std::thread::yield_now();
    }
}

#[test]
fn nothing_else_passes() {
    let rules = TokenRules::new(&TokenKeySource::Secret(SECRET), &claims(&[Algorithm::HS256])).unwrap();
    let with = |name: &str, value: Value| {
        let mut body = body();
        body[name] = value;
        hs256(&body, SECRET)
    };
    let without = |name: &str| {
        let mut body = body();
        body.as_object_mut().unwrap().remove(name);
        hs256(&body, SECRET)
    };
    let good = hs256(&body(), SECRET);
    let unsigned = |alg: &str| token(&json!({"alg": alg}), &body(), |_| Vec::new());
    let other_hash = hmac::Key::new(hmac::HMAC_SHA512, SECRET);
    let parts: Vec<&str> = good.split('.').collect();

    for (what, token) in [
        ("another secret", hs256(&body(), b"0123456789abcdef0123456789abcdeX")),
        ("no algorithm", unsigned("none")),
        ("no algorithm, spelled otherwise", unsigned("None")),
        ("no signature", unsigned("HS256")),
        (
            "an algorithm that is not listed",
            token(&json!({"alg": "HS512"}), &body(), |message| {
                hmac::sign(&other_hash, message).as_ref().to_vec()
            }),
        ),
        (
            "a changed body",
            format!("{}.{}.{}", parts[0], BASE64.encode(with("sub", json!("root"))), parts[2]),
        ),
        ("a signature that is cut", good[..good.len() - 4].to_owned()),
        ("expired", with("exp", json!(now() - 61))),
        ("no end", without("exp")),
        ("an end that is no number", with("exp", json!("soon"))),
        ("not yet valid", with("nbf", json!(now() + 120))),
        ("a negative end", with("exp", json!(-1))),
        ("an end beyond all numbers", with("exp", json!(1e300))),
        ("a start that is no number", with("nbf", json!("0"))),
        ("another issuer", with("iss", json!("them"))),
        ("no issuer", without("iss")),
        ("a list of issuers", with("iss", json!(["them", "us"]))),
        ("another audience", with("aud", json!("other"))),
        ("the audience in other letters", with("aud", json!("API"))),
        ("an audience that is longer", with("aud", json!(["api2", "other"]))),
        ("an empty list of audiences", with("aud", json!([]))),
        ("no audience", without("aud")),
        ("a subject that is no text", with("sub", json!(7))),
        ("two parts", format!("{}.{}", parts[0], parts[1])),
        ("four parts", format!("{good}.x")),
        ("nothing", String::new()),
        ("too long", format!("{good}{}", "x".repeat(LONGEST))),
    ] {
        assert!(rules.verify(&token).is_err(), "{what}");
    }
}

#[test]
fn nothing_passes_by_what_the_header_says_or_by_a_member_that_comes_twice() {
    let rules = TokenRules::new(&TokenKeySource::Secret(SECRET), &claims(&[Algorithm::HS256])).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    let own = hmac::Key::new(hmac::HMAC_SHA256, b"a key that the client has made up");
    let of = |header: &str, body: &str, key: &hmac::Key| {
        let message = format!("{}.{}", BASE64.encode(header), BASE64.encode(body));
        format!("{message}.{}", BASE64.encode(hmac::sign(key, message.as_bytes())))
    };
    let (plain, good) = (r#"{"alg":"HS256"}"#, body().to_string());
    let twice = |more: &str| good.replacen('{', &format!("{{{more},"), 1);
    assert!(rules.verify(&of(r#"{"typ":"JWT","alg":"HS256","kid":"any"}"#, &good, &key)).is_ok());

    for (what, token) in [
        // RFC 7515 §4.1.11: what is critical and unknown is refused, and so is an empty list.
        ("an extension", of(r#"{"alg":"HS256","crit":["x"],"x":1}"#, &good, &key)),
        ("no extension", of(r#"{"alg":"HS256","crit":[]}"#, &good, &key)),
        ("a body that is not encoded", of(r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#, &good, &key)),
        ("two algorithms", of(r#"{"alg":"none","alg":"HS256"}"#, &good, &key)),
        ("an algorithm that is no text", of(r#"{"alg":["HS256"]}"#, &good, &key)),
        ("no algorithm at all", of(r#"{"typ":"JWT"}"#, &good, &key)),
        (
            "a key of its own",
            of(
                r#"{"alg":"HS256","jwk":{"kty":"oct","k":"YSBrZXkgdGhhdCB0aGUgY2xpZW50IGhhcyBtYWRlIHVw"}}"#,
                &good,
                &own,
            ),
        ),
        ("a place for keys", of(r#"{"alg":"HS256","jku":"https://them.example/jwks"}"#, &good, &own)),
        ("two ends", of(plain, &twice(r#""exp":1"#), &key)),
        ("two issuers", of(plain, &twice(r#""iss":"them""#), &key)),
        ("two audiences", of(plain, &twice(r#""aud":"other""#), &key)),
        ("two subjects", of(plain, &twice(r#""sub":"root""#), &key)),
        ("a body that is no object", of(plain, &format!("[{good}]"), &key)),
        ("padding", format!("{}=", of(plain, &good, &key))),
    ] {
        assert!(rules.verify(&token).is_err(), "{what}");
    }
}

#[test]
fn a_public_key_is_never_the_secret_of_an_hmac() {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
    let point = pair.public_key().as_ref();
    let (x, y) = (BASE64.encode(&point[1..33]), BASE64.encode(&point[33..]));
    let set = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "k", "x": x, "y": y}]}).to_string();
    let both = claims(&[Algorithm::ES256, Algorithm::HS256]);
    let rules = TokenRules::new(&TokenKeySource::KeySet(set.as_bytes()), &both).unwrap();
    let header = json!({"alg": "ES256", "kid": "k"});

    let signed = token(&header, &body(), |message| pair.sign(&random, message).unwrap().as_ref().to_vec());
    assert_eq!(rules.verify(&signed).unwrap().as_deref(), Some("ada"));
    for secret in [point, set.as_bytes(), x.as_bytes()] {
        let confused = hs256(&body(), secret);
        assert!(rules.verify(&confused).is_err());
    }
    let unknown = json!({"alg": "ES256", "kid": "other"});
    let unknown = token(&unknown, &body(), |message| pair.sign(&random, message).unwrap().as_ref().to_vec());
    assert_eq!(rules.verify(&unknown).unwrap_err(), TokenError::UnknownKey);
}

#[test]
fn keys_of_a_set_are_told_apart_by_their_kid() {
    let pair = |seed: u8| Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
    let jwk = |seed: u8, kid: &str| {
        let x = BASE64.encode(pair(seed).public_key().as_ref());
        json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x})
    };
    let set =
        json!({"keys": [jwk(1, "one"), jwk(2, "two"), {"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}).to_string();
    let rules =
        TokenRules::new(&TokenKeySource::KeySet(set.as_bytes()), &claims(&[Algorithm::EdDSA])).unwrap();
    let signed = |seed: u8, kid: &str| {
        token(&json!({"alg": "EdDSA", "kid": kid}), &body(), |message| {
            pair(seed).sign(message).as_ref().to_vec()
        })
    };

    assert!(rules.verify(&signed(1, "one")).is_ok() && rules.verify(&signed(2, "two")).is_ok());
    assert!(rules.verify(&signed(1, "two")).is_err() && rules.verify(&signed(3, "one")).is_err());
}

#[test]
fn each_key_of_one_name_is_tried_and_each_for_its_own_use_alone() {
    let pair = |seed: u8| Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
    let jwk = |seed: u8, more: Value| {
        let x = BASE64.encode(pair(seed).public_key().as_ref());
        let mut jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": x});
        jwk.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        jwk
    };
    let set = json!({"keys": [
        jwk(1, json!({})),
        jwk(2, json!({"use": "sig", "alg": "EdDSA", "key_ops": ["verify"]})),
        jwk(3, json!({"use": "enc"})),
        jwk(4, json!({"alg": "ES256"})),
        jwk(5, json!({"key_ops": ["sign"]})),
    ]})
    .to_string();
    let both = claims(&[Algorithm::EdDSA, Algorithm::ES256]);
    let rules = TokenRules::new(&TokenKeySource::KeySet(set.as_bytes()), &both).unwrap();
    let passes = |seed: u8| {
        let signed = token(&json!({"alg": "EdDSA", "kid": "k"}), &body(), |message| {
            pair(seed).sign(message).as_ref().to_vec()
        });
        rules.verify(&signed).is_ok()
    };

    assert_eq!([1, 2, 3, 4, 5].map(passes), [true, true, false, false, false]);
}

#[test]
fn a_short_secret_is_refused_in_a_set_too() {
    let set = |secret: &[u8]| json!({"keys": [{"kty": "oct", "k": BASE64.encode(secret)}]}).to_string();
    let read = |set: &str| {
        TokenRules::new(&TokenKeySource::KeySet(set.as_bytes()), &claims(&[Algorithm::HS256])).err()
    };

    assert!(read(&set(b"0")).unwrap().contains("wanted 32 at least"));
    assert!(read(&set(&SECRET[..31])).is_some() && read(&set(SECRET)).is_none());
    let many = json!({"keys": vec![json!({"kty": "oct", "k": "AA"}); 101]}).to_string();
    assert!(read(&many).unwrap().contains("wanted 100 at most"));
}

#[test]
fn a_key_that_does_not_suit_is_refused() {
    let refused = |source: TokenKeySource<'_>, algorithms: &[Algorithm]| {
        TokenRules::new(&source, &claims(algorithms)).err().unwrap_or_default()
    };

    assert!(refused(TokenKeySource::Secret(b"short"), &[Algorithm::HS256]).contains("wanted 32 at least"));
    assert!(refused(TokenKeySource::Secret(SECRET), &[Algorithm::RS256]).contains("no algorithm of that"));
    assert!(refused(TokenKeySource::Pem(b"x"), &[Algorithm::RS256]).contains("no public key"));
    assert!(refused(TokenKeySource::Pem(b"x"), &[Algorithm::HS256]).contains("have a secret"));
    assert!(refused(TokenKeySource::Pem(b"x"), &[Algorithm::RS256, Algorithm::ES256]).contains("one family"));
    assert!(
        refused(TokenKeySource::KeySet(b"{\"keys\": []}"), &[Algorithm::RS256]).contains("no key for these")
    );
    assert!(algorithm("none").is_err() && algorithm("RS256").is_ok());
}

#[test]
fn a_key_that_would_verify_no_token_is_refused() {
    let refused = |source: TokenKeySource<'_>, algorithm: Algorithm| {
        TokenRules::new(&source, &claims(&[algorithm])).err().unwrap_or_default()
    };
    let coordinate = BASE64.encode([7_u8; 32]);
    let point = json!({"kty": "EC", "crv": "P-256", "kid": "k", "x": coordinate, "y": coordinate});
    let short = json!({"kty": "RSA", "kid": "k", "n": BASE64.encode([7_u8; 128]), "e": "AQAB"});
    let cut = json!({"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": BASE64.encode([7_u8; 31])});

    for (key, algorithm, wanted) in [
        (&cut, Algorithm::EdDSA, "no key for these"),
        (&point, Algorithm::ES384, "no key for these"),
        (&short, Algorithm::RS256, "no key for these"),
        (&point, Algorithm::ES256, ""),
    ] {
        let set = json!({"keys": [key]}).to_string();
        let said = refused(TokenKeySource::KeySet(set.as_bytes()), algorithm);
        assert!(said.contains(wanted) && said.is_empty() == wanted.is_empty(), "{key}: {said}");
    }
    // secp256r1, as from `openssl ec -pubin -conv_form compressed`.
    let compressed = b"-----BEGIN PUBLIC KEY-----\nMDkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDIgADcfJqYeXiHtVM2LMdHutkN0dFM73H\nB9mymAMEzhZIh68=\n-----END PUBLIC KEY-----\n";
    assert!(
        refused(TokenKeySource::Pem(compressed), Algorithm::ES256).contains("an uncompressed point, as from")
    );
    let private = b"-----BEGIN RSA PRIVATE KEY-----\nAA==\n-----END RSA PRIVATE KEY-----\n";
    assert!(refused(TokenKeySource::Pem(private), Algorithm::RS256).contains("a private key: name the file"));
}

#[test]
fn a_second_public_key_in_a_file_is_refused_and_not_passed_over() {
    let pem = |seed: u8| {
        // RFC 8410 §4: a key of Ed25519 behind its algorithm.
        let mut der = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00".to_vec();
        der.extend_from_slice(
            Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap().public_key().as_ref(),
        );
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
    };
    let read =
        |pem: &str| TokenRules::new(&TokenKeySource::Pem(pem.as_bytes()), &claims(&[Algorithm::EdDSA])).err();

    assert_eq!(read(&format!("the key of 2026\n{}", pem(1))), None);
    let refused = read(&(pem(1) + &pem(2))).unwrap_or_default();
    assert!(refused.contains("several public keys") && refused.contains("in `jwks`"), "{refused}");
}
