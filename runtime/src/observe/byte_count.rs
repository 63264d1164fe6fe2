//! Numbers of bytes as the configuration writes them: `128MiB`.

use std::fmt;

/// A number of bytes. It is printed without rounding, so that it can be compared with the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ByteCount(pub u64);

impl ByteCount {
    /// The binary units, largest first: a number is printed in the first that divides it.
    pub const UNITS: [(&'static str, u64); 4] =
        [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
}

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match ByteCount::UNITS.iter().find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor)) {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}B", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ByteCount;

    #[test]
    fn a_number_is_printed_in_the_largest_unit_that_divides_it() {
        let printed = [0, 1000, 1 << 10, 1536, 192 << 10, 128 << 20, 3 << 40];
        assert_eq!(
            printed.map(|bytes| ByteCount(bytes).to_string()),
            ["0B", "1000B", "1KiB", "1536B", "192KiB", "128MiB", "3TiB"]
        );
    }
}
