//! SQLite's functions on texts, in time that grows with the lengths of their arguments and not with the product of these.
//!
//! Texts are bytes: SQLite does not check that a text is UTF-8. [`trimmed`] searches a text that is not UTF-8 as SQLite
//! does, in time that grows with the product. It reports its work to `spend`, which can end it.
//!
//! Source: `func.c` of SQLite 3.54.

use std::collections::HashSet;

use memchr::memmem;

/// Gets the work that was done since the last call. Returns an error to end the search.
pub(super) type Spend<'s> = &'s mut dyn FnMut(usize) -> rusqlite::Result<()>;

/// Returns the place of a text in another one, counted from 1 in characters, or in bytes of a blob; 0 if it is not there.
pub(super) fn place(text: &[u8], pattern: &[u8], is_blob: bool) -> usize {
    let is_inside = |byte: u8| !is_blob && byte & 0xc0 == 0x80;
    let found = match pattern.first() {
        None => return 1,
        // No character begins so. SQLite looks at the beginning of each character.
        Some(first) if is_inside(*first) => text.starts_with(pattern).then_some(0),
        Some(_) => memmem::find(text, pattern),
    };
    match found {
        None => 0,
        Some(0) => 1,
        Some(place) => 1 + text[1..=place].iter().filter(|byte| !is_inside(**byte)).count(),
    }
}

/// Replaces a text in another one, everywhere. Returns `None` if the result would be longer than `max`.
pub(super) fn replaced(text: &[u8], pattern: &[u8], by: &[u8], max: usize) -> Option<Vec<u8>> {
    let mut made = Vec::with_capacity(text.len());
    let mut end = 0;
    for found in memmem::find_iter(text, pattern) {
        made.extend_from_slice(&text[end..found]);
        made.extend_from_slice(by);
        end = found + pattern.len();
        if made.len() > max {
            return None;
        }
    }
    made.extend_from_slice(&text[end..]);
    (made.len() <= max).then_some(made)
}

/// Removes the characters of a set from the beginning of a text, from its end, or from both.
///
/// # Errors
/// Those of `spend`.
pub(super) fn trimmed<'t>(
    text: &'t [u8],
    set: &[u8],
    (at_start, at_end): (bool, bool),
    spend: Spend<'_>,
) -> rusqlite::Result<&'t [u8]> {
    let set = up_to_nul(set);
    if let (Ok(text), Ok(set)) = (std::str::from_utf8(text), std::str::from_utf8(set)) {
        let set: HashSet<char> = set.chars().collect();
        let is_in = |character: char| set.contains(&character);
        let text = if at_start { text.trim_start_matches(is_in) } else { text };
        let text = if at_end { text.trim_end_matches(is_in) } else { text };
        return Ok(text.as_bytes());
    }
    let set = characters(set);
    let mut rest = text;
    while at_start && let Some(found) = first(&set, spend, |character| rest.starts_with(character))? {
        rest = &rest[found..];
    }
    while at_end && let Some(found) = first(&set, spend, |character| rest.ends_with(character))? {
        rest = &rest[..rest.len() - found];
    }
    Ok(rest)
}

/// Returns the length of the first character that fits.
fn first(set: &[&[u8]], spend: Spend<'_>, fits: impl Fn(&[u8]) -> bool) -> rusqlite::Result<Option<usize>> {
    for character in set {
        spend(1 + character.len() / 64)?;
        if fits(character) {
            return Ok(Some(character.len()));
        }
    }
    Ok(None)
}

/// Reads pairs of hexadecimal digits, between which the characters of `passed` may stand. Returns `None` if there is
/// anything else.
pub(super) fn from_hex(text: &[u8], passed: &[u8]) -> Option<Vec<u8>> {
    let mut allowed = HashSet::new();
    let mut rest = passed;
    while let Some((character, after)) = decoded(rest) {
        allowed.insert(character);
        rest = after;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut rest = up_to_nul(text);
    let mut made = Vec::with_capacity(rest.len() / 2);
    while let Some((high, after)) = rest.split_first() {
        if let Some(high) = digit(*high) {
            let (low, after) = after.split_first()?;
            made.push((high << 4) | digit(*low)?);
            rest = after;
        } else {
            let (character, after) = decoded(rest)?;
            if !allowed.contains(&character) {
                return None;
            }
            rest = after;
        }
    }
    Some(made)
}

/// Returns what is before the first NUL: there SQLite takes a set of characters to end.
fn up_to_nul(text: &[u8]) -> &[u8] {
    &text[..memchr::memchr(0, text).unwrap_or(text.len())]
}

/// Returns the bytes of the first character: SQLite takes all that follow a first byte as far as they look so.
fn length(text: &[u8]) -> usize {
    let is_long = text.first().is_some_and(|first| *first >= 0xc0);
    let following = |text: &[u8]| text.iter().take_while(|byte| **byte & 0xc0 == 0x80).count();
    match is_long {
        true => 1 + following(&text[1..]),
        false => text.len().min(1),
    }
}

fn characters(text: &[u8]) -> Vec<&[u8]> {
    let mut rest = text;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (character, after) = rest.split_at(length(rest));
        found.push(character);
        rest = after;
    }
    found
}

/// Decodes the first character as SQLite does. An invalid character becomes U+FFFD.
fn decoded(text: &[u8]) -> Option<(u32, &[u8])> {
    let (character, after) = text.split_at(length(text));
    let (first, following) = character.split_first()?;
    let begun = match first {
        0xfd => 1,
        0xfc | 0xfe | 0xff => 0,
        0xf8..=0xfb => first & 0x03,
        0xf0..=0xf7 => first & 0x07,
        0xe0..=0xef => first & 0x0f,
        0xc0..=0xdf => first & 0x1f,
        _ => return Some((u32::from(*first), after)),
    };
    let code = following.iter().fold(u32::from(begun), |code, byte| (code << 6) | u32::from(byte & 0x3f));
    let is_none = code < 0x80 || (code & 0xffff_f800) == 0xd800 || (code & 0xffff_fffe) == 0xfffe;
    Some((if is_none { 0xfffd } else { code }, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_that_is_no_utf8_is_taken_apart_as_sqlite_does() {
        assert_eq!(characters(b"a\xc3\xa9\xa9\x80b"), [&b"a"[..], b"\xc3\xa9\xa9\x80", b"b"]);
        assert_eq!(characters(b"\x80\x80"), [&b"\x80"[..], b"\x80"]);
        let mut work = 0;
        let mut spend = |more: usize| {
            work += more;
            Ok(())
        };
        let trimmed = trimmed(b"\xff\x80a\xff", b"\xff\x80\0a", (true, true), &mut spend).unwrap();
        assert_eq!(trimmed, b"a\xff");
        assert!(work > 0);
    }

    #[test]
    fn a_search_whose_time_is_over_ends() {
        let (text, set) = ([0x80; 1000], [[0xff, b'a'].repeat(100), vec![0x80]].concat());
        let mut left = 5000;
        let mut spend = |more: usize| {
            left -= more.min(left);
            if left == 0 { Err(rusqlite::Error::InvalidQuery) } else { Ok(()) }
        };

        assert!(trimmed(&text, &set, (true, false), &mut spend).is_err());
    }
}
