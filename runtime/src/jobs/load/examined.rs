//! What a configuration names, looked at without being served.

use anyhow::Error;

use super::draft::Draft;
use crate::net::Tls;

/// The certificates and the handlers of a configuration, or what is wrong with them.
pub struct Examined {
    /// The certificates; none: nothing is encrypted.
    pub tls: Result<Option<Tls>, Vec<Error>>,
    /// The handlers and their routes.
    pub draft: Result<Draft, Vec<Error>>,
}

impl Examined {
    /// Returns both, if both are sound.
    ///
    /// # Errors
    /// Everything that is wrong with either, one error each.
    pub fn sound(self) -> Result<(Option<Tls>, Draft), Vec<Error>> {
        match (self.tls, self.draft) {
            (Ok(tls), Ok(draft)) => Ok((tls, draft)),
            (tls, draft) => {
                let refused = tls.err().into_iter().flatten();
                Err(refused.chain(draft.err().into_iter().flatten()).collect())
            }
        }
    }
}
