//! The number of a job, and its label in the log.

use std::fmt;

use data_encoding::HEXLOWER;

/// The number of a job, unique within one run of the daemon and unlikely to repeat across runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct JobId(pub u64);

impl JobId {
    /// Writes the number as sixteen hexadecimal digits. Never allocates.
    pub fn digits(self, room: &mut [u8; 16]) -> &str {
        HEXLOWER.encode_mut_str(&self.0.to_be_bytes(), room)
    }
}

/// Sixteen hexadecimal digits.
impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.digits(&mut [0; 16]))
    }
}

impl std::str::FromStr for JobId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<JobId, Self::Err> {
        u64::from_str_radix(text, 16).map(JobId)
    }
}

/// The label of a job in the log: its number, and the number of the job that called it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Label {
    /// Its number.
    pub id: JobId,
    /// The number of its caller, if a job called it.
    pub parent: Option<JobId>,
}

/// `e596cf1f00000002 of e596cf1f00000001`, or the first of these alone.
impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)?;
        self.parent.map_or(Ok(()), |parent| write!(f, " of {parent}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_sixteen_digits_and_is_read_back() {
        for (number, text) in [
            (0, "0000000000000000"),
            (0x0123_4567_89ab_cdef, "0123456789abcdef"),
            (0xfedc_ba98_7654_3210, "fedcba9876543210"),
            (u64::MAX, "ffffffffffffffff"),
        ] {
            assert_eq!(JobId(number).to_string(), text);
            assert_eq!(text.parse::<JobId>(), Ok(JobId(number)));
        }
    }
}
