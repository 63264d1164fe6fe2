//! The answers to the validations that an ACME server is asked to make now.

use anyhow::Result;
use rustls::ServerConfig;
use rustls::crypto;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::ClientHello;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The name of the protocol in the handshake of a validation (RFC 8737 §3).
const PROTOCOL: &[u8] = b"acme-tls/1";

/// The answers to validations. One order at a time is made, for one host, so there are few.
#[derive(Debug, Default)]
pub(super) struct Challenges {
    /// Whether there is an answer. Read first, so that requests and handshakes take no lock while nothing is validated.
    is_waiting: AtomicBool,
    answers: Mutex<Answers>,
}

#[derive(Debug, Default)]
struct Answers {
    /// The content of a response by its token.
    http: HashMap<String, String>,
    /// The settings of a handshake by the host.
    tls: HashMap<String, Arc<ServerConfig>>,
}

/// An answer that is given until this is dropped.
#[derive(Debug)]
pub struct WaitingChallenge {
    challenges: Arc<Challenges>,
    name: ChallengeName,
}

#[derive(Debug)]
enum ChallengeName {
    Http(String),
    Tls(String),
}

impl Challenges {
    /// Answers requests for a token.
    pub(super) fn offer_http(self: &Arc<Challenges>, token: &str, content: &str) -> WaitingChallenge {
        self.change(|answers| answers.http.insert(token.to_owned(), content.to_owned()));
        WaitingChallenge { challenges: self.clone(), name: ChallengeName::Http(token.to_owned()) }
    }

    /// Answers handshakes for a host with a certificate and its key, both in DER.
    ///
    /// # Errors
    /// The key cannot be used.
    pub(super) fn offer_tls(
        self: &Arc<Challenges>,
        host: &str,
        certificate: Vec<u8>,
        key: Vec<u8>,
    ) -> Result<WaitingChallenge> {
        let config = Arc::new(config(certificate, key)?);
        self.change(|answers| answers.tls.insert(host.to_owned(), config));
        Ok(WaitingChallenge { challenges: self.clone(), name: ChallengeName::Tls(host.to_owned()) })
    }

    /// Returns whether any answer waits. Takes no lock.
    pub(super) fn is_waiting(&self) -> bool {
        self.is_waiting.load(Ordering::Acquire)
    }

    /// Returns the content for a token.
    pub(super) fn http(&self, token: &str) -> Option<String> {
        self.answers().http.get(token).cloned()
    }

    /// Returns the settings for a handshake that is a validation. A client that offers another protocol as well is no
    /// validation (RFC 8737 §3).
    pub(super) fn tls(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        let is_validation = hello
            .alpn()
            .is_some_and(|mut offered| offered.next() == Some(PROTOCOL) && offered.next().is_none());
        let host = hello.server_name().filter(|_| is_validation)?.to_ascii_lowercase();
        self.answers().tls.get(&host).cloned()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Answers) -> T) {
        let mut answers = self.answers();
        let _before = change(&mut answers);
        let is_waiting = !answers.http.is_empty() || !answers.tls.is_empty();
        self.is_waiting.store(is_waiting, Ordering::Release);
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        // The maps are consistent after every statement, so a poisoned lock guards nothing broken.
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for WaitingChallenge {
    fn drop(&mut self) {
        self.challenges.change(|answers| match &self.name {
            ChallengeName::Http(token) => drop(answers.http.remove(token)),
            ChallengeName::Tls(host) => drop(answers.tls.remove(host)),
        });
    }
}

/// Makes the settings of a handshake that shows one certificate, to a client without one.
fn config(certificate: Vec<u8>, key: Vec<u8>) -> Result<ServerConfig> {
    let provider = Arc::new(crypto::ring::default_provider());
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
    let key = provider.key_provider.load_private_key(key)?;
    // Not `with_single_cert`: it parses the certificate, and refuses the critical extension of a validation.
    let certified = CertifiedKey::new(vec![CertificateDer::from(certificate)], key);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    // A validation is never resumed.
    config.send_tls13_tickets = 0;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_given_until_it_is_dropped_and_for_its_token_alone() {
        let challenges = Arc::<Challenges>::default();
        assert!(!challenges.is_waiting());

        let first = challenges.offer_http("a", "a.key");
        let second = challenges.offer_http("b", "b.key");

        assert_eq!(challenges.http("a").as_deref(), Some("a.key"));
        drop(first);
        assert!(challenges.is_waiting() && challenges.http("a").is_none());
        assert_eq!((challenges.http("b").as_deref(), challenges.http("")), (Some("b.key"), None));
        drop(second);
        assert!(!challenges.is_waiting());
    }

    #[test]
    fn a_certificate_with_the_critical_extension_of_a_validation_is_shown() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        params.custom_extensions = vec![rcgen::CustomExtension::new_acme_identifier(&[7; 32])];
        let certificate = params.self_signed(&key).unwrap().der().to_vec();
        let challenges = Arc::<Challenges>::default();

        let offered = challenges.offer_tls("a.test", certificate, key.serialize_der()).unwrap();

        assert!(challenges.is_waiting());
        drop(offered);
        assert!(!challenges.is_waiting());
    }
}
