//! The names of files in a cache.

use anyhow::{Context as _, Result};
use rustix::rand::{GetRandomFlags, getrandom};

/// The prefix of a file that is being written.
pub(super) const DRAFT: &str = ".draft-";

/// Returns `true` if a file name is that of an entry.
pub(super) fn is_name(name: &[u8]) -> bool {
    name.len() == 64 && name.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Makes the name of a file that is being written.
pub(super) fn draft_name() -> Result<String> {
    Ok(format!("{}{:032x}", DRAFT, u128::from_ne_bytes(random()?)))
}

/// Draws random bytes from the kernel.
pub(super) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    // getrandom(2): requests of up to 256 bytes are not cut short.
    let drawn = getrandom(&mut bytes[..], GetRandomFlags::empty()).context("draw random bytes")?;
    anyhow::ensure!(drawn == N, "the kernel gave {drawn} of {N} random bytes");
    Ok(bytes)
}
