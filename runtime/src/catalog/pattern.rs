//! Parses the path of a route: `/hello/{who}`, `/files/{*rest}`.

use std::ops::Range;

use http::HeaderName;

/// A named part of a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PathCapture {
    /// The name between the braces.
    pub name: String,
    /// The variable that gives its value to the handler: `ROUTE_WHO`.
    pub variable: String,
    /// The request field that gives its value to a component: `portcullis-route-who`.
    pub field: HeaderName,
}

/// The most captures in a path, without the tail. matchit names each by a letter, and panics after the last.
const MAX: usize = 25;

/// The longest path in bytes: PATH_MAX of Linux. matchit takes time in the square of the length for doubled braces.
const LONGEST: usize = 4096;

/// A parsed path.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct PathPattern {
    /// The captures in order.
    pub(super) captures: Vec<PathCapture>,
    /// Whether the last capture is a tail, `{*rest}`.
    pub(super) has_tail: bool,
    /// The path without the names of captures. Two paths are the same if their shapes are.
    pub(super) shape: String,
    /// Where the text lies in the shape that follows a capture in its segment.
    suffixes: Vec<Range<usize>>,
}

/// A parsed segment.
struct Segment<'a> {
    shape: String,
    capture: Option<&'a str>,
    is_tail: bool,
    /// Where the shape goes on behind the capture.
    suffix: usize,
}

/// Parses the path of a route, and returns its captures in order. Returns `None` if the path is invalid.
pub fn captures(path: &str) -> Option<Vec<PathCapture>> {
    PathPattern::read(path).ok().map(|pattern| pattern.captures)
}

impl PathPattern {
    /// Parses a path.
    ///
    /// # Errors
    /// The text is no valid path; the message says why.
    pub(super) fn read(text: &str) -> Result<PathPattern, String> {
        let inner = text.strip_prefix('/').ok_or("a path starts with `/`")?;
        if let Some(bad) = text.chars().find(|char| char.is_control() || matches!(char, '?' | '#')) {
            return Err(format!("a path cannot contain {bad:?}: a route matches neither query nor fragment"));
        }
        if text.len() > LONGEST {
            return Err(format!("a path has {LONGEST} bytes at most, found {}: shorten it", text.len()));
        }
        let (captures, suffixes) = Default::default();
        let mut pattern = PathPattern { captures, has_tail: false, shape: String::new(), suffixes };
        for segment in inner.split('/') {
            if pattern.has_tail {
                return Err("a tail such as `{*rest}` must come last".to_owned());
            }
            let segment = Segment::read(segment)?;
            if matches!(segment.shape.as_str(), "." | "..") {
                return Err(
                    "a segment `.` or `..` never matches: such requests are answered with 400".to_owned()
                );
            }
            pattern.shape.push('/');
            let start = pattern.shape.len();
            pattern.shape.push_str(&segment.shape);
            pattern.has_tail = segment.is_tail;
            if let Some(name) = segment.capture {
                pattern.add(name)?;
                let suffix = start + segment.suffix..pattern.shape.len();
                pattern.suffixes.extend(Some(suffix).filter(|suffix| !suffix.is_empty()));
            }
        }
        match pattern.captures.len() - usize::from(pattern.has_tail) {
            ..=MAX => Ok(pattern),
            found => Err(format!(
                "a path has {MAX} captures at most besides a tail, found {found}: join some of them"
            )),
        }
    }

    /// Lists the texts that follow a capture in its segment, such as `.png`, each with the shape in front of it.
    pub(super) fn suffixes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.suffixes.iter().map(|suffix| (&self.shape[..suffix.start], &self.shape[suffix.clone()]))
    }

    /// Returns the length of what every path has before the tail, with the slash. `None` without a tail, and if another
    /// capture stands before it.
    pub(super) fn before_tail(&self) -> Option<usize> {
        let before = self.shape.strip_suffix("{*}").filter(|_| self.has_tail && self.captures.len() == 1)?;
        let doubled = before.matches("{{").count() + before.matches("}}").count();
        Some(before.len() - doubled)
    }

    fn add(&mut self, name: &str) -> Result<(), String> {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if name.is_empty() || !name.bytes().all(word) {
            return Err(format!("{name:?} is not the name of a capture: use letters, digits, `_` and `-`"));
        }
        let variable = format!("ROUTE_{}", name.to_ascii_uppercase().replace('-', "_"));
        if self.captures.iter().any(|known| known.variable == variable) {
            return Err(format!("two captures set the variable {variable}: rename one"));
        }
        let field = format!("portcullis-route-{}", name.to_ascii_lowercase().replace('_', "-"));
        let field = HeaderName::try_from(field).map_err(|error| format!("the capture {name}: {error}"))?;
        self.captures.push(PathCapture { name: name.to_owned(), variable, field });
        Ok(())
    }
}

impl<'a> Segment<'a> {
    fn read(text: &'a str) -> Result<Segment<'a>, String> {
        let mut segment = Segment { shape: String::new(), capture: None, is_tail: false, suffix: 0 };
        let mut rest = text;
        while let Some(brace) = rest.find(['{', '}']) {
            segment.shape.push_str(&rest[..brace]);
            let (open, after) = rest[brace..].split_at(1);
            if after.starts_with(open) {
                // A doubled brace stands for itself.
                segment.shape.push_str(&rest[brace..brace + 2]);
                rest = &after[1..];
                continue;
            }
            let (name, behind) = match after.split_once('}') {
                Some(parts) if open == "{" => parts,
                _ => return Err("an unmatched brace: write `{{` or `}}` for a brace".to_owned()),
            };
            if segment.capture.is_some() {
                return Err("a segment holds one capture at most".to_owned());
            }
            segment.is_tail = name.starts_with('*');
            segment.capture = Some(name.strip_prefix('*').unwrap_or(name));
            segment.shape.push_str(if segment.is_tail { "{*}" } else { "{}" });
            segment.suffix = segment.shape.len();
            rest = behind;
        }
        segment.shape.push_str(rest);
        if segment.is_tail && segment.shape != "{*}" {
            return Err("a tail such as `{*rest}` must be a whole segment".to_owned());
        }
        Ok(segment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_become_variables() {
        let pattern = PathPattern::read("/a/{user-id}/img-{n}.png/{*rest}").unwrap();

        let variables: Vec<_> = pattern.captures.iter().map(|capture| capture.variable.as_str()).collect();
        assert_eq!(variables, ["ROUTE_USER_ID", "ROUTE_N", "ROUTE_REST"]);
        let fields: Vec<_> = pattern.captures.iter().map(|capture| capture.field.as_str()).collect();
        assert_eq!(fields, ["portcullis-route-user-id", "portcullis-route-n", "portcullis-route-rest"]);
        assert!(pattern.has_tail);
        assert_eq!(pattern.shape, "/a/{}/img-{}.png/{*}");
        assert_eq!(pattern.suffixes().collect::<Vec<_>>(), [("/a/{}/img-{}", ".png")]);
    }

    #[test]
    fn as_many_captures_as_the_tree_takes_are_a_path_and_one_more_is_a_mistake() {
        let path =
            |captures: usize| (0..captures).map(|capture| format!("/{{c{capture}}}")).collect::<String>();

        assert!(PathPattern::read(&path(25)).is_ok());
        assert!(PathPattern::read(&format!("{}/{{*rest}}", path(25))).is_ok());
        let refused = PathPattern::read(&path(26)).unwrap_err();
        assert_eq!(refused, "a path has 25 captures at most besides a tail, found 26: join some of them");
    }

    #[test]
    fn a_path_is_as_long_as_one_of_linux_and_no_longer() {
        let path = |length: usize| format!("/{}", "a".repeat(length - 1));

        assert!(PathPattern::read(&path(4096)).is_ok());
        assert_eq!(
            PathPattern::read(&path(4097)).unwrap_err(),
            "a path has 4096 bytes at most, found 4097: shorten it"
        );
    }

    #[test]
    fn a_doubled_brace_is_no_capture() {
        let pattern = PathPattern::read("/{{a}}/b").unwrap();
        assert_eq!((pattern.captures.len(), pattern.shape.as_str()), (0, "/{{a}}/b"));
    }

    #[test]
    fn what_no_request_could_match_is_refused() {
        for bad in [
            "",
            "a",
            "/{",
            "/}",
            "/{}",
            "/{*}",
            "/{a}{b}",
            "/x{*r}",
            "/{*r}x",
            "/{*r}/",
            "/{a b}",
            "/a?b",
            "/a#b",
            "/{id}/{ID}",
            "/\n",
            "/{a",
            "/a/../b",
            "/.",
        ] {
            assert!(PathPattern::read(bad).is_err(), "{bad:?} must be refused");
        }
    }
}
