//! The engine that compiles modules and holds the memory their jobs run in.

use std::fmt;
use std::num::NonZeroUsize;

use wasmtime::error::Context as _;
use wasmtime::{Config, Engine, InstanceAllocationStrategy, Linker, PoolingAllocationConfig, Result};
use wasmtime::{WasmBacktraceDetails, bail, component};

use super::command::{self, CommandCode};
use super::core::{self, CoreCode};
use super::ticker::Ticker;
use super::trap;

/// Everything modules share: one a daemon.
pub struct Sandbox {
    engine: Engine,
    core: Linker<core::State>,
    command: component::Linker<command::State>,
    allocation: Allocation,
    _ticker: Ticker,
}

/// How jobs get their memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Allocation {
    /// From a pool that is reserved once: the fast way.
    Pooled,
    /// From the kernel, for each job, because the pool could not be had: about eight times slower.
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
}

impl Sandbox {
    /// Makes a sandbox for up to `jobs` jobs at once.
    ///
    /// Falls back to [`Allocation::OnDemand`] when the host refuses the address space for the pool,
    /// as containers and `ulimit -v` do.
    ///
    /// # Errors
    /// wasmtime does not run on this host at all.
    pub fn new(jobs: u32) -> anyhow::Result<Sandbox> {
        Sandbox::try_new(jobs).map_err(trap::ours)
    }

    fn try_new(jobs: u32) -> Result<Sandbox> {
        let mut pooled = config();
        pooled.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(jobs)));
        let (engine, allocation) = match Engine::new(&pooled) {
            Ok(engine) => (engine, Allocation::Pooled),
            Err(refusal) => (Engine::new(&config())?, Allocation::OnDemand(format!("{refusal:#}"))),
        };
        let core = core::linker(&engine)?;
        let command = command::linker(&engine)?;
        let ticker = Ticker::start(engine.weak()).context("start the ticker thread")?;
        Ok(Sandbox { engine, core, command, allocation, _ticker: ticker })
    }

    /// Says how jobs get their memory.
    pub fn allocation(&self) -> &Allocation {
        &self.allocation
    }

    /// Compiles a module and links it to WASI. Takes seconds for a large module; blocks.
    ///
    /// # Errors
    /// The bytes are no module, or one that cannot be a handler: it lacks an entry point or imports
    /// what the daemon does not have. The message says which.
    pub fn compile(&self, bytes: &[u8]) -> anyhow::Result<Code> {
        let code = sniff(bytes).and_then(|layer| match layer {
            Layer::Core => CoreCode::compile(&self.engine, &self.core, bytes).map(Code::Core),
            Layer::Component => CommandCode::compile(&self.engine, &self.command, bytes).map(Code::Command),
        });
        code.map_err(trap::ours)
    }
}

/// What the first eight bytes of a module say it is.
enum Layer {
    Core,
    Component,
}

/// Tells a core module from a component, and both from anything else.
///
/// Source: the preambles of the core specification §5.5.16 and of the component model's Binary.md.
fn sniff(bytes: &[u8]) -> Result<Layer> {
    match bytes {
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => Ok(Layer::Core),
        [0, b'a', b's', b'm', _, 0, 1, 0, ..] => Ok(Layer::Component),
        [0, b'a', b's', b'm', ..] => {
            bail!("a WebAssembly binary of an unknown version: rebuild it with current tools")
        }
        [] => bail!("the file is empty: wanted a WebAssembly module, built with --target wasm32-wasip1"),
        [0x7f, b'E', b'L', b'F', ..] => {
            bail!("a native program (ELF), not a WebAssembly module: build it with --target wasm32-wasip1")
        }
        text if text.trim_ascii_start().starts_with(b"(") => {
            bail!("WebAssembly text, not a module: `portcullis build` assembles .wat files")
        }
        other => bail!(
            "not a WebAssembly module: it starts with \"{}\"; build one with --target wasm32-wasip1",
            other[..other.len().min(16)].escape_ascii()
        ),
    }
}

/// The settings both allocation strategies share.
fn config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        // Half of the fiber is left for host frames: an overflow there would abort the process.
        .max_wasm_stack(512 << 10)
        .async_stack_size(1 << 20)
        .memory_guard_size(2 << 30)
        .memory_init_cow(true)
        .relaxed_simd_deterministic(true)
        .wasm_multi_memory(true)
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        .wasm_backtrace_max_frames(NonZeroUsize::new(20));
    config
}

/// The pool: room for `jobs` jobs, warm from one job to the next.
fn pool(jobs: u32) -> PoolingAllocationConfig {
    // Enough for any table our limits allow and for the CPython component's 14,000 functions.
    const TABLE_ELEMENTS: usize = 200_000;
    // Measured in DESIGN.md: pages below this stay mapped, so that a small guest faults no page in.
    const RESIDENT: usize = 2 << 20;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_stacks(jobs)
        .total_memories(jobs * 2)
        .total_tables(jobs * 4)
        .total_core_instances(jobs * 8)
        .total_component_instances(jobs)
        .max_core_instances_per_component(40)
        .max_memories_per_component(2)
        .max_tables_per_component(16)
        .max_tables_per_module(4)
        .max_memories_per_module(2)
        .max_core_instance_size(1 << 20)
        .max_component_instance_size(1 << 20)
        .max_memory_size(4 << 30)
        .table_elements(TABLE_ELEMENTS)
        .linear_memory_keep_resident(RESIDENT)
        .table_keep_resident(RESIDENT)
        .max_unused_warm_slots(jobs)
        .pagemap_scan(wasmtime::Enabled::Auto);
    pool
}

impl fmt::Display for Allocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Allocation::Pooled => f.write_str("pooled"),
            Allocation::OnDemand(why) => write!(f, "on demand ({why})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> String {
        let sandbox = Sandbox::new(1).unwrap();
        sandbox.compile(bytes).map(drop).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_module_is_named_for_what_it_is() {
        assert!(refusal(b"").contains("the file is empty"));
        assert!(refusal(b"\x7fELF\x02\x01").contains("native program"));
        assert!(refusal(b"\n (module)").contains("portcullis build"));
        assert!(refusal(b"Hello, World! and more").contains("starts with \"Hello, World! an\""));
        assert!(refusal(b"\0asm\x09\0\0\0").contains("unknown version"));
        assert!(refusal(b"\0asm\x01\0\0\0\x01").contains("not a valid module"));
    }

    #[test]
    fn a_module_that_cannot_be_a_handler_says_why() {
        let library = wat::parse_str("(module (func (export \"add\")))").unwrap();
        let strange = wat::parse_str(
            r#"(module (import "env" "alpha" (func)) (import "host" "beta" (memory 1)) (func (export "_start")))"#,
        )
        .unwrap();
        let odd = wat::parse_str(r#"(module (func (export "_start") (param i32)))"#).unwrap();

        assert!(refusal(&library).contains("exports no `_start`"));
        let imports = refusal(&strange);
        assert!(imports.contains("env::alpha") && imports.contains("host::beta"), "{imports}");
        assert!(refusal(&odd).contains("`_start` takes parameters"));
    }
}
