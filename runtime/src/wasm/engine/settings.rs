//! The settings of every engine, whether it runs modules or only compiles them.

use std::hash::{Hash as _, Hasher};
use std::num::NonZeroUsize;

use rustix::process::{Resource, getrlimit};
use sha2::{Digest as _, Sha256};
use wasmtime::{
    Collector, Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Result,
    WasmBacktraceDetails,
};

use super::engine_kind::EngineKind;
use super::instance_size::{MEMORIES, TABLES};
use crate::confine;

/// What the backtrace of a guest contains.
///
/// wasmtime parses a module's debug information anew for each frame of each backtrace. It does so in this process and
/// outside every limit. A module built for it holds a thread up for minutes and takes unbounded memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stacks {
    /// Function names. Debug information is not kept in the compiled code.
    Names,
    /// File names and lines as well. For trusted modules, or a process that runs nothing else.
    Lines,
}

impl Stacks {
    /// Returns `Lines` if files and lines are wanted, else `Names`.
    pub fn of(lines: bool) -> Stacks {
        if lines { Stacks::Lines } else { Stacks::Names }
    }
}

/// How an access beyond the end of a memory is detected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Addressing {
    /// Each memory reserves 6 GiB of address space: 4 GiB for the index and a guard of 2 GiB for the offset. An access
    /// beyond the memory faults, so only offsets over 2 GiB need a comparison. The fast way.
    Reserved,
    /// Each access is compared with the end of the memory. A memory then takes no more address space than its largest
    /// size: for hosts where address space is scarce.
    Compared,
}

/// What machine code is compiled for, besides the processor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// What the stores of its engine can do.
    pub kind: EngineKind,
    /// What the backtraces of guests contain.
    pub stacks: Stacks,
    /// How memory accesses are bounded.
    pub addressing: Addressing,
}

/// The sizes that a sandbox is made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// Maximum number of concurrent jobs.
    pub jobs: u32,
    /// Maximum bytes of memory of one job, as far as it is known.
    pub memory: usize,
    /// Maximum bytes that a pool keeps resident between jobs, over all its slots.
    pub warm: usize,
}

impl Room {
    /// Makes the sizes for a process that serves no requests: its pool may keep everything resident.
    pub fn unserved(jobs: u32, memory: usize) -> Room {
        Room { jobs, memory, warm: usize::MAX }
    }
}

/// Bytes of stack that a guest may use.
const DEPTH: usize = 512 << 10;

/// Makes the settings that all engines for a target share. Machine code depends on these and no others.
pub(in crate::wasm) fn config(Target { kind, stacks, addressing }: Target) -> Config {
    let details = match stacks {
        Stacks::Names => WasmBacktraceDetails::Disable,
        Stacks::Lines => WasmBacktraceDetails::Enable,
    };
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        // The other half of the fiber's stack is for host frames: an overflow there would abort the process.
        .max_wasm_stack(DEPTH)
        .async_stack_size(1 << 20)
        .memory_init_cow(true)
        // On by default. It gives each store the tables of the async component model, which most modules do not use,
        // and admits components that do.
        .concurrency_support(kind == EngineKind::Concurrent)
        .wasm_component_model_async(kind == EngineKind::Concurrent)
        .relaxed_simd_deterministic(true)
        .wasm_multi_memory(true)
        // Exceptions live in a heap of their own. The other GC types stay off, to leave less to attack.
        .wasm_exceptions(true)
        .wasm_gc(false)
        .collector(Collector::Copying)
        .wasm_backtrace_details(details)
        .wasm_backtrace_max_frames(NonZeroUsize::new(20));
    match addressing {
        Addressing::Reserved => config.memory_guard_size(2 << 30),
        // A guard of one WebAssembly page catches small offsets without a comparison; most offsets are small.
        Addressing::Compared => {
            config.memory_reservation(0).memory_guard_size(64 << 10).guard_before_linear_memory(false)
        }
    };
    config
}

/// Makes an engine without a pool. Each memory reserves its maximum size if that leaves address space for all jobs. A
/// memory that outgrows a smaller reservation is moved.
///
/// # Errors
/// wasmtime does not run on this host.
pub(in crate::wasm) fn unpooled(target: Target, room: Room) -> Result<Engine> {
    // The smallest growth that is worth moving a memory for.
    const LEAST: u64 = 1 << 20;
    // Memories of jobs get half of the address space; the other half is for everything else.
    let share = getrlimit(Resource::As).current.map(|max| max / 2 / u64::from(room.jobs.max(1)));
    let growth = share.unwrap_or(u64::MAX).min(room.memory as u64).max(LEAST);
    Engine::new(config(target).memory_reservation_for_growth(growth))
}

/// The most instances, memories and tables that one component may have, with or without a pool.
pub(in crate::wasm) struct ComponentParts {
    pub(in crate::wasm) instances: u32,
    pub(in crate::wasm) memories: u32,
    pub(in crate::wasm) tables: u32,
}

pub(in crate::wasm) const COMPONENT: ComponentParts =
    ComponentParts { instances: 40, memories: 2, tables: 16 };

/// The configuration of a pool that is not made yet.
#[derive(Clone, Debug)]
pub(in crate::wasm) struct PoolSettings {
    config: PoolingAllocationConfig,
    stacks: IdleStacks,
}

/// What happens to the memory of a stack when its job ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum IdleStacks {
    /// It stays resident.
    Kept,
    /// All but its top is dropped.
    Dropped,
}

/// Which of a guest's memory a pool resets for the next guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resetting {
    /// Only the pages that were written, whether they are present or swapped out.
    Written,
    /// All of it, because the kernel cannot report which pages were written.
    Whole,
}

/// Configures the pool: room for `jobs` jobs, kept warm between jobs.
///
/// A job finds in its slot exactly what its module starts with, whatever used the slot before. In wasmtime 48.0.8:
///
/// - Memories and tables are reset when they are given back, before their slot can be taken again. Up to
///   `keep_resident` bytes of the written pages are overwritten with the module's own data or zeros. The rest is
///   dropped (`MADV_DONTNEED`). If the kernel refuses to drop it, a memory's slot is mapped anew before its next use,
///   and a table is overwritten.
/// - A kernel scan reports which pages were written. wasmtime asks too little of it: see [`confine::mended`]. Page
///   merging would make it report the wrong pages: see [`confine::unmerged`]. Only memory that a guest could reach is
///   scanned. When a memory's slot shrinks, the rest is out of reach again (`mprotect`) until it is reset.
/// - Initial memory images are mapped copy-on-write from sealed files: ours for modules, wasmtime's for components. The
///   image of another module is unmapped before the slot is used.
/// - Warm slots, and the affinity of a module to its previous slot, only save work: every slot was reset before.
/// - Stacks need no reset. wasm cannot address them, and compiled code reads from its frames only what it wrote there.
///   The pages that a deep recursion touched would stay resident, though: see [`PoolSettings::stacks`].
/// - The heap of exceptions is a memory of the pool, taken with the instance of a module that throws. It is counted and
///   reset like any other. The collector's knowledge of types is cleared when the heap is detached.
/// - Instances are allocated and initialised for each job, with their globals and the record of dropped segments. wasmtime
///   is built without protection keys.
pub(in crate::wasm) fn pool(room: Room) -> PoolSettings {
    pool_with(room, room.jobs)
}

/// Configures the pool for stores that run several calls at once.
pub(in crate::wasm) fn concurrent_pool(room: Room) -> PoolSettings {
    // One stack runs, one waits for the host, one serves a call from the host meanwhile, and one is spare.
    pool_with(room, room.jobs * 4)
}

fn pool_with(Room { jobs, warm, .. }: Room, stacks: u32) -> PoolSettings {
    // Enough for every table that our limits allow, and for the CPython component's 14,000 functions.
    const TABLE_ELEMENTS: usize = 200_000;
    // This much of each slot stays mapped, so that a small guest causes no page fault.
    const RESIDENT: usize = 2 << 20;
    let mut pool = PoolSettings { config: PoolingAllocationConfig::new(), stacks: IdleStacks::Kept };
    let stacks = pool.stacks(stacks, warm);
    // The memory, the table and the exception heap of a slot each keep this much. wasmtime counts whole pages.
    let resident = (warm.saturating_sub(stacks) / (jobs.max(1) as usize * 3)).min(RESIDENT) & !0xfff;
    // Three memories a job: two of its own and one for exceptions. Components consist of many modules, CPython's of 30.
    pool.config
        .total_memories((jobs * 3).max(COMPONENT.memories + 1))
        .total_gc_heaps(jobs)
        .total_tables((jobs * 4).max(COMPONENT.tables))
        .total_core_instances((jobs * 8).max(COMPONENT.instances))
        .total_component_instances(jobs)
        .max_core_instances_per_component(COMPONENT.instances)
        .max_memories_per_component(COMPONENT.memories)
        .max_tables_per_component(COMPONENT.tables)
        .max_tables_per_module(TABLES)
        .max_memories_per_module(MEMORIES)
        .max_core_instance_size(1 << 20)
        .max_component_instance_size(1 << 20)
        .max_memory_size(4 << 30)
        .table_elements(TABLE_ELEMENTS)
        .linear_memory_keep_resident(resident)
        .table_keep_resident(resident)
        .max_unused_warm_slots(jobs)
        .pagemap_scan(Enabled::Auto);
    pool
}

impl PoolSettings {
    /// Sets the number of stacks, and returns how many bytes of them may stay resident between jobs.
    ///
    /// If all stacks at full depth fit into half of `warm`, they are kept. Otherwise each stack is dropped after its
    /// job, except for its top: that costs a small job 2 us of the 20 that it takes. If even the tops exceed that half,
    /// stacks are dropped whole.
    fn stacks(&mut self, stacks: u32, warm: usize) -> usize {
        // The depth of common jobs. Overwriting this much with zeros is cheaper than dropping it.
        const TOP: usize = 32 << 10;
        let all = |each: usize| (stacks as usize).saturating_mul(each);
        let is_little = all(DEPTH) <= warm / 2;
        let top = if is_little || all(TOP) > warm / 2 { 0 } else { TOP };
        self.stacks = if is_little { IdleStacks::Kept } else { IdleStacks::Dropped };
        self.config.total_stacks(stacks).async_stack_keep_resident(top);
        if is_little { all(DEPTH) } else { all(top) }
    }
}

/// Makes an engine with a pool, which scans for written pages if the scan also finds those that are not present and no
/// page can be replaced by a merged one. Otherwise it resets all memory of a guest. Page merging is turned off for the
/// process even if this function fails.
///
/// # Errors
/// The host refuses the address space.
pub(in crate::wasm) fn pooled(config: &Config, mut pool: PoolSettings) -> Result<(Engine, Resetting)> {
    // First, and independent of the pool: the timing of merged pages leaks to other jobs, even without a scan.
    let unmerged = confine::unmerged();
    let engine = |pool: &PoolSettings| {
        let strategy = InstanceAllocationStrategy::Pooling(pool.config.clone());
        let drops_stacks = pool.stacks == IdleStacks::Dropped;
        Engine::new(config.clone().async_stack_zeroing(drops_stacks).allocation_strategy(strategy))
    };
    // wasmtime tries a scan while the engine is made. No guest runs in it before we know whether the scan is correct.
    let scanning = engine(&pool)?;
    if confine::mended() && unmerged {
        return Ok((scanning, Resetting::Written));
    }
    drop(scanning);
    pool.config.pagemap_scan(Enabled::No);
    Ok((engine(&pool)?, Resetting::Whole))
}

/// Digests everything but the module that machine code for a target depends on: wasmtime and its settings, the
/// processor's features, and our own version.
pub(in crate::wasm) fn fingerprint(target: Target) -> Result<[u8; 32]> {
    // Uses the shared settings alone: the reservation for growth of the running engine does not affect its code.
    let engine = Engine::new(&config(target))?;
    let mut hasher = Fingerprint(Sha256::new_with_prefix(concat!("portcullis ", env!("CARGO_PKG_VERSION"))));
    // In 48.0.8 the hash covers the triple, Cranelift's flags, the processor's flags, tunables, features and version
    // (wasmtime's src/compile/code_builder.rs).
    engine.precompile_compatibility_hash().hash(&mut hasher);
    Ok(hasher.0.finalize().into())
}

/// Feeds what is hashed to SHA-256: std's hashers have 64 bits and change with its versions.
struct Fingerprint(Sha256);

impl Hasher for Fingerprint {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Never called: `fingerprint` takes the whole digest instead.
    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Target =
        Target { kind: EngineKind::Sequential, stacks: Stacks::Names, addressing: Addressing::Reserved };

    fn hashed(engine: &Engine) -> [u8; 32] {
        let mut hasher = Fingerprint(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        hasher.0.finalize().into()
    }

    #[test]
    fn a_pool_scans_where_the_kernel_can() {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let mut numbers = release.split('.').map_while(|number| number.parse::<u32>().ok());
        let version = (numbers.next().unwrap(), numbers.next().unwrap());

        let (_, resetting) = pooled(&config(TARGET), pool(Room::unserved(2, 1 << 20))).unwrap();

        // On other kernels the scan is wrong or absent: see `confine::mended`.
        assert_eq!(resetting == Resetting::Written, version >= (6, 7), "{release}");
    }

    #[test]
    fn code_of_a_compiler_is_for_a_pool() {
        let mut single = config(TARGET);
        single.parallel_compilation(false);
        let mut other = config(TARGET);
        other.epoch_interruption(false);

        let (pooled, _) = pooled(&config(TARGET), pool(Room::unserved(2, 1 << 20))).unwrap();

        assert_eq!(hashed(&Engine::new(&single).unwrap()), hashed(&pooled));
        assert_ne!(hashed(&Engine::new(&other).unwrap()), hashed(&pooled));
    }

    #[test]
    fn a_pool_keeps_no_more_resident_than_there_is_room_for() {
        let kept = |warm| {
            let pool = format!("{:?}", pool(Room { jobs: 320, memory: 1 << 20, warm }));
            let value = |key: &str| {
                let (_, rest) = pool.split_once(&format!("{key}: ")).unwrap();
                rest.split([',', ' ']).next().unwrap().parse::<usize>().unwrap()
            };
            (value("linear_memory_keep_resident"), value("table_keep_resident"))
        };

        assert_eq!(kept(usize::MAX), (2 << 20, 2 << 20));
        assert_eq!(kept(32 << 20), (20 << 10, 20 << 10));
        assert_eq!(kept(0), (0, 0));
    }

    #[test]
    fn a_stack_that_was_deep_is_dropped_where_memory_is_short() {
        let stacks = |warm| {
            let mut pool = pool(Room { jobs: 320, memory: 1 << 20, warm });
            (pool.stacks, pool.stacks(320, warm) >> 20)
        };

        // 320 of 512 KiB are 160 MiB.
        assert_eq!(stacks(usize::MAX), (IdleStacks::Kept, 160));
        assert_eq!(stacks(320 << 20), (IdleStacks::Kept, 160));
        assert_eq!(stacks(319 << 20), (IdleStacks::Dropped, 10));
        assert_eq!(stacks(0), (IdleStacks::Dropped, 0));
    }

    #[test]
    fn code_that_compares_runs_whatever_is_reserved_for_growth() {
        let compared = Target { addressing: Addressing::Compared, ..TARGET };
        let module = wat::parse_str("(module (memory 1))").unwrap();
        let code = Engine::new(&config(compared)).unwrap().precompile_module(&module).unwrap();

        for memory in [1, 64 << 20] {
            let engine = unpooled(compared, Room::unserved(1, memory)).unwrap();
            // SAFETY: `precompile_module` has returned it just now.
            unsafe { wasmtime::Module::deserialize(&engine, &code) }.unwrap();
        }
        let reserved = unpooled(TARGET, Room::unserved(1, 1)).unwrap();
        // SAFETY: as above.
        assert!(unsafe { wasmtime::Module::deserialize(&reserved, &code) }.is_err());
    }

    #[test]
    fn code_for_another_target_is_not_ours() {
        let others = [
            Target { kind: EngineKind::Concurrent, ..TARGET },
            Target { addressing: Addressing::Compared, ..TARGET },
        ];

        for other in others {
            assert_ne!(fingerprint(other).unwrap(), fingerprint(TARGET).unwrap(), "{other:?}");
        }
    }

    #[test]
    fn a_component_of_the_async_model_is_for_the_other_engine() {
        let component = wat::parse_str("(component (type (stream u8)))").unwrap();

        let refusal = Engine::new(&config(TARGET)).unwrap().precompile_component(&component).unwrap_err();

        assert!(format!("{refusal:#}").contains("async"), "{refusal:#}");
        let concurrent = Target { kind: EngineKind::Concurrent, ..TARGET };
        Engine::new(&config(concurrent)).unwrap().precompile_component(&component).unwrap();
    }
}
