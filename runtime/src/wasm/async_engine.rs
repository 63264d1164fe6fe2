//! Two engines for components that use the component model's `async`, made on first use.

use std::sync::OnceLock;

use tracing::warn;
use wasmtime::component::Linker;
use wasmtime::error::Context as _;
use wasmtime::{Engine, Result, format_err};
use wasmtime_wasi::p3;

use super::engine::engine_kind::{Composition, EngineKind};
use super::engine::settings::{self, Addressing, Room, Stacks, Target};
use super::engine::ticker::Ticker;
use super::host::component_state::State;
use super::host::{databases, middleware, stores};
use super::kinds::component;

/// The engines for `async` components. Each is made when the first component needs it.
pub(super) struct Engines {
    /// Sizes of each engine's pool, or of its memories without one.
    room: Room,
    /// What a guest's backtrace contains.
    stacks: Stacks,
    pooled: Lazy,
    on_demand: Lazy,
}

/// An engine, or the reason why it could not be made.
type Lazy = OnceLock<Result<Concurrent, String>>;

/// An engine whose stores run several calls at once, with the linker for its components.
pub(super) struct Concurrent {
    pub(super) engine: Engine,
    pub(super) linker: Linker<State>,
    /// The target that its machine code is compiled for.
    pub(super) target: Target,
    /// Digest of everything but the module that its machine code depends on.
    pub(super) fingerprint: [u8; 32],
    _ticker: Ticker,
}

impl Engines {
    /// Stores the settings; makes no engine yet.
    pub(super) fn new(room: Room, stacks: Stacks) -> Engines {
        Engines { room, stacks, pooled: OnceLock::new(), on_demand: OnceLock::new() }
    }

    /// Returns the engine for a component.
    ///
    /// A store takes one stack for each call between components that waits. A composed component could
    /// empty the pool for all others, so its jobs get fresh memory from the kernel. That is slower.
    ///
    /// # Errors
    /// wasmtime cannot make the engine. The reason is kept: later calls return the same error.
    pub(super) fn of(&self, component: &[u8]) -> Result<&Concurrent> {
        let made = match Composition::of(component) {
            Composition::Whole => {
                self.pooled.get_or_init(|| said(Concurrent::pooled(self.room, self.stacks)))
            }
            Composition::Composed => {
                self.on_demand.get_or_init(|| said(Concurrent::on_demand(self.room, self.stacks)))
            }
        };
        made.as_ref().map_err(|refusal| format_err!("the engine of WASI 0.3 cannot be made: {refusal}"))
    }

    /// Lists the fingerprints of the engines made so far.
    pub(super) fn fingerprints(&self) -> impl Iterator<Item = &[u8; 32]> {
        let made = [&self.pooled, &self.on_demand].into_iter().filter_map(OnceLock::get);
        made.flatten().map(|concurrent| &concurrent.fingerprint)
    }
}

impl Concurrent {
    /// Falls back to [`Concurrent::on_demand`] when the host refuses the address space for the pool.
    fn pooled(room: Room, stacks: Stacks) -> Result<Concurrent> {
        let target = Concurrent::target(stacks, Addressing::Reserved);
        let pooled = settings::pooled(&settings::config(target), settings::concurrent_pool(room));
        pooled.and_then(|(engine, _)| Concurrent::new(engine, target)).or_else(|why| {
            warn!("the pool for WASI 0.3 cannot be reserved, each of its jobs gets fresh memory, which is slower: {why:#}");
            Concurrent::on_demand(room, stacks)
        })
    }

    fn on_demand(room: Room, stacks: Stacks) -> Result<Concurrent> {
        let target = Concurrent::target(stacks, Addressing::Compared);
        Concurrent::new(settings::unpooled(target, room)?, target)
    }

    fn target(stacks: Stacks, addressing: Addressing) -> Target {
        Target { kind: EngineKind::Concurrent, stacks, addressing }
    }

    fn new(engine: Engine, target: Target) -> Result<Concurrent> {
        let fingerprint = settings::fingerprint(target)?;
        let linker = linker(&engine)?;
        let ticker = Ticker::start(engine.weak()).context("start the ticker thread")?;
        Ok(Concurrent { engine, linker, target, fingerprint, _ticker: ticker })
    }
}

/// Converts an error to text, because every later caller gets the same one.
fn said<T>(outcome: Result<T>) -> Result<T, String> {
    outcome.map_err(|error| format!("{error:#}"))
}

/// Makes the linker for the worlds `wasi:http/service` and `wasi:http/middleware`. It also has all of WASI 0.2, because
/// the standard libraries of languages are built on it. Files and sockets exist as 0.2 only, where our guards are.
fn linker(engine: &Engine) -> Result<Linker<State>> {
    let mut linker = component::linker(engine)?;
    p3::cli::add_to_linker(&mut linker)?;
    p3::clocks::add_to_linker(&mut linker)?;
    p3::random::add_to_linker(&mut linker)?;
    wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    stores::link_async_component(&mut linker)?;
    databases::link_async_component(&mut linker)?;
    middleware::link(&mut linker)?;
    Ok(linker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_composed_does_not_share_the_pool() {
        let engines = Engines::new(Room::unserved(2, 1 << 20), Stacks::Names);
        let of = |text: &str| &engines.of(&wat::parse_str(text).unwrap()).unwrap().engine;

        let whole = of("(component)");
        let composed = of(r#"(component (component
            (core module $m (func (export "f"))) (core instance $i (instantiate $m))
            (func (canon lift (core func $i "f")))))"#);

        assert!(!Engine::same(whole, composed));
        assert!(Engine::same(whole, of("(component)")));
        assert!(whole.pooling_allocator_metrics().is_some());
        assert!(composed.pooling_allocator_metrics().is_none());
    }
}
