//! Finds the first word of a statement, its parameters, and its end.
//!
//! Texts, names in quotes and comments are passed over. Source: PostgreSQL, "Lexical Structure".

#![cfg_attr(
    not(feature = "postgres"),
    allow(dead_code, reason = "the daemon knows less of SQLite's statements")
)]

use std::borrow::Cow;

/// Iterates over the bytes of a statement that are neither in quotes nor in a comment, with their places.
struct BareBytes<'s> {
    sql: &'s str,
    at: usize,
}

impl BareBytes<'_> {
    /// Passes over text that begins here and ends behind `end`, or with the statement.
    fn skip_to(&mut self, from: usize, end: &str) {
        let rest = self.sql.get(from..).unwrap_or_default();
        self.at = rest.find(end).map_or(self.sql.len(), |place| from + place + end.len());
    }

    /// Passes over a quoted text. In one of the form `E'...'` a backslash escapes the next byte.
    fn skip_quoted(&mut self, quote: u8) {
        let bytes = self.sql.as_bytes();
        let has_escapes = quote == b'\''
            && self.at > 0
            && bytes[self.at - 1].eq_ignore_ascii_case(&b'e')
            && !self.at.checked_sub(2).is_some_and(|before| is_word(bytes[before]));
        self.at += 1;
        while let Some(byte) = bytes.get(self.at) {
            self.at += 1;
            match *byte {
                b'\\' if has_escapes => self.at += 1,
                byte if byte == quote => break,
                _ => {}
            }
        }
    }

    /// Passes over a comment that ends with its line. For PostgreSQL a carriage return ends a line too.
    fn skip_line(&mut self) {
        let rest = &self.sql.as_bytes()[self.at..];
        let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        self.at += end.map_or(rest.len(), |end| end + 1);
    }

    /// Passes over a comment of the form `/* */`, which may hold others.
    fn skip_comment(&mut self) {
        let bytes = self.sql.as_bytes();
        let mut depth = 0;
        while let Some(byte) = bytes.get(self.at) {
            match (byte, bytes.get(self.at + 1)) {
                (b'/', Some(b'*')) => (depth, self.at) = (depth + 1, self.at + 2),
                (b'*', Some(b'/')) => (depth, self.at) = (depth - 1, self.at + 2),
                _ => self.at += 1,
            }
            if depth == 0 {
                return;
            }
        }
    }
}

impl Iterator for BareBytes<'_> {
    type Item = (usize, u8);

    fn next(&mut self) -> Option<(usize, u8)> {
        let bytes = self.sql.as_bytes();
        loop {
            let byte = *bytes.get(self.at)?;
            let next = bytes.get(self.at + 1);
            match byte {
                b'\'' | b'"' => self.skip_quoted(byte),
                b'-' if next == Some(&b'-') => self.skip_line(),
                b'/' if next == Some(&b'*') => self.skip_comment(),
                // `$1` is a parameter, `$$` and `$body$` begin a text, and a name may hold a `$`.
                b'$' if !self.at.checked_sub(1).is_some_and(|before| is_word(bytes[before])) => {
                    let rest = &self.sql[self.at + 1..];
                    let tag = rest.find('$').map(|end| &rest[..end]).filter(|tag| {
                        tag.bytes().all(|byte| is_word(byte) || !byte.is_ascii())
                            && !tag.starts_with(|first: char| first.is_ascii_digit())
                    });
                    match tag {
                        Some(tag) => {
                            let end = format!("${tag}$");
                            self.skip_to(self.at + end.len(), &end);
                        }
                        None => {
                            self.at += 1;
                            return Some((self.at - 1, byte));
                        }
                    }
                }
                _ => {
                    self.at += 1;
                    return Some((self.at - 1, byte));
                }
            }
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn bare(sql: &str) -> BareBytes<'_> {
    BareBytes { sql, at: 0 }
}

/// Returns the words of a statement in upper case, as long as they are outside of quotes.
pub(super) fn words(sql: &str) -> Vec<String> {
    leading_words(sql, usize::MAX)
}

/// Returns the first of these words, as many as `max`.
pub(super) fn leading_words(sql: &str, max: usize) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut last = None;
    for (at, byte) in bare(sql).filter(|(_, byte)| is_word(*byte)) {
        let letter = char::from(byte.to_ascii_uppercase());
        let count = words.len();
        match words.last_mut() {
            Some(word) if last == at.checked_sub(1) => word.push(letter),
            _ if count == max => break,
            _ => words.push(letter.to_string()),
        }
        last = Some(at);
    }
    words
}

/// Returns the first word of each statement of a text.
pub(super) fn first_words(sql: &str) -> Vec<String> {
    let mut ends: Vec<usize> = bare(sql).filter(|(_, byte)| *byte == b';').map(|(at, _)| at).collect();
    ends.push(sql.len());
    let mut from = 0;
    let mut first = Vec::new();
    for end in ends {
        first.extend(leading_words(&sql[from..end], 1));
        from = end + 1;
    }
    first
}

/// Replaces `?` by `$1`, `$2` and so on, unless the statement has such parameters already: then `?` is an operator.
pub(super) fn numbered(sql: &str) -> Cow<'_, str> {
    let is_digit = |at: usize| sql.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    let is_numbered = bare(sql).any(|(at, byte)| byte == b'$' && is_digit(at + 1));
    let places: Vec<usize> = bare(sql).filter(|(_, byte)| *byte == b'?').map(|(at, _)| at).collect();
    if places.is_empty() || is_numbered {
        return Cow::Borrowed(sql);
    }
    let mut text = String::with_capacity(sql.len() + 2 * places.len());
    let mut from = 0;
    for (number, at) in (1..).zip(places) {
        text.push_str(&sql[from..at]);
        text.push_str(&format!("${number}"));
        from = at + 1;
    }
    text.push_str(&sql[from..]);
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered_outside_of_texts_and_comments() {
        for (sql, wanted) in [
            ("select ? + ?", "select $1 + $2"),
            (
                "select '?''?', \"?\", ? -- ?\n, ? /* ? /* ? */ ? */",
                "select '?''?', \"?\", $1 -- ?\n, $2 /* ? /* ? */ ? */",
            ),
            ("select E'\\'?', ?", "select E'\\'?', $1"),
            ("select $$ ? $$, $a$ ? $$ ? $a$, ?", "select $$ ? $$, $a$ ? $$ ? $a$, $1"),
            ("select '{}'::jsonb ? $1", "select '{}'::jsonb ? $1"),
            ("select a$b, é, ?", "select a$b, é, $1"),
            ("select 'open ?", "select 'open ?"),
        ] {
            assert_eq!(numbered(sql), wanted);
        }
    }

    #[test]
    fn the_first_words_are_found_behind_comments() {
        assert_eq!(words("/* begin */ -- x\n Commit and chain; 'x'"), ["COMMIT", "AND", "CHAIN"]);
        assert_eq!(
            first_words("create table a (b text);;\n commit; do $$ begin; commit; $$"),
            ["CREATE", "COMMIT", "DO"]
        );
        assert_eq!(leading_words("commit  and chain", 2), ["COMMIT", "AND"]);
        assert_eq!(words("-- begin\r commit"), ["COMMIT"], "PostgreSQL runs what follows");
        assert!(words("").is_empty() && first_words(" ; ").is_empty());
    }
}
