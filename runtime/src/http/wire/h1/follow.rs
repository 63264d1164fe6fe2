//! Checks the bytes of an HTTP/1 client without a connection.

use super::head::HeadLimits;
use super::quoted::QuotedQuery;
use super::{Checked, H1Guard, Violation};
use crate::http::refusal::Refusal;

/// The result of [`follow`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Followed {
    /// The bytes that were let through.
    pub passed: Vec<u8>,
    /// How many heads were complete.
    pub heads: u64,
    /// The code of the refusal of the rest. `None` if nothing was refused, or if a request may have ended HTTP
    /// and nothing after it was checked.
    pub refused: Option<&'static str>,
}

/// Checks bytes in pieces of the given size, as a connection would.
pub fn follow(bytes: &[u8], piece: usize, bounds: HeadLimits) -> Followed {
    let mut guard = H1Guard::new(bounds);
    let mut passed = Vec::new();
    let refusal = bytes.chunks(piece.max(1)).find_map(|piece| pass(&mut guard, piece, &mut passed).err());
    let refused = refusal.flatten().map(|refusal| refusal.code());
    Followed { passed, heads: guard.heads(), refused }
}

/// Checks the next bytes and appends those that are let through.
///
/// # Errors
/// The refusal of the rest, or `None` if nothing is checked any more.
pub(super) fn pass(guard: &mut H1Guard, bytes: &[u8], passed: &mut Vec<u8>) -> Result<(), Option<Refusal>> {
    let checked = guard.push(bytes);
    passed.extend(guard.take_completed().unwrap_or_default());
    match checked {
        Ok(Checked::All) => passed.extend_from_slice(bytes),
        Ok(Checked::Begun(good)) => passed.extend_from_slice(&bytes[..good]),
        Ok(Checked::UpTo(good)) => {
            passed.extend_from_slice(&bytes[..good]);
            return Err(None);
        }
        Ok(Checked::Quoted(good, QuotedQuery { length, encoded })) => {
            passed.extend_from_slice(&bytes[..good]);
            return pass(guard, &[&encoded, &bytes[good + length..]].concat(), passed);
        }
        Err(Violation { good, refusal, .. }) => {
            passed.extend_from_slice(&bytes[..good]);
            return Err(Some(refusal));
        }
    }
    Ok(())
}
