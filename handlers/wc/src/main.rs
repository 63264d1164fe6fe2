//! Counts lines, words and bytes of stdin: a plain program without HTTP, to be called by other handlers.
#![allow(clippy::print_stdout, reason = "its answer is what it prints")]

use std::io::{self, Read};

/// The counts of a text.
#[derive(Default, PartialEq, Debug)]
struct Count {
    lines: u64,
    words: u64,
    bytes: u64,
}

fn main() -> io::Result<()> {
    let Count { lines, words, bytes } = count(io::stdin().lock())?;
    println!("{lines} {words} {bytes}");
    Ok(())
}

/// Counts as wc(1) does, in one pass and with little memory.
fn count(mut text: impl Read) -> io::Result<Count> {
    let mut count = Count::default();
    let mut in_word = false;
    let mut piece = [0; 16 << 10];
    loop {
        let read = text.read(&mut piece)?;
        if read == 0 {
            return Ok(count);
        }
        for byte in &piece[..read] {
            let starts = !byte.is_ascii_whitespace();
            count.words += u64::from(starts && !in_word);
            count.lines += u64::from(*byte == b'\n');
            in_word = starts;
        }
        count.bytes += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_counted_as_wc_counts_it() {
        let counted = count(&b"one  two\nthree"[..]).unwrap_or_default();
        assert_eq!(counted, Count { lines: 1, words: 3, bytes: 14 });
        assert_eq!(count(&b""[..]).unwrap_or_default(), Count::default());
    }
}
