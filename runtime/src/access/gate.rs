//! A built-in gate: a check of the client before a route answers.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::address_set::{AddressSet, UnixClients};
use super::key_set::FetchedKeySet;
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
    /// Tells two contents of its files apart.
    pub content: String,
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

/// The rules of a gate by address.
#[derive(Debug)]
pub struct AddressRules {
    /// The addresses that pass. If the set is empty, every address passes that is not denied.
    pub allow: AddressSet,
    /// The addresses that do not pass, even if they are allowed.
    pub deny: AddressSet,
}

/// The names of certificates that pass: `ada`, `*.example.org`, `email:ada@example.org`.
#[derive(Debug)]
pub struct CertificateNames(Vec<WantedName>);

/// A name of a certificate that passes.
#[derive(Clone, PartialEq, Eq, Debug)]
struct WantedName {
    /// The kind that it must be of. `None` allows all kinds.
    kind: Option<CertificateNameKind>,
    text: String,
}

/// What a name of a certificate is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CertificateNameKind {
    /// The common name of its subject, which is any text.
    Common,
    /// A DNS name.
    Dns,
    /// An e-mail address.
    Email,
    /// A URI.
    Uri,
}

impl AccessGate {
    /// Returns the keys that it fetches from a URL, if it does.
    pub fn key_set(&self) -> Option<&Arc<FetchedKeySet>> {
        match &self.check {
            AccessCheck::Token(rules) => rules.key_set(),
            AccessCheck::Addresses(_) | AccessCheck::Basic(_) | AccessCheck::ClientCertificate(_) => None,
        }
    }
}

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

    /// Reports whether all that is allowed is denied too.
    pub fn admit_nobody(&self) -> bool {
        let AddressRules { allow, deny } = self;
        !allow.is_empty()
            && deny.networks.hold(&allow.networks)
            && (allow.unix == UnixClients::Excluded || deny.unix == UnixClients::Included)
    }
}

impl CertificateNames {
    /// Reads one name. It is wanted of one kind if it begins with `cn:`, `dns:`, `email:` or `uri:`.
    ///
    /// # Errors
    /// The name is empty, or has `*` elsewhere than as the first label of a DNS name.
    pub fn read(text: &str) -> Result<CertificateNames, String> {
        let prefixed =
            KIND_PREFIXES.iter().find_map(|(prefix, kind)| Some((*kind, text.strip_prefix(prefix)?)));
        let (kind, name) = prefixed.map_or((None, text), |(kind, name)| (Some(kind), name));
        let is_wild = name.contains('*');
        let may_be_wild = kind.is_none_or(|kind| kind == CertificateNameKind::Dns);
        let tail =
            name.strip_prefix("*.").filter(|tail| !tail.contains('*') && tail.split('.').all(is_label));
        if name.is_empty() || is_wild && (tail.is_none() || !may_be_wild) {
            return Err(format!(
                "wanted a name such as \"ada\", \"email:ada@example.org\" or \"dns:*.example.org\", found {text:?}"
            ));
        }
        Ok(CertificateNames(vec![WantedName { kind, text: name.to_owned() }]))
    }

    /// Joins lists of names.
    pub fn all(lists: impl IntoIterator<Item = CertificateNames>) -> CertificateNames {
        CertificateNames(lists.into_iter().flat_map(|list| list.0).collect())
    }

    /// Returns the first name of a certificate that passes. Case makes no difference, except in a URI.
    pub fn find<'n>(
        &self,
        names: impl IntoIterator<Item = (CertificateNameKind, &'n str)>,
    ) -> Option<&'n str> {
        let passes =
            |(kind, name): &(CertificateNameKind, &str)| self.0.iter().any(|one| one.fits(*kind, name));
        names.into_iter().find(passes).map(|(_, name)| name)
    }
}

/// The prefix of each kind in the configuration.
const KIND_PREFIXES: [(&str, CertificateNameKind); 4] = [
    ("cn:", CertificateNameKind::Common),
    ("dns:", CertificateNameKind::Dns),
    ("email:", CertificateNameKind::Email),
    ("uri:", CertificateNameKind::Uri),
];

impl WantedName {
    /// Reports whether a name is the wanted one. `*` stands for one label of a DNS name, and for nothing in other names:
    /// `eve@x.example.org` is none of `*.example.org`.
    fn fits(&self, kind: CertificateNameKind, name: &str) -> bool {
        if self.kind.is_some_and(|wanted| wanted != kind) {
            return false;
        }
        match self.text.strip_prefix("*.") {
            Some(tail) if kind == CertificateNameKind::Dns => name
                .split_once('.')
                .is_some_and(|(label, rest)| is_label(label) && rest.eq_ignore_ascii_case(tail)),
            Some(_) => false,
            None if kind == CertificateNameKind::Uri => name == self.text,
            None => name.eq_ignore_ascii_case(&self.text),
        }
    }
}

/// Reports whether a text is a label of a host name (RFC 5890 §2.3.1).
fn is_label(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
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
        let closed = AddressRules { allow: set(&["10.1.2.0/24"]), ..both };
        assert!(closed.admit_nobody() && !denied.admit_nobody());
        let unix = AddressSet { unix: UnixClients::Included, ..closed.allow.clone() };
        assert!(!AddressRules { allow: unix, ..closed }.admit_nobody(), "Unix clients");
    }

    #[test]
    fn a_certificate_passes_by_one_of_its_names() {
        use CertificateNameKind::{Common, Dns, Email, Uri};
        let read = |texts: &[&str]| {
            CertificateNames::all(texts.iter().map(|text| CertificateNames::read(text).unwrap()))
        };
        let wanted = read(&["ada", "*.example.org", "email:bob@example.org", "spiffe://example.org/a"]);

        for (kind, name) in [
            (Common, "Ada"),
            (Dns, "ada"),
            (Dns, "a.EXAMPLE.org"),
            (Email, "Bob@example.org"),
            (Uri, "spiffe://example.org/a"),
        ] {
            assert_eq!(wanted.find([(Email, "eve"), (kind, name)]), Some(name), "{name}");
        }
        for (kind, name) in [
            (Dns, "bob"),
            (Dns, "example.org"),
            (Dns, ".example.org"),
            (Dns, "a.b.example.org"),
            (Dns, "adam"),
            (Dns, ""),
            (Dns, "eve@x.example.org"),
            (Email, "eve@x.example.org"),
            (Email, "x.example.org"),
            (Uri, "spiffe://x.example.org"),
            (Uri, "spiffe://example.org/A"),
            (Common, "x.example.org"),
            (Common, "bob@example.org"),
        ] {
            assert_eq!(wanted.find([(kind, name)]), None, "{kind:?} {name}");
        }
        for text in ["", "dns:", "*", "*.", "a.*.org", "*a.org", "*.a.*", "email:*.example.org", "cn:*"] {
            assert!(CertificateNames::read(text).is_err(), "{text}");
        }
    }
}
