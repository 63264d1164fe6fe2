//! Facts about an encrypted connection, as the variables that handlers receive.

use super::{distinguished_name, validity};
use crate::access::CertificateNameKind;
use data_encoding::{HEXLOWER, HEXUPPER};
use rustls::pki_types::CertificateDer;
use rustls::server::ServerConnection;
use rustls::{CipherSuite, HandshakeKind, ProtocolVersion};
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use std::net::IpAddr;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;
use x509_parser::prelude::X509Certificate;

/// The most names of a client certificate that become variables.
const NAMES: usize = 64;

/// The variables of an encrypted connection. The texts are built once per connection and use the names of Apache's
/// mod_ssl where it has one.
#[derive(Debug)]
pub struct Secured {
    variables: Vec<(Cow<'static, str>, String)>,
    /// What each name of the client's certificate is, and the place of its variable.
    names: Vec<(CertificateNameKind, usize)>,
}

impl Secured {
    /// Reads the facts from a connection whose handshake is complete and whose client certificate, if any, is
    /// verified.
    pub(super) fn of(session: &ServerConnection) -> Secured {
        let mut secured = Secured { variables: Vec::new(), names: Vec::new() };
        secured.put("SSL_PROTOCOL", version(session.protocol_version()));
        secured.put("SSL_CIPHER", cipher(session.negotiated_cipher_suite().map(|suite| suite.suite())));
        let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        secured.put("SSL_SESSION_RESUMED", if resumed { "Resumed" } else { "Initial" });
        if let Some(name) = session.server_name() {
            secured.put("SSL_TLS_SNI", name);
        }
        match session.peer_certificates().and_then(<[_]>::first) {
            Some(certificate) => secured.client(certificate),
            None => secured.put("SSL_CLIENT_VERIFY", "NONE"),
        }
        secured
    }

    /// Returns the variables that a handler receives besides `HTTPS`. None of them contains a NUL.
    pub fn variables(&self) -> &[(Cow<'static, str>, String)] {
        &self.variables
    }

    /// Iterates over the names of the client's certificate, the common name first. Its addresses are no names.
    pub fn names(&self) -> impl Iterator<Item = (CertificateNameKind, &str)> {
        self.names.iter().map(move |(kind, place)| (*kind, self.variables[*place].1.as_str()))
    }

    fn client(&mut self, der: &CertificateDer<'_>) {
        self.put("SSL_CLIENT_VERIFY", "SUCCESS");
        self.put("SSL_CLIENT_FINGERPRINT", HEXLOWER.encode(&Sha256::digest(der)));
        // rustls has verified the certificate, so it should parse; if not, the variables stay unset.
        let Ok((_, certificate)) = parse_x509_certificate(der) else { return };
        self.put("SSL_CLIENT_S_DN", distinguished_name::text(certificate.subject()));
        self.put("SSL_CLIENT_I_DN", distinguished_name::text(certificate.issuer()));
        let common = certificate.subject().iter_common_name().find_map(|name| name.as_str().ok());
        if let Some(common) = common.filter(|common| !common.contains(char::is_control)) {
            self.names.push((CertificateNameKind::Common, self.variables.len()));
            self.put("SSL_CLIENT_S_DN_CN", common);
        }
        self.put("SSL_CLIENT_M_SERIAL", serial(certificate.raw_serial()));
        self.put("SSL_CLIENT_V_START", validity::moment(certificate.validity().not_before));
        self.put("SSL_CLIENT_V_END", validity::moment(certificate.validity().not_after));
        self.other_names(&certificate);
    }

    /// Adds a variable for each name, numbered from 0 per kind: `SSL_CLIENT_SAN_DNS_0`.
    fn other_names(&mut self, certificate: &X509Certificate<'_>) {
        let Ok(Some(names)) = certificate.subject_alternative_name() else { return };
        let mut counts = [
            ("DNS", Some(CertificateNameKind::Dns), 0),
            ("Email", Some(CertificateNameKind::Email), 0),
            ("URI", Some(CertificateNameKind::Uri), 0),
            ("IP", None, 0),
        ];
        for name in names.value.general_names.iter().take(NAMES) {
            let (kind, value) = match name {
                GeneralName::DNSName(host) => (0, (*host).to_owned()),
                GeneralName::RFC822Name(address) => (1, (*address).to_owned()),
                GeneralName::URI(uri) => (2, (*uri).to_owned()),
                GeneralName::IPAddress(bytes) => match address(bytes) {
                    Some(address) => (3, address.to_string()),
                    None => continue,
                },
                _ => continue,
            };
            if !value.contains(char::is_control) {
                let (word, kind, count) = &mut counts[kind];
                if let Some(kind) = *kind {
                    self.names.push((kind, self.variables.len()));
                }
                self.put(format!("SSL_CLIENT_SAN_{word}_{count}"), value);
                *count += 1;
            }
        }
    }

    fn put(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) {
        self.variables.push((name.into(), value.into()));
    }
}

fn version(version: Option<ProtocolVersion>) -> String {
    match version {
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2".to_owned(),
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Returns the name of a cipher suite in OpenSSL, which other servers use too. The list has every suite that is
/// offered.
fn cipher(suite: Option<CipherSuite>) -> String {
    let name = match suite {
        Some(CipherSuite::TLS13_AES_256_GCM_SHA384) => "TLS_AES_256_GCM_SHA384",
        Some(CipherSuite::TLS13_AES_128_GCM_SHA256) => "TLS_AES_128_GCM_SHA256",
        Some(CipherSuite::TLS13_CHACHA20_POLY1305_SHA256) => "TLS_CHACHA20_POLY1305_SHA256",
        Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384) => "ECDHE-ECDSA-AES256-GCM-SHA384",
        Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256) => "ECDHE-ECDSA-AES128-GCM-SHA256",
        Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256) => "ECDHE-ECDSA-CHACHA20-POLY1305",
        Some(CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384) => "ECDHE-RSA-AES256-GCM-SHA384",
        Some(CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256) => "ECDHE-RSA-AES128-GCM-SHA256",
        Some(CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256) => "ECDHE-RSA-CHACHA20-POLY1305",
        other => return format!("{other:?}"),
    };
    name.to_owned()
}

/// Writes a serial number in hexadecimal, without the leading zeros of its encoding.
fn serial(bytes: &[u8]) -> String {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    match &bytes[zeros..] {
        [] => "00".to_owned(),
        number => HEXUPPER.encode(number),
    }
}

/// Parses an address as certificates encode it (RFC 5280 §4.2.1.6).
pub(super) fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => None,
    }
}
