//! URL templates with parts of a request: `https://{host}/{rest}`.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};

use super::host;
use super::pattern::PathCapture;

/// A URL, or a path and query, with placeholders.
///
/// The placeholders are those of Caddy: `{host}` without its port, `{path}`, `{query}`, `{?query}` with its question
/// mark unless the query is empty, and `{uri}`, the path and query. Every other name is a capture of the route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template {
    written: String,
    parts: Vec<TemplatePart>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum TemplatePart {
    Literal(String),
    Host,
    Path,
    Query,
    PrefixedQuery,
    Uri,
    /// The index of a capture, and the part of the URL that it stands in.
    Capture(usize, UrlPart),
}

/// The part of a URL, as far as characters are concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum UrlPart {
    Authority,
    Path,
    Query,
}

/// The parts of a request that a template may use.
#[derive(Clone, Copy)]
pub struct RequestParts<'a> {
    /// The `Host`, with or without a port. `None` if the client names none.
    pub host: Option<&'a str>,
    /// The path as the client sent it, percent-encoded.
    pub path: &'a str,
    /// The query without its question mark.
    pub query: Option<&'a str>,
}

/// The request has no `Host`, and the template needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoHost;

/// The most placeholders: a client's path can appear this often in a URL.
const MOST: usize = 16;

/// The longest template, in bytes.
const LONGEST: usize = 2048;

/// Characters of a captured value that are encoded in a path: all but those of RFC 3986 §3.3.
const PATH: &AsciiSet = &ENCODED
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=');

/// Characters of a captured value that are encoded in a query, where `&`, `=` and `+` would add parameters.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/')
    .remove(b':')
    .remove(b'@');

/// Characters that are encoded in what a client has encoded: those that no URL holds (RFC 3986 §2).
const FOREIGN: &AsciiSet = &percent_encoding::CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

impl Template {
    /// Parses a URL such as `https://{host}/{rest}`, or a path such as `/new/{rest}`.
    ///
    /// # Errors
    /// The text is neither, names an unknown placeholder, or lets a client choose the host by a capture. The message
    /// says what to write.
    pub fn url(text: &str, captures: &[PathCapture]) -> Result<Template, String> {
        let begins_path =
            |text: &str| ["/", "{path}", "{uri}"].iter().any(|beginning| text.starts_with(beginning));
        let is_path = begins_path(text);
        let after = ["https://", "http://"].iter().find_map(|scheme| text.strip_prefix(scheme));
        if text.starts_with("//") {
            return Err(format!("{text:?} names a host without a scheme: write https: before it"));
        }
        if !is_path && after.is_none_or(|rest| rest.is_empty() || begins_path(rest)) {
            return Err(format!(
                "wanted a URL such as \"https://{{host}}{{uri}}\", or a path such as \"/new/{{rest}}\", found {text:?}"
            ));
        }
        let scheme = text.len() - after.map_or(text.len(), str::len);
        Template::read(text, scheme, captures)
    }

    /// Parses a path and query such as `/new/{rest}`.
    ///
    /// # Errors
    /// As [`Template::url`].
    pub fn path(text: &str, captures: &[PathCapture]) -> Result<Template, String> {
        if !(text.starts_with('/') || text.starts_with("{path}") || text.starts_with("{uri}")) {
            return Err(format!("wanted a path such as \"/new/{{rest}}\", found {text:?}"));
        }
        Template::read(text, 0, captures)
    }

    /// Parses a template whose first `scheme` bytes are the scheme; 0 means a path.
    fn read(text: &str, scheme: usize, captures: &[PathCapture]) -> Result<Template, String> {
        if text.len() > LONGEST {
            return Err(format!("wanted {LONGEST} bytes at most, found {}", text.len()));
        }
        let mut at = if scheme > 0 { UrlPart::Authority } else { UrlPart::Path };
        let mut parts = Vec::new();
        if scheme > 0 {
            parts.push(TemplatePart::Literal(text[..scheme].to_owned()));
        }
        let mut rest = &text[scheme..];
        while !rest.is_empty() {
            let literal = &rest[..rest.find('{').unwrap_or(rest.len())];
            if let Some(bad) =
                literal.chars().find(|char| !char.is_ascii_graphic() || "\"<>\\^`|}".contains(*char))
            {
                return Err(format!("a URL cannot contain {bad:?}: write it percent-encoded"));
            }
            at = at.behind(literal);
            if !literal.is_empty() {
                parts.push(TemplatePart::Literal(literal.to_owned()));
            }
            rest = &rest[literal.len()..];
            if let Some(inner) = rest.strip_prefix('{') {
                let (name, behind) = inner.split_once('}').ok_or("a brace is not closed: write {name}")?;
                let part = TemplatePart::named(name, at, captures)?;
                at = part.leads_to(at);
                parts.push(part);
                rest = behind;
            }
        }
        let placeholders = parts.iter().filter(|part| !matches!(part, TemplatePart::Literal(_))).count();
        if placeholders > MOST {
            return Err(format!("wanted {MOST} placeholders at most, found {placeholders}"));
        }
        Ok(Template { written: text.to_owned(), parts })
    }

    /// Fills in the parts of a request. `capture` returns the decoded value of the capture with an index.
    ///
    /// The result is ASCII without spaces. Captured values are percent-encoded, so that they add no segment dots, query
    /// or field. A path begins with exactly one slash: two would name another host.
    ///
    /// # Errors
    /// The request has no host.
    pub fn fill<'a>(
        &self,
        request: RequestParts<'_>,
        capture: impl Fn(usize) -> Option<&'a str>,
    ) -> Result<String, NoHost> {
        let mut url = String::with_capacity(self.written.len() + request.path.len());
        for part in &self.parts {
            match part {
                TemplatePart::Literal(text) => url.push_str(text),
                TemplatePart::Host => url.push_str(&host::asked(request.host.ok_or(NoHost)?)),
                TemplatePart::Path => url.extend(utf8_percent_encode(request.path, FOREIGN)),
                TemplatePart::Query => url.extend(utf8_percent_encode(request.query.unwrap_or(""), FOREIGN)),
                TemplatePart::PrefixedQuery => request.push_query(&mut url),
                TemplatePart::Uri => {
                    url.extend(utf8_percent_encode(request.path, FOREIGN));
                    request.push_query(&mut url);
                }
                TemplatePart::Capture(index, part) => {
                    let set = if *part == UrlPart::Query { ENCODED } else { PATH };
                    url.extend(utf8_percent_encode(capture(*index).unwrap_or_default(), set));
                }
            }
        }
        if url.starts_with("//") {
            let slashes = url.len() - url.trim_start_matches('/').len();
            url.replace_range(..slashes, "/");
        }
        Ok(url)
    }

    /// Returns the template as it is written.
    pub fn as_str(&self) -> &str {
        &self.written
    }
}

impl RequestParts<'_> {
    /// Appends the query with its question mark, unless it is empty.
    fn push_query(&self, url: &mut String) {
        if let Some(query) = self.query.filter(|query| !query.is_empty()) {
            url.push('?');
            url.extend(utf8_percent_encode(query, FOREIGN));
        }
    }
}

impl TemplatePart {
    fn named(name: &str, at: UrlPart, captures: &[PathCapture]) -> Result<TemplatePart, String> {
        let captured = captures.iter().position(|capture| capture.name == name);
        let known = match name {
            "host" => Some(TemplatePart::Host),
            "path" => Some(TemplatePart::Path),
            "query" => Some(TemplatePart::Query),
            "?query" => Some(TemplatePart::PrefixedQuery),
            "uri" => Some(TemplatePart::Uri),
            _ => None,
        };
        match (known, captured) {
            (Some(_), Some(_)) => {
                Err(format!("{{{name}}} is a part of the request: rename the capture of the path"))
            }
            (Some(TemplatePart::Query | TemplatePart::PrefixedQuery), None) if at == UrlPart::Authority => {
                Err(format!("{{{name}}} cannot be a part of the host: put a slash before it"))
            }
            (Some(part), None) => Ok(part),
            (None, Some(_)) if at == UrlPart::Authority => {
                Err(format!("{{{name}}} would let a client choose the host: put a slash before it"))
            }
            (None, Some(index)) => Ok(TemplatePart::Capture(index, at)),
            (None, None) => {
                let mut names: Vec<&str> = captures.iter().map(|capture| capture.name.as_str()).collect();
                names.extend(["host", "path", "query", "?query", "uri"]);
                Err(format!("there is no {{{name}}} here; the names are {}", names.join(", ")))
            }
        }
    }

    /// Returns the part of the URL after this one.
    fn leads_to(&self, at: UrlPart) -> UrlPart {
        match self {
            TemplatePart::Literal(text) => at.behind(text),
            TemplatePart::Host | TemplatePart::Capture(..) => at,
            TemplatePart::Path if at == UrlPart::Authority => UrlPart::Path,
            TemplatePart::Path => at,
            TemplatePart::Query | TemplatePart::PrefixedQuery | TemplatePart::Uri => UrlPart::Query,
        }
    }
}

impl UrlPart {
    /// Returns the part of the URL after a literal text.
    fn behind(self, literal: &str) -> UrlPart {
        match self {
            _ if literal.contains(['?', '#']) => UrlPart::Query,
            UrlPart::Authority if literal.contains('/') => UrlPart::Path,
            same => same,
        }
    }
}

/// Encodes the text of a path that is percent-decoded.
pub(super) fn encoded(path: &str) -> PercentEncode<'_> {
    utf8_percent_encode(path, PATH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::pattern::PathPattern;
    use proptest::prelude::*;

    fn captures(path: &str) -> Vec<PathCapture> {
        PathPattern::read(path).unwrap().captures
    }

    fn request(target: &'static str) -> RequestParts<'static> {
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        RequestParts { host: Some("WWW.example.org:8080"), path, query }
    }

    fn filled(template: &str, path: &str, target: &'static str, values: &[&str]) -> String {
        let template = Template::url(template, &captures(path)).unwrap();
        template.fill(request(target), |index| values.get(index).copied()).unwrap()
    }

    #[test]
    fn parts_of_a_request_are_filled_in() {
        let url = filled("https://{host}{uri}", "/{*rest}", "/a%20b?x=1", &["a b"]);
        assert_eq!(url, "https://www.example.org/a%20b?x=1");
        assert_eq!(filled("/new/{rest}{?query}", "/old/{*rest}", "/old/a", &["a"]), "/new/a");
        assert_eq!(filled("/new/{rest}{?query}", "/old/{*rest}", "/old/a?b", &["a"]), "/new/a?b");
        assert_eq!(filled("/x?id={id}&{query}", "/{id}", "/1?y=2", &["1"]), "/x?id=1&y=2");
    }

    #[test]
    fn a_captured_value_adds_nothing_but_itself() {
        assert_eq!(filled("/x?id={id}", "/{id}", "/1", &["1&admin=1#é"]), "/x?id=1%26admin%3D1%23%C3%A9");
        assert_eq!(filled("/x/{id}", "/{id}", "/1", &["a?b#c\\d\r\n"]), "/x/a%3Fb%23c%5Cd%0D%0A");
    }

    #[test]
    fn a_path_never_names_another_host() {
        assert_eq!(
            filled("/{rest}", "/{*rest}", "//evil.example/x", &["/evil.example/x"]),
            "/evil.example/x"
        );
        assert_eq!(filled("{uri}", "/{*rest}", "///evil.example", &[""]), "/evil.example");
        assert_eq!(filled("/{rest}", "/{*rest}", "/\\evil", &["\\evil"]), "/%5Cevil");
    }

    #[test]
    fn what_a_client_must_not_choose_is_refused() {
        let refused = |text: &str| Template::url(text, &captures("/{who}/{*rest}")).unwrap_err();

        assert!(refused("https://{who}.example.org/").contains("choose the host"));
        assert!(refused("https://example.org{rest}").contains("choose the host"));
        assert!(refused("https://{query}/").contains("cannot be a part of the host"));
        // Without a query, the capture would join the host.
        assert!(refused("https://example.org{?query}{rest}").contains("cannot be a part of the host"));
        assert!(refused("//example.org/").contains("without a scheme"));
        assert!(refused("/x/{nobody}").contains("there is no {nobody} here"));
        assert!(refused("ftp://example.org/").contains("wanted a URL"));
        assert!(refused("https:///x").contains("wanted a URL"));
        // Clients read `https:///evil.example` as `https://evil.example`.
        assert!(refused("https://{uri}").contains("wanted a URL"));
        assert!(refused("https://{path}/x").contains("wanted a URL"));
        assert!(refused("/a b").contains("cannot contain ' '"));
        assert!(refused("/{who").contains("not closed"));
        assert!(refused(&"{path}".repeat(17)).contains("16 placeholders"));
        assert!(Template::url("/{host}", &captures("/{host}")).unwrap_err().contains("rename the capture"));
    }

    #[test]
    fn a_request_without_a_host_gets_no_url_with_one() {
        let template = Template::url("https://{host}/", &[]).unwrap();
        let nobody = RequestParts { host: None, path: "/", query: None };
        assert_eq!(template.fill(nobody, |_| None), Err(NoHost));
    }

    proptest! {
        #[test]
        fn no_value_leaves_its_place(value in ".{0,24}", query in "[ -~]{0,16}") {
            let template = Template::url("https://h.example/a/{x}?b={x}{query}", &captures("/{x}")).unwrap();
            let parts = RequestParts { host: None, path: "/", query: Some(&query) };
            let url = template.fill(parts, |_| Some(&value)).unwrap();
            prop_assert!(url.starts_with("https://h.example/a/"));
            prop_assert!(url.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert!(!url.contains('#'));
            prop_assert!(http::HeaderValue::try_from(&url).is_ok());
        }
    }
}
