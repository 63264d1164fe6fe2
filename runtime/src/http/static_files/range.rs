//! The part of a file that a request asks for (RFC 9110 §14).

/// A part of a file.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum RequestedRange {
    /// The whole file.
    Whole,
    /// From the first byte to the last, inclusive.
    Within { first: u64, last: u64 },
    /// Beyond the end of the file: 416.
    Outside,
}

/// One end of a range.
enum RangeEnd {
    At(u64),
    Open,
    Invalid,
}

/// Parses a `Range` field for a file of this length. Anything but one valid range of bytes is ignored, as §14.2 allows:
/// several ranges would need a multipart body, whose parts a client can make overlap a thousand times.
pub(super) fn parse(field: &str, length: u64) -> RequestedRange {
    use RangeEnd::{At, Invalid, Open};
    let Some((first, last)) = single(field) else { return RequestedRange::Whole };
    match (end(first), end(last)) {
        (Invalid, _) | (_, Invalid) | (Open, Open) => RequestedRange::Whole,
        (At(first), At(last)) if first > last => RequestedRange::Whole,
        (At(first), _) if first >= length => RequestedRange::Outside,
        (At(first), At(last)) => RequestedRange::Within { first, last: last.min(length - 1) },
        (At(first), Open) => RequestedRange::Within { first, last: length - 1 },
        // The last `count` bytes.
        (Open, At(count)) if count == 0 || length == 0 => RequestedRange::Outside,
        (Open, At(count)) => RequestedRange::Within { first: length.saturating_sub(count), last: length - 1 },
    }
}

fn single(field: &str) -> Option<(&str, &str)> {
    let (unit, set) = field.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return None;
    }
    set.trim().split_once('-')
}

fn end(digits: &str) -> RangeEnd {
    match digits {
        "" => RangeEnd::Open,
        // A number beyond `u64` is past the end of any file.
        _ if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            RangeEnd::At(digits.parse().unwrap_or(u64::MAX))
        }
        _ => RangeEnd::Invalid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use RequestedRange::{Outside, Whole, Within};

    #[test]
    fn a_single_range_is_cut_to_the_file() {
        assert_eq!(parse("bytes=0-0", 10), Within { first: 0, last: 0 });
        assert_eq!(parse("bytes=2-4", 10), Within { first: 2, last: 4 });
        assert_eq!(parse("bytes=2-", 10), Within { first: 2, last: 9 });
        assert_eq!(parse("bytes=2-99999999999999999999999", 10), Within { first: 2, last: 9 });
        assert_eq!(parse("bytes=-3", 10), Within { first: 7, last: 9 });
        assert_eq!(parse("bytes=-99", 10), Within { first: 0, last: 9 });
        assert_eq!(parse("Bytes=9-9", 10), Within { first: 9, last: 9 });
    }

    #[test]
    fn a_range_past_the_end_is_unsatisfiable() {
        for past in ["bytes=10-", "bytes=10-12", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(parse(past, 10), Outside, "{past}");
        }
        assert_eq!((parse("bytes=0-", 0), parse("bytes=-1", 0)), (Outside, Outside));
    }

    #[test]
    fn what_is_no_single_range_is_ignored() {
        for other in [
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
        ] {
            assert_eq!(parse(other, 10), Whole, "{other:?}");
        }
    }
}
