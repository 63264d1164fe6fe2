//! Masks credentials in a job's variables, as far as their names reveal them.

use std::borrow::Cow;
use std::fmt::Write as _;

use percent_encoding::percent_decode_str;

/// Parts of names that mark a credential, in variables and in queries.
const SECRET: [&str; 13] = [
    "SECRET",
    "TOKEN",
    "PASSW",
    "PWD",
    "KEY",
    "CREDENTIAL",
    "AUTH",
    "COOKIE",
    "SESSION",
    "SIGNATURE",
    "BEARER",
    "JWT",
    "ASSERTION",
];

/// Whole names in a query that mark a credential. They are too short to search for within other names. Signed URLs
/// have `sig`, and redirects after a login `code`.
const IN_QUERY: [&str; 6] = ["SIG", "CODE", "PASS", "PIN", "OTP", "SID"];

/// The text that replaces a value in a query.
const MASK: &str = "***";

/// The names of variables whose values are always masked.
#[derive(Clone, Default)]
pub struct Masked(pub Vec<String>);

impl Masked {
    /// Reports whether the value of a variable is masked: it is a credential of the service or of a client, or its
    /// name marks it as one.
    pub(super) fn holds(&self, name: &str) -> bool {
        self.0.iter().any(|known| known == name) || is_secret(name)
    }
}

/// Masks the credentials in the queries of a variable: in all of `QUERY_STRING`, and after each `?` in any other.
/// Clients choose which URLs a job receives (`REQUEST_URI`, `HTTP_REFERER`).
pub(super) fn queries<'v>(name: &str, value: &'v str) -> Cow<'v, str> {
    let begin = match value.find('?') {
        _ if name == "QUERY_STRING" => 0,
        Some(mark) => mark + 1,
        None => return Cow::Borrowed(value),
    };
    let (mut masked, mut found) = (value[..begin].to_owned(), false);
    for part in value[begin..].split_inclusive(['&', ';', '?', '#']) {
        let end = part.trim_end_matches(['&', ';', '?', '#']);
        match end.split_once('=') {
            Some((key, secret)) if !secret.is_empty() && is_secret_in_query(key) => {
                found = true;
                // Writing to a string cannot fail.
                let _infallible = write!(masked, "{key}={MASK}{}", &part[end.len()..]);
            }
            _ => masked.push_str(part),
        }
    }
    if found { Cow::Owned(masked) } else { Cow::Borrowed(value) }
}

fn is_secret(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    SECRET.iter().any(|part| upper.contains(part))
}

fn is_secret_in_query(key: &str) -> bool {
    let key = percent_decode_str(key).decode_utf8_lossy();
    is_secret(&key) || IN_QUERY.iter().any(|name| key.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_or_sounds_like_a_secret_is_kept_back() {
        let masked = Masked(vec!["PLAIN".to_owned()]);
        for name in [
            "PLAIN",
            "API_TOKEN",
            "HTTP_AUTHORIZATION",
            "HTTP_X_AUTH",
            "HTTP_COOKIE",
            "db_password",
            "AWS_SECRET_KEY",
            "HTTP_X_SESSION_ID",
            "HTTP_X_HUB_SIGNATURE_256",
        ] {
            assert!(masked.holds(name), "{name}");
        }
        for name in ["REQUEST_METHOD", "PLAINS", "QUERY_STRING", "HTTP_X_CODE", "HTTP_USER_AGENT"] {
            assert!(!masked.holds(name), "{name}");
        }
    }

    #[test]
    fn the_values_of_secrets_in_queries_are_masked_and_nothing_else() {
        for (name, value, shown) in [
            ("QUERY_STRING", "access_token=s3cret&q=1", "access_token=***&q=1"),
            ("QUERY_STRING", "a=1;ApiKey=s3cret", "a=1;ApiKey=***"),
            ("QUERY_STRING", "access%5Ft%6Fken=s3=cret", "access%5Ft%6Fken=***"),
            ("QUERY_STRING", "code=s3cret&codes=2", "code=***&codes=2"),
            ("QUERY_STRING", "token=&&token", "token=&&token"),
            ("REQUEST_URI", "/token=1/x?sig=s3cret#key=s3cret", "/token=1/x?sig=***#key=***"),
            ("X_FULL_URL", "http://a/?b=c?token=s3cret", "http://a/?b=c?token=***"),
            ("HTTP_REFERER", "https://a/?q=1&session=s3cret", "https://a/?q=1&session=***"),
            ("HTTP_X_NOTE", "token=1", "token=1"),
            ("QUERY_STRING", "", ""),
        ] {
            assert_eq!(queries(name, value), shown);
        }
        assert!(matches!(queries("REQUEST_URI", "/?q=1"), Cow::Borrowed("/?q=1")));
    }
}
