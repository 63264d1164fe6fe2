//! A handler before its module is compiled: whatever can be told against it by then is.

use std::sync::Arc;

use anyhow::{Result, anyhow, ensure};

use super::Loader;
use super::code::read;
use super::handler::{mounted, show, suits};
use crate::config::HandlerConfig;
use crate::confine::Untrusted;
use crate::job::{BUILTIN, Env, Kind};
use crate::jobs::credential;
use crate::operator_file::Given;
use crate::wasm::compile::CompileLimits;
use crate::wasm::{Digest, Mounted, Source};

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

impl Loader {
    /// Prepares a handler; `untrusted` is what it and those beside it may write to. Compiles nothing.
    ///
    /// # Errors
    /// The module cannot be read, or be a handler, or not with these settings; a secret or a mount cannot
    /// be had.
    pub(super) fn prepare(
        &self,
        config: &HandlerConfig,
        untrusted: &Untrusted,
        limits: &CompileLimits,
    ) -> Result<Prepared> {
        ensure!(
            !BUILTIN.contains(&config.name.as_str()),
            "this is the name of a built-in job: choose another"
        );
        let Given { bytes, .. } = read(&config.module, limits.module)?;
        let source = Source::new(bytes);
        let kind = self.sandbox.look(&source, limits);
        let kind = kind.map_err(|reason| anyhow!("{}: {reason:#}", show(&config.module)))?;
        suits(config, kind)?;
        let digest = *source.digest();
        let is_compiled = self.compiled(&digest).is_some() || self.sandbox.keeps(&source);
        let (env, mounted) = (variables(config)?, mounted(config, untrusted)?);
        Ok(Prepared { kind, digest, is_compiled, env, mounted })
    }
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
