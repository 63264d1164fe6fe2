//! Reads `[tls.acme]`: the certificates that the daemon obtains itself.

use std::collections::HashSet;
use std::path::Path;

use super::front_schema::Acme;
use super::reader::Keyed;
use super::report::Diagnostics;
use super::store::state_part;
use crate::net::{AcmeOptions, ChallengeKind, Endpoint, TlsFile};

/// The directory of Let's Encrypt, the default.
const PRODUCTION: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// The directory of Let's Encrypt for tests (`staging`): its limits are high, and no client trusts its certificates.
const STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

/// The most host names. Let's Encrypt allows 50 new certificates a week for a registered domain.
const MOST: usize = 100;

/// Which kinds of endpoints the daemon has. Each kind of validation needs another.
#[derive(Clone, Copy)]
pub(super) struct Endpoints {
    /// Whether one uses TLS.
    secured: bool,
    /// Whether one is in clear, such as that for port 80.
    clear: bool,
}

impl Endpoints {
    /// Tells the endpoints of `listen` apart; `plain` holds those without TLS.
    pub(super) fn of(listen: &[Endpoint], plain: &[Endpoint]) -> Endpoints {
        let plain: HashSet<&Endpoint> = plain.iter().collect();
        let is_clear =
            |endpoint: &Endpoint| matches!(endpoint, Endpoint::Unix(_)) || plain.contains(endpoint);
        Endpoints {
            secured: listen.iter().any(|endpoint| !is_clear(endpoint)),
            clear: listen.iter().any(is_clear),
        }
    }

    /// Checks that a validation of this kind can reach the daemon.
    fn check(self, kind: ChallengeKind) -> Result<(), String> {
        match kind {
            ChallengeKind::TlsAlpn01 if !self.secured => {
                Err("tls-alpn-01 needs an endpoint with TLS: leave one of listen out of tls.plain".to_owned())
            }
            ChallengeKind::Http01 if !self.clear => {
                Err("http-01 needs an endpoint in clear, for port 80: add one to listen and to tls.plain"
                    .to_owned())
            }
            ChallengeKind::TlsAlpn01 | ChallengeKind::Http01 => Ok(()),
        }
    }
}

/// Reads the table. Returns `None` if it has no valid host name.
pub(super) fn read(
    Keyed { value: acme, key, line }: &Keyed<Acme>,
    endpoints: Endpoints,
    base: &Path,
    report: &Diagnostics<'_>,
) -> Option<AcmeOptions> {
    let domains = domains(acme.domains.as_ref(), report);
    if domains.is_empty() {
        report.missing(*line, key, "domains", "name the hosts that lead to this daemon");
        return None;
    }
    let directory = report.settle(acme.directory.as_ref(), PRODUCTION.to_owned(), |text| directory(text));
    let dir = state_part("acme", base, |name| std::env::var_os(name)).map(|dir| dir.join(place(&directory)));
    if dir.is_none() {
        report.add(
            *line,
            key,
            "there is no place for the account and its certificates: set HOME or STATE_DIRECTORY",
        );
    }
    Some(AcmeOptions {
        domains,
        email: report.settle(acme.email.as_ref(), None, |text| email(text).map(Some)),
        directory,
        ca: acme.ca.as_ref().map(|ca| file(ca, base, report)),
        challenges: challenges(acme.challenges.as_ref(), endpoints, (*line, key), report),
        dir: dir.unwrap_or_default(),
    })
}

/// Reads the path of a file, which is read later.
pub(super) fn file(
    Keyed { value, key, line }: &Keyed<String>,
    base: &Path,
    report: &Diagnostics<'_>,
) -> TlsFile {
    let path = base.join(value);
    report.depends_on(&path);
    TlsFile { path, named_by: format!("{}:{line}: {key}", report.file()) }
}

fn domains(written: Option<&Keyed<Vec<Keyed<String>>>>, report: &Diagnostics<'_>) -> Vec<String> {
    let written = written.map_or(&[][..], |list| &list.value);
    let mut domains: Vec<String> = Vec::new();
    for (position, at) in written.iter().enumerate() {
        if position == MOST {
            report.add(at.line, &at.key, format!("wanted {MOST} hosts at most"));
            break;
        }
        let domain = report.settle(Some(at), None, |text| {
            let domain = domain(text)?;
            match domains.contains(&domain) {
                true => Err(format!("{domain:?} is in the list already")),
                false => Ok(Some(domain)),
            }
        });
        domains.extend(domain);
    }
    domains
}

/// Reads a host name. It becomes the name of a file.
fn domain(text: &str) -> Result<String, String> {
    let wanted = |found: &str| Err(format!("wanted a host name such as \"api.example.org\", found {found}"));
    if text.starts_with("*.") {
        return Err(format!(
            "{text:?}: a wildcard is validated by DNS alone, which this daemon does not do: list the hosts"
        ));
    }
    if !text.is_ascii() {
        return wanted("a letter outside of ASCII: write it as xn--...");
    }
    let label = |label: &str| {
        // RFC 1035 §2.3.1 and §2.3.4.
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_address =
        text.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    if text.len() > 253 || is_address || !text.split('.').all(label) {
        return wanted(&format!("{text:?}"));
    }
    Ok(text.to_ascii_lowercase())
}

fn email(text: &str) -> Result<String, String> {
    let is_address = text.split_once('@').is_some_and(|(name, host)| {
        !name.is_empty() && domain(host).is_ok() && name.bytes().all(|byte| byte.is_ascii_graphic())
    });
    // A comma or a question mark would begin another part of the URL `mailto:`.
    if !is_address || text.contains(['?', ',', '%', '#']) {
        return Err(format!("wanted an address such as \"ops@example.org\", found {text:?}"));
    }
    Ok(text.to_owned())
}

fn directory(text: &str) -> Result<String, String> {
    if text == "staging" {
        return Ok(STAGING.to_owned());
    }
    let url = text.parse::<http::Uri>().ok();
    // RFC 8555 §6.1: https alone.
    let is_https = url.as_ref().is_some_and(|url| url.scheme() == Some(&http::uri::Scheme::HTTPS));
    match is_https && !text.contains('@') {
        true => Ok(text.to_owned()),
        false => {
            Err(format!("wanted https://HOST/PATH, the URL of a directory, or \"staging\", found {text:?}"))
        }
    }
}

/// Returns the name of the place for what one server issues, so that two servers do not share an account.
fn place(directory: &str) -> String {
    let rest = directory.strip_prefix("https://").unwrap_or(directory);
    let safe =
        |letter: char| if letter.is_ascii_alphanumeric() || "-.".contains(letter) { letter } else { '-' };
    rest.trim_start_matches('.').chars().map(safe).take(200).collect()
}

fn challenges(
    written: Option<&Keyed<Vec<Keyed<String>>>>,
    endpoints: Endpoints,
    (line, key): (usize, &str),
    report: &Diagnostics<'_>,
) -> Vec<ChallengeKind> {
    let Some(list) = written else {
        let possible = ChallengeKind::ALL.into_iter().filter(|kind| endpoints.check(*kind).is_ok());
        let possible: Vec<_> = possible.collect();
        if possible.is_empty() {
            report.add(line, key, "the daemon listens nowhere, so no server can validate it");
        }
        return possible;
    };
    let mut kinds = Vec::new();
    for at in &list.value {
        let kind = report.settle(Some(at), None, |text| {
            let kind = ChallengeKind::ALL.into_iter().find(|kind| kind.name() == text);
            let kind =
                kind.ok_or_else(|| format!("wanted \"tls-alpn-01\" or \"http-01\", found {text:?}"))?;
            endpoints.check(kind).map(|()| Some(kind))
        });
        kinds.extend(kind.filter(|kind| !kinds.contains(kind)));
    }
    if list.value.is_empty() {
        report.add(
            list.line,
            &list.key,
            "an empty list: leave it out, or name \"tls-alpn-01\" or \"http-01\"",
        );
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    const LISTEN: &str =
        "listen = [\"tcp://:443\", \"tcp://:80\"]\n[tls]\nplain = [\"tcp://:80\"]\n[tls.acme]\n";

    fn read(text: &str) -> Result<AcmeOptions, String> {
        let config = parse(text, Path::new("/srv/shop"), "p.toml").map_err(|errors| errors.to_string())?;
        Ok(config.tls.unwrap().acme.unwrap())
    }

    #[test]
    fn the_least_is_a_list_of_hosts() {
        let options =
            read(&format!("{LISTEN}domains = [\"API.example.org\", \"www.example.org\"]\n")).unwrap();

        assert_eq!(options.domains, ["api.example.org", "www.example.org"]);
        assert_eq!((options.directory.as_str(), options.email), (PRODUCTION, None));
        assert_eq!(options.challenges, ChallengeKind::ALL);
        assert!(options.dir.ends_with("acme-v02.api.letsencrypt.org-directory"), "{:?}", options.dir);
        let secured = read("[tls.acme]\ndomains = [\"a.org\"]\ndirectory = \"staging\"\n").unwrap();
        assert_eq!(
            (secured.challenges, secured.directory.as_str()),
            (vec![ChallengeKind::TlsAlpn01], STAGING)
        );
    }

    #[test]
    fn what_no_server_could_do_is_refused_with_the_reason() {
        for (lines, wanted) in [
            ("domains = []", "the key domains is missing"),
            ("domains = [\"*.example.org\"]", "a wildcard is validated by DNS alone"),
            ("domains = [\"b\u{fc}cher.example\"]", "xn--"),
            ("domains = [\"10.0.0.1\"]", "wanted a host name"),
            ("domains = [\"../etc\"]", "wanted a host name"),
            ("domains = [\"a.org\", \"A.org\"]", "in the list already"),
            ("domains = [\"a.org\"]\nemail = \"ops\"", "wanted an address"),
            ("domains = [\"a.org\"]\nemail = \"a@b.org,c@d.org\"", "wanted an address"),
            ("domains = [\"a.org\"]\ndirectory = \"http://ca.org/\"", "wanted https://HOST/PATH"),
            ("domains = [\"a.org\"]\nchallenges = [\"dns-01\"]", "wanted \"tls-alpn-01\" or \"http-01\""),
            ("domains = [\"a.org\"]\nchallenges = []", "an empty list"),
            ("domain = [\"a.org\"]", "did you mean \"domains\"?"),
        ] {
            let refused = read(&format!("{LISTEN}{lines}\n")).unwrap_err();

            assert!(refused.contains(wanted), "{lines}: {refused}");
        }
        let clear = read("[tls.acme]\ndomains = [\"a.org\"]\nchallenges = [\"http-01\"]\n").unwrap_err();
        assert!(clear.contains("http-01 needs an endpoint in clear"), "{clear}");
    }

    #[test]
    fn each_server_has_its_place() {
        assert_eq!(place("https://ca.internal:9000/acme/dir"), "ca.internal-9000-acme-dir");
        assert_eq!(place("https://../../etc"), "-..-etc");
    }
}
