//! The differences between two generations of certificates.

use super::acceptor::Tls;
use super::file_hashes::order;
use super::options::{AcmeOptions, ClientAuth, ClientOptions, TlsOptions};
use crate::net::Endpoint;
use std::collections::HashSet;
use std::sync::Arc;

impl Tls {
    /// Returns this generation, or the previous one if the two do not differ. Sessions can then still be resumed.
    pub fn or_same(self, before: Option<Arc<Tls>>) -> Arc<Tls> {
        match before {
            Some(before) if differences(Some(&before), Some(&self)).is_empty() => before,
            Some(before) => {
                if let (Some(old), Some(new)) = (before.acme(), self.acme()) {
                    new.goes_on_from(old);
                }
                Arc::new(self)
            }
            None => Arc::new(self),
        }
    }
}

/// Describes every difference, one per line. Reveals nothing of a certificate's content.
pub fn differences(old: Option<&Tls>, new: Option<&Tls>) -> Vec<String> {
    let (old, new) = match (old, new) {
        (None, None) => return Vec::new(),
        (None, Some(_)) => return vec!["added: tcp:// and fd:// sockets are encrypted".to_owned()],
        (Some(_), None) => return vec!["removed: tcp:// and fd:// sockets are not encrypted".to_owned()],
        (Some(old), Some(new)) => (old, new),
    };
    let mut lines = Vec::new();
    for (path, content) in new.contents() {
        match old.contents().get(path) {
            None => lines.push(format!("file added: {}", path.display())),
            Some(before) if before != content => lines.push(format!("file changed: {}", path.display())),
            Some(_) => {}
        }
    }
    let gone = old.contents().keys().filter(|path| !new.contents().contains_key(*path));
    lines.extend(gone.map(|path| format!("file removed: {}", path.display())));
    let (before, after) = (clients(old.options()), clients(new.options()));
    if before != after {
        lines.push(format!("client certificates: {before} -> {after}"));
    }
    lines.extend(acme(old.options().acme.as_ref(), new.options().acme.as_ref()));
    let (before, after) = (&old.options().plain, &new.options().plain);
    let only = |these: &[Endpoint], those: &[Endpoint], how: &str| -> Vec<String> {
        let those: HashSet<&Endpoint> = those.iter().collect();
        let these = these.iter().filter(|endpoint| !those.contains(endpoint));
        these.map(|endpoint| format!("{how}: {endpoint}")).collect()
    };
    lines.extend(only(after, before, "in clear now"));
    lines.extend(only(before, after, "encrypted now"));
    if lines.is_empty() && order(old.options()) != order(new.options()) {
        lines.push("certificates in another order".to_owned());
    }
    lines
}

/// Describes what differs in the certificates that are obtained.
fn acme(before: Option<&AcmeOptions>, after: Option<&AcmeOptions>) -> Vec<String> {
    let (before, after) = match (before, after) {
        (None, None) => return Vec::new(),
        (None, Some(after)) => {
            return vec![format!("acme added: {} from {}", after.domains.join(", "), after.directory)];
        }
        (Some(_), None) => return vec!["acme removed".to_owned()],
        (Some(before), Some(after)) => (before, after),
    };
    let only = |these: &AcmeOptions, those: &AcmeOptions, how: &str| -> Vec<String> {
        let these = these.domains.iter().filter(|domain| !those.domains.contains(domain));
        these.map(|domain| format!("acme.domains {how}: {domain}")).collect()
    };
    let mut lines = only(after, before, "added");
    lines.extend(only(before, after, "removed"));
    if before.directory != after.directory {
        lines.push(format!("acme.directory: {} -> {}", before.directory, after.directory));
    }
    if before.email != after.email {
        lines.push("acme.email".to_owned());
    }
    if before.challenges != after.challenges {
        lines.push("acme.challenges".to_owned());
    }
    let place = |acme: &AcmeOptions| (acme.dir.clone(), acme.ca.as_ref().map(|ca| ca.path.clone()));
    if place(before) != place(after) {
        lines.push("acme.ca, or the state directory".to_owned());
    }
    if lines.is_empty() && before.domains != after.domains {
        lines.push("acme.domains in another order".to_owned());
    }
    lines
}

fn clients(options: &TlsOptions) -> &'static str {
    match &options.clients {
        None => "not asked for",
        Some(ClientOptions { demand: ClientAuth::Required, .. }) => "required",
        Some(ClientOptions { demand: ClientAuth::Optional, .. }) => "optional",
    }
}
