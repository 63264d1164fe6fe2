//! The certificates and handlers of a configuration, checked but not served.

use anyhow::Error;

use super::draft::Draft;
use crate::net::Tls;

/// The certificates and the handlers of a configuration, or their errors.
pub struct Examined {
    /// The certificates, or `None` if no socket is encrypted.
    pub tls: Result<Option<Tls>, Vec<Error>>,
    /// The handlers and their routes.
    pub draft: Result<Draft, Vec<Error>>,
    /// The stores and databases that cannot be reached, a line each. A start goes on without them.
    pub unreachable: Vec<String>,
}

impl Examined {
    /// Returns both if both are valid.
    ///
    /// # Errors
    /// All errors of both, one each.
    pub fn sound(self) -> Result<(Option<Tls>, Draft), Vec<Error>> {
        let Examined { tls, draft, unreachable: _ } = self;
        match (tls, draft) {
            (Ok(tls), Ok(draft)) => Ok((tls, draft)),
            (tls, draft) => {
                let refused = tls.err().into_iter().flatten();
                Err(refused.chain(draft.err().into_iter().flatten()).collect())
            }
        }
    }
}
