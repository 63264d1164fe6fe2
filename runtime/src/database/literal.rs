//! Arrays, ranges and intervals in the text form that PostgreSQL reads.
//!
//! Sources: PostgreSQL, "Array Input and Output Syntax", "Range Input/Output", "Interval Input" (ISO 8601).

use std::iter::Peekable;
use std::ops::Bound;
use std::str::Chars;

/// Letters that an item in an array or range may hold only in quotes.
const SPECIAL: &str = "{}()[],\"\\";

/// Writes an array of one dimension. `None` is NULL.
pub fn array<I: AsRef<str>>(items: impl IntoIterator<Item = Option<I>>) -> String {
    let mut text = String::from("{");
    for (number, item) in items.into_iter().enumerate() {
        if number > 0 {
            text.push(',');
        }
        match &item {
            None => text.push_str("NULL"),
            Some(item) => push_item(&mut text, item.as_ref()),
        }
    }
    text.push('}');
    text
}

/// Reads an array of one dimension; `None` if the text is not one.
pub fn array_items(text: &str) -> Option<Vec<Option<String>>> {
    let inner = text.strip_prefix('{')?.strip_suffix('}')?;
    if inner.is_empty() {
        return Some(Vec::new());
    }
    let mut letters = inner.chars().peekable();
    let mut items = Vec::new();
    loop {
        let (item, form) = item(&mut letters)?;
        let is_null = form == ItemForm::Bare && item.eq_ignore_ascii_case("null");
        items.push((!is_null).then_some(item));
        match letters.next() {
            None => return Some(items),
            Some(',') => {}
            Some(_) => return None,
        }
    }
}

/// Writes a range.
pub fn range(lower: Bound<&str>, upper: Bound<&str>) -> String {
    let mut text = String::from(if matches!(lower, Bound::Included(_)) { "[" } else { "(" });
    for (bound, after) in [(lower, ','), (upper, if matches!(upper, Bound::Included(_)) { ']' } else { ')' })]
    {
        if let Bound::Included(item) | Bound::Excluded(item) = bound {
            push_item(&mut text, item);
        }
        text.push(after);
    }
    text
}

/// Reads a range; `None` if the text is not one. The empty range has no bounds.
pub fn range_bounds(text: &str) -> Option<(Bound<String>, Bound<String>)> {
    if text == "empty" {
        return Some((Bound::Unbounded, Bound::Unbounded));
    }
    let mut letters = text.chars().peekable();
    let begin = letters.next()?;
    let lower = item(&mut letters)?;
    (letters.next()? == ',').then_some(())?;
    let upper = item(&mut letters)?;
    let end = letters.next()?;
    let bound = |(text, form): (String, ItemForm), letter: char| match letter {
        _ if form == ItemForm::Bare && text.is_empty() => Some(Bound::Unbounded),
        '[' | ']' => Some(Bound::Included(text)),
        '(' | ')' => Some(Bound::Excluded(text)),
        _ => None,
    };
    Some((bound(lower, begin)?, bound(upper, end)?)).filter(|_| letters.next().is_none())
}

/// Writes an interval.
pub fn interval(micros: i64, days: i32, months: i32) -> String {
    let (sign, size) = (if micros < 0 { "-" } else { "" }, micros.unsigned_abs());
    format!("P{months}M{days}DT{sign}{}.{:06}S", size / 1_000_000, size % 1_000_000)
}

/// Reads an interval as [`interval`] writes it: microseconds, days and months.
pub fn interval_parts(text: &str) -> Option<(i64, i32, i32)> {
    let (months, rest) = text.strip_prefix('P')?.split_once('M')?;
    let (days, seconds) = rest.split_once("DT")?;
    let (whole, fraction) = seconds.strip_suffix('S')?.split_once('.')?;
    (fraction.len() == 6).then_some(())?;
    Some((format!("{whole}{fraction}").parse().ok()?, days.parse().ok()?, months.parse().ok()?))
}

/// How an item is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ItemForm {
    Bare,
    Quoted,
}

/// Reads an item up to the letter that ends it.
fn item(letters: &mut Peekable<Chars<'_>>) -> Option<(String, ItemForm)> {
    let mut text = String::new();
    if letters.next_if_eq(&'"').is_none() {
        while let Some(letter) = letters.next_if(|letter| !SPECIAL.contains(*letter)) {
            text.push(letter);
        }
        return Some((text, ItemForm::Bare));
    }
    loop {
        match letters.next()? {
            '"' => return Some((text, ItemForm::Quoted)),
            '\\' => text.push(letters.next()?),
            letter => text.push(letter),
        }
    }
}

/// Adds an item, in quotes if it needs them.
fn push_item(text: &mut String, item: &str) {
    let is_bare = !item.is_empty()
        && !item.eq_ignore_ascii_case("null")
        && !item.contains(|letter: char| letter.is_whitespace() || SPECIAL.contains(letter));
    if is_bare {
        return text.push_str(item);
    }
    text.push('"');
    for letter in item.chars() {
        if matches!(letter, '"' | '\\') {
            text.push('\\');
        }
        text.push(letter);
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_keep_their_items() {
        let items = [Some("1"), None, Some(""), Some("null"), Some("a \"b\\c\", {d}"), Some("é")];

        let text = array(items);

        assert_eq!(text, "{1,NULL,\"\",\"null\",\"a \\\"b\\\\c\\\", {d}\",é}");
        let read: Vec<Option<String>> = items.iter().map(|item| item.map(str::to_owned)).collect();
        assert_eq!(array_items(&text), Some(read));
        assert_eq!((array::<&str>([]), array_items("{}")), ("{}".to_owned(), Some(Vec::new())));
        for wrong in ["", "1", "{1", "{\"a}", "{{1},{2}}", "{1;2,\"a\"b}"] {
            assert_eq!(array_items(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn ranges_keep_their_bounds() {
        for (lower, upper, text) in [
            (Bound::Included("1"), Bound::Excluded("5"), "[1,5)"),
            (Bound::Unbounded, Bound::Included("-1.5"), "(,-1.5]"),
            (Bound::Excluded("a,b"), Bound::Unbounded, "(\"a,b\",)"),
        ] {
            assert_eq!(range(lower, upper), text);
            let read = range_bounds(text).unwrap();
            assert_eq!(
                (read.0.as_ref().map(String::as_str), read.1.as_ref().map(String::as_str)),
                (lower, upper)
            );
        }
        assert_eq!(range_bounds("empty"), Some((Bound::Unbounded, Bound::Unbounded)));
        for wrong in ["", "1,2", "[1", "[1,2", "[1,2)x", "{1,2}"] {
            assert_eq!(range_bounds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn intervals_keep_their_parts() {
        for (parts, text) in [
            ((3_000_004, 2, 1), "P1M2DT3.000004S"),
            ((-1, -2, 0), "P0M-2DT-0.000001S"),
            ((i64::MIN, i32::MIN, i32::MAX), "P2147483647M-2147483648DT-9223372036854.775808S"),
        ] {
            assert_eq!(interval(parts.0, parts.1, parts.2), text);
            assert_eq!(interval_parts(text), Some(parts));
        }
        assert_eq!(interval_parts("P1M2DT3S"), None);
    }
}
