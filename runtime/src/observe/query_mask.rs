//! `QueryMask`: hides the values of named query parameters in URLs that are logged.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::sync::Arc;

use percent_encoding::percent_decode_str;

/// What is logged instead of a value.
const MASK: &str = "***";

/// The names of the query parameters whose values are not logged. The default names none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryMask(Arc<[String]>);

/// A URL that is shown with masked values.
pub struct MaskedUrl<'m, U>(&'m QueryMask, U);

impl<U: Display> Display for MaskedUrl<'_, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.0.is_empty() {
            return self.1.fmt(f);
        }
        f.write_str(&self.0.mask(&self.1.to_string()))
    }
}

impl QueryMask {
    /// Makes a mask for parameters of these names.
    pub fn new(names: impl IntoIterator<Item = String>) -> QueryMask {
        QueryMask(names.into_iter().collect())
    }

    /// Returns a URL, or a request line, as it is logged. A name matches also if it is percent-encoded, or has `+` for a
    /// space. Allocates only if a value is masked, or a name has a `+`.
    pub fn mask<'t>(&self, url: &'t str) -> Cow<'t, str> {
        let Some((path, query)) = url.split_once('?').filter(|_| !self.0.is_empty()) else {
            return Cow::Borrowed(url);
        };
        let mut masked = None;
        let mut done = path.len() + 1;
        // Some frameworks separate parameters by `;`. A space ends the target of a request line.
        for part in query.split_inclusive(['&', ';', ' ', '#']) {
            let at = done;
            done += part.len();
            let Some((name, rest)) = part.split_once('=').filter(|(name, _)| self.has(name)) else {
                continue;
            };
            let value = rest.trim_end_matches(['&', ';', ' ', '#']);
            let masked = masked.get_or_insert_with(|| (String::with_capacity(url.len()), 0));
            masked.0 += &url[masked.1..at + name.len() + 1];
            masked.0 += MASK;
            masked.1 = at + name.len() + 1 + value.len();
        }
        match masked {
            Some((text, copied)) => Cow::Owned(text + &url[copied..]),
            None => Cow::Borrowed(url),
        }
    }

    /// Shows a URL as it is logged. Masks it only when it is shown.
    pub fn shown<U: Display>(&self, url: U) -> MaskedUrl<'_, U> {
        MaskedUrl(self, url)
    }

    fn has(&self, name: &str) -> bool {
        // Forms are encoded with `+` for a space.
        let spaced = name.contains('+').then(|| name.replace('+', " "));
        let names = [Some(name), spaced.as_deref()];
        let is_named =
            |wanted: &String| names.iter().flatten().any(|name| percent_decode_str(name).eq(wanted.bytes()));
        self.0.iter().any(is_named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(url: &str) -> String {
        QueryMask::new(["token".to_owned(), "key".to_owned()]).mask(url).into_owned()
    }

    #[test]
    fn the_values_of_named_parameters_are_hidden_and_nothing_else() {
        for (url, logged) in [
            ("/a", "/a"),
            ("/token=1", "/token=1"),
            ("/a?x=1&tokens=2", "/a?x=1&tokens=2"),
            ("/a?token=s3cret", "/a?token=***"),
            ("/a?x=1&token=s3cret&y=2", "/a?x=1&token=***&y=2"),
            ("/a?key=one;token=two", "/a?key=***;token=***"),
            ("/a?%74oken=s3cret", "/a?%74oken=***"),
            ("/a?token=a=b=c&x", "/a?token=***&x"),
            ("/a?token=&x", "/a?token=***&x"),
            ("/a?token", "/a?token"),
            ("GET /a?token=s3cret HTTP/1.1", "GET /a?token=*** HTTP/1.1"),
            ("https://x.example/?key=größe#top", "https://x.example/?key=***#top"),
        ] {
            assert_eq!(masked(url), logged);
        }
    }

    #[test]
    fn a_space_in_a_name_may_be_encoded_in_both_ways() {
        let mask = QueryMask::new(["pass word".to_owned(), "a+b".to_owned()]);

        for name in ["pass%20word", "pass+word", "pass+%77ord", "a+b", "a%2Bb"] {
            assert_eq!(mask.mask(&format!("/?{name}=s3cret&x=1")), format!("/?{name}=***&x=1"));
        }
        for url in ["/?pass%2Bword=1", "/?password=1", "/?a%20b=1"] {
            assert_eq!(mask.mask(url), url);
        }
    }

    #[test]
    fn a_url_without_such_a_parameter_is_not_copied() {
        assert!(matches!(QueryMask::default().mask("/a?token=1"), Cow::Borrowed("/a?token=1")));
        assert!(matches!(QueryMask::new(["x".to_owned()]).mask("/a?token=1"), Cow::Borrowed(_)));
    }
}
