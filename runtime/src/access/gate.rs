//! A built-in gate: a check of the client before a route answers.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::address_set::AddressSet;
use super::passwords::Passwords;
use super::tokens::TokenRules;

/// A gate that needs no sandbox.
pub struct AccessGate {
    /// Its name in the configuration.
    pub name: String,
    /// What it checks.
    pub check: AccessCheck,
    /// The files that it is made of.
    pub files: Vec<PathBuf>,
    /// Tells two configurations of a gate apart, with the content of its files.
    pub digest: String,
}

/// What a built-in gate checks.
pub enum AccessCheck {
    /// The client's address.
    Addresses(AddressRules),
    /// A user name and a password.
    Basic(Arc<Passwords>),
    /// The names of the client's certificate.
    ClientCertificate(CertificateNames),
    /// A JSON Web Token.
    Token(TokenRules),
}

/// The addresses that pass.
#[derive(Debug)]
pub struct AddressRules {
    /// Those that pass. An empty set lets all pass that are not denied.
    pub allow: AddressSet,
    /// Those that do not pass, even if they are allowed.
    pub deny: AddressSet,
}

/// The names of certificates that pass: `ada`, `*.example.org`.
#[derive(Debug)]
pub struct CertificateNames(pub Vec<String>);

impl AccessCheck {
    /// Returns the word of the configuration for the kind of gate.
    pub fn kind(&self) -> &'static str {
        match self {
            AccessCheck::Addresses(_) => "addresses",
            AccessCheck::Basic(_) => "basic",
            AccessCheck::ClientCertificate(_) => "client_certificate",
            AccessCheck::Token(_) => "jwt",
        }
    }
}

impl AddressRules {
    /// Reports whether a client passes. `None` stands for a client of a Unix socket.
    pub fn admit(&self, address: Option<IpAddr>) -> bool {
        !self.deny.contains(address) && (self.allow.is_empty() || self.allow.contains(address))
    }
}

impl CertificateNames {
    /// Returns the first name of a certificate that passes. Case makes no difference, as in host names and e-mail
    /// addresses.
    pub fn find<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
        names.into_iter().find(|name| self.0.iter().any(|wanted| fits(wanted, name)))
    }
}

/// Reports whether a name is the wanted one, or has one label in place of `*`.
fn fits(wanted: &str, name: &str) -> bool {
    let tail = wanted.strip_prefix("*.").map(|tail| (name.split_once('.'), tail));
    match tail {
        Some((Some((label, rest)), tail)) => !label.is_empty() && rest.eq_ignore_ascii_case(tail),
        Some((None, _)) => false,
        None => name.eq_ignore_ascii_case(wanted),
    }
}

impl PartialEq for AccessGate {
    fn eq(&self, other: &AccessGate) -> bool {
        (&self.name, &self.digest) == (&other.name, &other.digest)
    }
}

/// Without what it checks: that may be secret.
impl fmt::Debug for AccessGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessGate")
            .field("name", &self.name)
            .field("kind", &self.check.kind())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::networks::Networks;

    #[test]
    fn an_address_passes_if_it_is_allowed_and_not_denied() {
        let set = |texts: &[&str]| {
            let networks: Vec<_> = texts.iter().map(|text| Networks::one(text).unwrap()).collect();
            AddressSet { networks: Networks::new(&networks), ..AddressSet::default() }
        };
        let address = |text: &str| Some(text.parse().unwrap());
        let both = AddressRules { allow: set(&["10.0.0.0/8"]), deny: set(&["10.1.0.0/16"]) };
        let denied = AddressRules { allow: set(&[]), deny: set(&["10.1.0.0/16"]) };

        assert!(
            both.admit(address("10.2.0.1"))
                && !both.admit(address("10.1.0.1"))
                && !both.admit(address("11.0.0.1"))
        );
        assert!(
            denied.admit(address("11.0.0.1"))
                && denied.admit(None)
                && !denied.admit(address("::ffff:10.1.0.1"))
        );
        assert!(!both.admit(None), "a Unix client has no address that is allowed");
    }

    #[test]
    fn a_certificate_passes_by_one_of_its_names() {
        let wanted = CertificateNames(vec!["ada".to_owned(), "*.example.org".to_owned()]);

        assert_eq!(wanted.find(["bob", "Ada"]), Some("Ada"));
        assert_eq!(wanted.find(["a.EXAMPLE.org"]), Some("a.EXAMPLE.org"));
        for name in ["bob", "example.org", ".example.org", "a.b.example.org", "adam", ""] {
            assert_eq!(wanted.find([name]), None, "{name}");
        }
    }
}
