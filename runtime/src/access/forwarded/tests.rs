//! Tests of what is believed of `Forwarded` and `X-Forwarded-*`.

use http::HeaderValue;
use proptest::prelude::*;

use super::*;
use crate::access::networks::Networks;

fn trusted() -> AddressSet {
    let networks = ["10.0.0.0/8", "fd00::/8"].map(|text| Networks::one(text).unwrap());
    AddressSet { networks: Networks::new(&networks), ..AddressSet::default() }
}

fn read(fields: &[(&'static str, &str)]) -> Result<Forwarding, String> {
    let fields = fields.iter().map(|(name, value)| {
        (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
    });
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(name, value);
    }
    Forwarding::read(&map, &trusted()).map_err(|unclear| unclear.to_string())
}

/// The client, as `ADDRESS` or `ADDRESS PORT`; `-` if none is named.
fn client(fields: &[(&'static str, &str)]) -> String {
    match read(fields).unwrap().client {
        None => "-".to_owned(),
        Some((address, None)) => address.to_string(),
        Some((address, Some(port))) => format!("{address} {port}"),
    }
}

#[test]
fn a_list_is_believed_from_the_right_as_far_as_trust_goes() {
    for (value, wanted) in [
        ("203.0.113.7", "203.0.113.7"),
        ("6.6.6.6, 203.0.113.7", "203.0.113.7"),
        ("6.6.6.6, 203.0.113.7, 10.0.0.2", "203.0.113.7"),
        ("6.6.6.6, 203.0.113.7, 10.0.0.2, 10.0.0.3", "203.0.113.7"),
        ("10.0.0.9, 10.0.0.2", "10.0.0.9"),
        ("no address at all, 203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:4711", "203.0.113.7 4711"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]:4711", "2001:db8::7 4711"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("6.6.6.6, unknown, 10.0.0.2", "10.0.0.2"),
        ("6.6.6.6, unknown", "-"),
        (" , ,203.0.113.7, ,", "203.0.113.7"),
        ("", "-"),
    ] {
        assert_eq!(client(&[("x-forwarded-for", value)]), wanted, "{value}");
    }
}

#[test]
fn the_standard_field_is_believed_in_the_same_way() {
    for (value, wanted) in [
        ("for=203.0.113.7", "203.0.113.7"),
        ("For=\"203.0.113.7:4711\";proto=http;by=203.0.113.43", "203.0.113.7 4711"),
        ("for=6.6.6.6, for=203.0.113.7", "203.0.113.7"),
        ("for=203.0.113.7, for=10.0.0.2", "203.0.113.7"),
        ("for=\"[2001:db8::7]\"", "2001:db8::7"),
        ("for=\"[2001:db8::7]:_hidden\"", "2001:db8::7"),
        ("for=_hidden, for=10.0.0.2", "10.0.0.2"),
        ("for=unknown", "-"),
        ("by=10.0.0.1", "-"),
        // A quotation that the client leaves open does not reach the element of the proxy.
        ("for=\"6.6.6.6, for=203.0.113.7", "203.0.113.7"),
        ("for=\"6.6.6.6, for=\"203.0.113.7:1\"", "203.0.113.7 1"),
        ("for=\"6.6.6.6\\, for=\"[2001:db8::7]\"", "2001:db8::7"),
        ("for=6.6.6.6;ext=\"a,b\", for=203.0.113.7;ext=\"c, for=6.6.6.6\"", "203.0.113.7"),
    ] {
        assert_eq!(client(&[("forwarded", value)]), wanted, "{value}");
    }
}

#[test]
fn the_last_line_of_a_field_is_the_right_end_of_its_list() {
    assert_eq!(client(&[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "203.0.113.7")]), "203.0.113.7");
    assert_eq!(client(&[("x-forwarded-for", "203.0.113.7"), ("x-forwarded-for", "10.0.0.2")]), "203.0.113.7");
    assert_eq!(client(&[("forwarded", "for=6.6.6.6"), ("forwarded", "for=203.0.113.7")]), "203.0.113.7");
    assert_eq!(client(&[("forwarded", "for=\"6"), ("forwarded", "for=203.0.113.7")]), "203.0.113.7");
}

#[test]
fn scheme_and_host_come_from_the_proxy_of_the_client() {
    let standard = read(&[(
        "forwarded",
        "for=6.6.6.6;host=evil, for=203.0.113.7;proto=https;host=\"a.example:8443\", for=10.0.0.2;proto=http",
    )]);
    let customary = read(&[
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-proto", "http, HTTPS"),
        ("x-forwarded-host", "evil, a.example:8443"),
    ]);

    for told in [standard.unwrap(), customary.unwrap()] {
        assert_eq!(told.scheme, Some(ForwardedScheme::Https));
        assert_eq!(told.host.as_deref(), Some("a.example:8443"));
    }
}

#[test]
fn both_kinds_must_say_the_same() {
    let both = |standard: &str| {
        read(&[("forwarded", standard), ("x-forwarded-for", "203.0.113.7"), ("x-forwarded-proto", "http")])
    };

    let agreed = both("for=203.0.113.7;proto=http").unwrap();
    let client = Some(("203.0.113.7".parse().unwrap(), None));
    let scheme = Some(ForwardedScheme::Http);
    assert_eq!(agreed, Forwarding { client, scheme, ..Forwarding::default() });
    for (standard, what) in
        [("for=6.6.6.6", "clients"), ("for=_hidden", "clients"), ("for=203.0.113.7;proto=https", "schemes")]
    {
        let refused = both(standard).unwrap_err();
        assert!(refused.contains(&format!("name different {what}: let the proxy remove those")), "{refused}");
    }
    for (standard, wanted) in [
        ("", "X-Forwarded-* names a client, and Forwarded beside it none"),
        ("by=x", "X-Forwarded-* names a client, and Forwarded beside it none"),
        ("for=203.0.113.7", "X-Forwarded-* names a scheme, and Forwarded beside it none"),
        ("for=203.0.113.7;proto=http;host=a", "Forwarded names a host, and X-Forwarded-* beside it none"),
    ] {
        let refused = both(standard).unwrap_err();
        assert!(refused.starts_with(wanted), "{standard}: {refused}");
    }
}

#[test]
fn a_hidden_client_is_told_from_one_that_no_proxy_reports() {
    for (name, value, wanted) in [
        ("forwarded", "for=unknown", true),
        ("forwarded", "for=_hidden, for=10.0.0.2", true),
        ("x-forwarded-for", "6.6.6.6, unknown", true),
        ("x-forwarded-for", "unknown, 203.0.113.7", false),
        ("x-forwarded-for", "10.0.0.9, 10.0.0.2", false),
        ("x-forwarded-proto", "https", false),
    ] {
        assert_eq!(read(&[(name, value)]).unwrap().is_hidden, wanted, "{name}: {value}");
    }
}

#[test]
fn what_a_proxy_writes_wrongly_is_refused_and_named() {
    for (name, value) in [
        ("x-forwarded-for", "203.0.113.7.8"),
        ("x-forwarded-for", "203.0.113.7:99999"),
        ("x-forwarded-for", "a.example"),
        ("x-forwarded-for", "[::1"),
        ("x-forwarded-proto", "ftp"),
        ("forwarded", "for"),
        ("forwarded", "for="),
        ("forwarded", "for=\"203.0.113.7"),
        ("forwarded", "for=203.0.113.7;for=203.0.113.8"),
        ("forwarded", "for=\"203.0.113.7\"x"),
        ("forwarded", "for=2001:db8::7"),
    ] {
        assert!(read(&[(name, value)]).is_err(), "{name}: {value}");
    }
    let refused = read(&[("x-forwarded-for", "nobody")]).unwrap_err();
    assert_eq!(refused, "X-Forwarded-For of a proxy: wanted the address of a client, found \"nobody\"");
}

#[test]
fn a_chain_of_proxies_has_an_end() {
    let chain = |hops: usize| format!("203.0.113.7{}", ", 10.0.0.2".repeat(hops));

    assert_eq!(client(&[("x-forwarded-for", &chain(HOPS - 1))]), "203.0.113.7");
    assert!(read(&[("x-forwarded-for", &chain(HOPS))]).unwrap_err().contains("more than 32 trusted proxies"));
}

proptest! {
    /// Whatever a client writes, the element that the proxy appends names the client.
    #[test]
    fn nothing_left_of_a_true_element_changes_it(forged in "[ -~]{0,60}") {
        let standard = format!("{forged}, for=\"203.0.113.7:4711\";proto=https");
        prop_assert_eq!(client(&[("forwarded", &standard)]), "203.0.113.7 4711");
        prop_assert_eq!(client(&[("x-forwarded-for", &format!("{forged}, 203.0.113.7"))]), "203.0.113.7");
    }
}
