//! The engine that compiles modules and holds the memory their jobs run in.

use std::fmt;
use std::iter::once;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tracing::warn;
use wasmtime::error::Context as _;
use wasmtime::{Engine, Linker, Result, bail};

use super::async_engine::{Concurrent, Engines};
use super::cache::{Cache, Figures, Identity};
use super::compile::{self, CompileLimits, Compiler};
use super::engine::artifact::Artifact;
use super::engine::binary_kind::Layer;
use super::engine::engine_kind::{Asynchronous, Flavour, Surface};
use super::engine::exports::{HTTP_P2, PROGRAM_P2};
use super::engine::outline::Outline;
use super::engine::settings::{self, Addressing, Resetting, Room, Stacks, Target};
use super::engine::ticker::Ticker;
use super::host::component_state::State;
use super::host::{core_state, trap};
use super::kinds::command::CommandCode;
use super::kinds::component;
use super::kinds::core::{self, CoreCode};
use super::kinds::http::SpeakerCode;
use crate::budget::Budget;
use crate::job::Kind;

/// Everything modules share: one a daemon.
pub struct Sandbox {
    engine: Engine,
    core: Linker<core_state::State>,
    component: wasmtime::component::Linker<State>,
    /// Places for instances that wait for a request, beside those of jobs.
    places: Arc<Budget>,
    allocation: Allocation,
    compilation: Compilation,
    /// What its code is made for.
    target: Target,
    /// What code depends on besides its module.
    fingerprint: [u8; 32],
    _ticker: Ticker,
    http_03: WasiHttp03,
    /// For components that answer HTTP as of WASI 0.3.
    engines: Engines,
}

/// What becomes of components that answer HTTP as of WASI 0.3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WasiHttp03 {
    /// They are served.
    Served,
    /// They are refused: what serves them is new and not as fast.
    Refused,
}

/// How modules become code.
pub struct Compilation {
    /// Who compiles.
    pub compiler: Compiler,
    /// Where code is kept from one start to the next, if it is.
    pub cache: Option<Cache>,
    /// What the stacks of guests tell.
    pub stacks: Stacks,
}

/// The SHA-256 of a module's bytes: what a module is, whatever its file is called.
pub type Digest = [u8; 32];

/// The bytes of a module, and what they are.
pub struct Source {
    bytes: Vec<u8>,
    digest: Digest,
}

/// How jobs get their memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Allocation {
    /// From a pool that is reserved once: the fast way.
    Pooled(Resetting),
    /// From the kernel, for each job, because the pool could not be had: about eight times slower, and each
    /// access is compared with the end of the memory.
    OnDemand(String),
}

/// A compiled module, linked and ready to be instantiated. Handlers that differ in their settings
/// alone share one.
#[derive(Clone)]
pub enum Code {
    /// A core module that exports `_start`.
    Core(CoreCode),
    /// A component that exports `wasi:cli/run`.
    Command(CommandCode),
    /// A component that exports `wasi:http/incoming-handler` or `wasi:http/handler`.
    Speaker(SpeakerCode),
}

/// What is made of a module.
enum Way<'a> {
    Core,
    Command,
    Proxy,
    /// A component that answers HTTP as of WASI 0.3, and its engine.
    Service(&'a Concurrent),
}

impl Sandbox {
    /// Makes a sandbox.
    ///
    /// Falls back to [`Allocation::OnDemand`] when the host refuses the address space for the pool,
    /// as containers and `ulimit -v` do.
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
        let reserved = Target { flavour: Flavour::Sequential, stacks, addressing: Addressing::Reserved };
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

    /// Says how jobs get their memory.
    pub fn allocation(&self) -> &Allocation {
        &self.allocation
    }

    /// Looks at a module without compiling it, and says what it would be. Takes about as long as to read it.
    ///
    /// # Errors
    /// The bytes are no module, or one that cannot be a handler: it lacks an entry point or imports
    /// what the daemon does not have; or it has more or larger parts than `limits` allow. The message says which.
    pub fn look(&self, source: &Source, limits: &CompileLimits) -> anyhow::Result<Kind> {
        self.way(&source.bytes, limits).map(|way| way.kind()).map_err(trap::ours)
    }

    /// Says what is counted of the cache; `None` without a cache.
    pub fn cache(&self) -> Option<&Arc<Figures>> {
        self.compilation.cache.as_ref().map(Cache::figures)
    }

    /// Keeps so many bytes of code beside what is in use.
    pub fn resize_cache(&self, size: u64) {
        self.compilation.cache.iter().for_each(|cache| cache.resize(size));
    }

    /// Has the cache keep the code of these modules, and evict what is too much of the rest. Reads a directory.
    pub fn tidy<'a>(&self, in_use: impl Iterator<Item = &'a Digest>) {
        let Some(cache) = &self.compilation.cache else { return };
        // Each module has code of one kind. Nothing has the names of the others.
        let kinds: Vec<&[u8; 32]> = once(&self.fingerprint).chain(self.engines.fingerprints()).collect();
        cache.tidy(in_use.flat_map(|digest| kinds.iter().map(move |kind| Identity::new(digest, kind))));
    }

    /// Compiles a module, unless its code is kept, and links it to WASI. Takes seconds for a large
    /// module; blocks. `begin` is called where compiling begins.
    ///
    /// # Errors
    /// Those of [`Sandbox::look`], before anything is compiled; or compiling it takes too much.
    pub fn compile(
        &self,
        source: &Source,
        limits: &CompileLimits,
        begin: impl FnOnce(),
    ) -> anyhow::Result<Code> {
        self.try_compile(source, limits, begin).map_err(trap::ours)
    }

    /// Reports whether the code of a module is kept, as far as can be told without reading it.
    pub fn keeps(&self, source: &Source) -> bool {
        let Some(cache) = &self.compilation.cache else { return false };
        let concurrent = self.engines.fingerprints();
        let fingerprints = std::iter::once(&self.fingerprint).chain(concurrent);
        fingerprints.into_iter().any(|print| cache.has(&Identity::new(&source.digest, print)))
    }

    /// Leaves a core to the requests from now on, which are served, while modules are compiled.
    pub fn serve(&self) {
        self.compilation.compiler.serve();
    }

    fn try_compile(&self, source: &Source, limits: &CompileLimits, begin: impl FnOnce()) -> Result<Code> {
        let way = self.way(&source.bytes, limits)?;
        let Compilation { compiler, cache, .. } = &self.compilation;
        let (fingerprint, target) = match &way {
            Way::Core | Way::Command | Way::Proxy => (&self.fingerprint, self.target),
            Way::Service(Concurrent { fingerprint, target, .. }) => (fingerprint, *target),
        };
        let Some(cache) = cache else {
            return self.link(&way, &compiler.compile(target, &source.bytes, limits, begin)?);
        };
        let identity = Identity::new(&source.digest, fingerprint);
        if let Some(kept) = cache.get(&identity) {
            match self.link(&way, &kept) {
                Ok(code) => return Ok(code),
                // Only a module that links is kept; if it is not wasmtime that has changed, the code
                // has, and compiling it anew is right either way.
                Err(refusal) => warn!("the kept code of a module is not used: {refusal:#}"),
            }
        }
        let artifact = compiler.compile(target, &source.bytes, limits, begin)?;
        let code = self.link(&way, &artifact)?;
        cache.put(&identity, &artifact);
        Ok(code)
    }

    /// Finds out what is to be made of a module, and on which engine. What its first sections tell against
    /// it is said here: compiling it may take a minute, and would end in the same words.
    fn way(&self, bytes: &[u8], limits: &CompileLimits) -> Result<Way<'_>> {
        let layer = Layer::of(bytes)?;
        compile::look(bytes, limits)?;
        match layer {
            Layer::Core => {
                if let Some(outline) = Outline::of(bytes) {
                    outline.check_start()?;
                    core::check_imports(&self.core, &outline.imports)?;
                }
                Ok(Way::Core)
            }
            Layer::Component => self.way_of_component(bytes),
        }
    }

    /// Tells a component by what it exports. One that is both answers HTTP: a program that does has an
    /// empty `main`, as its toolchain wants one.
    fn way_of_component(&self, bytes: &[u8]) -> Result<Way<'_>> {
        let surface = match Surface::of(bytes) {
            Some(surface) => surface,
            // The compiler says what is wrong with it.
            None => return Ok(Way::Command),
        };
        Ok(match Asynchronous::of(&surface) {
            Asynchronous::Nothing if surface.exports(HTTP_P2) => Way::Proxy,
            Asynchronous::Nothing if surface.exports(PROGRAM_P2) => Way::Command,
            Asynchronous::Nothing => bail!(
                "exports neither `wasi:cli/run` nor `wasi:http/incoming-handler`, so it is no handler; it exports: {}",
                if surface.exports.is_empty() { "nothing".to_owned() } else { surface.exports.join(", ") }
            ),
            Asynchronous::Program(name) => bail!(
                "a program of WASI 0.3 (it exports {name}), which this daemon does not run: build it with --target wasm32-wasip2"
            ),
            Asynchronous::Service(name) => match self.http_03 {
                WasiHttp03::Served => Way::Service(self.engines.of(bytes)?),
                WasiHttp03::Refused => bail!(
                    "answers HTTP as of WASI 0.3 (it exports {name}), which is off: set `wasi_http_03 = true` and start anew, or build it for wasi:http 0.2"
                ),
            },
        })
    }

    fn link(&self, way: &Way<'_>, artifact: &Artifact) -> Result<Code> {
        let component = |engine| artifact.component(engine);
        match way {
            Way::Core => CoreCode::link(&self.core, &artifact.module(&self.engine)?).map(Code::Core),
            Way::Command => CommandCode::link(&self.component, &component(&self.engine)?).map(Code::Command),
            Way::Proxy => SpeakerCode::proxy(&self.component, &component(&self.engine)?, self.places.clone())
                .map(Code::Speaker),
            Way::Service(Concurrent { engine, linker, .. }) => {
                SpeakerCode::service(linker, &component(engine)?, self.places.clone()).map(Code::Speaker)
            }
        }
    }
}

impl Code {
    /// Says what it was made of.
    pub fn kind(&self) -> Kind {
        match self {
            Code::Core(_) => Kind::Core,
            Code::Command(_) => Kind::Command,
            Code::Speaker(_) => Kind::Proxy,
        }
    }
}

impl Way<'_> {
    fn kind(&self) -> Kind {
        match self {
            Way::Core => Kind::Core,
            Way::Command => Kind::Command,
            Way::Proxy | Way::Service(_) => Kind::Proxy,
        }
    }
}

impl WasiHttp03 {
    /// Says what a configuration wants.
    pub fn of(served: bool) -> WasiHttp03 {
        if served { WasiHttp03::Served } else { WasiHttp03::Refused }
    }
}

impl Compilation {
    /// Compiles as the daemon does, and keeps nothing: for what is to leave nothing behind.
    pub fn unkept(stacks: Stacks) -> Compilation {
        Compilation { compiler: Compiler::child(), cache: None, stacks }
    }
}

impl Source {
    /// Takes the bytes of a module, or of what may be one.
    pub fn new(bytes: Vec<u8>) -> Source {
        let digest = Sha256::digest(&bytes).into();
        Source { bytes, digest }
    }

    /// Says what the module is.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }
}

impl Allocation {
    /// What a metric calls the ways.
    pub const MODES: [&str; 3] = ["pooled", "pooled_reset_whole", "on_demand"];

    /// Says which of [`Allocation::MODES`] it is.
    pub fn mode(&self) -> &'static str {
        let [written, whole, on_demand] = Allocation::MODES;
        match self {
            Allocation::Pooled(Resetting::Written) => written,
            Allocation::Pooled(Resetting::Whole) => whole,
            Allocation::OnDemand(_) => on_demand,
        }
    }
}

impl fmt::Display for Allocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Allocation::Pooled(Resetting::Written) => f.write_str("pooled"),
            Allocation::Pooled(Resetting::Whole) => f.write_str(
                "pooled, all memory reset after each job (the kernel does not say what was written: Linux 6.7, no KSM)",
            ),
            Allocation::OnDemand(why) => write!(f, "on demand ({why})"),
        }
    }
}

#[cfg(test)]
mod tests;
