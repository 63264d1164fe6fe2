//! A line for every route that can be pasted into a shell.

use http::Method;

use crate::catalog::{Catalog, Route};

/// Lists the addresses and, for each route, what calls it and what answers.
pub(super) fn lines(catalog: &Catalog, listening: &[String]) -> Vec<String> {
    let Some(first) = listening.first() else { return Vec::new() };
    let calls: Vec<String> = catalog.routes.iter().map(|route| call(route, first)).collect();
    let width = calls.iter().map(String::len).max().unwrap_or_default();
    let served = listening.iter().map(|address| format!("serving {address}"));
    let called = calls.iter().zip(catalog.routes.iter());
    let called =
        called.map(|(call, route)| format!("  {call:width$}  # {}{}", route.handler.name, upgrade(route)));
    served.chain(called).collect()
}

/// Makes the curl line of a route: a GET where it has one, its first method otherwise.
fn call(route: &Route, address: &str) -> String {
    let get = route.methods.is_empty() || route.methods.contains(&Method::GET);
    let method = match route.methods.first().filter(|_| !get) {
        Some(method) if *method == Method::HEAD => "--head ".to_owned(),
        Some(method) if *method == Method::POST => "--data hello ".to_owned(),
        Some(method) => format!("-X {method} "),
        None => String::new(),
    };
    let host = route.host.as_deref().map(|host| format!("-H 'Host: {}' ", host.replacen('*', "www", 1)));
    let (socket, origin) = match address.split_once("://") {
        Some(("unix", path)) => (format!("--unix-socket {path} "), "http://localhost".to_owned()),
        _ => (String::new(), address.replacen("tcp://", "http://", 1)),
    };
    format!("curl {method}{}{socket}{origin}{}", host.unwrap_or_default(), example(&route.pattern))
}

/// Says what a route wants that curl does not ask for.
fn upgrade(route: &Route) -> String {
    route.upgrade.as_ref().map(|upgrade| format!(", upgrade: {}", upgrade.protocol())).unwrap_or_default()
}

/// Fills in the captures of a pattern: `/hello/{who}` is asked for as `/hello/who`, a tail is empty.
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
}
