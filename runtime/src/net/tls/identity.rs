//! A certificate with its key, checked to belong together and to be valid now.

use super::files::{self, about};
use super::options::CertificateFiles;
use super::validity::{self, Validity};
use anyhow::{Context as _, Error, Result, anyhow, bail};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys};
use std::path::PathBuf;
use std::sync::Arc;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;
use x509_parser::prelude::X509Certificate;
use x509_parser::time::ASN1Time;

/// A certificate and key for certain host names.
pub(super) struct Identity {
    pub(super) key: Arc<CertifiedKey>,
    /// The hosts of the certificate, in lower case. `*.example.org` stands for one label more.
    pub(super) names: Vec<String>,
    pub(super) term: Term,
    /// Problems that are not errors yet.
    pub(super) warnings: Vec<String>,
}

/// The expiry of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// The file of the certificate.
    pub file: PathBuf,
    /// The last second of its validity, since 1970.
    pub until: i64,
}

impl Term {
    /// Returns the seconds until it expires, by this machine's clock; negative once it has expired.
    pub fn left(&self) -> i64 {
        self.until - ASN1Time::now().timestamp()
    }

    /// Returns a warning if the certificate has expired or expires soon; `None` otherwise.
    pub fn warning(&self) -> Option<String> {
        let end = ASN1Time::from_timestamp(self.until).map(validity::moment).unwrap_or_default();
        let file = self.file.display();
        match self.left() {
            ..0 => Some(format!(
                "{file}: the certificate has expired on {end}: clients refuse it; renew it, then reload"
            )),
            left if left < validity::SOON => {
                Some(format!("{file}: the certificate ends on {end}: renew it, then reload"))
            }
            _ => None,
        }
    }
}

impl Identity {
    /// Reads both files.
    ///
    /// # Errors
    /// Everything that is wrong, one error per file.
    pub(super) fn load(files: &CertificateFiles, provider: &CryptoProvider) -> Result<Identity, Vec<Error>> {
        let CertificateFiles { cert, key } = files;
        let (chain, private) =
            match (about(cert, files::certificates(&cert.path)), about(key, files::key(&key.path))) {
                (Ok(chain), Ok(private)) => (chain, private),
                (chain, private) => return Err(chain.err().into_iter().chain(private.err()).collect()),
            };
        let mut warnings = Vec::new();
        let (names, until) = about(cert, examined(&chain, &mut warnings)).map_err(|error| vec![error])?;
        let term = Term { file: cert.path.clone(), until };
        let mut warnings: Vec<_> =
            warnings.iter().map(|warning| format!("{}: {warning}", cert.path.display())).collect();
        warnings.extend(term.warning());
        if private.exposed {
            warnings.push(format!("{}: every user may read the key: `chmod o= FILE`", key.path.display()));
        }
        let certified = CertifiedKey::from_der(chain, private.der, provider);
        match about(key, certified.map_err(|error| refused(&error, files))) {
            Ok(certified) => Ok(Identity { key: Arc::new(certified), names, term, warnings }),
            Err(error) => Err(vec![error]),
        }
    }
}

fn refused(error: &TlsError, files: &CertificateFiles) -> Error {
    match error {
        TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) => anyhow!(
            "the key does not belong to the certificate, the first one in {}: name the key that it was made for",
            files.cert.path.display()
        ),
        _ => anyhow!(
            "a key of this kind cannot be used: make one of RSA with 2048 to 8192 bits, ECDSA P-256 or P-384, or Ed25519"
        ),
    }
}

/// Checks a chain. Returns the host names of its first certificate and when that one expires.
///
/// # Errors
/// The first certificate cannot be read or is not valid now.
fn examined(chain: &[CertificateDer<'_>], warnings: &mut Vec<String>) -> Result<(Vec<String>, i64)> {
    let mut read = Vec::new();
    for (position, der) in chain.iter().enumerate() {
        let (_, certificate) = parse_x509_certificate(der)
            .with_context(|| format!("certificate {} in it cannot be read", position + 1))?;
        read.push(certificate);
    }
    let Some((first, issuers)) = read.split_first() else { bail!("there is no certificate in it") };
    match validity::now(first) {
        // `Term::warning` warns about a certificate that expires soon.
        Validity::Valid | Validity::Ending { .. } => {}
        refused => return Err(anyhow!("the certificate {refused}")),
    }
    for (position, (issued, issuer)) in read.iter().zip(issuers).enumerate() {
        let number = position + 2;
        if issued.issuer() != issuer.subject() {
            warnings.push(format!(
                "certificate {number} in it did not issue the one before: clients may not find a way to an authority"
            ));
        }
        // Only a warning: a chain may end with a cross-signed certificate that only old clients use.
        if let expired @ (Validity::Over { .. } | Validity::Ahead { .. }) = validity::now(issuer) {
            warnings.push(format!("certificate {number} in it {expired}"));
        }
    }
    let names = names(first);
    if names.is_none() {
        warnings.push("the certificate names no host (subjectAltName): most clients refuse it".to_owned());
    }
    Ok((names.unwrap_or_default(), first.validity().not_after.timestamp()))
}

/// Returns the hosts of a certificate, in lower case; `None` if it names neither host nor address. Addresses are left
/// out, because clients do not send them in a handshake (RFC 6066 §3).
fn names(certificate: &X509Certificate<'_>) -> Option<Vec<String>> {
    let names = &certificate.subject_alternative_name().ok()??.value.general_names;
    let host = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(host) => Some(host.to_ascii_lowercase()),
        _ => None,
    };
    let some = names.iter().any(|name| matches!(name, GeneralName::DNSName(_) | GeneralName::IPAddress(_)));
    some.then(|| names.iter().filter_map(host).collect())
}
