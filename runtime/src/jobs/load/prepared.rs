//! A handler before its module is compiled: whatever can be told against it by then is.

use std::sync::Arc;

use anyhow::Result;

use crate::config::HandlerConfig;
use crate::job::{Env, Kind};
use crate::jobs::credential;
use crate::wasm::{Digest, Mounted};

/// What a handler is made of besides the code of its module.
#[derive(Clone)]
pub(super) struct Prepared {
    /// What its module is.
    pub(super) kind: Kind,
    pub(super) digest: Digest,
    /// Whether somebody has its code already.
    pub(super) is_compiled: bool,
    /// Its variables, secrets among them.
    pub(super) env: Env,
    pub(super) mounted: Arc<Mounted>,
}

/// Returns the variables of a handler, secrets among them.
///
/// # Errors
/// A secret that cannot be had.
pub(super) fn variables(config: &HandlerConfig) -> Result<Env> {
    let mut env = config.env.clone();
    credential::add(&mut env, config)?;
    Ok(env)
}
