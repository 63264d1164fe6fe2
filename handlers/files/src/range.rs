//! Parses the single range of a file that a request asks for (RFC 9110 §14).

/// The part of a file to send.
#[derive(Debug, PartialEq)]
pub(crate) enum Part {
    Whole,
    /// From the first byte to the last, inclusive.
    Within {
        first: u64,
        last: u64,
    },
    /// The range lies outside the file: 416.
    Outside,
}

/// Parses a `Range` field. Anything but a single, well-formed byte range is ignored, as §14.2 allows. Several
/// ranges would need a multipart body and gain little for files.
pub(crate) fn parse(field: Option<&str>, length: u64) -> Part {
    let Some((first, last)) = field.and_then(single) else { return Part::Whole };
    match (position(first), position(last)) {
        (Position::At(first), Position::At(last)) if first > last => Part::Whole,
        (Position::At(first), _) if first >= length && !matches!(position(last), Position::Bad) => {
            Part::Outside
        }
        (Position::At(first), Position::At(last)) => Part::Within { first, last: last.min(length - 1) },
        (Position::At(first), Position::Open) => Part::Within { first, last: length - 1 },
        // The last `count` bytes. If the file is empty or `count` is 0, there is nothing to send.
        (Position::Open, Position::At(count)) if count == 0 || length == 0 => Part::Outside,
        (Position::Open, Position::At(count)) => {
            Part::Within { first: length.saturating_sub(count), last: length - 1 }
        }
        (Position::Open, Position::Open) | (Position::Bad, _) | (_, Position::Bad) => Part::Whole,
    }
}

/// One end of a range.
enum Position {
    At(u64),
    Open,
    Bad,
}

fn single(field: &str) -> Option<(&str, &str)> {
    let (unit, set) = field.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return None;
    }
    set.trim().split_once('-')
}

fn position(digits: &str) -> Position {
    match digits {
        "" => Position::Open,
        _ if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            // A number beyond `u64` is past the end of any file.
            Position::At(digits.parse().unwrap_or(u64::MAX))
        }
        _ => Position::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(first: u64, last: u64) -> Part {
        Part::Within { first, last }
    }

    #[test]
    fn a_single_range_is_cut_to_the_file() {
        assert_eq!(parse(Some("bytes=0-0"), 10), within(0, 0));
        assert_eq!(parse(Some("bytes=2-4"), 10), within(2, 4));
        assert_eq!(parse(Some("bytes=2-"), 10), within(2, 9));
        assert_eq!(parse(Some("bytes=2-99999999999999999999999"), 10), within(2, 9));
        assert_eq!(parse(Some("bytes=-3"), 10), within(7, 9));
        assert_eq!(parse(Some("bytes=-99"), 10), within(0, 9));
        assert_eq!(parse(Some("Bytes=9-9"), 10), within(9, 9));
    }

    #[test]
    fn a_range_past_the_end_is_unsatisfiable() {
        for past in ["bytes=10-", "bytes=10-12", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(parse(Some(past), 10), Part::Outside, "{past}");
        }
        assert_eq!(parse(Some("bytes=0-"), 0), Part::Outside);
        assert_eq!(parse(Some("bytes=-1"), 0), Part::Outside);
    }

    #[test]
    fn what_is_no_single_range_is_ignored() {
        let others = [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5-2",
            "bytes=0-1,3-4",
            "lines=0-1",
            "bytes=a-b",
            "bytes=+1-2",
            "bytes=20-x",
        ];
        for other in others {
            assert_eq!(parse(Some(other), 10), Part::Whole, "{other:?}");
        }
        assert_eq!(parse(None, 10), Part::Whole);
    }
}
