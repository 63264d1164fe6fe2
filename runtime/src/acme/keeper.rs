//! Keeps the certificates of a configuration valid: obtains each, and renews it in time.

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Error, Result, anyhow};
use instant_acme::Account;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::account;
use super::client::AcmeClient;
use super::order::{self, IssuedCertificate};
use super::retry::FailedAt;
use crate::net::{AcmeCertificates, ChallengeKind, DomainReport};

/// How often a process without the lock looks for it, and for new files of the process that has it.
const LOCK: Duration = Duration::from_secs(5);

/// The longest sleep, so that a clock that was set is noticed.
const SLEEP: Duration = Duration::from_secs(60);

/// The time for one certificate.
const ORDER_TIME: Duration = Duration::from_secs(5 * 60);

/// Obtains the certificates and renews them, until dropped. Of several processes with one directory, such as two during
/// an upgrade, one does. Nothing that a client does begins an attempt.
///
/// # Cancel safety
/// Dropping the future gives up the order in progress. What is kept stays whole.
pub async fn keep(certificates: Arc<AcmeCertificates>) {
    let client = AcmeClient::new(certificates.trust());
    let _lock = locked(&certificates).await;
    let mut account = None;
    loop {
        let now = SystemTime::now();
        let reports = certificates.reports();
        for report in reports.iter().filter(|report| report.next <= now) {
            attempt(&certificates, &client, &mut account, report).await;
        }
        let next = certificates.reports().iter().map(|report| report.next).min();
        let left = next.and_then(|next| next.duration_since(SystemTime::now()).ok());
        sleep(left.unwrap_or_default().min(SLEEP)).await;
    }
}

/// Waits for the lock of the directory. Meanwhile, serves what the process with the lock obtains.
async fn locked(certificates: &Arc<AcmeCertificates>) -> File {
    let mut told = false;
    loop {
        let of = certificates.clone();
        let tried = spawn_blocking(move || {
            let lock = of.lock().with_context(|| of.options().dir.display().to_string());
            // After the lock: what another process has obtained is not obtained again.
            lock.and_then(|lock| of.refresh().map(|()| lock))
        });
        match tried.await.map_err(Error::from).flatten() {
            Ok(Some(lock)) => return lock,
            Ok(None) if !told => info!("tls.acme: another process obtains the certificates"),
            Ok(None) => {}
            Err(error) if !told => {
                warn!("tls.acme: {error:#}: no certificate is obtained until this is mended")
            }
            Err(_) => {}
        }
        told = true;
        sleep(LOCK).await;
    }
}

/// Obtains a certificate for one host, and notes how that ended.
async fn attempt(
    certificates: &Arc<AcmeCertificates>,
    client: &AcmeClient,
    account: &mut Option<Account>,
    report: &DomainReport,
) {
    let DomainReport { domain, failures, .. } = report;
    let _earlier = client.asked_to_wait();
    let obtaining = Box::pin(obtain(certificates, client, account, report));
    let outcome = match timeout(ORDER_TIME, obtaining).await {
        Ok(outcome) => outcome,
        Err(_) => Err(anyhow!("no certificate within {ORDER_TIME:?}")),
    };
    match outcome {
        Ok(()) => {
            certificates.succeeded(domain);
            info!("tls.acme: {domain}: obtained a certificate from {}", certificates.options().directory);
        }
        Err(error) => {
            // The next attempt reads the directory again.
            *account = None;
            let wait = FailedAt::of(&error).wait(failures.saturating_add(1), client.asked_to_wait());
            let challenge = challenge(certificates, *failures).name();
            let told = described(&error);
            let seconds = wait.as_secs();
            warn!(
                "tls.acme: {domain}: no certificate by {challenge}: {told}; the next attempt is in {seconds} s"
            );
            certificates.failed(domain, told, SystemTime::now() + wait);
        }
    }
}

async fn obtain(
    certificates: &Arc<AcmeCertificates>,
    client: &AcmeClient,
    account: &mut Option<Account>,
    DomainReport { domain, failures, .. }: &DomainReport,
) -> Result<()> {
    let (of, host) = (certificates.clone(), domain.clone());
    // The server issues a limited number of certificates, and a certificate that cannot be kept is lost.
    spawn_blocking(move || of.check_room(&host)).await??;
    let (kind, known) = (challenge(certificates, *failures), account.take());
    let order_by_known = async {
        let known = match known {
            Some(known) => known,
            None => account::open(certificates, client).await?,
        };
        let issued = order::issue(&known, certificates, domain, kind).await?;
        anyhow::Ok((known, issued))
    };
    let (used, IssuedCertificate { chain, key }) = match order_by_known.await {
        Err(error) if order::is_account_unknown(&error) => {
            let made = account::create(certificates, client).await?;
            let issued = order::issue(&made, certificates, domain, kind).await?;
            (made, issued)
        }
        outcome => outcome?,
    };
    *account = Some(used);
    let (of, domain) = (certificates.clone(), domain.clone());
    spawn_blocking(move || of.keep(&domain, &chain, &key)).await?
}

/// Chooses the kind of validation: after a failure, the next one.
fn challenge(certificates: &AcmeCertificates, failures: u32) -> ChallengeKind {
    let kinds = &certificates.options().challenges;
    let at = usize::try_from(failures).unwrap_or_default() % kinds.len().max(1);
    kinds.get(at).copied().unwrap_or(ChallengeKind::TlsAlpn01)
}

/// Describes an error with its causes, and leaves out a cause that the text before it ends with: errors of instant-acme
/// name theirs themselves.
fn described(error: &Error) -> String {
    let mut told = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if told.ends_with(&cause) {
            continue;
        }
        let joint = if told.is_empty() { "" } else { ": " };
        told = [&told, joint, &cause].concat();
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let json = serde_json::from_str::<u8>("<html>").unwrap_err();
        let why = json.to_string();

        let error = Error::new(instant_acme::Error::Json(json)).context("https://ca.test/");

        let told = described(&error);
        assert_eq!(told, format!("https://ca.test/: failed to (de)serialize JSON: {why}"));
        assert_eq!(described(&anyhow!("inner").context("outer")), "outer: inner");
    }
}
