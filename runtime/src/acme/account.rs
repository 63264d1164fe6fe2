//! The account at the ACME server: made once, and kept.

use std::sync::Arc;

use anyhow::{Context as _, Error, Result};
use instant_acme::{Account, AccountCredentials, NewAccount};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::client::AcmeClient;
use crate::net::{AcmeCertificates, AcmeOptions};

/// Returns the account that is kept. Makes an account if there is none, or it is damaged. Tells the server of a changed
/// address.
///
/// # Errors
/// The server refuses, cannot be reached, or the account cannot be kept.
pub(super) async fn open(certificates: &Arc<AcmeCertificates>, client: &AcmeClient) -> Result<Account> {
    let AcmeOptions { email, directory, .. } = certificates.options();
    let of = certificates.clone();
    let kept = spawn_blocking(move || of.account()).await??;
    let Some(kept) = kept else { return create(certificates, client).await };
    let (mut kept, credentials) = match read(&kept) {
        Ok(read) => read,
        Err(error) => {
            warn!("tls.acme: account.json is damaged: {error}: a new account is made");
            return create(certificates, client).await;
        }
    };
    let account = Account::builder_with_http(Box::new(client.clone())).from_credentials(credentials).await;
    let account = account.map_err(|error| refused(directory, error))?;
    if kept["email"].as_str() != email.as_deref() {
        let contact = contact(email.as_deref());
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        account.update_contacts(&contact).await.context("change the e-mail address of the account")?;
        kept["email"] = json!(email);
        keep(certificates, kept).await?;
    }
    Ok(account)
}

/// Makes an account. It replaces an account that the server no longer knows.
///
/// # Errors
/// As [`open`].
pub(super) async fn create(certificates: &Arc<AcmeCertificates>, client: &AcmeClient) -> Result<Account> {
    let AcmeOptions { email, directory, .. } = certificates.options();
    let contact = contact(email.as_deref());
    let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
    let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let builder = Account::builder_with_http(Box::new(client.clone()));
    let made = builder.create(&new, directory.clone(), None).await;
    let (account, credentials) = made.map_err(|error| refused(directory, error))?;
    keep(certificates, json!({ "email": email, "credentials": credentials })).await?;
    info!("tls.acme: made an account at {directory}");
    Ok(account)
}

/// Adds the directory to an error of its server. A response that is no JSON comes from another place than a directory.
fn refused(directory: &str, error: instant_acme::Error) -> Error {
    let at = match error {
        instant_acme::Error::Json(_) => format!(
            "{directory}: wanted the directory of an ACME server, found something else: check tls.acme.directory"
        ),
        _ => directory.to_owned(),
    };
    Error::new(error).context(at)
}

/// Reads the file of an account: what is kept, and the credentials in it.
fn read(text: &str) -> serde_json::Result<(Value, AccountCredentials)> {
    let kept: Value = serde_json::from_str(text)?;
    let credentials = serde_json::from_value(kept["credentials"].clone())?;
    Ok((kept, credentials))
}

async fn keep(certificates: &Arc<AcmeCertificates>, account: Value) -> Result<()> {
    let of = certificates.clone();
    spawn_blocking(move || of.keep_account(&account.to_string())).await?
}

/// Returns the URLs of an account's contact (RFC 8555 §7.3).
fn contact(email: Option<&str>) -> Vec<String> {
    email.map(|email| format!("mailto:{email}")).into_iter().collect()
}
