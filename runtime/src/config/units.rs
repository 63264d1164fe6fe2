//! Sizes, durations and permissions, parsed from text and printed as text.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::observe::ByteCount;

/// A number of bytes: `128MiB`, `1GB`, `512`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Size(pub u64);

/// A length of time: `30s`, `1m30s`, `250ms`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Span(pub Duration);

/// The permissions of a file, in octal digits: `0660`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mode(pub u32);

/// A text that is not such a value: says what was wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnitError(String);

const DECIMAL: [(&str, u64); 4] =
    [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("KB", 1000)];

/// The units of time in nanoseconds, largest first: the order in which they are written.
const TIMES: [(&str, u128); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1000),
    ("ns", 1),
];

impl FromStr for Size {
    type Err = UnitError;

    /// Reads a whole number and a unit: B, KiB, MiB, GiB, TiB (powers of 1024), KB, MB, GB, TB
    /// (powers of 1000). Without a unit, the number is in bytes.
    ///
    /// # Errors
    /// The text is not a size, or is 2^64 bytes or more. Never panics.
    fn from_str(text: &str) -> Result<Size, UnitError> {
        let wanted = || UnitError("a size such as \"128MiB\" or \"64KiB\"".to_owned());
        let (number, unit) = split_number(text);
        let unit = unit.strip_prefix(' ').unwrap_or(unit);
        let known = ByteCount::UNITS.iter().chain(&DECIMAL).find(|(name, _)| *name == unit);
        let factor = match (known, unit) {
            (Some((_, factor)), _) => *factor,
            (None, "" | "B") => 1,
            (None, _) => return Err(wanted()),
        };
        if number.is_empty() {
            return Err(wanted());
        }
        let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
        bytes.map(Size).ok_or_else(|| UnitError("a size below 16777216TiB".to_owned()))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ByteCount(self.0).fmt(f)
    }
}

impl FromStr for Span {
    type Err = UnitError;

    /// Reads whole numbers with the units h, m, s, ms, us and ns, each once and in this order.
    ///
    /// # Errors
    /// The text is not a duration, has a number without a unit, or is longer than a [`Duration`]
    /// can be. Never panics.
    fn from_str(text: &str) -> Result<Span, UnitError> {
        let wanted = || UnitError("a duration such as \"30s\", \"250ms\" or \"1m30s\"".to_owned());
        let mut nanoseconds = 0u128;
        let mut units = TIMES.iter();
        let mut rest = text;
        while !rest.is_empty() || text.is_empty() {
            let (number, behind) = split_number(rest);
            let (unit, after) =
                behind.split_at(behind.find(|char: char| char.is_ascii_digit()).unwrap_or(behind.len()));
            if !number.is_empty() && unit.is_empty() {
                return Err(UnitError(format!(
                    "a unit: write \"{text}s\" for seconds, \"{text}ms\" for milliseconds"
                )));
            }
            // The iterator has passed the larger units: a second `s`, or an `h` after it, is not
            // found.
            let (_, factor) = units.find(|(name, _)| *name == unit).ok_or_else(wanted)?;
            let number: u64 = number.parse().map_err(|_| wanted())?;
            // 2^64 times the longest unit, six times over, is far below 2^128.
            nanoseconds += u128::from(number) * factor;
            rest = after;
        }
        let seconds = u64::try_from(nanoseconds / 1_000_000_000);
        let seconds = seconds.map_err(|_| UnitError("a shorter duration".to_owned()))?;
        // A remainder below 10^9 fits.
        let below = u32::try_from(nanoseconds % 1_000_000_000).unwrap_or_default();
        Ok(Span(Duration::new(seconds, below)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0.as_nanos();
        if left == 0 {
            return f.write_str("0s");
        }
        for (unit, factor) in TIMES {
            if left >= factor {
                write!(f, "{}{unit}", left / factor)?;
            }
            left %= factor;
        }
        Ok(())
    }
}

impl FromStr for Mode {
    type Err = UnitError;

    /// Reads octal digits, with or without `0` or `0o` in front.
    ///
    /// # Errors
    /// The text is not octal digits, or has bits outside `0777`.
    fn from_str(text: &str) -> Result<Mode, UnitError> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        let octal = (1..=4).contains(&digits.len()) && digits.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
        let mode = u32::from_str_radix(digits, 8).ok().filter(|mode| octal && *mode <= 0o777);
        mode.map(Mode).ok_or_else(|| UnitError("octal permissions such as \"0660\"".to_owned()))
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UnitError {}

fn split_number(text: &str) -> (&str, &str) {
    text.split_at(text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_count_in_both_systems() {
        for (text, bytes) in [
            ("128MiB", 128 << 20),
            ("64KiB", 64 << 10),
            ("1GiB", 1 << 30),
            ("512B", 512),
            ("512", 512),
            ("1 KB", 1000),
            ("2MB", 2_000_000),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for bad in ["", "MiB", "1.5MiB", "-1", "1mib", "1 MiB ", "18446744073709551616", "16777216TiB", "+1"]
        {
            assert!(bad.parse::<Size>().is_err(), "{bad:?} must be refused");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        for (text, milliseconds) in [
            ("30s", 30_000),
            ("250ms", 250),
            ("1m30s", 90_000),
            ("2h", 7_200_000),
            ("0s", 0),
            ("90s", 90_000),
        ] {
            assert_eq!(text.parse(), Ok(Span(Duration::from_millis(milliseconds))), "{text}");
        }
        let advice = "30".parse::<Span>().unwrap_err().to_string();
        assert_eq!(advice, "a unit: write \"30s\" for seconds, \"30ms\" for milliseconds");
        for bad in [
            "",
            "s",
            "1s1m",
            "1s1s",
            "1.5s",
            "-1s",
            "1 s",
            "1d",
            "99999999999999999999s",
            "5124095576030432h",
        ] {
            assert!(bad.parse::<Span>().is_err(), "{bad:?} must be refused");
        }
    }

    #[test]
    fn permissions_are_octal() {
        for text in ["0660", "660", "0o660"] {
            assert_eq!(text.parse::<Mode>().unwrap().to_string(), "0660");
        }
        for bad in ["", "0o", "0888", "01777", "7777", "rw", "+660", "00000"] {
            assert!(bad.parse::<Mode>().is_err(), "{bad:?} must be refused");
        }
    }

    proptest! {
        #[test]
        fn a_unit_survives_being_printed(size: u64, span: Duration, shift in 0u32..64, mode in 0u32..0o1000) {
            let sizes = [Size(size), Size(size >> shift << shift)];
            for size in sizes {
                prop_assert_eq!(size.to_string().parse(), Ok(size));
            }
            prop_assert_eq!(Span(span).to_string().parse(), Ok(Span(span)));
            prop_assert_eq!(Mode(mode).to_string().parse(), Ok(Mode(mode)));
        }

        #[test]
        fn no_text_panics(text in "[0-9]{0,24}[a-zA-Z ]{0,3}[0-9a-z]{0,24}", other in ".{0,16}") {
            for text in [&text, &other] {
                let _either = (text.parse::<Size>(), text.parse::<Span>(), text.parse::<Mode>());
            }
        }
    }
}
