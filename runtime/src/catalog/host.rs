//! Host names, as routes and requests write them.

use std::borrow::Cow;
use std::net::Ipv6Addr;

/// The host of a route: in lower case, without port and final dot.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum RouteHost {
    /// Exactly this name.
    Exact(String),
    /// `*.NAME`: every name with exactly one label more.
    Below(String),
}

/// Parses the host of a route.
///
/// # Errors
/// The text is no host; the message says what to write instead.
pub(super) fn written(text: &str) -> Result<RouteHost, String> {
    let wanted = |what: &str| format!("{text:?} is not a host: {what}");
    if let Some(inner) = text.strip_prefix('[') {
        let ip = inner.strip_suffix(']').and_then(|inner| inner.parse::<Ipv6Addr>().ok());
        return match ip {
            Some(ip) => Ok(RouteHost::Exact(format!("[{ip}]"))),
            None => Err(wanted("write an IPv6 address as [::1], without a port")),
        };
    }
    if text.contains(':') {
        return Err(wanted("leave out the port: a route matches every port"));
    }
    let (below, name) = match text.strip_prefix("*.") {
        Some(name) => (true, name),
        None => (false, text),
    };
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let sound = |label: &str| {
        // RFC 1035 §2.3.4: a label has 63 octets at most.
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if name.len() > 253 || !name.split('.').all(sound) {
        return Err(wanted("write a name such as api.example.org, or *.example.org for one label more"));
    }
    Ok(if below { RouteHost::Below(name) } else { RouteHost::Exact(name) })
}

/// Normalizes the host of a request (RFC 9110 §7.2) to the form of a route's host. Allocates only if it contains
/// upper-case letters.
pub fn asked(host: &str) -> Cow<'_, str> {
    let without_port = match host.strip_prefix('[').and_then(|rest| rest.find(']')) {
        // `find` counts from after the opening bracket.
        Some(end) => &host[..end + 2],
        None => host.split(':').next().unwrap_or(host),
    };
    let name = without_port.strip_suffix('.').unwrap_or(without_port);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn case_port_and_final_dot_make_no_difference() {
        for host in ["api.example.org", "API.example.org:8080", "api.example.org.", "api.example.ORG.:1"] {
            assert_eq!(asked(host), "api.example.org");
        }
        assert_eq!(asked("[::1]:80"), "[::1]");
        assert_eq!(asked("[::1"), "[");
    }

    #[test]
    fn a_route_names_a_host_without_a_port() {
        assert_eq!(written("API.example.org"), Ok(RouteHost::Exact("api.example.org".to_owned())));
        assert_eq!(written("*.example.org"), Ok(RouteHost::Below("example.org".to_owned())));
        assert_eq!(written("[::0001]"), Ok(RouteHost::Exact("[::1]".to_owned())));
        for bad in ["", ".", "a:80", "a..b", "*", "a.*.b", "é", "http://a", "[::1]:80", "[x]", "a b"] {
            assert!(written(bad).is_err(), "{bad:?} must be refused");
        }
    }

    proptest! {
        #[test]
        fn no_host_panics(text in ".{0,24}", brackets in r"[\[\]:.a*]{0,8}") {
            let _either = (written(&text), written(&brackets));
            let _shorter = (asked(&text), asked(&brackets));
        }
    }
}
