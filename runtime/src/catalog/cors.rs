//! What browsers of other origins may do (Fetch §3.2), if anything.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method};

/// The grants, as header values ready to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cors {
    /// Origins that may read responses; empty: all of them.
    pub origins: Vec<HeaderValue>,
    /// Methods a preflight is granted.
    pub methods: HeaderValue,
    /// Request fields a preflight is granted.
    pub headers: HeaderValue,
    /// Seconds a browser may remember a preflight.
    pub max_age: Option<HeaderValue>,
    /// Whether cookies may be sent along.
    pub credentials: bool,
}

impl Cors {
    /// Reports whether a request is a preflight, which no handler sees.
    pub fn is_preflight(method: &Method, request: &HeaderMap) -> bool {
        method == Method::OPTIONS
            && request.contains_key(ORIGIN)
            && request.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
    }

    /// Adds the fields that a response to this request needs; replaces what the handler said.
    pub fn grant(&self, request: Option<&HeaderValue>, response: &mut HeaderMap) {
        let Some(origin) = request else { return };
        let granted = if self.origins.is_empty() {
            HeaderValue::from_static("*")
        } else {
            response.append(VARY, HeaderValue::from_static("Origin"));
            match self.origins.iter().find(|known| *known == origin) {
                Some(known) => known.clone(),
                None => return,
            }
        };
        response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, granted);
        if self.credentials {
            response.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }

    /// Adds the fields of an answer to a preflight.
    pub fn grant_preflight(&self, request: Option<&HeaderValue>, response: &mut HeaderMap) {
        self.grant(request, response);
        if response.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
            response.insert(ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone());
            response.insert(ACCESS_CONTROL_ALLOW_HEADERS, self.headers.clone());
            response.extend(self.max_age.clone().map(|age| (ACCESS_CONTROL_MAX_AGE, age)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(origins: &[&'static str]) -> Cors {
        Cors {
            origins: origins.iter().copied().map(HeaderValue::from_static).collect(),
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
    fn a_request_without_an_origin_is_left_alone() {
        let mut response = HeaderMap::new();
        cors(&[]).grant(None, &mut response);
        assert!(response.is_empty());
    }
}
