//! Tests of requests and their variables.

use super::*;
use http::Request;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Makes the variables of a request to the route `/hello/{who}`.
fn encoded(target: &str, fields: &[(&str, &[u8])], change: impl FnOnce(&mut Facts<'_>)) -> Env {
    let mut request = Request::builder().uri(target);
    for (name, value) in fields {
        request = request.header(*name, HeaderValue::from_bytes(value).unwrap());
    }
    let (head, ()) = request.body(()).unwrap().into_parts();
    let mut facts = Facts {
        method: &head.method,
        uri: &head.uri,
        version: head.version,
        headers: &head.headers,
        script_name: "/hello/ada",
        path_info: "",
        matched_route: "/hello/{who}",
        request_id: "00000000000000ff",
        remote_addr: "192.0.2.1",
        remote_port: Some(4711),
        server_addr: "192.0.2.2",
        server_port: Some(8080),
        scheme: RequestScheme::Http,
        api_version: None,
    };
    change(&mut facts);
    encode(&facts, [("ROUTE_WHO", "ada")])
}

fn get(target: &str, fields: &[(&str, &[u8])]) -> Env {
    encoded(target, fields, |_| ())
}

#[test]
fn a_request_becomes_these_variables_and_no_other() {
    let env = get(
        "/hello/%61da?a=b%20c",
        &[
            ("Host", b"api.example.org:8080"),
            ("Accept", b"*/*"),
            ("X-Odd-1", b"x"),
            ("Content-Type", b"a/b"),
            ("Content-Length", b"3"),
        ],
    );

    let software = concat!("Portcullis/", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        env.iter().collect::<Vec<_>>(),
        [
            ("GATEWAY_INTERFACE", "CGI/1.1"),
            ("SERVER_SOFTWARE", software),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("SERVER_NAME", "api.example.org"),
            ("SERVER_PORT", "8080"),
            ("REQUEST_METHOD", "GET"),
            ("SCRIPT_NAME", "/hello/ada"),
            ("PATH_INFO", ""),
            ("QUERY_STRING", "a=b%20c"),
            ("REMOTE_ADDR", "192.0.2.1"),
            ("REMOTE_HOST", "192.0.2.1"),
            ("REMOTE_PORT", "4711"),
            ("REQUEST_URI", "/hello/%61da?a=b%20c"),
            ("REQUEST_ID", "00000000000000ff"),
            ("X_MATCHED_ROUTE", "/hello/{who}"),
            ("X_FULL_URL", "http://api.example.org:8080/hello/%61da?a=b%20c"),
            ("ROUTE_WHO", "ada"),
            ("CONTENT_TYPE", "a/b"),
            ("CONTENT_LENGTH", "3"),
            ("HTTP_HOST", "api.example.org:8080"),
            ("HTTP_ACCEPT", "*/*"),
            ("HTTP_X_ODD_1", "x"),
        ]
    );
}

#[test]
fn tls_version_and_api_version_are_told() {
    let env = encoded("/hello/ada", &[("Host", b"a")], |facts| {
        facts.scheme = RequestScheme::Https;
        facts.version = Version::HTTP_2;
        facts.api_version = Some("1.14");
    });

    assert_eq!(env.get("HTTPS"), Some("on"));
    assert_eq!(env.get("SERVER_PROTOCOL"), Some("HTTP/2.0"));
    assert_eq!(env.get("API_VERSION"), Some("1.14"));
    assert_eq!(env.get("X_FULL_URL"), Some("https://a/hello/ada"));
}

#[test]
fn a_unix_socket_has_no_addresses() {
    let env = encoded("/hello/ada", &[], |facts| {
        (facts.remote_addr, facts.remote_port, facts.server_addr, facts.server_port) = ("", None, "", None);
    });

    assert_eq!(env.get("REMOTE_ADDR"), Some(""));
    assert_eq!(env.get("REMOTE_PORT"), None);
    assert_eq!(env.get("SERVER_NAME"), Some("localhost"));
    assert_eq!(env.get("SERVER_PORT"), Some("80"));
    assert_eq!(env.get("X_FULL_URL"), Some("http://localhost:80/hello/ada"));
    assert_eq!(env.get("HTTP_HOST"), None);
}

#[test]
fn a_host_that_is_none_does_not_reach_the_server_name() {
    for (host, name) in [
        ("a.example", "a.example"),
        ("a_b:80", "a_b"),
        ("[::1]:80", "[::1]"),
        ("[::1]", "[::1]"),
        ("a/b", "192.0.2.2"),
        ("a:80:80", "192.0.2.2"),
        ("a:x", "192.0.2.2"),
        ("<b>", "192.0.2.2"),
        ("", "192.0.2.2"),
        (":80", "192.0.2.2"),
        ("[]", "192.0.2.2"),
        ("[::1", "192.0.2.2"),
        ("[::1]x", "192.0.2.2"),
        ("a, b", "192.0.2.2"),
        ("é", "192.0.2.2"),
    ] {
        let env = get("/", &[("Host", host.as_bytes())]);
        assert_eq!(env.get("SERVER_NAME"), Some(name), "{host}");
        assert_eq!(env.get("HTTP_HOST"), Some(host), "{host}");
    }
    let env = encoded("/", &[], |facts| facts.server_addr = "::1");
    assert_eq!(env.get("X_FULL_URL"), Some("http://[::1]:8080/"));
}

#[test]
fn ports_are_told_in_decimal() {
    for port in [0, 9, 10, 4711, u16::MAX] {
        let env = encoded("/", &[], |facts| {
            (facts.remote_port, facts.server_port) = (Some(port), Some(port));
        });

        assert_eq!(env.get("REMOTE_PORT"), Some(&*port.to_string()));
        assert_eq!(env.get("SERVER_PORT"), Some(&*port.to_string()));
        assert_eq!(env.get("X_FULL_URL"), Some(&*format!("http://192.0.2.2:{port}/")));
    }
}

#[test]
fn a_part_of_the_path_with_nul_is_left_out() {
    let env = encoded("/", &[("Host", b"a")], |facts| facts.path_info = "/x\0y");

    assert_eq!(env.get("PATH_INFO"), None);
    assert_eq!((env.get("SCRIPT_NAME"), env.get("HTTP_HOST")), (Some("/hello/ada"), Some("a")));
}

#[test]
fn an_absolute_target_outweighs_the_host_field() {
    let env = get("http://me:secret@real.example:81/x?y", &[("Host", b"fake.example")]);

    assert_eq!(env.get("HTTP_HOST"), Some("real.example:81"));
    assert_eq!(env.get("SERVER_NAME"), Some("real.example"));
    assert_eq!(env.get("REQUEST_URI"), Some("/x?y"));
    assert_eq!(env.get("X_FULL_URL"), Some("http://real.example:81/x?y"));
}

#[test]
fn repeated_fields_are_one_variable() {
    let env = get(
        "/",
        &[
            ("X-A", b"1"),
            ("X-B", b""),
            ("Cookie", b"a=1"),
            ("X-A", b"2"),
            ("Cookie", b"b=2"),
            ("x-a", b""),
            ("X-B", b"3"),
        ],
    );

    assert_eq!(
        env.iter().filter(|(name, _)| name.starts_with("HTTP_")).collect::<Vec<_>>(),
        [("HTTP_X_A", "1, 2, "), ("HTTP_X_B", ", 3"), ("HTTP_COOKIE", "a=1; b=2")]
    );
}

#[test]
fn httpoxy_and_underscored_twins_are_left_out() {
    let env = get(
        "/",
        &[
            ("Proxy", b"http://evil.example"),
            ("X_Real_IP", b"10.0.0.1"),
            ("X-Real-IP", b"192.0.2.9"),
            ("Content_Length", b"99"),
            ("Connection", b"X-Real-IP"),
            ("Proxy-Authorization", b"x"),
            ("Authorization", b"Bearer x"),
        ],
    );

    assert_eq!(env.get("HTTP_PROXY"), None);
    assert_eq!(env.get("HTTP_X_REAL_IP"), Some("192.0.2.9"));
    assert_eq!(env.get("CONTENT_LENGTH"), None);
    assert_eq!(env.get("HTTP_CONNECTION"), None);
    assert_eq!(env.get("HTTP_PROXY_AUTHORIZATION"), None);
    assert_eq!(env.get("HTTP_AUTHORIZATION"), Some("Bearer x"));
}

#[test]
fn a_value_that_is_no_text_is_left_out() {
    let env = get(
        "/",
        &[
            ("X-A", b"\xff"),
            ("X-B", b"fine"),
            ("X-B", b"\xff"),
            ("X-C", "é".as_bytes()),
            ("X-D", b"\xff"),
            ("X-D", b"fine"),
        ],
    );

    for name in ["HTTP_X_A", "HTTP_X_B", "HTTP_X_D"] {
        assert_eq!(env.get(name), None, "{name}");
    }
    assert_eq!(env.get("HTTP_X_C"), Some("é"));
}

#[test]
fn a_length_that_is_not_known_is_not_told() {
    for value in ["", "-1", "+1", "1, 1", "18446744073709551616"] {
        assert_eq!(get("/", &[("Content-Length", value.as_bytes())]).get("CONTENT_LENGTH"), None, "{value}");
    }
    let both = get("/", &[("Content-Length", b"3"), ("Transfer-Encoding", b"chunked")]);
    assert_eq!(both.get("CONTENT_LENGTH"), None);
}

proptest! {
    #[test]
    fn a_host_is_a_name_or_an_address_in_brackets_and_perhaps_a_port(
        host in "\\[?[ag:.]{0,3}[\\]\\[_é/]?[0-9f:]{0,4}\\]?:{0,2}[0-9a]{0,2}",
    ) {
        let name = without_port(&host);
        let port = &host[name.len()..];
        let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let is_made_of = |text: &str, letters: &str| {
            !text.is_empty() && text.chars().all(|letter| letters.contains(letter))
        };

        let is_name = address.map_or_else(
            || is_made_of(name, "afg.-_0123456789") && !is_made_of(name, "."),
            |address| is_made_of(address, "af:.0123456789"),
        );
        let wanted = is_name && (matches!(port, "" | ":") || is_made_of(&port[1..], "0123456789"));

        prop_assert_eq!(is_host(&host), wanted, "{}", host);
    }

    #[test]
    fn every_header_gives_sound_variables(
        fields in prop::collection::vec(("[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}", prop::collection::vec(any::<u8>(), 0..12)), 0..12),
    ) {
        let sound: Vec<(&str, &[u8])> = fields
            .iter()
            .filter(|(_, value)| HeaderValue::from_bytes(value).is_ok())
            .map(|(name, value)| (name.as_str(), value.as_slice()))
            .collect();

        let env = get("/", &sound);

        let names: BTreeSet<&str> = env.iter().map(|(name, _)| name).collect();
        prop_assert_eq!(names.len(), env.len());
        for (name, value) in env.iter() {
            prop_assert!(name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_'));
            prop_assert!(!value.chars().any(|char| matches!(char, '\0' | '\r' | '\n')));
        }
    }
}
