//! CORS: the response fields that let pages of other origins read responses, and preflights (Fetch §3.2).

use std::collections::BTreeSet;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method};

/// The grants, as header values ready to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cors {
    /// Origins that may read responses. An empty set allows all of them.
    pub origins: BTreeSet<HeaderValue>,
    /// Methods that a preflight allows.
    pub methods: HeaderValue,
    /// Request fields that a preflight allows.
    pub headers: HeaderValue,
    /// How many seconds a browser may cache a preflight.
    pub max_age: Option<HeaderValue>,
    /// Whether requests may carry cookies.
    pub credentials: bool,
}

impl Cors {
    /// Reports whether a request is a preflight. Preflights never reach a handler.
    pub fn is_preflight(method: &Method, request: &HeaderMap) -> bool {
        method == Method::OPTIONS
            && request.contains_key(ORIGIN)
            && request.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
    }

    /// Adds the CORS fields to the response for a request with this `Origin`, if it has one. Replaces fields that the
    /// handler set.
    ///
    /// A cache may give the response of one request to another. A response that depends on the origin therefore varies
    /// on it, even for a request without one. A grant to all origins does not vary.
    pub fn grant(&self, origin: Option<&HeaderValue>, response: &mut HeaderMap) {
        let granted = if self.origins.is_empty() {
            HeaderValue::from_static("*")
        } else {
            if !varies(response) {
                response.append(VARY, HeaderValue::from_static("Origin"));
            }
            match origin.and_then(|origin| self.origins.get(origin)) {
                Some(known) => known.clone(),
                None => return,
            }
        };
        response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, granted);
        if self.credentials {
            response.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }

    /// Adds the fields of a response to a preflight.
    pub fn grant_preflight(&self, origin: Option<&HeaderValue>, response: &mut HeaderMap) {
        self.grant(origin, response);
        if response.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
            response.insert(ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone());
            response.insert(ACCESS_CONTROL_ALLOW_HEADERS, self.headers.clone());
            response.extend(self.max_age.clone().map(|age| (ACCESS_CONTROL_MAX_AGE, age)));
        }
    }
}

/// Reports whether a response already varies on `Origin` or on everything.
fn varies(response: &HeaderMap) -> bool {
    let values = response.get_all(VARY).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    values.map(<[u8]>::trim_ascii).any(|name| name == b"*" || name.eq_ignore_ascii_case(b"origin"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cors(origins: &[&str]) -> Cors {
        Cors {
            origins: origins.iter().map(|origin| origin.parse().unwrap()).collect(),
            methods: HeaderValue::from_static("GET"),
            headers: HeaderValue::from_static("content-type"),
            max_age: None,
            credentials: false,
        }
    }

    #[test]
    fn an_origin_that_is_not_granted_gets_nothing_but_vary() {
        let granted = HeaderValue::from_static("https://a.example");
        let other = HeaderValue::from_static("https://b.example");
        let cors = cors(&["https://a.example"]);
        let mut response = HeaderMap::new();

        cors.grant_preflight(Some(&other), &mut response);
        assert_eq!(response.len(), 1);
        assert_eq!(response[VARY], "Origin");

        cors.grant_preflight(Some(&granted), &mut response);
        assert_eq!(response[ACCESS_CONTROL_ALLOW_ORIGIN], granted);
        assert_eq!(response[ACCESS_CONTROL_ALLOW_METHODS], "GET");
    }

    #[test]
    fn what_depends_on_the_origin_says_so_whoever_asks() {
        let cors = cors(&["https://a.example"]);
        let vary = |before: &[&'static str], origin: Option<&'static str>| {
            let mut response: HeaderMap =
                before.iter().map(|value| (VARY, HeaderValue::from_static(value))).collect();
            cors.grant(origin.map(HeaderValue::from_static).as_ref(), &mut response);
            response.get_all(VARY).iter().map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        for origin in [None, Some("https://a.example"), Some("https://b.example")] {
            assert_eq!(vary(&[], origin), ["Origin"]);
            assert_eq!(vary(&["Accept"], origin), ["Accept", "Origin"]);
            assert_eq!(vary(&["Accept, origin"], origin), ["Accept, origin"]);
            assert_eq!(vary(&["*"], origin), ["*"]);
        }
    }

    proptest! {
        #[test]
        fn an_origin_is_granted_as_by_a_look_at_every_one(
            listed in prop::collection::vec("https?://[ab]{1,3}", 1..16),
            asked in prop::collection::vec("https?://[ab]{0,3}|null", 1..16),
        ) {
            let cors = cors(&listed.iter().map(String::as_str).collect::<Vec<_>>());

            for origin in asked {
                let mut response = HeaderMap::new();
                cors.grant(Some(&origin.parse().unwrap()), &mut response);
                let granted = response.get(ACCESS_CONTROL_ALLOW_ORIGIN).map(|granted| granted.to_str().unwrap());
                prop_assert_eq!(granted, listed.contains(&origin).then_some(origin.as_str()));
            }
        }
    }

    #[test]
    fn what_is_granted_to_all_depends_on_nobody() {
        for origin in [None, Some(HeaderValue::from_static("https://a.example"))] {
            let mut response = HeaderMap::new();
            cors(&[]).grant(origin.as_ref(), &mut response);
            assert_eq!(response.len(), 1);
            assert_eq!(response[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        }
    }
}
