//! Cookies: those of a request, and those that a response sets (RFC 6265).

use std::fmt::Write as _;
use std::time::Duration;

/// A cookie that a response sets, or takes back.
///
/// Unless it is told otherwise, it is for the whole site and no script of a page reads it, and browsers send it neither
/// with a form of another site nor after they were closed.
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

/// With which requests of other sites a browser sends a cookie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SameSite {
    /// With none.
    Strict,
    /// When a link is followed, and with no form or script.
    Lax,
    /// With all; browsers want [`SetCookie::secure`] then.
    None,
}

impl SetCookie {
    /// Sets a cookie. A name or value with other characters than RFC 6265 has makes the response a 500: encode what may
    /// have them.
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

    /// Takes a cookie back. Browsers want the path and the domain that it was set with.
    pub fn removed(name: impl Into<String>) -> SetCookie {
        SetCookie::new(name, "").max_age(Duration::ZERO)
    }

    /// Sends it with what is below this path alone.
    pub fn path(self, path: impl Into<String>) -> SetCookie {
        SetCookie { path: path.into(), ..self }
    }

    /// Sends it to this domain and all below it; otherwise it is for the host alone.
    pub fn domain(self, domain: impl Into<String>) -> SetCookie {
        SetCookie { domain: Some(domain.into()), ..self }
    }

    /// Keeps it for so many seconds; otherwise until the browser is closed.
    pub fn max_age(self, age: Duration) -> SetCookie {
        SetCookie { max_age: Some(age), ..self }
    }

    /// Sends it over TLS alone.
    pub fn secure(self) -> SetCookie {
        SetCookie { secure: true, ..self }
    }

    /// Lets the scripts of pages read it.
    pub fn for_scripts(self) -> SetCookie {
        SetCookie { http_only: false, ..self }
    }

    /// Says with which requests of other sites it is sent.
    pub fn same_site(self, same_site: SameSite) -> SetCookie {
        SetCookie { same_site, ..self }
    }

    /// Writes the field.
    ///
    /// # Errors
    /// What cannot be said in it.
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
        if sound { Ok(field) } else { Err(format!("cookie {name}: its path or domain is none: {field:?}")) }
    }
}

/// Goes through the cookies of a `Cookie` field, in the order they were sent.
pub(crate) fn pairs(field: &str) -> impl Iterator<Item = (&str, &str)> {
    field.split(';').filter_map(|part| {
        let (name, value) = part.split_once('=')?;
        let value = value.trim_matches([' ', '\t']);
        // Some clients quote values, and the quotes are none of them (RFC 6265 §4.1.1).
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
