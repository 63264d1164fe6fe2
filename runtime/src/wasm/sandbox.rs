//! The `Sandbox`: it compiles modules and holds the memory that their jobs run in.

use std::iter::once;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tracing::warn;
use wasmtime::error::Context as _;
use wasmtime::{Engine, Linker, Result, bail};

use super::async_engine::{Concurrent, Engines};
use super::cache::{Cache, CodeIdentity, Figures};
use super::compile::{self, CompileLimits, Compiler};
use super::engine::allocation::Allocation;
use super::engine::artifact::Artifact;
use super::engine::binary_kind::BinaryKind;
use super::engine::engine_kind::{EngineKind, P3Export, Surface};
use super::engine::exports::{HTTP_P2, PROGRAM_P2};
use super::engine::outline::Outline;
use super::engine::settings::{self, Addressing, Room, Stacks, Target};
use super::engine::ticker::Ticker;
use super::host::component_state::State;
use super::host::{core_state, trap};
use super::kinds::command::CommandCode;
use super::kinds::component;
use super::kinds::core::{self, CoreCode};
use super::kinds::http::HttpComponent;
use crate::budget::Budget;
use crate::job::Kind;

/// The engine, the linkers, the cache and the compiler that all modules share. A daemon has one sandbox.
pub struct Sandbox {
    engine: Engine,
    core: Linker<core_state::State>,
    component: wasmtime::component::Linker<State>,
    /// Pool permits for idle instances, in addition to the slots of running jobs.
    places: Arc<Budget>,
    allocation: Allocation,
    compilation: Compilation,
    /// The target that its machine code is compiled for.
    target: Target,
    /// Digest of everything but the module that its machine code depends on.
    fingerprint: [u8; 32],
    _ticker: Ticker,
    http_03: WasiHttp03,
    /// Engines for components that answer HTTP through WASI 0.3.
    engines: Engines,
}

/// Whether components that answer HTTP through WASI 0.3 are accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WasiHttp03 {
    /// They are accepted.
    Served,
    /// They are refused: their host implementation is new and slower.
    Refused,
}

/// How modules are compiled, and where their code is cached.
pub struct Compilation {
    /// The compiler, usually a child process.
    pub compiler: Compiler,
    /// The cache of machine code that outlives the daemon, if there is one.
    pub cache: Option<Cache>,
    /// What the backtraces of guests contain.
    pub stacks: Stacks,
}

/// The SHA-256 of a module's bytes. It identifies a module, whatever its file is called.
pub type Digest = [u8; 32];

/// The bytes of a module, and their digest.
pub struct ModuleBytes {
    bytes: Vec<u8>,
    digest: Digest,
}

/// A compiled module, linked and ready to be instantiated. Handlers that differ in their settings alone share one.
#[derive(Clone)]
pub enum Code {
    /// A core module that exports `_start`.
    Core(CoreCode),
    /// A component that exports `wasi:cli/run`.
    Command(CommandCode),
    /// A component that exports `wasi:http/incoming-handler` or `wasi:http/handler`.
    Http(HttpComponent),
}

/// Which kind of `Code` a module becomes, and on which engine.
enum ModuleKind<'a> {
    Core,
    Command,
    Proxy,
    /// A component that answers HTTP through WASI 0.3, with its engine.
    Service(&'a Concurrent),
}

impl Sandbox {
    /// Makes a sandbox. Beside the slots of jobs, it has one slot for idle instances for every four jobs.
    ///
    /// Falls back to [`Allocation::OnDemand`] if the host refuses the address space for the pool, as containers
    /// and `ulimit -v` do.
    ///
    /// # Errors
    /// wasmtime does not run on this host at all.
    pub fn new(room: Room, compilation: Compilation, http_03: WasiHttp03) -> anyhow::Result<Sandbox> {
        Sandbox::try_new(room, compilation, http_03).map_err(trap::ours)
    }

    fn try_new(room: Room, compilation: Compilation, http_03: WasiHttp03) -> Result<Sandbox> {
        let waiting = room.jobs.div_ceil(4);
        let places = Budget::new(usize::try_from(waiting)?);
        let room = Room { jobs: room.jobs + waiting, ..room };
        let stacks = compilation.stacks;
        let reserved = Target { kind: EngineKind::Sequential, stacks, addressing: Addressing::Reserved };
        let pooled = settings::pooled(&settings::config(reserved), settings::pool(room));
        let (engine, target, allocation) = match pooled {
            Ok((engine, resetting)) => (engine, reserved, Allocation::Pooled(resetting)),
            Err(refusal) => {
                let compared = Target { addressing: Addressing::Compared, ..reserved };
                let engine = settings::unpooled(compared, room)?;
                (engine, compared, Allocation::OnDemand(format!("{refusal:#}")))
            }
        };
        let fingerprint = settings::fingerprint(target)?;
        let core = core::linker(&engine)?;
        let component = component::linker(&engine)?;
        let ticker = Ticker::start(engine.weak()).context("start the ticker thread")?;
        Ok(Sandbox {
            engine,
            core,
            component,
            places,
            allocation,
            compilation,
            target,
            fingerprint,
            _ticker: ticker,
            http_03,
            engines: Engines::new(room, stacks),
        })
    }

    /// Returns how jobs get their memory.
    pub fn allocation(&self) -> &Allocation {
        &self.allocation
    }

    /// Checks a module without compiling it, and returns its kind. Takes about as long as reading it.
    ///
    /// # Errors
    /// The bytes are not a module, or the module cannot be a handler. It lacks an entry point, imports something
    /// that the daemon does not provide, or has more or larger parts than `limits` allow. The message says which.
    pub fn look(&self, source: &ModuleBytes, limits: &CompileLimits) -> anyhow::Result<Kind> {
        self.way(&source.bytes, limits).map(|way| way.kind()).map_err(trap::ours)
    }

    /// Returns the figures of the cache, or `None` without a cache.
    pub fn cache(&self) -> Option<&Arc<Figures>> {
        self.compilation.cache.as_ref().map(Cache::figures)
    }

    /// Changes the size of the cache, in bytes. Code that is in use does not count.
    pub fn resize_cache(&self, size: u64) {
        self.compilation.cache.iter().for_each(|cache| cache.resize(size));
    }

    /// Tells the cache which modules are in use. It keeps their code and evicts the rest beyond its size. Reads a
    /// directory.
    pub fn tidy<'a>(&self, in_use: impl Iterator<Item = &'a Digest>) {
        let Some(cache) = &self.compilation.cache else { return };
        // A module has code for one engine only. No entry of the cache has the other identities.
        let kinds: Vec<&[u8; 32]> = once(&self.fingerprint).chain(self.engines.fingerprints()).collect();
        cache.tidy(in_use.flat_map(|digest| kinds.iter().map(move |kind| CodeIdentity::new(digest, kind))));
    }

    /// Finds what [`Sandbox::compile`] would refuse, in a small part of its time: the types of functions and of imports
    /// are checked, and no function is compiled. A small core module is left to the compiler, which is as fast. Blocks.
    ///
    /// # Errors
    /// Those of [`Sandbox::look`]. The module is invalid, needs a feature that is off, imports something that the
    /// daemon does not provide, or exports an entry point of a wrong type.
    pub fn examine(&self, source: &ModuleBytes, limits: &CompileLimits) -> anyhow::Result<()> {
        self.try_examine(&source.bytes, limits).map_err(trap::ours)
    }

    fn try_examine(&self, bytes: &[u8], limits: &CompileLimits) -> Result<()> {
        /// Bytes of a core module that compiles in less than a second.
        const SMALL: usize = 256 << 10;
        let kind = self.way(bytes, limits)?;
        let (target, engine, linker) = match &kind {
            ModuleKind::Core if bytes.len() <= SMALL => return Ok(()),
            ModuleKind::Core | ModuleKind::Command | ModuleKind::Proxy => {
                (self.target, &self.engine, &self.component)
            }
            ModuleKind::Service(Concurrent { engine, linker, target, .. }) => (*target, engine, linker),
        };
        match self.compilation.compiler.examine(target, bytes, limits)? {
            Some(imports) => component::link(linker, &imports.component(engine)?).map(drop),
            None => Ok(()),
        }
    }

    /// Compiles a module and links it to WASI; a cached module is only linked. Blocks, for seconds if the module
    /// is large. `begin` is called when compiling begins, and not for a cached module.
    ///
    /// # Errors
    /// Those of [`Sandbox::look`], before anything is compiled; or compilation exceeds its limits.
    pub fn compile(
        &self,
        source: &ModuleBytes,
        limits: &CompileLimits,
        begin: impl FnOnce(),
    ) -> anyhow::Result<Code> {
        self.try_compile(source, limits, begin).map_err(trap::ours)
    }

    /// Reports whether the code of a module is cached. Does not read the code, which may prove unusable.
    pub fn keeps(&self, source: &ModuleBytes) -> bool {
        let Some(cache) = &self.compilation.cache else { return false };
        let concurrent = self.engines.fingerprints();
        let fingerprints = std::iter::once(&self.fingerprint).chain(concurrent);
        fingerprints.into_iter().any(|print| cache.has(&CodeIdentity::new(&source.digest, print)))
    }

    /// Tells the compiler that requests are served from now on: it then leaves a core to them.
    pub fn serve(&self) {
        self.compilation.compiler.serve();
    }

    fn try_compile(
        &self,
        source: &ModuleBytes,
        limits: &CompileLimits,
        begin: impl FnOnce(),
    ) -> Result<Code> {
        let way = self.way(&source.bytes, limits)?;
        let Compilation { compiler, cache, .. } = &self.compilation;
        let (fingerprint, target) = match &way {
            ModuleKind::Core | ModuleKind::Command | ModuleKind::Proxy => (&self.fingerprint, self.target),
            ModuleKind::Service(Concurrent { fingerprint, target, .. }) => (fingerprint, *target),
        };
        let Some(cache) = cache else {
            return self.link(&way, &compiler.compile(target, &source.bytes, limits, begin)?);
        };
        let identity = CodeIdentity::new(&source.digest, fingerprint);
        if let Some(kept) = cache.get(&identity) {
            match self.link(&way, &kept) {
                Ok(code) => return Ok(code),
                // Only modules that link are cached. If linking fails now, wasmtime has changed or the code is
                // damaged; the cure is to compile it again in both cases.
                Err(refusal) => {
                    warn!("the cached code of a module cannot be used, so it is compiled again: {refusal:#}")
                }
            }
        }
        let artifact = compiler.compile(target, &source.bytes, limits, begin)?;
        let code = self.link(&way, &artifact)?;
        cache.put(&identity, &artifact);
        Ok(code)
    }

    /// Finds which kind of code a module becomes, and on which engine. Checks its first sections here: compiling
    /// a bad module may take a minute, and would end with the same message.
    fn way(&self, bytes: &[u8], limits: &CompileLimits) -> Result<ModuleKind<'_>> {
        let layer = BinaryKind::of(bytes)?;
        compile::look(bytes, limits)?;
        match layer {
            BinaryKind::Core => {
                if let Some(outline) = Outline::of(bytes) {
                    outline.check_start()?;
                    core::check_imports(&self.core, &outline.imports)?;
                    outline.check_memory()?;
                }
                Ok(ModuleKind::Core)
            }
            BinaryKind::Component => self.way_of_component(bytes),
        }
    }

    /// Tells a component's kind by its exports. A component with both exports answers HTTP: its empty `main` is
    /// there because its toolchain requires one.
    fn way_of_component(&self, bytes: &[u8]) -> Result<ModuleKind<'_>> {
        let surface = match Surface::of(bytes) {
            Some(surface) => surface,
            // The compiler reports why it cannot be parsed.
            None => return Ok(ModuleKind::Command),
        };
        Ok(match P3Export::of(&surface) {
            P3Export::Nothing if surface.exports(HTTP_P2) => ModuleKind::Proxy,
            P3Export::Nothing if surface.exports(PROGRAM_P2) => ModuleKind::Command,
            P3Export::Nothing => bail!(
                "exports neither `wasi:cli/run` nor `wasi:http/incoming-handler`, so it cannot be a handler; it exports: {}",
                if surface.exports.is_empty() { "nothing".to_owned() } else { surface.exports.join(", ") }
            ),
            P3Export::Program(name) => bail!(
                "a program of WASI 0.3 (it exports {name}), which this daemon does not run: build it with --target wasm32-wasip2"
            ),
            P3Export::Service(name) => match self.http_03 {
                WasiHttp03::Served => ModuleKind::Service(self.engines.of(bytes)?),
                WasiHttp03::Refused => bail!(
                    "answers HTTP as of WASI 0.3 (it exports {name}), which is disabled: set `wasi_http_03 = true` and restart the daemon, or build it for wasi:http 0.2"
                ),
            },
        })
    }

    fn link(&self, way: &ModuleKind<'_>, artifact: &Artifact) -> Result<Code> {
        let component = |engine| artifact.component(engine);
        match way {
            ModuleKind::Core => CoreCode::link(&self.core, &artifact.module(&self.engine)?).map(Code::Core),
            ModuleKind::Command => {
                CommandCode::link(&self.component, &component(&self.engine)?).map(Code::Command)
            }
            ModuleKind::Proxy => {
                HttpComponent::proxy(&self.component, &component(&self.engine)?, self.places.clone())
                    .map(Code::Http)
            }
            ModuleKind::Service(Concurrent { engine, linker, .. }) => {
                HttpComponent::service(linker, &component(engine)?, self.places.clone()).map(Code::Http)
            }
        }
    }
}

impl Code {
    /// Returns the kind of module that was compiled.
    pub fn kind(&self) -> Kind {
        match self {
            Code::Core(_) => Kind::Core,
            Code::Command(_) => Kind::Command,
            Code::Http(_) => Kind::Proxy,
        }
    }
}

impl ModuleKind<'_> {
    fn kind(&self) -> Kind {
        match self {
            ModuleKind::Core => Kind::Core,
            ModuleKind::Command => Kind::Command,
            ModuleKind::Proxy | ModuleKind::Service(_) => Kind::Proxy,
        }
    }
}

impl WasiHttp03 {
    /// Returns `Served` if the configuration turns WASI HTTP 0.3 on.
    pub fn of(served: bool) -> WasiHttp03 {
        if served { WasiHttp03::Served } else { WasiHttp03::Refused }
    }
}

impl Compilation {
    /// Compiles as the daemon does, without a cache: for commands that must leave nothing on the disk.
    pub fn unkept(stacks: Stacks) -> Compilation {
        Compilation { compiler: Compiler::child(), cache: None, stacks }
    }
}

impl ModuleBytes {
    /// Takes the bytes of a module, valid or not.
    pub fn new(bytes: Vec<u8>) -> ModuleBytes {
        let digest = Sha256::digest(&bytes).into();
        ModuleBytes { bytes, digest }
    }

    /// Returns the SHA-256 of the bytes.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }
}

#[cfg(test)]
mod tests;
