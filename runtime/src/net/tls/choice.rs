//! Chooses the certificate for a client, by the name it asks for and the keys it can verify.

use super::acme::AcmeCertificates;
use super::identity::Identity;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::sync::Arc;

/// Certificates by name. Among several for one name, the first with a key type that the client supports is chosen. One
/// name may therefore have an RSA certificate beside an ECDSA one.
#[derive(Debug)]
pub(super) struct Choice {
    /// The certificates for clients that send no name, or an unknown one.
    otherwise: Vec<Arc<CertifiedKey>>,
    by_name: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// The certificates from an ACME server, which change while this is in use.
    acme: Option<Arc<AcmeCertificates>>,
}

impl Choice {
    /// Indexes certificates by name. The first one also serves unknown names.
    pub(super) fn of(identities: &[Identity], acme: Option<Arc<AcmeCertificates>>) -> Choice {
        let mut by_name: HashMap<String, Vec<_>> = HashMap::new();
        for Identity { key, names, .. } in identities {
            for name in names {
                by_name.entry(name.clone()).or_default().push(key.clone());
            }
        }
        let mut otherwise = Vec::new();
        if let Some(first) = identities.first() {
            otherwise.push(first.key.clone());
            otherwise.extend(
                first.names.first().and_then(|name| by_name.get(name)).into_iter().flatten().cloned(),
            );
        }
        Choice { otherwise, by_name, acme }
    }

    /// Finds the certificates of the operator for a host in lower case.
    fn find(&self, host: &str) -> Option<&[Arc<CertifiedKey>]> {
        let exact = self.by_name.get(host);
        // RFC 9525 §6.3: the star stands for exactly one label.
        let starred = || self.by_name.get(&format!("*.{}", host.split_once('.')?.1));
        exact.or_else(starred).map(Vec::as_slice)
    }
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let host = hello.server_name().map(|host| host.trim_end_matches('.').to_ascii_lowercase());
        let found = host.as_deref().and_then(|host| self.find(host));
        if let (None, Some(acme)) = (found, &self.acme) {
            // While there is no certificate, rustls fails the handshake with the alert `access_denied`.
            match host.as_deref().filter(|host| acme.covers(host)) {
                Some(host) => return acme.key(host),
                None if self.otherwise.is_empty() => return acme.first_key(),
                None => {}
            }
        }
        let found = found.unwrap_or(&self.otherwise);
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        // If no key fits, the first is used, and rustls fails the handshake with the right alert.
        found.iter().find(fits).or(found.first()).cloned()
    }
}
