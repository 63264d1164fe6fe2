//! A handler before its module is compiled, checked as far as is possible without the code.

use std::sync::Arc;

use anyhow::Result;

use crate::config::HandlerConfig;
use crate::job::{Env, Kind};
use crate::jobs::credential;
use crate::wasm::{Digest, Mounted};

/// What a handler is made of, except the code of its module.
#[derive(Clone)]
pub(super) struct Prepared {
    /// The kind of the module.
    pub(super) kind: Kind,
    pub(super) digest: Digest,
    /// Whether the code is in use or in the cache.
    pub(super) is_compiled: bool,
    /// The variables, with the secrets.
    pub(super) env: Env,
    pub(super) mounted: Arc<Mounted>,
}

/// Returns the variables of a handler, with its secrets.
///
/// # Errors
/// A secret is missing.
pub(super) fn variables(config: &HandlerConfig) -> Result<Env> {
    let mut env = config.env.clone();
    credential::add(&mut env, config)?;
    Ok(env)
}
