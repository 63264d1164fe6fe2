//! Reads `[gate.NAME]`, and `before` at the top and in routes.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::front_schema::WrittenGate;
use super::model::HandlerConfig;
use super::nearest::Names;
use super::proxies::addresses;
use super::reader::{Keyed, NamedTable};
use super::report::Diagnostics;
use super::values;
use crate::access::{
    AccessCheck, AccessGate, AddressRules, CertificateNames, PasswordHash, Passwords, TokenClaims,
    TokenKeySource, TokenRules, algorithm,
};
use crate::job::{Name, OutputFormat};
use crate::operator_file;

/// The largest file of users or keys, in bytes.
const LARGEST: u64 = 1 << 20;

/// The default of `leeway`, in seconds.
const LEEWAY: u64 = 60;

/// The keys of each kind.
const KINDS: [(&str, &[&str]); 4] = [
    ("addresses", &["allow", "deny"]),
    ("basic", &["users", "users_file"]),
    ("client_certificate", &["names"]),
    ("jwt", &["algorithms", "key", "secret", "jwks", "issuer", "audience", "leeway"]),
];

/// Reads the gates. A gate with an error is reported and left out.
pub(super) fn read(
    written: Option<&Keyed<NamedTable<WrittenGate>>>,
    base: &Path,
    handlers: &Names<'_>,
    report: &Diagnostics<'_>,
) -> Vec<Arc<AccessGate>> {
    let written = written.map_or(&[][..], |table| &table.value.0);
    written.iter().filter_map(|(name, gate)| one(name, gate, base, handlers, report)).map(Arc::new).collect()
}

fn one(
    name: &str,
    at: &Keyed<WrittenGate>,
    base: &Path,
    handlers: &Names<'_>,
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
        _ => tokens(at, &mut files, report),
    }?;
    if report.blames(key) {
        return None;
    }
    // Where a key is written does not matter.
    let written = format!("{gate:?}");
    let parts =
        written.split("line: ").map(|part| part.trim_start_matches(|letter: char| letter.is_ascii_digit()));
    parts.for_each(|part| files.digest.update(part));
    let digest = files.digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Some(AccessGate { name: name.to_owned(), check, files: files.read, digest })
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
            issuer,
            audience,
            leeway,
        } = self;
        let lists = [allow, deny, names, algorithms].map(|at| place(at.as_ref()));
        let texts = [users_file, key, secret, jwks, issuer, audience].map(|at| place(at.as_ref()));
        lists.into_iter().chain(texts).chain([place(users.as_ref()), place(leeway.as_ref())]).flatten()
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
        match operator_file::read(&path, LARGEST) {
            Ok(file) => {
                self.digest.update(&file.bytes);
                Some(file.bytes)
            }
            Err(error) => {
                report.add(at.line, &at.key, format!("{}: {error}", at.value));
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
    let mut add = |name: &str, hash: &str, place: (usize, &str)| {
        let named = match name {
            "" => Err("a user without a name".to_owned()),
            _ if name.contains(':') || name.contains(char::is_control) => {
                Err("a user name has no colon, because clients end it with one".to_owned())
            }
            _ => PasswordHash::read(hash),
        };
        match named {
            Ok(hash) if !users.contains_key(name) => drop(users.insert(name.to_owned(), hash)),
            Ok(_) => report.add(place.0, place.1, format!("the user {name:?} is listed already")),
            Err(message) => report.add(place.0, place.1, message),
        }
    };
    for (name, hash) in gate.users.iter().flat_map(|table| &table.value.0) {
        add(name, &hash.value, (hash.line, &hash.key));
    }
    if let Some(bytes) = files.read(gate.users_file.as_ref(), report)
        && let Some(file) = &gate.users_file
    {
        let text = String::from_utf8_lossy(&bytes);
        let lines = text.lines().map(str::trim).filter(|text| !text.is_empty() && !text.starts_with('#'));
        for entry in lines {
            let (name, hash) = entry.split_once(':').unwrap_or((entry, ""));
            add(name, hash, (file.line, &file.key));
        }
    }
    if users.is_empty() && !report.blames(key) {
        report.add(
            *line,
            key,
            "lets nobody pass: write users = { NAME = \"HASH\" } or users_file = \"FILE\"",
        );
    }
    Passwords::new(users).map(|passwords| AccessCheck::Basic(Arc::new(passwords)))
}

fn certificate_names(at: &Keyed<WrittenGate>, report: &Diagnostics<'_>) -> Option<AccessCheck> {
    let Keyed { value: gate, key, line } = at;
    let names: Vec<String> =
        gate.names.iter().flat_map(|list| &list.value).map(|at| at.value.clone()).collect();
    if names.is_empty() && !report.blames(key) {
        report.add(*line, key, "lets nobody pass: write names = [\"ada\", \"*.example.org\"]");
    }
    Some(AccessCheck::ClientCertificate(CertificateNames(names)))
}

fn tokens(
    at: &Keyed<WrittenGate>,
    files: &mut GateFiles<'_>,
    report: &Diagnostics<'_>,
) -> Option<AccessCheck> {
    let Keyed { value: gate, key, line } = at;
    let algorithms = gate.algorithms.iter().flat_map(|list| &list.value);
    let algorithms: Vec<_> =
        algorithms.filter_map(|at| report.settle(Some(at), None, |text| algorithm(text).map(Some))).collect();
    if algorithms.is_empty() && !report.blames(key) {
        report.missing(*line, key, "algorithms", "write those of your issuer, such as [\"RS256\"]");
    }
    let [pem, secret, set] = [&gate.key, &gate.secret, &gate.jwks].map(|at| files.read(at.as_ref(), report));
    let leeway =
        report.settle(gate.leeway.as_ref(), LEEWAY, |scalar| Ok(values::duration(scalar)?.as_secs()));
    let source = match (&pem, &secret, &set) {
        (Some(pem), None, None) => TokenKeySource::Pem(pem),
        (None, Some(secret), None) => TokenKeySource::Secret(secret.trim_ascii_end()),
        (None, None, Some(set)) => TokenKeySource::KeySet(set),
        _ => {
            if !report.blames(key) {
                report.add(*line, key, "wanted one of key, secret and jwks: name the file of the key");
            }
            return None;
        }
    };
    let [issuer, audience] = [&gate.issuer, &gate.audience].map(|at| at.as_ref().map(|at| at.value.clone()));
    let rules = TokenRules::new(&source, &TokenClaims { algorithms, issuer, audience, leeway });
    rules.map_err(|message| report.add(*line, key, message)).ok().map(AccessCheck::Token)
}

/// The names that `before` may hold.
pub(super) struct GateNames<'a> {
    /// What is wrong with a name as a gate, or `None` if it can be one.
    known: BTreeMap<&'a str, Option<&'static str>>,
    /// Those in front of every route.
    all: Vec<String>,
}

impl<'a> GateNames<'a> {
    /// Collects the names, and reads the gates of all routes.
    pub(super) fn new(
        gates: &'a [Arc<AccessGate>],
        handlers: &'a [HandlerConfig],
        written: Option<&Keyed<Vec<Keyed<String>>>>,
        report: &Diagnostics<'_>,
    ) -> GateNames<'a> {
        let handlers = handlers.iter().map(|handler| {
            let is_raw = matches!(handler.mapping, OutputFormat::Raw(_));
            (
                handler.name.as_str(),
                is_raw.then_some("has output = \"raw\", which has no status, so it would let everybody pass"),
            )
        });
        let known = handlers.chain(gates.iter().map(|gate| (gate.name.as_str(), None))).collect();
        let mut names = GateNames { known, all: Vec::new() };
        names.all = names.list(written, report);
        names
    }

    /// Reads the gates of a route, behind those of all routes. A handler that is a gate of all routes does not stand in
    /// front of its own: that is how a login page is reached.
    pub(super) fn of_route(
        &self,
        written: Option<&Keyed<Vec<Keyed<String>>>>,
        handler: Option<&Name>,
        report: &Diagnostics<'_>,
    ) -> Vec<String> {
        let own = |name: &str| handler.is_some_and(|handler| handler.as_str() == name);
        let listed = self.list(written, report);
        if let Some(at) = written.filter(|_| listed.iter().any(|name| own(name))) {
            report.add(at.line, &at.key, "a handler cannot be the gate of its own route: leave it out");
        }
        let mut names: Vec<String> = self.all.iter().filter(|name| !own(name)).cloned().collect();
        names.extend(listed.into_iter().filter(|name| !self.all.contains(name)));
        names
    }

    fn list(&self, written: Option<&Keyed<Vec<Keyed<String>>>>, report: &Diagnostics<'_>) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for at in written.iter().flat_map(|list| &list.value) {
            let checked = match self.known.get(at.value.as_str()) {
                Some(None) if names.contains(&at.value) => Err("is in this list already".to_owned()),
                Some(None) => Ok(()),
                Some(Some(wrong)) => Err(format!("the handler {:?} {wrong}", at.value)),
                None => Err(format!("there is no gate {0:?}: add [gate.{0}], or name a handler", at.value)),
            };
            match checked {
                Ok(()) => names.push(at.value.clone()),
                Err(message) => report.add(at.line, &at.key, message),
            }
        }
        names
    }
}
