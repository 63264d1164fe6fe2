//! Verification of client certificates against the configured authorities.

use super::files::{self, about};
use super::options::{ClientAuth, ClientOptions};
use super::validity::{self, Validity};
use anyhow::{Context as _, Error, Result, anyhow, bail};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use std::path::Path;
use std::sync::Arc;
use x509_parser::time::ASN1Time;
use x509_parser::{parse_x509_certificate, parse_x509_crl};

/// Verifies clients, and rejects authorities that have expired: webpki does not check the dates of trust anchors.
#[derive(Debug)]
pub(super) struct Clients {
    provider: Arc<CryptoProvider>,
    authorities: Vec<Authority>,
    revocations: Vec<CertificateRevocationListDer<'static>>,
    demand: ClientAuth,
    /// Trusts every authority that was valid when the files were read.
    verifier: Arc<dyn ClientCertVerifier>,
    /// When the first of these authorities expires, in seconds since 1970.
    until: u64,
}

#[derive(Debug, Clone)]
struct Authority {
    der: CertificateDer<'static>,
    until: u64,
}

impl Clients {
    /// Reads the files. Adds what is not an error yet to `warnings`.
    ///
    /// # Errors
    /// Everything that is wrong, one error per file.
    pub(super) fn load(
        options: &ClientOptions,
        provider: Arc<CryptoProvider>,
        warnings: &mut Vec<String>,
    ) -> Result<Clients, Vec<Error>> {
        let ClientOptions { ca, crl, demand } = options;
        let revocations = match crl {
            Some(crl) => about(crl, revocations(&crl.path)),
            None => Ok(Vec::new()),
        };
        let (authorities, revocations) = match (about(ca, authorities(&ca.path, warnings)), revocations) {
            (Ok(authorities), Ok(revocations)) => (authorities, revocations),
            (authorities, revocations) => {
                return Err(authorities.err().into_iter().chain(revocations.err()).collect());
            }
        };
        let until = authorities.iter().map(|authority| authority.until).min().unwrap_or_default();
        let verifier = about(ca, verifier(&authorities, &revocations, *demand, &provider))
            .map_err(|error| vec![error])?;
        Ok(Clients { provider, authorities, revocations, demand: *demand, verifier, until })
    }
}

/// Reads the authorities that are valid now.
fn authorities(path: &Path, warnings: &mut Vec<String>) -> Result<Vec<Authority>> {
    let mut valid = Vec::new();
    let mut last = None;
    for (position, der) in files::certificates(path)?.into_iter().enumerate() {
        let number = position + 1;
        let (_, certificate) = parse_x509_certificate(&der)
            .with_context(|| format!("certificate {number} in it cannot be read"))?;
        match validity::now(&certificate) {
            Validity::Valid => {}
            Validity::Ending { until } => warnings.push(format!(
                "{}: authority {number} in it ends on {until}: from then on its clients are refused",
                path.display()
            )),
            refused @ (Validity::Over { .. } | Validity::Ahead { .. }) => {
                warnings.push(format!("{}: authority {number} in it {refused}: left out", path.display()));
                last = Some(refused);
                continue;
            }
        }
        let until = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or_default();
        valid.push(Authority { der: der.clone(), until });
    }
    match last {
        Some(refused) if valid.is_empty() => bail!("no authority in it is valid: it {refused}"),
        _ => Ok(valid),
    }
}

/// Reads the revocation lists, and rejects outdated ones.
fn revocations(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>> {
    let lists = files::revocations(path)?;
    for list in &lists {
        let (_, list) = parse_x509_crl(list).map_err(|_| anyhow!("a list in it cannot be read"))?;
        if let Some(next) = list.next_update()
            && next < ASN1Time::now()
        {
            bail!(
                "the list has been out of date since {}, so that every client would be refused: fetch a newer one",
                validity::moment(next)
            );
        }
    }
    Ok(lists)
}

fn verifier(
    authorities: &[Authority],
    revocations: &[CertificateRevocationListDer<'static>],
    demand: ClientAuth,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    for Authority { der, .. } in authorities {
        roots.add(der.clone()).context("a certificate in it cannot be an authority")?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    if !revocations.is_empty() {
        // As OpenSSL does: a certificate that no list covers is refused, and so is one whose list has expired.
        builder = builder.with_crls(revocations.iter().cloned()).enforce_revocation_expiration();
    }
    if demand == ClientAuth::Optional {
        builder = builder.allow_unauthenticated();
    }
    Ok(builder.build()?)
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        self.demand == ClientAuth::Required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if now.as_secs() <= self.until {
            return self.verifier.verify_client_cert(end_entity, intermediates, now);
        }
        // Rare, and over once the file is replaced: a verifier with the remaining authorities is built for each
        // client.
        let left = |authority: &&Authority| now.as_secs() <= authority.until;
        let left: Vec<Authority> = self.authorities.iter().filter(left).cloned().collect();
        match verifier(&left, &self.revocations, self.demand, &self.provider) {
            Ok(verifier) => verifier.verify_client_cert(end_entity, intermediates, now),
            Err(_) => Err(rustls::CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
