//! Verifies the signatures of JSON Web Tokens with ring, which TLS uses too.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::signature::{Error, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::{hmac, signature};

/// The provider. It verifies, and signs nothing.
static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: no_signer,
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes this the provider of the process. Later calls change nothing.
pub(super) fn install() {
    // It fails only if a provider is installed, which is this one.
    let _installed = PROVIDER.install_default();
}

/// A key for one algorithm.
struct RingVerifier {
    algorithm: Algorithm,
    key: DecodingKey,
}

fn no_signer(_algorithm: &Algorithm, _key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    Err(ErrorKind::InvalidAlgorithm.into())
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    // A public key must never be taken for the secret of an HMAC.
    if key.family() != algorithm.family() {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    Ok(Box::new(RingVerifier { algorithm: *algorithm, key: key.clone() }))
}

impl RingVerifier {
    fn is_signed(&self, message: &[u8], mac: &[u8]) -> std::result::Result<(), ()> {
        let rsa: &signature::RsaParameters = match self.algorithm {
            Algorithm::HS256 => return self.is_hmac(hmac::HMAC_SHA256, message, mac),
            Algorithm::HS384 => return self.is_hmac(hmac::HMAC_SHA384, message, mac),
            Algorithm::HS512 => return self.is_hmac(hmac::HMAC_SHA512, message, mac),
            Algorithm::ES256 => return self.is_of(&signature::ECDSA_P256_SHA256_FIXED, message, mac),
            Algorithm::ES384 => return self.is_of(&signature::ECDSA_P384_SHA384_FIXED, message, mac),
            Algorithm::EdDSA => return self.is_of(&signature::ED25519, message, mac),
            Algorithm::RS256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Algorithm::RS384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            Algorithm::RS512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            Algorithm::PS256 => &signature::RSA_PSS_2048_8192_SHA256,
            Algorithm::PS384 => &signature::RSA_PSS_2048_8192_SHA384,
            Algorithm::PS512 => &signature::RSA_PSS_2048_8192_SHA512,
            // The crate may learn more algorithms than these.
            _ => return Err(()),
        };
        match self.key.kind() {
            DecodingKeyKind::SecretOrDer(_) => self.is_of(rsa, message, mac),
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                signature::RsaPublicKeyComponents { n, e }.verify(rsa, message, mac).map_err(drop)
            }
        }
    }

    fn is_hmac(&self, algorithm: hmac::Algorithm, message: &[u8], mac: &[u8]) -> std::result::Result<(), ()> {
        let secret = self.key.try_get_as_bytes().map_err(drop)?;
        // ring compares in constant time.
        hmac::verify(&hmac::Key::new(algorithm, secret), message, mac).map_err(drop)
    }

    fn is_of(
        &self,
        algorithm: &'static dyn signature::VerificationAlgorithm,
        message: &[u8],
        mac: &[u8],
    ) -> std::result::Result<(), ()> {
        let key = self.key.try_get_as_bytes().map_err(drop)?;
        signature::UnparsedPublicKey::new(algorithm, key).verify(message, mac).map_err(drop)
    }
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        self.is_signed(message, signature).map_err(|()| Error::new())
    }
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
