//! Patterns of paths with `*`: `assets/*`.

/// A text in which each `*` stands for any characters, slashes included.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wildcard {
    /// The texts between the stars.
    parts: Vec<String>,
}

impl Wildcard {
    /// Parses a pattern.
    pub fn new(text: &str) -> Wildcard {
        Wildcard { parts: text.split('*').map(str::to_owned).collect() }
    }

    /// Reports whether a text matches. Takes linear time for one star, and at most one pass for each more.
    pub fn matches(&self, text: &str) -> bool {
        let [first, between @ .., last] = &self.parts[..] else {
            return self.parts.first().is_some_and(|only| only == text);
        };
        let Some(rest) = text.strip_prefix(first.as_str()) else { return false };
        let Some(mut rest) = rest.strip_suffix(last.as_str()) else { return false };
        for part in between {
            let Some(at) = rest.find(part.as_str()) else { return false };
            rest = &rest[at + part.len()..];
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        let matches = |pattern: &str, text: &str| Wildcard::new(pattern).matches(text);

        assert!(matches("assets/*", "assets/a/b.js") && matches("assets/*", "assets/"));
        assert!(matches("*.js", "a/b.js") && matches("a*b*c", "a1b2c") && matches("*", ""));
        assert!(!matches("assets/*", "asset") && !matches("a*a", "a") && !matches("a*b*c", "acb"));
        assert!(matches("exact", "exact") && !matches("exact", "exactly"));
    }
}
