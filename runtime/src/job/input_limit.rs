//! Counts the input of a job against its limit.

use super::Fault;

/// Counts the bytes of an input up to `limits.body`.
#[derive(Debug)]
pub struct InputLimit {
    left: u64,
    max: u64,
}

impl InputLimit {
    /// Starts at 0 of `max` bytes.
    pub fn new(max: u64) -> InputLimit {
        InputLimit { left: max, max }
    }

    /// Counts bytes that have arrived.
    ///
    /// # Errors
    /// [`Fault::InputTooLarge`]: the input exceeds the limit.
    pub fn take(&mut self, length: usize) -> Result<(), Fault> {
        self.left = self.left.checked_sub(length as u64).ok_or(Fault::InputTooLarge(self.max))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_as_may_be_is_taken_and_not_one_byte_more() {
        let mut measure = InputLimit::new(10);

        assert!(measure.take(4).is_ok() && measure.take(6).is_ok() && measure.take(0).is_ok());
        assert!(matches!(measure.take(1), Err(Fault::InputTooLarge(10))));
    }
}
