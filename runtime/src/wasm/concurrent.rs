//! The engine of components that need the component model's `async`, beside the one for all others.

use wasmtime::component::Linker;
use wasmtime::error::Context as _;
use wasmtime::{Engine, Result};
use wasmtime_wasi::p3;

use super::component::{self, State};
use super::flavour::Flavour;
use super::settings::{self, Stacks};
use super::ticker::Ticker;

/// An engine whose stores have several calls under way, and what its components may import.
///
/// It has no pool: a store takes as many stacks as it has calls that wait, so that one component
/// could empty a pool for all. Each job gets its memory from the kernel, which is slower.
pub(super) struct Concurrent {
    pub(super) engine: Engine,
    pub(super) linker: Linker<State>,
    /// What code depends on besides its module.
    pub(super) fingerprint: [u8; 32],
    _ticker: Ticker,
}

impl Concurrent {
    pub(super) fn new(stacks: Stacks) -> Result<Concurrent> {
        let engine = Engine::new(&settings::config(Flavour::Concurrent, stacks))?;
        let fingerprint = settings::fingerprint(&engine);
        let linker = linker(&engine)?;
        let ticker = Ticker::start(engine.weak()).context("start the ticker thread")?;
        Ok(Concurrent { engine, linker, fingerprint, _ticker: ticker })
    }
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
