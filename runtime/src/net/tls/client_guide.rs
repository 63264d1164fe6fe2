//! The host names and authority of the certificate, for the curl commands that are printed for people.

use super::files;
use super::options::{CertificateFiles, TlsOptions};
use super::secured;
use rustls::pki_types::CertificateDer;
use std::net::IpAddr;
use std::path::PathBuf;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// The content of the first certificate that matters to clients.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guide {
    /// The host names of the certificate, including wildcards such as `*.example.org`.
    pub hosts: Vec<String>,
    /// The addresses of the certificate.
    pub addresses: Vec<IpAddr>,
    /// The file that holds its authority. `None` if clients know the authority already, or if no file has it.
    pub authority: Option<PathBuf>,
    /// Whether clients must send a certificate of their own.
    pub verifies: bool,
}

impl Guide {
    /// Reads the guide from a certificate chain.
    pub(super) fn of(chain: &[CertificateDer<'_>], options: &TlsOptions) -> Guide {
        let mut guide = Guide { verifies: options.demands_certificates(), ..Guide::default() };
        if chain.is_empty() {
            guide.hosts = options.acme.iter().flat_map(|acme| acme.domains.clone()).collect();
        }
        let Some(Ok((_, first))) = chain.first().map(|der| parse_x509_certificate(der)) else { return guide };
        if let Ok(Some(names)) = first.subject_alternative_name() {
            for name in &names.value.general_names {
                match name {
                    GeneralName::DNSName(host) => guide.hosts.push(host.to_ascii_lowercase()),
                    GeneralName::IPAddress(bytes) => guide.addresses.extend(secured::address(bytes)),
                    _ => {}
                }
            }
        }
        guide.authority = authority(chain, options);
        guide
    }
}

/// Finds the file that holds the root of a chain: the chain's own file, or the authorities of clients, which are often
/// the same.
fn authority(chain: &[CertificateDer<'_>], options: &TlsOptions) -> Option<PathBuf> {
    let (_, last) = parse_x509_certificate(chain.last()?).ok()?;
    if last.issuer() == last.subject() {
        let CertificateFiles { cert, .. } = options.certificates.first()?;
        return Some(cert.path.clone());
    }
    let ca = &options.clients.as_ref()?.ca.path;
    let issued = |der: &CertificateDer<'_>| {
        parse_x509_certificate(der).is_ok_and(|(_, authority)| authority.subject() == last.issuer())
    };
    files::certificates(ca).ok()?.iter().any(issued).then(|| ca.clone())
}
