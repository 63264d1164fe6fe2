//! Escapes untrusted text for the log and for terminals.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// Escapes characters that could forge a line, reorder one or move a terminal's cursor. These are all control
/// characters except the tab, the line and paragraph separators, and those that change the direction of text. Other
/// characters stay, so that names and messages in any script remain readable.
///
/// All text of clients and guests passes through here, or through `{:?}`, before it reaches the log.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(forges) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if forges(letter) {
            escaped.extend(letter.escape_default());
        } else {
            escaped.push(letter);
        }
    }
    Cow::Owned(escaped)
}

/// Escapes untrusted text like [`plain`] and cuts it to `max` bytes, followed by an ellipsis. The rest is not even
/// formatted: a guest can make names and messages of any length.
pub fn brief(words: impl fmt::Display, max: usize) -> String {
    let mut brief = BoundedText { text: String::new(), max };
    if write!(brief, "{words}").is_err() {
        brief.text.push('…');
    }
    brief.text
}

/// Text that fails to grow beyond its limit.
struct BoundedText {
    text: String,
    max: usize,
}

impl fmt::Write for BoundedText {
    fn write_str(&mut self, words: &str) -> fmt::Result {
        for letter in words.chars() {
            let before = self.text.len();
            if forges(letter) {
                self.text.extend(letter.escape_default());
            } else {
                self.text.push(letter);
            }
            if self.text.len() > self.max {
                self.text.truncate(before);
                return Err(fmt::Error);
            }
        }
        Ok(())
    }
}

/// Reports whether a character changes how the text around it is displayed.
fn forges(letter: char) -> bool {
    match letter {
        '\t' => false,
        // Unicode's Bidi_Control, UAX #9 table 1, and the line separators that are no control characters.
        '\u{61c}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{2028}'
        | '\u{2029}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}' => true,
        // C0, DEL and C1, where U+0085 ends a line and U+009B begins a terminal command.
        letter => letter.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cannot_forge_another_or_move_the_cursor() {
        assert_eq!(plain("a\u{1b}[2Jb\tc\rd\ne"), "a\\u{1b}[2Jb\tc\\rd\\ne");
        assert_eq!(plain("next\u{85}line, \u{9b}2J"), "next\\u{85}line, \\u{9b}2J");
        assert_eq!(plain("a\u{2028}b\u{2029}c"), "a\\u{2028}b\\u{2029}c");
    }

    #[test]
    fn text_cannot_be_shown_in_another_order_than_it_was_written() {
        for letter in
            "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}"
                .chars()
        {
            let shown = plain(&format!("a{letter}b")).into_owned();
            assert_eq!(shown, format!("a\\u{{{:x}}}b", u32::from(letter)));
        }
    }

    #[test]
    fn text_of_any_script_stays_as_it_is() {
        for text in ["", "tab\there", "Größe", "שלום", "می\u{200c}خواهم", "👩\u{200d}🚀", "\\u{1b}"]
        {
            assert!(matches!(plain(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn words_are_cut_between_letters_and_never_within_what_was_escaped() {
        assert_eq!(brief("Größe", 7), "Größe");
        assert_eq!(brief("Größe", 6), "Größ…");
        assert_eq!(brief("Größe", 5), "Grö…");
        assert_eq!(brief("a\u{1b}b", 6), "a…");
        assert_eq!(brief(format_args!("{:?}", "Z".repeat(1 << 20)), 3), "\"ZZ…");
        assert_eq!(brief("", 0), "");
    }
}
