//! The files of an ACME account and its certificates, which only the daemon's user may read.

use crate::net::tls::files::{self, LARGEST};
use crate::net::tls::identity::{Identity, Term};
use crate::net::tls::options::{CertificateFiles, TlsFile};
use crate::operator_file::{self, ReadError};
use anyhow::{Context as _, Error, Result, anyhow, ensure};
use rustls::crypto;
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use x509_parser::parse_x509_certificate;

/// As much as a certificate, its issuers and its key take, in bytes, and more.
const ROOM: usize = 16 << 10;

/// The mode bits of users other than the owner.
const OTHERS: u32 = 0o077;

/// A certificate with its key, as it is kept in a file.
#[derive(Debug)]
pub(super) struct KeptCertificate {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) term: Term,
    /// When it should be renewed.
    pub(super) renewal: SystemTime,
}

/// Why a certificate that is kept is not used.
#[derive(Debug)]
pub(super) enum NotKept {
    /// There is none yet, or it is of no use any more. The text describes the latter.
    Absent(Option<String>),
    /// The operator has to act.
    Refused(Error),
}

/// Returns the file of a host's certificate and key.
pub(super) fn file(dir: &Path, domain: &str) -> PathBuf {
    dir.join(format!("{domain}.pem"))
}

/// Reads the certificate of a host. Blocks.
pub(super) fn certificate(dir: &Path, domain: &str) -> Result<KeptCertificate, NotKept> {
    let path = file(dir, domain);
    if !is_private(&path).map_err(NotKept::Refused)? {
        return Err(NotKept::Absent(None));
    }
    let named = TlsFile { path: path.clone(), named_by: "tls.acme".to_owned() };
    let files = CertificateFiles { cert: named.clone(), key: named };
    let unusable = |errors: &[Error]| {
        let first = errors.first().map(|error| format!("{error:#}")).unwrap_or_default();
        NotKept::Absent(Some(format!("{first}: a new one is obtained")))
    };
    let identity =
        Identity::load(&files, &crypto::ring::default_provider()).map_err(|errors| unusable(&errors))?;
    if !identity.names.iter().any(|name| name == domain) {
        let error = anyhow!("{}: the certificate is for another host", path.display());
        return Err(unusable(&[error]));
    }
    let Identity { key, term, .. } = identity;
    let renewal = renewal(&key, &term).map_err(|error| unusable(&[error]))?;
    Ok(KeptCertificate { key, term, renewal })
}

/// Returns when a certificate should be renewed: when a third of its lifetime is left, or up to a tenth of that third
/// earlier. The jitter comes from the certificate itself, so a restart does not change it.
fn renewal(key: &CertifiedKey, term: &Term) -> Result<SystemTime> {
    let leaf = key.cert.first().context("no certificate")?;
    let (_, certificate) = parse_x509_certificate(leaf).context("the certificate cannot be read")?;
    let jitter = Sha256::digest(leaf).first().copied().unwrap_or_default();
    Ok(due(certificate.validity().not_before.timestamp(), term.until, jitter))
}

/// Computes the time of a renewal from the ends of the validity, in seconds since 1970. `jitter` is random.
fn due(from: i64, until: i64, jitter: u8) -> SystemTime {
    let third = u64::try_from(until.saturating_sub(from)).unwrap_or_default() / 3;
    let early = third / 10 * u64::from(jitter) / u64::from(u8::MAX);
    let until = u64::try_from(until).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(until.saturating_sub(third + early))
}

/// Reads a text that only the owner may read, such as the account. `None` if there is no such file. Blocks.
///
/// # Errors
/// Other users may read the file, or it cannot be read.
pub(super) fn text(path: &Path) -> Result<Option<String>> {
    if !is_private(path)? {
        return Ok(None);
    }
    let text = operator_file::text(path, LARGEST);
    text.map(Some).with_context(|| path.display().to_string())
}

/// Checks that only the owner of a file may read it. Returns `false` if there is no such file.
fn is_private(path: &Path) -> Result<bool> {
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => {
            return Err(files::unreadable(ReadError::Unreadable(error)))
                .with_context(|| format!("tls.acme: {}", path.display()));
        }
    };
    ensure!(
        found.mode() & OTHERS == 0,
        "tls.acme: {}: other users may read the key in it: `chmod 600 FILE`, or remove it, and a new one is made",
        path.display()
    );
    Ok(true)
}

/// Writes a file that only the owner may read, whole or not at all. Makes its directory. Blocks.
pub(super) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = write_new(path, content)?;
    fs::rename(&new, path)?;
    File::open(parent(path))?.sync_all()
}

/// Writes as much as a certificate takes beside a file, and removes it again. Blocks.
///
/// # Errors
/// The file could not be written.
pub(super) fn try_write(path: &Path) -> io::Result<()> {
    let new = write_new(path, &[0; ROOM])?;
    fs::remove_file(new)
}

/// Writes the file that is to replace one, and returns its path. Makes its directory.
fn write_new(path: &Path, content: &[u8]) -> io::Result<PathBuf> {
    make(parent(path))?;
    let new = path.with_extension("new");
    // The rest of a write that broke off, which may have another mode.
    if let Err(error) = fs::remove_file(&new)
        && error.kind() != ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    Ok(new)
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// Locks the directory for this process. `None` while another process has the lock. The lock ends with the file. Blocks.
pub(super) fn lock(dir: &Path) -> io::Result<Option<File>> {
    make(dir)?;
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(dir.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn make(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const DAY: i64 = 24 * 60 * 60;

    fn pem(names: &[&str]) -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let params = rcgen::CertificateParams::new(names).unwrap();
        params.self_signed(&key).unwrap().pem() + &key.serialize_pem()
    }

    #[test]
    fn a_renewal_is_due_in_the_last_third_and_a_bit_before() {
        let days =
            |due: SystemTime| due.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64 / DAY;

        assert_eq!(days(due(1000 * DAY, 1090 * DAY, 0)), 1060);
        assert_eq!(days(due(1000 * DAY, 1090 * DAY, u8::MAX)), 1057);
        // Six days, as a short-lived certificate has.
        assert_eq!(days(due(1000 * DAY, 1006 * DAY, 0)), 1004);
        // A validity that makes no sense is due at its end.
        assert_eq!(days(due(1090 * DAY, 1000 * DAY, 9)), 1000);
    }

    #[test]
    fn what_is_written_is_read_by_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("a/b");
        let path = file(&dir, "a.test");

        write(&path, pem(&["a.test"]).as_bytes()).unwrap();
        write(&path, pem(&["a.test"]).as_bytes()).unwrap();
        try_write(&path).unwrap();

        assert!(certificate(&dir, "a.test").is_ok());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let Err(NotKept::Refused(refused)) = certificate(&dir, "a.test") else { panic!("it is used") };
        assert!(refused.to_string().contains("chmod 600"), "{refused}");
    }

    #[test]
    fn a_file_that_is_of_no_use_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        assert!(matches!(certificate(dir, "a.test"), Err(NotKept::Absent(None))));
        for text in ["", "not PEM", &pem(&["b.test"])] {
            write(&file(dir, "a.test"), text.as_bytes()).unwrap();

            let Err(NotKept::Absent(Some(why))) = certificate(dir, "a.test") else {
                panic!("{text} is used")
            };

            assert!(why.ends_with("a new one is obtained"), "{why}");
        }
    }

    #[test]
    fn one_process_at_a_time_has_the_lock() {
        let dir = tempfile::tempdir().unwrap();

        let first = lock(dir.path()).unwrap();

        assert!(first.is_some() && lock(dir.path()).unwrap().is_none());
        drop(first);
        assert!(lock(dir.path()).unwrap().is_some());
    }
}
