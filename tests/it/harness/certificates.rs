//! Test certificates: authorities and the certificates they issue.

use std::sync::OnceLock;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber, date_time_ymd,
};

/// An authority that issues certificates.
pub(crate) struct Authority {
    /// Its own certificate, in PEM.
    pub(crate) cert: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, both in PEM.
pub(crate) struct Pair {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Authority {
    /// Makes an authority of this name, which trusts itself.
    pub(crate) fn new(name: &str) -> Authority {
        let params = authority(name);
        let key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap().pem();
        Authority { cert, issuer: Issuer::new(params, key) }
    }

    /// The authority of all tests that need only one.
    pub(crate) fn usual() -> &'static Authority {
        static USUAL: OnceLock<Authority> = OnceLock::new();
        USUAL.get_or_init(|| Authority::new("Test Authority"))
    }

    /// Issues a server certificate for these names, which may be addresses.
    pub(crate) fn server(&self, names: &[&str]) -> Pair {
        self.issue(names, |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        })
    }

    /// Issues a client certificate.
    pub(crate) fn client(&self, name: &str) -> Pair {
        self.issue(&[], |params| {
            params.distinguished_name.push(DnType::CommonName, name);
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        })
    }

    /// Revokes the certificates with these serial numbers. Returns the list, in PEM, valid until this year.
    pub(crate) fn revoke(&self, numbers: &[u64], year: i32) -> String {
        let revoked = numbers.iter().map(|number| RevokedCertParams {
            serial_number: SerialNumber::from(*number),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(year, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    /// Issues a certificate with the parameters that a test sets.
    pub(crate) fn issue(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let key = KeyPair::generate().unwrap();
        let cert = params(names, change).signed_by(&key, &self.issuer).unwrap().pem();
        Pair { cert, key: key.serialize_pem() }
    }
}

impl Pair {
    /// Makes a self-signed certificate.
    pub(crate) fn self_signed(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let key = KeyPair::generate().unwrap();
        Pair { cert: params(names, change).self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    }
}

fn params(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = DistinguishedName::new();
    change(&mut params);
    params
}

fn authority(name: &str) -> CertificateParams {
    params(&[], |params| {
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    })
}
