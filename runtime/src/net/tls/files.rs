//! Reads certificates, keys and revocation lists, with errors that say what to do.

use super::options::TlsFile;
use crate::operator_file::{self, ReadError, ReadFile};
use anyhow::{Context as _, Error, Result, anyhow, bail, ensure};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// The limit on a file, in bytes; more than any chain or bundle of certificates needs.
pub(super) const LARGEST: u64 = 4 << 20;

/// The mode bit that lets every user read.
const WORLD: u32 = 0o004;

/// A private key, and whether every user may read it.
#[derive(Debug)]
pub(super) struct PrivateKey {
    pub(super) der: PrivateKeyDer<'static>,
    pub(super) exposed: bool,
}

/// Reads the certificates of a file. The result is not empty.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let (pem, _) = read(path)?;
    let convert = "openssl x509 -inform der -in FILE -out NEW";
    let found: Vec<_> =
        CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|error| broken(&error))?;
    ensure!(!found.is_empty(), without("certificate", &pem, convert));
    Ok(found)
}

/// Reads the private key of a file.
pub(super) fn key(path: &Path) -> Result<PrivateKey> {
    let (pem, found) = read(path)?;
    // PKCS #8 marks encryption in the label, the older formats in a header.
    if holds(&pem, "-----BEGIN ENCRYPTED PRIVATE KEY-----") || holds(&pem, "Proc-Type: 4,ENCRYPTED") {
        bail!("the key is encrypted: write it without its passphrase, `openssl pkey -in FILE -out NEW`");
    }
    let mut keys = PrivateKeyDer::pem_slice_iter(&pem);
    let der = match keys.next() {
        Some(der) => der.map_err(|error| broken(&error))?,
        None => bail!(without("private key", &pem, "openssl pkey -inform der -in FILE -out NEW")),
    };
    Ok(PrivateKey { der, exposed: found.permissions().mode() & WORLD != 0 })
}

/// Reads the revocation lists of a file. The result is not empty.
pub(super) fn revocations(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>> {
    let (pem, _) = read(path)?;
    let lists = CertificateRevocationListDer::pem_slice_iter(&pem);
    let lists: Vec<_> = lists.collect::<Result<_, _>>().map_err(|error| broken(&error))?;
    ensure!(!lists.is_empty(), without("revocation list", &pem, "openssl crl -inform der -in FILE -out NEW"));
    Ok(lists)
}

fn read(path: &Path) -> Result<(Vec<u8>, Metadata)> {
    let ReadFile { bytes, metadata } = operator_file::read(path, LARGEST).map_err(unreadable)?;
    ensure!(!bytes.is_empty(), "the file is empty");
    Ok((bytes, metadata))
}

pub(super) fn unreadable(refusal: ReadError) -> Error {
    match refusal {
        ReadError::Unreadable(error) => match error.kind() {
            ErrorKind::NotFound => anyhow!("there is no such file"),
            ErrorKind::PermissionDenied => {
                anyhow!(
                    "the daemon may not read it: change its group and mode, or pass it with LoadCredential="
                )
            }
            _ => anyhow!("it cannot be read: {error}"),
        },
        other @ (ReadError::NotAFile(_) | ReadError::TooLarge(_)) => other.into(),
    }
}

fn broken(error: &rustls::pki_types::pem::Error) -> Error {
    use rustls::pki_types::pem::Error::{Base64Decode, MissingSectionEnd};
    match error {
        MissingSectionEnd { .. } => anyhow!("the file is truncated: a BEGIN has no END"),
        Base64Decode(_) => anyhow!("the file is damaged: the text between BEGIN and END is not base64"),
        other => anyhow!("the file is damaged: {other}"),
    }
}

/// Says what the file contains instead of what was wanted.
fn without(wanted: &str, pem: &[u8], convert: &str) -> String {
    let text = String::from_utf8_lossy(pem);
    let labels = text.lines().filter_map(|line| line.strip_prefix("-----BEGIN ")?.strip_suffix("-----"));
    let mut labels: Vec<&str> = labels.collect();
    labels.dedup();
    match &labels[..] {
        [] => format!("this is not PEM: if it is DER, convert it with `{convert}`"),
        [first, ..] => format!("there is no {wanted} in it, but {first:?}: name another file"),
    }
}

fn holds(pem: &[u8], text: &str) -> bool {
    memchr::memmem::find(pem, text.as_bytes()).is_some()
}

/// Adds the option and the path that name the file to an error.
pub(super) fn about<T>(file: &TlsFile, outcome: Result<T>) -> Result<T> {
    outcome.with_context(|| format!("{}: {}", file.named_by, file.path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn refusal(bytes: &[u8], read: impl Fn(&Path) -> Result<()>) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f.pem");
        fs::write(&path, bytes).unwrap();
        read(&path).unwrap_err().to_string()
    }

    #[test]
    fn what_is_there_instead_is_named() {
        let cert = |bytes: &[u8]| refusal(bytes, |path| certificates(path).map(drop));
        let secret = |bytes: &[u8]| refusal(bytes, |path| key(path).map(drop));

        assert_eq!(cert(b""), "the file is empty");
        assert!(
            cert(b"\x30\x82").starts_with("this is not PEM: if it is DER, convert it with `openssl x509")
        );
        assert_eq!(
            cert(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
            "there is no certificate in it, but \"PRIVATE KEY\": name another file"
        );
        assert_eq!(
            secret(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            "there is no private key in it, but \"CERTIFICATE\": name another file"
        );
        assert!(cert(b"-----BEGIN CERTIFICATE-----\nAAAA\n").starts_with("the file is truncated"));
        assert!(
            cert(b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n")
                .starts_with("the file is damaged")
        );
        for encrypted in [
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n",
        ] {
            assert!(secret(encrypted.as_bytes()).starts_with("the key is encrypted: "));
        }
    }

    #[test]
    fn a_key_that_anybody_may_read_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        fs::write(&path, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();

        let exposed = [0o644, 0o640, 0o600].map(|mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            key(&path).unwrap().exposed
        });

        assert_eq!(exposed, [true, false, false]);
    }
}
