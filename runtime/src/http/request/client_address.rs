//! The client behind trusted proxies, and the scheme and host that it used.

use http::header::HOST;
use http::request::Parts;
use http::uri::{Authority, Uri};
use http::{HeaderMap, HeaderValue};

use crate::access::{AddressSet, ForwardedScheme, Forwarding};
use crate::cgi::meta;
use crate::net::Peer;

/// Returns the client that a trusted proxy reports, and `None` if the peer is no such proxy or speaks for itself. The
/// host that the proxy reports replaces that of the head, so that routes, handlers and WebSockets see one host.
///
/// # Errors
/// The fields of the proxy can be read in more than one way; the text says how. The head is unchanged.
pub(in crate::http) fn forwarded(
    trusted: &AddressSet,
    peer: &Peer,
    head: &mut Parts,
) -> Result<Option<Peer>, String> {
    if !peer.may_forward() || !trusted.contains(peer.address()) {
        return Ok(None);
    }
    let forwarding = Forwarding::read(&head.headers, trusted).map_err(|unclear| unclear.to_string())?;
    let asked = forwarding.host.as_deref().map(host).transpose()?;
    let port = asked.as_ref().and_then(Authority::port_u16);
    let standard = forwarding.scheme.map(|scheme| match scheme {
        ForwardedScheme::Http => 80,
        ForwardedScheme::Https => 443,
    });
    let client = peer.behind(&forwarding, port.or(standard));
    if let Some(asked) = asked {
        replace_host(&mut head.uri, &mut head.headers, &asked)?;
    }
    Ok(Some(client))
}

/// Reads the host that a proxy reports.
fn host(text: &str) -> Result<Authority, String> {
    let sound = text.parse::<Authority>().ok().filter(|_| meta::is_host(text));
    sound.ok_or_else(|| {
        let found: String = text.chars().take(48).collect();
        format!("a proxy reports the host {found:?}: wanted NAME or NAME:PORT")
    })
}

/// Puts a host where the head names one. An absolute target, as in HTTP/2, takes precedence over the field.
fn replace_host(uri: &mut Uri, fields: &mut HeaderMap, asked: &Authority) -> Result<(), String> {
    if uri.authority().is_some() {
        let mut parts = std::mem::take(uri).into_parts();
        parts.authority = Some(asked.clone());
        *uri = Uri::from_parts(parts).map_err(|error| error.to_string())?;
    }
    let value = HeaderValue::from_str(asked.as_str()).map_err(|error| error.to_string())?;
    fields.insert(HOST, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    #[test]
    fn a_host_replaces_that_of_the_target_and_that_of_the_field() {
        for target in ["/a?b", "http://inner:8080/a?b"] {
            let (mut head, ()) =
                Request::get(target).header(HOST, "inner:8080").body(()).unwrap().into_parts();
            let asked = host("a.example:8443").unwrap();

            replace_host(&mut head.uri, &mut head.headers, &asked).unwrap();

            assert_eq!(head.headers[HOST], "a.example:8443");
            assert_eq!(head.uri.path_and_query().unwrap(), "/a?b");
            assert!(head.uri.authority().is_none_or(|authority| authority == "a.example:8443"));
        }
    }

    #[test]
    fn a_host_with_anything_else_in_it_is_refused() {
        for text in ["", "a b", "a/b", "user@a", "a\"b", "[::1", "a:b"] {
            assert!(host(text).is_err(), "{text}");
        }
    }
}
