//! Matches the path of a test request against a route.

/// What a route captures from a path: names and values in order, and where its tail starts.
pub(super) struct Captured<'p> {
    pub(super) captures: Vec<(String, &'p str)>,
    /// The path before the tail, and the tail with its `/`, if the route has one.
    pub(super) tail: Option<(&'p str, &'p str)>,
}

/// Matches a path against a route such as `/hello/{who}` or `/files/{*rest}`. Returns `None` if it does not match.
///
/// # Panics
/// The route is invalid: a brace is not closed, or a tail is not at its end.
pub(super) fn matched<'p>(route: &str, path: &'p str) -> Option<Captured<'p>> {
    let (mut captures, mut rest) = (Vec::new(), path.strip_prefix('/')?);
    let mut segments = route.strip_prefix('/').expect("a route begins with `/`").split('/').peekable();
    while let Some(segment) = segments.next() {
        if let Some(name) = segment.strip_prefix("{*").and_then(|segment| segment.strip_suffix('}')) {
            assert!(segments.peek().is_none(), "{route}: a tail stands at the end");
            if rest.is_empty() {
                return None;
            }
            captures.push((name.to_owned(), rest));
            let tail = path.len() - rest.len() - 1;
            return Some(Captured { captures, tail: Some(path.split_at(tail)) });
        }
        let is_last = segments.peek().is_none();
        let (here, behind) = match rest.split_once('/') {
            Some(parts) if !is_last => parts,
            None if is_last => (rest, ""),
            Some(_) | None => return None,
        };
        let (before, capture, after) = parts(route, segment);
        let inner = here.strip_prefix(before.as_str())?.strip_suffix(after.as_str())?;
        match capture {
            Some(name) if !inner.is_empty() => captures.push((name, inner)),
            None if inner.is_empty() => {}
            Some(_) | None => return None,
        }
        rest = behind;
    }
    Some(Captured { captures, tail: None })
}

/// Splits a segment into the text before its capture, the name of the capture, and the text after it. A doubled brace
/// is a literal brace.
fn parts(route: &str, segment: &str) -> (String, Option<String>, String) {
    let (mut before, mut capture, mut after) = (String::new(), None, String::new());
    let mut letters = segment.chars().peekable();
    while let Some(letter) = letters.next() {
        let text = if capture.is_none() { &mut before } else { &mut after };
        match letter {
            '{' | '}' if letters.next_if_eq(&letter).is_some() => text.push(letter),
            '{' => {
                assert!(capture.is_none(), "{route}: a segment holds one capture at most");
                let name: String = std::iter::from_fn(|| letters.next_if(|letter| *letter != '}')).collect();
                assert!(letters.next().is_some(), "{route}: a brace without its partner");
                capture = Some(name);
            }
            '}' => panic!("{route}: a brace without its partner"),
            letter => text.push(letter),
        }
    }
    (before, capture, after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(route: &str, path: &str) -> Option<Vec<(String, String)>> {
        let found = matched(route, path)?;
        Some(found.captures.into_iter().map(|(name, value)| (name, value.to_owned())).collect())
    }

    #[test]
    fn a_path_is_matched_as_the_daemon_does_it() {
        let pairs = |pairs: &[(&str, &str)]| {
            Some(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
        };
        assert_eq!(captured("/", "/"), pairs(&[]));
        assert_eq!(captured("/a/{b}/c", "/a/x y/c"), pairs(&[("b", "x y")]));
        assert_eq!(captured("/v{n}.json", "/v12.json"), pairs(&[("n", "12")]));
        assert_eq!(captured("/f/{*rest}", "/f/a/b"), pairs(&[("rest", "a/b")]));
        assert_eq!(captured("/{{a}}", "/{a}"), pairs(&[]));
        for (route, path) in [
            ("/a", "/b"),
            ("/a/{b}", "/a"),
            ("/a/{b}", "/a/"),
            ("/a/{b}", "/a/b/c"),
            ("/f/{*rest}", "/f/"),
            ("/f/{*rest}", "/f"),
        ] {
            assert_eq!(captured(route, path), None, "{route} {path}");
        }
    }
}
