//! Tokens of every algorithm: each passes the gate of its own algorithm alone. No public key serves as a secret.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SignatureAlgorithm as KeyKind,
};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair,
};
use serde_json::json;

use crate::harness::{Client, PATIENCE, Setup, finish, found};

/// Makes the signature of a message.
type SignMessage = Box<dyn Fn(&[u8]) -> Vec<u8>>;

/// An issuer of tokens.
struct Signer {
    algorithm: &'static str,
    /// Its public key, in PEM.
    public: String,
    sign: SignMessage,
}

impl Signer {
    fn token(&self) -> String {
        let message = message(self.algorithm);
        format!("{message}.{}", BASE64.encode((self.sign)(message.as_bytes())))
    }

    /// Signs with a key of RSA by OpenSSL, as ring makes no such keys. `options` are those of `openssl dgst`.
    fn rsa(algorithm: &'static str, dir: &Path, options: &[&'static str]) -> Signer {
        let (key, options) = (dir.join("rsa.pem"), options.to_vec());
        let sign = move |message: &[u8]| {
            openssl(Command::new("openssl").arg("dgst").args(&options).arg("-sign").arg(&key), message)
        };
        let public =
            openssl(Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(dir.join("rsa.pem")), b"");
        Signer { algorithm, public: String::from_utf8(public).unwrap(), sign: Box::new(sign) }
    }

    fn ecdsa(
        algorithm: &'static str,
        kind: &'static KeyKind,
        signing: &'static EcdsaSigningAlgorithm,
    ) -> Signer {
        let (key, random) = (KeyPair::generate_for(kind).unwrap(), SystemRandom::new());
        let pair = EcdsaKeyPair::from_pkcs8(signing, &key.serialize_der(), &random).unwrap();
        let sign = move |message: &[u8]| pair.sign(&random, message).unwrap().as_ref().to_vec();
        Signer { algorithm, public: key.public_key_pem(), sign: Box::new(sign) }
    }

    fn ed25519() -> Signer {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(&key.serialize_der()).unwrap();
        let sign = move |message: &[u8]| pair.sign(message).as_ref().to_vec();
        Signer { algorithm: "EdDSA", public: key.public_key_pem(), sign: Box::new(sign) }
    }
}

/// Runs a command of OpenSSL, and returns what it prints.
fn openssl(command: &mut Command, stdin: &[u8]) -> Vec<u8> {
    let ended = finish(command, stdin, PATIENCE);
    assert_eq!(ended.code, Some(0), "{command:?}: {}", ended.stderr);
    ended.stdout
}

/// Makes an issuer for each algorithm with a public key. The key of RSA is the same for all of its algorithms.
fn signers(dir: &Path) -> Vec<Signer> {
    const PSS: [&str; 4] = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:-1"];
    let mut make = Command::new("openssl");
    make.args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out"])
        .arg(dir.join("rsa.pem"));
    openssl(&mut make, b"");
    let mut signers = Vec::new();
    for (pkcs1, pss, hash) in
        [("RS256", "PS256", "-sha256"), ("RS384", "PS384", "-sha384"), ("RS512", "PS512", "-sha512")]
    {
        signers.push(Signer::rsa(pkcs1, dir, &[hash]));
        signers.push(Signer::rsa(pss, dir, &[&[hash][..], &PSS].concat()));
    }
    signers.push(Signer::ecdsa("ES256", &PKCS_ECDSA_P256_SHA256, &ECDSA_P256_SHA256_FIXED_SIGNING));
    signers.push(Signer::ecdsa("ES384", &PKCS_ECDSA_P384_SHA384, &ECDSA_P384_SHA384_FIXED_SIGNING));
    signers.push(Signer::ed25519());
    signers
}

/// Returns the first two parts of a token with this `alg`.
fn message(algorithm: &str) -> String {
    let body = json!({"sub": "ada", "exp": 4_102_444_800_u64});
    [json!({"alg": algorithm}), body].map(|part| BASE64.encode(part.to_string())).join(".")
}

/// Returns a token with this `alg` whose signature is an HMAC with this secret.
fn confused(algorithm: &str, secret: &[u8]) -> String {
    let (message, key) = (message(algorithm), hmac::Key::new(hmac::HMAC_SHA256, secret));
    format!("{message}.{}", BASE64.encode(hmac::sign(&key, message.as_bytes())))
}

#[test]
fn a_token_passes_the_gate_of_its_own_algorithm_alone() {
    if !found(&["openssl"], "openssl") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let signers = signers(dir.path());
    let mut setup = Setup::new("");
    for Signer { algorithm, public, .. } in &signers {
        let gate = format!(
            "[gate.{algorithm}]\nkind = \"jwt\"\nalgorithms = [\"{algorithm}\"]\nkey = \"{algorithm}.pem\"\n\
             [[route]]\npath = \"/{algorithm}\"\nrespond = {{ body = \"in\" }}\nbefore = [\"{algorithm}\"]\n"
        );
        setup = setup.add(&gate).file(&format!("{algorithm}.pem"), public.as_bytes());
    }
    let daemon = setup.start();
    let ask = |client: &mut Client, gate: &str, token: &str| {
        client.ask("GET", &format!("/{gate}"), &format!("Authorization: Bearer {token}\r\n")).status()
    };
    let mut client = daemon.client();

    for signer in &signers {
        let token = signer.token();
        for Signer { algorithm: gate, .. } in &signers {
            let wanted = if *gate == signer.algorithm { 200 } else { 401 };
            assert_eq!(ask(&mut client, gate, &token), wanted, "{} at {gate}", signer.algorithm);
        }
        // With and without the line break at the end of the file.
        for secret in [signer.public.as_str(), signer.public.trim_end()] {
            for algorithm in ["HS256", signer.algorithm] {
                let token = confused(algorithm, secret.as_bytes());
                assert_eq!(ask(&mut client, signer.algorithm, &token), 401, "{algorithm} with the key");
            }
        }
    }
}

#[test]
fn a_public_key_of_another_curve_is_refused_at_the_start() {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let gate = "[gate.api]\nkind = \"jwt\"\nalgorithms = [\"ES256\"]\nkey = \"key.pem\"\n\
                [[route]]\npath = \"/\"\nrespond = {}\nbefore = [\"api\"]\n";

    let refused = Setup::new(gate).file("key.pem", key.public_key_pem().as_bytes()).fail();

    assert!(refused.stderr.contains("gate.api: the key suits none of the algorithms"), "{}", refused.stderr);
}
