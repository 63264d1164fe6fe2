//! Cookies: those of a request, and those set by a response (RFC 6265).

use std::fmt::Write as _;
use std::time::Duration;

/// A cookie that a response sets or removes.
///
/// By default, it applies to the whole site, scripts cannot read it, and browsers do not send it with forms of other
/// sites. Browsers delete it when they are closed.
///
/// ```
/// use portcullis_guest::{Response, SetCookie};
/// use std::time::Duration;
///
/// let cookie = SetCookie::new("session", "4f2a").secure().max_age(Duration::from_secs(3600));
/// let response = Response::text("hello\n").cookie(cookie);
/// assert_eq!(
///     response.field("set-cookie"),
///     Some("session=4f2a; Path=/; Max-Age=3600; Secure; HttpOnly; SameSite=Lax"),
/// );
/// ```
#[derive(Clone, Debug)]
#[must_use = "a response sets it: Response::cookie"]
pub struct SetCookie {
    name: String,
    value: String,
    path: String,
    domain: Option<String>,
    max_age: Option<Duration>,
    secure: bool,
    http_only: bool,
    same_site: SameSite,
}

/// The requests from other sites with which a browser sends a cookie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SameSite {
    /// No requests.
    Strict,
    /// Links that a user follows, but not forms or scripts.
    Lax,
    /// All requests. Browsers then require [`SetCookie::secure`].
    None,
}

impl SetCookie {
    /// Sets a cookie. If the name or value has characters that RFC 6265 does not allow, the response becomes a 500:
    /// encode such values.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> SetCookie {
        SetCookie {
            name: name.into(),
            value: value.into(),
            path: "/".to_owned(),
            domain: None,
            max_age: None,
            secure: false,
            http_only: true,
            same_site: SameSite::Lax,
        }
    }

    /// Removes a cookie. Browsers require the same path and domain with which it was set.
    pub fn removed(name: impl Into<String>) -> SetCookie {
        SetCookie::new(name, "").max_age(Duration::ZERO)
    }

    /// Limits the cookie to this path and the paths below it.
    pub fn path(self, path: impl Into<String>) -> SetCookie {
        SetCookie { path: path.into(), ..self }
    }

    /// Sends the cookie to this domain and its subdomains. By default, only the host itself gets it.
    pub fn domain(self, domain: impl Into<String>) -> SetCookie {
        SetCookie { domain: Some(domain.into()), ..self }
    }

    /// Keeps the cookie for this time. By default, browsers keep it until they are closed.
    pub fn max_age(self, age: Duration) -> SetCookie {
        SetCookie { max_age: Some(age), ..self }
    }

    /// Limits the cookie to TLS.
    pub fn secure(self) -> SetCookie {
        SetCookie { secure: true, ..self }
    }

    /// Lets scripts of the page read the cookie.
    pub fn for_scripts(self) -> SetCookie {
        SetCookie { http_only: false, ..self }
    }

    /// Sets the requests from other sites with which the cookie is sent.
    pub fn same_site(self, same_site: SameSite) -> SetCookie {
        SetCookie { same_site, ..self }
    }

    /// Formats the field value.
    ///
    /// # Errors
    /// A part of the cookie is not valid in the field.
    pub(crate) fn field(&self) -> Result<String, String> {
        let SetCookie { name, value, path, domain, max_age, secure, http_only, same_site } = self;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_name) {
            return Err(format!("{name:?} is no name for a cookie"));
        }
        // RFC 6265 §4.1.1, cookie-octet.
        let is_octet = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\');
        if !value.bytes().all(is_octet) {
            return Err(format!("cookie {name}: {value:?} is no value: encode it, in base64 for instance"));
        }
        let is_attribute =
            |text: &str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b';');
        let mut field = format!("{name}={value}; Path={path}");
        let mut add = |part: std::fmt::Arguments<'_>| {
            // Writing to a string cannot fail.
            let _written = write!(field, "; {part}");
        };
        if let Some(domain) = domain {
            add(format_args!("Domain={domain}"));
        }
        if let Some(age) = max_age {
            add(format_args!("Max-Age={}", age.as_secs()));
        }
        if *secure {
            add(format_args!("Secure"));
        }
        if *http_only {
            add(format_args!("HttpOnly"));
        }
        add(format_args!("SameSite={same_site:?}"));
        let sound = path.starts_with('/') && is_attribute(path) && domain.as_deref().is_none_or(is_attribute);
        if sound {
            Ok(field)
        } else {
            Err(format!("cookie {name}: its path or domain is not valid: {field:?}"))
        }
    }
}

/// Iterates over the cookies of a `Cookie` field, in the order they were sent.
pub(crate) fn pairs(field: &str) -> impl Iterator<Item = (&str, &str)> {
    field.split(';').filter_map(|part| {
        let (name, value) = part.split_once('=')?;
        let value = value.trim_matches([' ', '\t']);
        // Some clients quote values. The quotes are not part of the value (RFC 6265 §4.1.1).
        let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        Some((name.trim_matches([' ', '\t']), quoted.unwrap_or(value)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Request, Response};

    #[test]
    fn the_cookies_of_a_request_are_found_by_name() {
        let request = Request::test("GET", "/").header("Cookie", "a=1; b=two=2;c=\"3\"; a=4;;nothing; =x");

        assert_eq!((request.cookie("a"), request.cookie("b")), (Some("1"), Some("two=2")));
        assert_eq!((request.cookie("c"), request.cookie("A")), (Some("3"), None));
        assert_eq!(request.cookies().count(), 5);
        assert_eq!(Request::test("GET", "/").cookie("a"), None);
    }

    #[test]
    fn a_cookie_is_set_with_what_it_was_given_and_taken_back() {
        let set = |cookie: SetCookie| cookie.field().unwrap();

        assert_eq!(
            set(SetCookie::new("a", "b")
                .path("/x")
                .domain("example.org")
                .for_scripts()
                .same_site(SameSite::None)),
            "a=b; Path=/x; Domain=example.org; SameSite=None"
        );
        assert_eq!(set(SetCookie::removed("a")), "a=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax");
    }

    #[test]
    fn words_of_a_client_in_a_cookie_make_no_second_attribute_and_no_second_field() {
        for (name, value, path) in [
            ("a", "b; Domain=evil", "/"),
            ("a", "b\r\nX: y", "/"),
            ("a", "b c", "/"),
            ("a", "é", "/"),
            ("a;b", "", "/"),
            ("", "", "/"),
            ("a", "b", "/; Secure"),
            ("a", "b", "x"),
        ] {
            let response = Response::text("fine").cookie(SetCookie::new(name, value).path(path));

            assert_eq!(
                (response.status(), response.field("set-cookie")),
                (500, None),
                "{name} {value} {path}"
            );
        }
        let both = Response::text("").cookie(SetCookie::new("a", "1")).cookie(SetCookie::new("b", "2"));
        assert_eq!(both.fields().filter(|(name, _)| *name == "Set-Cookie").count(), 2);
    }
}
