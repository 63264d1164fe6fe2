//! Reads `[gate.NAME]`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use http::Uri;
use sha2::{Digest as _, Sha256};

use super::front_schema::WrittenGate;
use super::model::Ca;
use super::nearest::Names;
use super::proxies::addresses;
use super::reader::{Keyed, NamedTable};
use super::report::Diagnostics;
use super::values;
use crate::access::{
    AccessCheck, AccessGate, AddressRules, CertificateNames, FetchedKeySet, KeySetSource, PasswordHash,
    Passwords, TokenClaims, TokenKeySource, TokenRules, algorithm,
};
use crate::job::Name;
use crate::net::outbound::{Origin, Scheme};
use crate::operator_file;

/// The largest file of users or keys, in bytes.
const LARGEST: u64 = 1 << 20;

/// What some editors write at the beginning of UTF-8 text. It is no part of the first user name.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The default of `leeway`, in seconds.
const LEEWAY: u64 = 60;

/// The default of `refresh`. A key that a token names and that is not there is fetched sooner.
const REFRESH: Duration = Duration::from_secs(15 * 60);

/// The least `refresh`.
const LEAST_REFRESH: Duration = Duration::from_secs(1);

/// The keys of each kind.
const KINDS: [(&str, &[&str]); 4] = [
    ("addresses", &["allow", "deny"]),
    ("basic", &["users", "users_file"]),
    ("client_certificate", &["names"]),
    ("jwt", &["algorithms", "key", "secret", "jwks", "refresh", "issuer", "audience", "leeway"]),
];

/// Reads the gates. A gate with an error is reported and left out.
pub(super) fn read(
    written: Option<&Keyed<NamedTable<WrittenGate>>>,
    base: &Path,
    handlers: &Names<'_>,
    ca: Option<&Ca>,
    report: &Diagnostics<'_>,
) -> Vec<Arc<AccessGate>> {
    let written = written.map_or(&[][..], |table| &table.value.0);
    let gate = |(name, gate): &(String, _)| one(name, gate, base, (handlers, ca), report);
    written.iter().filter_map(gate).map(Arc::new).collect()
}

fn one(
    name: &str,
    at: &Keyed<WrittenGate>,
    base: &Path,
    (handlers, ca): (&Names<'_>, Option<&Ca>),
    report: &Diagnostics<'_>,
) -> Option<AccessGate> {
    let Keyed { value: gate, key, line } = at;
    if let Err(error) = name.parse::<Name>() {
        report.add(*line, key, error.to_string());
    } else if handlers.contains(name) {
        report.add(*line, key, "a handler has this name too, and `before` could mean either: choose another");
    }
    if gate.kind.is_none() {
        report.missing(
            *line,
            key,
            "kind",
            "write \"addresses\", \"basic\", \"client_certificate\" or \"jwt\"",
        );
    }
    let kind = report.settle(gate.kind.as_ref(), None, |text| {
        let known = KINDS.iter().find(|(kind, _)| kind == text);
        known.map(Some).ok_or_else(|| {
            format!("wanted \"addresses\", \"basic\", \"client_certificate\" or \"jwt\", found {text:?}")
        })
    });
    let (kind, own) = kind?;
    for (key, line) in
        gate.written().filter(|(key, _)| !own.iter().any(|own| key.ends_with(&format!(".{own}"))))
    {
        report.add(line, key, format!("is no key of kind = \"{kind}\": its keys are {}", own.join(", ")));
    }
    let mut files = GateFiles { base, digest: Sha256::new(), read: Vec::new() };
    let check = match *kind {
        "addresses" => address_rules(at, report),
        "basic" => basic(at, &mut files, report),
        "client_certificate" => certificate_names(at, report),
        _ => tokens(name, at, (&mut files, ca), report),
    }?;
    if report.blames(key) {
        return None;
    }
    let content = HEXLOWER.encode(&files.digest.clone().finalize());
    // Where a key is written does not matter.
    let written = format!("{gate:?}");
    let parts =
        written.split("line: ").map(|part| part.trim_start_matches(|letter: char| letter.is_ascii_digit()));
    parts.for_each(|part| files.digest.update(part));
    let digest = HEXLOWER.encode(&files.digest.finalize());
    Some(AccessGate { name: name.to_owned(), check, files: files.read, content, digest })
}

impl WrittenGate {
    /// Lists the keys that are written, with their lines, except `kind`.
    fn written(&self) -> impl Iterator<Item = (&str, usize)> {
        fn place<T>(at: Option<&Keyed<T>>) -> Option<(&str, usize)> {
            at.map(|at| (at.key.as_str(), at.line))
        }
        let WrittenGate {
            kind: _,
            allow,
            deny,
            users,
            users_file,
            names,
            algorithms,
            key,
            secret,
            jwks,
            refresh,
            issuer,
            audience,
            leeway,
        } = self;
        let lists = [allow, deny, names, algorithms].map(|at| place(at.as_ref()));
        let texts = [users_file, key, secret, jwks, issuer, audience].map(|at| place(at.as_ref()));
        let times = [refresh, leeway].map(|at| place(at.as_ref()));
        lists.into_iter().chain(texts).chain(times).chain([place(users.as_ref())]).flatten()
    }
}

/// Reads the files of a gate, and digests them.
struct GateFiles<'a> {
    base: &'a Path,
    digest: Sha256,
    read: Vec<PathBuf>,
}

impl GateFiles<'_> {
    fn read(&mut self, at: Option<&Keyed<String>>, report: &Diagnostics<'_>) -> Option<Vec<u8>> {
        let at = at?;
        let path = self.base.join(&at.value);
        self.read.push(path.clone());
        report.depends_on(&path);
        match operator_file::read(&path, LARGEST) {
            Ok(file) => {
                self.digest.update(&file.bytes);
                Some(file.bytes)
            }
            Err(error) => {
                report.add(at.line, &at.key, format!("{}: {error}", path.display()));
                None
            }
        }
    }
}

fn address_rules(at: &Keyed<WrittenGate>, report: &Diagnostics<'_>) -> Option<AccessCheck> {
    let Keyed { value: gate, key, line } = at;
    if gate.allow.is_none() && gate.deny.is_none() {
        report.add(*line, key, "lets everybody pass: write allow = [\"10.0.0.0/8\"], or deny");
    }
    // `allow = []` reads as if nobody passed, but an empty list restricts nothing.
    let empty = [&gate.allow, &gate.deny].into_iter().flatten().filter(|list| list.value.is_empty());
    for list in empty.filter(|list| !report.blames(&list.key)) {
        report.add(list.line, &list.key, "an empty list: name a network or an address, or leave the key out");
    }
    let rules = AddressRules {
        allow: addresses(gate.allow.as_ref(), report),
        deny: addresses(gate.deny.as_ref(), report),
    };
    Some(AccessCheck::Addresses(rules))
}

fn basic(
    at: &Keyed<WrittenGate>,
    files: &mut GateFiles<'_>,
    report: &Diagnostics<'_>,
) -> Option<AccessCheck> {
    let Keyed { value: gate, key, line } = at;
    let mut users = HashMap::new();
    // `found_in` begins the message: the line of `users_file`. It is empty for an entry of `users`.
    let mut add = |name: &str, hash: &str, (line, key, found_in): (usize, &str, &str)| {
        let named = match name {
            "" => Err("a user without a name".to_owned()),
            _ if name.contains(':') || name.contains(char::is_control) => {
                Err("a user name has no colon, because clients end it with one".to_owned())
            }
            _ => PasswordHash::read(hash),
        };
        match named {
            Ok(hash) if !users.contains_key(name) => drop(users.insert(name.to_owned(), hash)),
            Ok(_) => report.add(line, key, format!("{found_in}the user {name:?} is listed already")),
            Err(message) => report.add(line, key, format!("{found_in}{message}")),
        }
    };
    for (name, hash) in gate.users.iter().flat_map(|table| &table.value.0) {
        add(name, &hash.value, (hash.line, &hash.key, ""));
    }
    if let Some(bytes) = files.read(gate.users_file.as_ref(), report)
        && let Some(file) = &gate.users_file
    {
        let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&bytes);
        let lines = bytes.split(|byte| *byte == b'\n').map(String::from_utf8_lossy).zip(1..);
        for (text, number) in lines {
            let entry = text.trim();
            if entry.is_empty() || entry.starts_with('#') {
                continue;
            }
            let found_in = format!("{}:{number}: ", files.base.join(&file.value).display());
            if matches!(text, Cow::Owned(_)) {
                // Something stands in place of the invalid bytes. Clients send names as they are.
                report.add(file.line, &file.key, format!("{found_in}is no UTF-8: save the file as UTF-8"));
                continue;
            }
            let (name, hash) = entry.split_once(':').unwrap_or((entry, ""));
            add(name, hash, (file.line, &file.key, &found_in));
        }
    }
    match Passwords::new(users) {
        Ok(passwords) => Some(AccessCheck::Basic(Arc::new(passwords))),
        Err(message) => {
            if !report.blames(key) {
                report.add(*line, key, message);
            }
            None
        }
    }
}

fn certificate_names(at: &Keyed<WrittenGate>, report: &Diagnostics<'_>) -> Option<AccessCheck> {
    let Keyed { value: gate, key, line } = at;
    let written = gate.names.iter().flat_map(|list| &list.value);
    let read =
        |at: &Keyed<String>| report.settle(Some(at), None, |text| CertificateNames::read(text).map(Some));
    let names: Vec<CertificateNames> = written.filter_map(read).collect();
    if names.is_empty() && !report.blames(key) {
        report.add(*line, key, "lets nobody pass: write names = [\"ada\", \"*.example.org\"]");
    }
    Some(AccessCheck::ClientCertificate(CertificateNames::all(names)))
}

fn tokens(
    name: &str,
    at: &Keyed<WrittenGate>,
    (files, ca): (&mut GateFiles<'_>, Option<&Ca>),
    report: &Diagnostics<'_>,
) -> Option<AccessCheck> {
    let Keyed { value: gate, key, line } = at;
    let algorithms = gate.algorithms.iter().flat_map(|list| &list.value);
    let algorithms: Vec<_> =
        algorithms.filter_map(|at| report.settle(Some(at), None, |text| algorithm(text).map(Some))).collect();
    if algorithms.is_empty() && !report.blames(key) {
        report.missing(*line, key, "algorithms", "write those of your issuer, such as [\"RS256\"]");
    }
    let url = gate.jwks.as_ref().filter(|at| is_url(&at.value));
    let file = gate.jwks.as_ref().filter(|at| !is_url(&at.value));
    let [pem, secret, set] = [gate.key.as_ref(), gate.secret.as_ref(), file].map(|at| files.read(at, report));
    let leeway = report.settle(gate.leeway.as_ref(), LEEWAY, |scalar| match values::duration(scalar)? {
        time if time.subsec_nanos() == 0 => Ok(time.as_secs()),
        _ => Err("wanted whole seconds, such as \"2s\", by which tokens are compared".to_owned()),
    });
    let [issuer, audience] =
        [&gate.issuer, &gate.audience].map(|at| report.settle(at.as_ref(), None, |text| wanted_claim(text)));
    let claims = TokenClaims { algorithms, issuer, audience, leeway };
    let refresh = report.settle(gate.refresh.as_ref(), REFRESH, |scalar| {
        let time = values::deadline(scalar)?;
        if time < LEAST_REFRESH { Err("wanted \"1s\" at least".to_owned()) } else { Ok(time) }
    });
    if let Some(at) = gate.refresh.as_ref().filter(|_| url.is_none() && !report.blames(key)) {
        report.add(at.line, &at.key, "a file is read at a reload: leave it out, or set jwks to a URL");
    }
    if let (Some(at), None, None) = (url, &gate.key, &gate.secret) {
        let url = report.settle(Some(at), None, |text| key_set_url(text, &claims).map(Some))?;
        ca.iter().for_each(|ca| files.digest.update(&ca.pem));
        let ca = ca.map(|ca| ca.pem.clone());
        let source = KeySetSource { gate: name.to_owned(), url, refresh, claims, ca };
        // Only a gate that is used has a set that is in use.
        let is_sound = !report.blames(key);
        return is_sound.then(|| AccessCheck::Token(TokenRules::fetched(FetchedKeySet::of(source))));
    }
    let source = match (&pem, &secret, &set, url) {
        (Some(pem), None, None, None) => TokenKeySource::Pem(pem),
        (None, Some(secret), None, None) => TokenKeySource::Secret(secret_of(secret)),
        (None, None, Some(set), None) => TokenKeySource::KeySet(set),
        _ => {
            if !report.blames(key) {
                report.add(
                    *line,
                    key,
                    "wanted one of key, secret and jwks: name the file of the key, or the URL of the set",
                );
            }
            return None;
        }
    };
    let rules = TokenRules::new(&source, &claims);
    rules.map_err(|message| report.add(*line, key, message)).ok().map(AccessCheck::Token)
}

/// Reads the issuer or the audience that tokens must name.
fn wanted_claim(text: &str) -> Result<Option<String>, String> {
    match text.is_empty() {
        true => {
            Err("an empty text, which is in no token: write what yours say, or leave the key out".to_owned())
        }
        false => Ok(Some(text.to_owned())),
    }
}

/// Returns the secret in a file. White space behind a text is left out, such as the line break of an editor. Random bytes
/// may end with such a byte, and are taken whole.
fn secret_of(content: &[u8]) -> &[u8] {
    let text = content.trim_ascii_end();
    let is_foreign = |letter: char| letter.is_control() && !letter.is_ascii_whitespace();
    match std::str::from_utf8(text).is_ok_and(|text| !text.contains(is_foreign)) {
        true => text,
        false => content,
    }
}

fn is_url(text: &str) -> bool {
    ["https://", "http://"].iter().any(|scheme| text.starts_with(scheme))
}

/// Checks the URL of a set of keys. In clear, anybody on the way could forge the keys.
fn key_set_url(text: &str, claims: &TokenClaims) -> Result<String, String> {
    let wanted = || format!("wanted a URL such as \"https://id.example.org/jwks.json\", found {text:?}");
    let url: Uri = text.parse().map_err(|_| wanted())?;
    let scheme = if text.starts_with("https:") { Scheme::Https } else { Scheme::Http };
    let authority = url.authority().map(http::uri::Authority::as_str).unwrap_or_default();
    let origin = Origin::new(scheme, authority).map_err(|advice| format!("{text:?}: {advice}"))?;
    if scheme == Scheme::Http && !origin.address().is_some_and(|address| address.is_loopback()) {
        return Err(format!("{text:?} comes in clear, and anybody on the way could forge it: write https:"));
    }
    if claims.share_secret() {
        return Err("HS algorithms have a shared secret, which no URL may give away: write secret".to_owned());
    }
    Ok(text.to_owned())
}
