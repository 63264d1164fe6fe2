//! The server side of the opening handshake of a WebSocket (RFC 6455 §4.2).

use http::header::{
    HOST, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Uri};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::catalog::{Cors, Origins, WebSocket};
use crate::http::refusal::Refusal;
use crate::http::request::upgrade_fields::WEBSOCKET_VERSION;
use crate::http::wire::host;

/// The result of a handshake.
pub(in crate::http) struct Agreement {
    /// The subprotocol, if there is one.
    pub(in crate::http) protocol: Option<HeaderValue>,
    accept: HeaderValue,
}

/// How the client has connected, and therefore how its own pages were loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::http) enum Transport {
    /// Without TLS, directly or from a proxy in front of us that may speak TLS with the client.
    Clear,
    /// With TLS, directly.
    Tls,
}

/// Checks the handshake of a WebSocket request.
///
/// # Errors
/// The version is another, the key is invalid, no subprotocol matches, or the origin may not connect.
pub(in crate::http) fn agree(
    head: &Parts,
    way: Transport,
    websocket: &WebSocket,
    cors: Option<&Cors>,
) -> Result<Agreement, Refusal> {
    let headers = &head.headers;
    let malformed = |what: &str| Refusal::Malformed(what.to_owned());
    match single(headers, &SEC_WEBSOCKET_VERSION) {
        Some(version) if version == WEBSOCKET_VERSION => {}
        Some(_) => return Err(Refusal::WebSocketVersion),
        None => return Err(malformed("a WebSocket without one Sec-WebSocket-Version")),
    }
    let key = single(headers, &SEC_WEBSOCKET_KEY).filter(|key| is_key(key.as_bytes()));
    let key =
        key.ok_or_else(|| malformed("a WebSocket without one Sec-WebSocket-Key of 16 bytes in Base64"))?;
    if !may_connect(head, way, websocket, cors) {
        return Err(Refusal::Forbidden("pages of this origin may not connect here (websocket.origins)"));
    }
    let protocol = protocol(headers, &websocket.protocols)
        .map_err(|()| malformed("none of the WebSocket subprotocols that the client offers is known here"))?;
    // Base64 is always a header value.
    let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes()));
    Ok(Agreement { protocol, accept: accept.map_err(|error| Refusal::Malformed(error.to_string()))? })
}

impl Agreement {
    /// Writes the result into the response.
    pub(in crate::http) fn tell(&self, response: &mut HeaderMap) {
        response.insert(SEC_WEBSOCKET_ACCEPT, self.accept.clone());
        response.extend(self.protocol.clone().map(|protocol| (SEC_WEBSOCKET_PROTOCOL, protocol)));
    }
}

fn single<'h>(headers: &'h HeaderMap, name: &http::HeaderName) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Reports whether this is 16 bytes in Base64 (RFC 6455 §4.1).
fn is_key(key: &[u8]) -> bool {
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(digit)
}

/// Chooses the first of our subprotocols that the client offers. Returns `None` if either side has
/// none.
///
/// # Errors
/// Both sides have subprotocols, and none matches.
fn protocol(headers: &HeaderMap, ours: &[HeaderValue]) -> Result<Option<HeaderValue>, ()> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let offered: Vec<&[u8]> = values
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        // RFC 9110 §5.6.1: an empty element does not count. RFC 6455 §4.1: every other element is a
        // token.
        .filter(|offer| !offer.is_empty())
        .collect();
    if ours.is_empty() || offered.is_empty() {
        return Ok(None);
    }
    ours.iter().find(|known| offered.contains(&known.as_bytes())).map(|known| Some(known.clone())).ok_or(())
}

/// Reports whether a page of this origin may connect. A browser sends its cookies along for any page,
/// and makes no preflight request (RFC 6455 §10.2).
fn may_connect(head: &Parts, way: Transport, websocket: &WebSocket, cors: Option<&Cors>) -> bool {
    let mut origins = head.headers.get_all(ORIGIN).iter();
    let Some(origin) = origins.next() else { return true };
    if origins.next().is_some() {
        return false;
    }
    is_own(origin, head, way)
        || match &websocket.origins {
            Origins::All => true,
            Origins::Listed(listed) => listed.contains(origin),
            // A CORS grant to all origins excludes credentials, and a WebSocket sends them.
            Origins::OfCors => cors.is_some_and(|cors| cors.credentials && cors.origins.contains(origin)),
        }
}

/// Reports whether a page has the origin it connects to: the same scheme, host and port (RFC 6454 §5).
/// A page loaded without TLS is not a page of a TLS site, because anyone on the way may have written
/// it.
fn is_own(origin: &HeaderValue, head: &Parts, way: Transport) -> bool {
    let own = match head.uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => single(&head.headers, &HOST).and_then(|host| host.to_str().ok()),
    };
    let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
    let Some((own, origin)) = own.zip(origin) else { return false };
    let scheme = origin.scheme_str().filter(|scheme| match way {
        Transport::Clear => matches!(*scheme, "http" | "https"),
        Transport::Tls => *scheme == "https",
    });
    let Some(authority) = scheme.and(origin.authority()) else { return false };
    host::same(authority.as_str(), own, scheme)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Messages;
    use http::{Request, StatusCode};

    fn websocket(origins: Origins) -> WebSocket {
        WebSocket {
            messages: Messages::Lines,
            message_size: 1,
            protocols: vec![HeaderValue::from_static("b"), HeaderValue::from_static("a")],
            origins,
            ping: None,
            idle: None,
        }
    }

    fn head(fields: &[(&str, &str)]) -> Parts {
        let mut request = Request::get("/").header("host", "own.example:8080");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    const SOUND: [(&str, &str); 2] =
        [("sec-websocket-version", "13"), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")];

    #[test]
    fn the_example_of_the_standard_is_accepted_as_it_says() {
        let offered = [("sec-websocket-protocol", "x, a"), ("sec-websocket-protocol", "b")];
        let head = head(&[&SOUND[..], &offered].concat());

        let agreed = agree(&head, Transport::Clear, &websocket(Origins::OfCors), None).unwrap();
        let mut response = HeaderMap::new();
        agreed.tell(&mut response);

        assert_eq!(response[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(response[SEC_WEBSOCKET_PROTOCOL], "b");
    }

    #[test]
    fn a_page_of_another_site_needs_a_grant_that_covers_cookies() {
        let cors = |credentials| Cors {
            origins: [HeaderValue::from_static("https://app.example")].into(),
            methods: HeaderValue::from_static("GET"),
            headers: HeaderValue::from_static("accept"),
            max_age: None,
            credentials,
        };
        let listed = || Origins::Listed([HeaderValue::from_static("https://app.example")].into());
        let own = "http://OWN.example:8080";
        for (origin, origins, cors, may) in [
            (None, Origins::OfCors, None, true),
            (Some(own), Origins::OfCors, None, true),
            (Some(own), listed(), None, true),
            (Some("http://own.example"), Origins::OfCors, None, false),
            (Some("ftp://own.example:8080"), Origins::OfCors, None, false),
            (Some("null"), Origins::OfCors, None, false),
            (Some("https://app.example"), Origins::OfCors, None, false),
            (Some("https://app.example"), Origins::OfCors, Some(cors(false)), false),
            (Some("https://app.example"), Origins::OfCors, Some(cors(true)), true),
            (Some("https://app.example"), listed(), None, true),
            (Some("https://app.example.evil"), listed(), None, false),
            (Some("https://app.example"), Origins::All, None, true),
        ] {
            let fields: Vec<_> = origin.map(|origin| ("origin", origin)).into_iter().collect();
            let head = head(&fields);

            assert_eq!(
                may_connect(&head, Transport::Clear, &websocket(origins), cors.as_ref()),
                may,
                "{origin:?}"
            );
        }
    }

    #[test]
    fn a_page_is_the_site_s_own_by_scheme_host_and_port() {
        for (host, origin, clear, tls) in [
            ("own.example", "http://own.example", true, false),
            ("own.example", "https://own.example", true, true),
            ("own.example:443", "https://OWN.example", true, true),
            ("own.example", "https://own.example:443", true, true),
            ("own.example:80", "http://own.example", true, false),
            ("own.example:80", "https://own.example", false, false),
            ("own.example:443", "http://own.example", false, false),
            ("own.example:8443", "https://own.example", false, false),
            ("own.example:8443", "https://own.example:8443", true, true),
            ("own.example:8443", "http://own.example:8443", true, false),
            ("own.example", "https://own.example.evil", false, false),
            ("own.example", "https://evil@own.example", false, false),
        ] {
            let head = Request::get("/").header("host", host).header("origin", origin).body(()).unwrap();
            let head = head.into_parts().0;
            let may = |way| may_connect(&head, way, &websocket(Origins::OfCors), None);

            assert_eq!((may(Transport::Clear), may(Transport::Tls)), (clear, tls), "{host} {origin}");
        }
    }

    #[test]
    fn a_handshake_that_is_not_sound_is_refused() {
        let refused = |fields: &[(&str, &str)]| {
            let refusal = agree(&head(fields), Transport::Clear, &websocket(Origins::OfCors), None).err();
            refusal.map(|refusal| refusal.status())
        };
        let [version, key] = SOUND;
        assert_eq!(refused(&[version, key]), None);
        assert_eq!(refused(&[key]), Some(StatusCode::BAD_REQUEST));
        assert_eq!(refused(&[version]), Some(StatusCode::BAD_REQUEST));
        assert_eq!(refused(&[version, key, key]), Some(StatusCode::BAD_REQUEST));
        assert_eq!(refused(&[version, ("sec-websocket-key", "short")]), Some(StatusCode::BAD_REQUEST));
        assert_eq!(refused(&[("sec-websocket-version", "8"), key]), Some(StatusCode::UPGRADE_REQUIRED));
        for nothing in ["", " ", ",", " , ,"] {
            assert_eq!(refused(&[version, key, ("sec-websocket-protocol", nothing)]), None, "{nothing:?}");
        }
        let unknown = ("sec-websocket-protocol", "soap");
        assert_eq!(refused(&[version, key, unknown]), Some(StatusCode::BAD_REQUEST));
        assert_eq!(refused(&[version, key, ("origin", "https://evil.example")]), Some(StatusCode::FORBIDDEN));
    }
}
