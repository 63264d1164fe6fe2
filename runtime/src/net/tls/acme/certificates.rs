//! The certificates from an ACME server that are served now, and how the last attempts to obtain them ended.

use super::challenges::{Challenges, WaitingChallenge};
use super::kept::{self, KeptCertificate, NotKept};
use crate::net::outbound::Trust;
use crate::net::tls::files::about;
use crate::net::tls::identity::Term;
use crate::net::tls::options::AcmeOptions;
use crate::operator_file;
use anyhow::{Context as _, Error, Result, anyhow};
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::ClientHello;
use rustls::sign::CertifiedKey;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// Where the response to a validation is asked for (RFC 8555 §8.3).
const HTTP_PREFIX: &str = "/.well-known/acme-challenge/";

/// The largest file of authorities, in bytes.
const LARGEST_CA: u64 = 1 << 20;

/// The certificates of one configuration. The daemon replaces them while it serves; a request never causes that.
#[derive(Debug)]
pub struct AcmeCertificates {
    options: AcmeOptions,
    /// The content of `ca`, which is valid.
    authorities: Option<Vec<u8>>,
    /// The certificate of each domain that has one.
    served: ArcSwap<BTreeMap<String, Arc<KeptCertificate>>>,
    challenges: Arc<Challenges>,
    outcomes: Mutex<BTreeMap<String, DomainOutcome>>,
}

/// How the attempts for a host have ended.
#[derive(Debug, Clone, Default)]
struct DomainOutcome {
    issued: u64,
    failed: u64,
    /// The failures since the last success.
    failures: u32,
    error: Option<(SystemTime, String)>,
    /// When the next attempt may be made.
    retry: Option<SystemTime>,
}

/// The state of a host's certificate.
#[derive(Debug, Clone)]
pub struct DomainReport {
    /// The host.
    pub domain: String,
    /// When the certificate expires. `None` while there is none.
    pub term: Option<Term>,
    /// When a certificate will be asked for next.
    pub next: SystemTime,
    /// The certificates that were obtained since the daemon started.
    pub issued: u64,
    /// The attempts that failed since the daemon started.
    pub failed: u64,
    /// The failures since the last success.
    pub failures: u32,
    /// When and why the last attempt failed. `None` if it succeeded.
    pub error: Option<(SystemTime, String)>,
}

impl AcmeCertificates {
    /// Reads the certificates that are kept. Adds those of no use to `warnings`. Blocks.
    ///
    /// # Errors
    /// Other users may read a key, or a file cannot be read.
    pub(in crate::net::tls) fn load(
        options: &AcmeOptions,
        warnings: &mut Vec<String>,
    ) -> Result<AcmeCertificates, Vec<Error>> {
        let (mut served, mut errors) = (BTreeMap::new(), Vec::new());
        for domain in &options.domains {
            match kept::certificate(&options.dir, domain) {
                Ok(certificate) => drop(served.insert(domain.clone(), Arc::new(certificate))),
                Err(NotKept::Absent(None)) => {}
                Err(NotKept::Absent(Some(why))) => warnings.push(why),
                Err(NotKept::Refused(error)) => errors.push(error),
            }
        }
        errors.extend(kept::text(&account(options)).err());
        let authorities = options.ca.as_ref().map(|ca| {
            let read = operator_file::read(&ca.path, LARGEST_CA).map_err(Error::from).map(|file| file.bytes);
            about(ca, read.and_then(|pem| Trust::and(&pem).map(|_| pem)))
        });
        let authorities = authorities.transpose().unwrap_or_else(|error| {
            errors.push(error);
            None
        });
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(AcmeCertificates {
            options: options.clone(),
            authorities,
            served: ArcSwap::from_pointee(served),
            challenges: Arc::default(),
            outcomes: Mutex::default(),
        })
    }

    /// Takes over the outcomes of the same hosts from the configuration before, with their waits. Those of another server
    /// do not hold, and that after a success does not without its certificate: the host would have none for weeks.
    pub(in crate::net::tls) fn goes_on_from(&self, before: &AcmeCertificates) {
        let mut outcomes = before.outcomes().clone();
        outcomes.retain(|domain, _| self.covers(domain));
        let is_same_server = self.options.dir == before.options.dir;
        for (domain, outcome) in &mut outcomes {
            let has_certificate = self.served.load().contains_key(domain);
            if !is_same_server || (outcome.failures == 0 && !has_certificate) {
                let DomainOutcome { issued, failed, .. } = *outcome;
                *outcome = DomainOutcome { issued, failed, ..DomainOutcome::default() };
            }
        }
        *self.outcomes() = outcomes;
    }

    /// Returns the options.
    pub fn options(&self) -> &AcmeOptions {
        &self.options
    }

    /// Returns the authorities to trust for requests to the server: the system's, and those of `ca`.
    pub fn trust(&self) -> Trust {
        // `load` has checked the file.
        Trust::with(self.authorities.as_deref()).unwrap_or_else(|_| Trust::system())
    }

    /// Returns whether a host is to have a certificate from the server.
    pub(in crate::net::tls) fn covers(&self, host: &str) -> bool {
        self.options.domains.iter().any(|domain| domain == host)
    }

    /// Returns the certificate of a host. Takes no lock.
    pub(in crate::net::tls) fn key(&self, host: &str) -> Option<Arc<CertifiedKey>> {
        self.served.load().get(host).map(|certificate| certificate.key.clone())
    }

    /// Returns the first certificate in the order of the configuration, for clients that send another name or none.
    pub(in crate::net::tls) fn first_key(&self) -> Option<Arc<CertifiedKey>> {
        self.options.domains.iter().find_map(|domain| self.key(domain))
    }

    /// Reads the files again: another process may have renewed them. Blocks.
    ///
    /// # Errors
    /// As [`load`](AcmeCertificates::load); the certificates before are served on.
    pub fn refresh(&self) -> Result<()> {
        let mut served = BTreeMap::clone(&self.served.load());
        for domain in &self.options.domains {
            match kept::certificate(&self.options.dir, domain) {
                Ok(certificate) => drop(served.insert(domain.clone(), Arc::new(certificate))),
                // What is in use is better than nothing, even when its file is gone.
                Err(NotKept::Absent(_)) => {}
                Err(NotKept::Refused(error)) => return Err(error),
            }
        }
        self.served.store(Arc::new(served));
        Ok(())
    }

    /// Checks that a certificate of a host could be kept now. Blocks.
    ///
    /// # Errors
    /// It could not be written.
    pub fn check_room(&self, domain: &str) -> Result<()> {
        let path = kept::file(&self.options.dir, domain);
        kept::try_write(&path).map_err(|error| unwritable(&path, error))
    }

    /// Keeps a new certificate of a host, with its issuers and its key in PEM, and serves it. Blocks.
    ///
    /// # Errors
    /// It cannot be written, or is of no use.
    pub fn keep(&self, domain: &str, chain: &str, key: &str) -> Result<()> {
        let path = kept::file(&self.options.dir, domain);
        let text = format!("{}\n{key}", chain.trim_end());
        kept::write(&path, text.as_bytes()).with_context(|| format!("write {}", path.display()))?;
        let certificate =
            kept::certificate(&self.options.dir, domain).map_err(|not_kept| match not_kept {
                NotKept::Absent(why) => anyhow!("{}", why.unwrap_or_else(|| "the file is gone".to_owned())),
                NotKept::Refused(error) => error,
            })?;
        let mut served = BTreeMap::clone(&self.served.load());
        served.insert(domain.to_owned(), Arc::new(certificate));
        self.served.store(Arc::new(served));
        Ok(())
    }

    /// Reads the account. `None` if there is none yet. Blocks.
    ///
    /// # Errors
    /// Other users may read it, or it cannot be read.
    pub fn account(&self) -> Result<Option<String>> {
        kept::text(&account(&self.options))
    }

    /// Keeps the account. Blocks.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep_account(&self, text: &str) -> Result<()> {
        let path = account(&self.options);
        kept::write(&path, text.as_bytes()).with_context(|| format!("write {}", path.display()))
    }

    /// Locks the files for this process. `None` while another process obtains certificates. Blocks.
    ///
    /// # Errors
    /// The directory cannot be made or written.
    pub fn lock(&self) -> io::Result<Option<File>> {
        kept::lock(&self.options.dir)
    }

    /// Answers requests for a token of `http-01`.
    pub fn offer_http(&self, token: &str, content: &str) -> WaitingChallenge {
        self.challenges.offer_http(token, content)
    }

    /// Answers handshakes of `tls-alpn-01` for a host with a certificate and its key, both in DER.
    ///
    /// # Errors
    /// The key cannot be used.
    pub fn offer_tls(&self, domain: &str, certificate: Vec<u8>, key: Vec<u8>) -> Result<WaitingChallenge> {
        self.challenges.offer_tls(domain, certificate, key)
    }

    /// Returns whether the server may validate a host now. Takes no lock.
    pub(in crate::net::tls) fn is_validating(&self) -> bool {
        self.challenges.is_waiting()
    }

    /// Returns the settings of a handshake that is a validation.
    pub(in crate::net::tls) fn validation(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        self.challenges.tls(hello)
    }

    /// Returns the content of the response to a validation by HTTP, if the path has a token that waits. Takes no lock
    /// while nothing is validated.
    pub fn http_response(&self, path: &str) -> Option<String> {
        if !self.challenges.is_waiting() {
            return None;
        }
        self.challenges.http(path.strip_prefix(HTTP_PREFIX)?)
    }

    /// Returns whether a path is one of validations.
    pub fn is_validation_path(path: &str) -> bool {
        path.starts_with(HTTP_PREFIX)
    }

    /// Notes that a host has a new certificate. Half of its time must pass before another one is asked for, whatever
    /// the clock of this machine says.
    pub fn succeeded(&self, domain: &str) {
        let left = self.served.load().get(domain).map(|certificate| certificate.term.left());
        let half = left.and_then(|left| u64::try_from(left / 2).ok()).unwrap_or_default();
        let mut outcomes = self.outcomes();
        let outcome = outcomes.entry(domain.to_owned()).or_default();
        outcome.issued += 1;
        (outcome.failures, outcome.error) = (0, None);
        outcome.retry = Some(SystemTime::now() + Duration::from_secs(half.max(1)));
    }

    /// Notes that a host got no certificate, and when to ask again.
    pub fn failed(&self, domain: &str, error: String, retry: SystemTime) {
        let mut outcomes = self.outcomes();
        let outcome = outcomes.entry(domain.to_owned()).or_default();
        outcome.failed += 1;
        outcome.failures = outcome.failures.saturating_add(1);
        (outcome.error, outcome.retry) = (Some((SystemTime::now(), error)), Some(retry));
    }

    /// Describes each host, in the order of the configuration.
    pub fn reports(&self) -> Vec<DomainReport> {
        let served = self.served.load();
        let outcomes = self.outcomes();
        let report = |domain: &String| {
            let certificate = served.get(domain);
            let DomainOutcome { issued, failed, failures, error, retry } =
                outcomes.get(domain).cloned().unwrap_or_default();
            let due = certificate.map_or(SystemTime::UNIX_EPOCH, |certificate| certificate.renewal);
            DomainReport {
                domain: domain.clone(),
                term: certificate.map(|certificate| certificate.term.clone()),
                next: retry.map_or(due, |retry| due.max(retry)),
                issued,
                failed,
                failures,
                error,
            }
        };
        self.options.domains.iter().map(report).collect()
    }

    fn outcomes(&self) -> MutexGuard<'_, BTreeMap<String, DomainOutcome>> {
        // The map is consistent after every statement, so a poisoned lock guards nothing broken.
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Describes a file that cannot be written. With `hardening.files`, a directory that was made after the start is out of
/// reach.
fn unwritable(path: &Path, error: io::Error) -> Error {
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => " (restart if its directory was removed or replaced)",
        _ => "",
    };
    Error::new(error).context(format!("write {}{remedy}", path.display()))
}

/// Returns the file of the account.
fn account(options: &AcmeOptions) -> PathBuf {
    options.dir.join("account.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(dir: &Path) -> AcmeCertificates {
        let options = AcmeOptions {
            domains: vec!["a.test".to_owned()],
            email: None,
            directory: "https://ca.test/directory".to_owned(),
            ca: None,
            challenges: Vec::new(),
            dir: dir.to_owned(),
        };
        AcmeCertificates::load(&options, &mut Vec::new()).unwrap()
    }

    fn keep(certificates: &AcmeCertificates) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        let chain = params.self_signed(&key).unwrap().pem();
        certificates.keep("a.test", &chain, &key.serialize_pem()).unwrap();
        certificates.succeeded("a.test");
    }

    /// Returns whether a certificate is asked for at once.
    fn is_due(certificates: &AcmeCertificates) -> bool {
        certificates.reports()[0].next <= SystemTime::now()
    }

    #[test]
    fn a_reload_keeps_the_waits_of_the_same_server_and_no_others() {
        let (staging, production) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let before = load(staging.path());
        keep(&before);

        let (same, other) = (load(staging.path()), load(production.path()));
        same.goes_on_from(&before);
        other.goes_on_from(&before);

        assert!(!is_due(&same) && is_due(&other));
        assert_eq!((same.reports()[0].issued, other.reports()[0].issued), (1, 1));
        let later = SystemTime::now() + Duration::from_secs(3600);
        same.failed("a.test", "refused".to_owned(), later);
        let (again, other) = (load(staging.path()), load(production.path()));
        again.goes_on_from(&same);
        other.goes_on_from(&same);
        assert!(!is_due(&again) && is_due(&other));
        assert!(again.reports()[0].error.is_some() && other.reports()[0].error.is_none());
    }

    #[test]
    fn a_directory_that_is_out_of_reach_needs_a_restart() {
        let told = |kind: io::ErrorKind| format!("{:#}", unwritable(Path::new("/a.pem"), kind.into()));

        let denied = told(io::ErrorKind::PermissionDenied);

        assert!(
            denied.starts_with("write /a.pem (restart if its directory was removed or replaced): "),
            "{denied}"
        );
        assert!(told(io::ErrorKind::StorageFull).starts_with("write /a.pem: "));
    }

    #[test]
    fn a_certificate_whose_file_is_gone_is_asked_for_after_a_reload() {
        let dir = tempfile::tempdir().unwrap();
        let before = load(dir.path());
        keep(&before);
        std::fs::remove_file(kept::file(dir.path(), "a.test")).unwrap();

        let after = load(dir.path());
        after.goes_on_from(&before);

        assert!(!is_due(&before) && is_due(&after));
    }
}
