//! The loader's work for a swap: compiles an uploaded module, and makes versions of a handler from it.

use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};

use super::code::Codes;
use super::draft::Uploaded;
use super::handler::{HandlerSources, make, suits, version};
use super::loader::Loader;
use super::prepared::{self, variables};
use super::progress;
use crate::job::{HandlerVersion, Name};
use crate::operator_file;
use crate::wasm::ModuleBytes;

impl Loader {
    /// Compiles a module that may become a version of a handler. Blocks meanwhile.
    ///
    /// # Errors
    /// There is no such handler, or the module cannot be a handler.
    pub fn compile(&self, name: &Name, bytes: Vec<u8>) -> Result<Uploaded> {
        let wanted = self.wanted(name)?;
        let (source, limits) = (ModuleBytes::new(bytes), self.limits());
        let codes = Codes::new(limits);
        let _telling = progress::LoadEndGuard(&self.progress, codes.count.load);
        let kind = self.sandbox.look(&source, &limits);
        suits(&wanted, kind.map_err(|reason| anyhow!("the uploaded module: {reason:#}"))?)?;
        let examined = self.examine_unless_compiled(&source, &limits);
        examined.map_err(|reason| anyhow!("the uploaded module: {reason:#}"))?;
        let code = self.code(name, &source, &codes);
        let code = code.map_err(|reason| anyhow!("the uploaded module: {reason}"))?;
        Ok(Uploaded { digest: *source.digest(), code })
    }

    /// Makes another version of a configured handler: its current settings with this module.
    ///
    /// # Errors
    /// There is no such handler, or the module cannot be a handler.
    pub fn version(&self, name: &Name, Uploaded { digest, code }: Uploaded) -> Result<Arc<HandlerVersion>> {
        let config = self.wanted(name)?;
        // Reuses the open mounts. Their paths are looked up again only by a reload.
        let mounted = self.last().made.get(name).map(|made| made.mounted.clone());
        let mounted = mounted.with_context(|| format!("the handler {:?} is not loaded", name.as_str()))?;
        let (env, kept) = (variables(&config)?, prepared::kept(&config)?);
        let sources = HandlerSources { digest, env, mounted, kept };
        self.ground.known.prune();
        make(&config, sources, &self.ground, code)
    }

    /// Returns the version in the module file of a handler. `None` if there is no such handler or the file cannot be
    /// read.
    pub fn on_disk(&self, name: &Name) -> Option<String> {
        let module = operator_file::read(&self.configured(name)?.module, self.limits().module).ok()?;
        Some(version(ModuleBytes::new(module.bytes).digest()))
    }
}
