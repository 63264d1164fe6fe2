//! Prints a curl command for every route, to be pasted into a shell.

use std::collections::HashSet;
use std::net::SocketAddr;

use http::Method;

use crate::catalog::{Catalog, Route};
use crate::daemon::Address;
use crate::net::Guide;

/// The addresses and the curl commands that were printed, so that a reload prints only new ones.
#[derive(Default)]
pub(super) struct PrintedRoutes(HashSet<[String; 2]>);

impl PrintedRoutes {
    /// Lists the addresses and, for each route, a curl command and what answers it. Leaves out what the call before
    /// this one has listed.
    pub(super) fn unprinted(&mut self, catalog: &Catalog, listening: &[Address]) -> Vec<String> {
        let Some(first) = listening.first() else { return Vec::new() };
        let how = |address: &Address| if address.tls.is_some() { " over TLS" } else { "" };
        let served =
            listening.iter().map(|address| [format!("serving {}", address.local), how(address).to_owned()]);
        let called = catalog.routes.iter();
        let called = called.map(|route| [call(route, first), format!("{}{}", route.target, upgrade(route))]);
        let (served, called): (Vec<_>, Vec<_>) = (served.collect(), called.collect());
        let listed = served.iter().chain(&called).cloned().collect();
        let before = std::mem::replace(&mut self.0, listed);
        let is_new = |line: &&[String; 2]| !before.contains(*line);
        let called: Vec<_> = called.iter().filter(is_new).collect();
        let width = called.iter().map(|[call, _]| call.len()).max().unwrap_or_default();
        let served = served.iter().filter(is_new).map(|[address, how]| format!("{address}{how}"));
        served.chain(called.iter().map(|[call, target]| format!("  {call:width$}  # {target}"))).collect()
    }
}

/// Names the protocol that a route requires and curl does not ask for.
fn upgrade(route: &Route) -> String {
    let said = |upgrade: &crate::catalog::Upgrade| format!(", upgrade: {}", upgrade.protocol());
    route.upgrade.as_ref().map(said).unwrap_or_default()
}

/// Makes the curl command of a route: GET if the route takes it, its first method otherwise.
fn call(route: &Route, address: &Address) -> String {
    let get = route.methods.is_empty() || route.methods.contains(&Method::GET);
    let method = match route.methods.first().filter(|_| !get) {
        Some(method) if *method == Method::HEAD => "--head ".to_owned(),
        Some(method) if *method == Method::POST => "--data hello ".to_owned(),
        Some(method) => format!("-X {method} "),
        None => String::new(),
    };
    let host = route.host.as_deref().map(|host| format!("-H 'Host: {}' ", host.replacen('*', "www", 1)));
    let (way, origin) = match (address.local.split_once("://"), &address.tls) {
        (Some(("unix", path)), _) => (format!("--unix-socket {path} "), "http://localhost".to_owned()),
        (Some((_, authority)), Some(guide)) => over_tls(authority, guide),
        (Some((_, authority)), None) => (String::new(), format!("http://{authority}")),
        (None, _) => (String::new(), address.local.clone()),
    };
    format!("curl {method}{}{way}{origin}{}", host.unwrap_or_default(), example(&route.pattern))
}

/// Returns the options and the origin with which curl accepts our certificate.
fn over_tls(authority: &str, guide: &Guide) -> (String, String) {
    let mut options = String::new();
    if let Some(file) = &guide.authority {
        options = format!("--cacert {} ", file.display());
    }
    if guide.verifies {
        options.push_str("--cert CLIENT.pem --key CLIENT-KEY.pem ");
    }
    let Ok(address) = authority.parse::<SocketAddr>() else {
        return (options, format!("https://{authority}"));
    };
    let (ip, port) = (address.ip(), address.port());
    if guide.addresses.contains(&ip) {
        return (options, format!("https://{address}"));
    }
    let plain = guide.hosts.iter().map(|host| host.replacen('*', "www", 1));
    match plain.min_by_key(|host| host != "localhost") {
        Some(host) if host == "localhost" && ip.is_loopback() => {
            (options, format!("https://localhost:{port}"))
        }
        Some(host) => {
            options.push_str(&format!("--resolve {host}:{port}:{ip} "));
            (options, format!("https://{host}:{port}"))
        }
        None => (options, format!("https://{address}")),
    }
}

/// Fills in the captures of a pattern: `/hello/{who}` becomes `/hello/who`, and a tail becomes empty.
fn example(pattern: &str) -> String {
    let mut path = String::new();
    let mut rest = pattern;
    while let Some((before, (name, after))) =
        rest.split_once('{').and_then(|(before, after)| Some((before, after.split_once('}')?)))
    {
        path.push_str(before);
        path.push_str(if name.starts_with('*') { "" } else { name });
        rest = after;
    }
    path + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_are_filled_in() {
        assert_eq!(example("/hello/{who}"), "/hello/who");
        assert_eq!(example("/files/{*rest}"), "/files/");
        assert_eq!(example("/a/{b}/c/{d}.json"), "/a/b/c/d.json");
        assert_eq!(example("/"), "/");
    }

    #[test]
    fn a_certificate_is_asked_for_by_what_it_is_for() {
        let guide = |hosts: &[&str], addresses: &[&str]| Guide {
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            authority: Some("ca.pem".into()),
            verifies: false,
        };
        let line = |guide: &Guide| {
            let (options, origin) = over_tls("127.0.0.1:8443", guide);
            options + &origin
        };

        assert_eq!(line(&guide(&["a.example"], &["127.0.0.1"])), "--cacert ca.pem https://127.0.0.1:8443");
        assert_eq!(line(&guide(&["a.example", "localhost"], &[])), "--cacert ca.pem https://localhost:8443");
        assert_eq!(
            line(&guide(&["*.example.org"], &[])),
            "--cacert ca.pem --resolve www.example.org:8443:127.0.0.1 https://www.example.org:8443"
        );
        let verifying = Guide { verifies: true, authority: None, ..guide(&[], &[]) };
        assert_eq!(line(&verifying), "--cert CLIENT.pem --key CLIENT-KEY.pem https://127.0.0.1:8443");
    }
}
