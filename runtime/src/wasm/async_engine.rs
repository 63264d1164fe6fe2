//! The engines of components that need the component model's `async`, beside the one for all others.

use std::sync::OnceLock;

use tracing::warn;
use wasmtime::component::Linker;
use wasmtime::error::Context as _;
use wasmtime::{Engine, Result, format_err};
use wasmtime_wasi::p3;

use super::engine::engine_kind::{Flavour, Making};
use super::engine::settings::{self, Addressing, Room, Stacks, Target};
use super::engine::ticker::Ticker;
use super::host::component_state::State;
use super::kinds::component;

/// The engines, each made for the first component that needs it.
pub(super) struct Engines {
    /// What each has room for.
    room: Room,
    /// What the stacks of guests tell.
    stacks: Stacks,
    pooled: Lazy,
    on_demand: Lazy,
}

/// An engine, or why it cannot be had.
type Lazy = OnceLock<Result<Concurrent, String>>;

/// An engine whose stores have several calls under way, and what its components may import.
pub(super) struct Concurrent {
    pub(super) engine: Engine,
    pub(super) linker: Linker<State>,
    /// What its code is made for.
    pub(super) target: Target,
    /// What code depends on besides its module.
    pub(super) fingerprint: [u8; 32],
    _ticker: Ticker,
}

impl Engines {
    /// Makes none yet.
    pub(super) fn new(room: Room, stacks: Stacks) -> Engines {
        Engines { room, stacks, pooled: OnceLock::new(), on_demand: OnceLock::new() }
    }

    /// Returns the engine for a component.
    ///
    /// A store takes a stack for each call between components that waits. One that is made of
    /// several could empty a pool for all others, so its jobs get their memory from the kernel, each
    /// anew: that is slower.
    ///
    /// # Errors
    /// wasmtime cannot make it.
    pub(super) fn of(&self, component: &[u8]) -> Result<&Concurrent> {
        let made = match Making::of(component) {
            Making::Whole => self.pooled.get_or_init(|| said(Concurrent::pooled(self.room, self.stacks))),
            Making::Composed => {
                self.on_demand.get_or_init(|| said(Concurrent::on_demand(self.room, self.stacks)))
            }
        };
        made.as_ref().map_err(|refusal| format_err!("the engine of WASI 0.3 cannot be had: {refusal}"))
    }

    /// Lists what the code of those depends on that were made.
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
        Target { flavour: Flavour::Concurrent, stacks, addressing }
    }

    fn new(engine: Engine, target: Target) -> Result<Concurrent> {
        let fingerprint = settings::fingerprint(target)?;
        let linker = linker(&engine)?;
        let ticker = Ticker::start(engine.weak()).context("start the ticker thread")?;
        Ok(Concurrent { engine, linker, target, fingerprint, _ticker: ticker })
    }
}

/// Keeps what an error says: it is told to everyone who asks again.
fn said<T>(outcome: Result<T>) -> Result<T, String> {
    outcome.map_err(|error| format!("{error:#}"))
}

/// Makes the linker that gives components the world `wasi:http/service`, and beside it what the other
/// engine gives: the standard library of a language is built on WASI 0.2. Files and sockets are there
/// as of 0.2 only, where they are guarded.
fn linker(engine: &Engine) -> Result<Linker<State>> {
    let mut linker = component::linker(engine)?;
    p3::cli::add_to_linker(&mut linker)?;
    p3::clocks::add_to_linker(&mut linker)?;
    p3::random::add_to_linker(&mut linker)?;
    wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
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
