//! The settings of every engine: the one that runs modules and the ones that only compile them.

use std::hash::{Hash as _, Hasher};
use std::num::NonZeroUsize;

use rustix::process::{Resource, getrlimit};
use sha2::{Digest as _, Sha256};
use wasmtime::{
    Collector, Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Result,
    WasmBacktraceDetails,
};

use super::engine_kind::Flavour;
use super::instance_size::{MEMORIES, TABLES};
use crate::confine;

/// What the stack of a guest tells.
///
/// wasmtime reads a module's debug information anew for each frame of each stack that it takes, in this
/// process and outside every limit: one that was made for it holds a thread up for minutes and takes
/// memory without end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stacks {
    /// Names of functions. Debug information is left out of the code.
    Names,
    /// Files and lines as well: for modules that are trusted, or a process that runs nothing else.
    Lines,
}

impl Stacks {
    /// Says what is wanted: files and lines, or names alone.
    pub fn of(lines: bool) -> Stacks {
        if lines { Stacks::Lines } else { Stacks::Names }
    }
}

/// How an access beyond the end of a memory is found out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Addressing {
    /// Whatever a guest can name lies within 6 GiB of address space that are the memory's own, and faults
    /// where there is no memory: nothing is compared. The fast way.
    Reserved,
    /// Each access is compared with the end of the memory, which takes no more address space than it may
    /// come to: for hosts that have little of it.
    Compared,
}

/// What machine code is made for, besides the processor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// What stores of its engine can do.
    pub flavour: Flavour,
    /// What the stacks of guests tell.
    pub stacks: Stacks,
    /// How accesses are bounded.
    pub addressing: Addressing,
}

/// What a sandbox has room for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// Jobs at once.
    pub jobs: u32,
    /// Bytes of memory that one of them may have at the most, as far as is known.
    pub memory: usize,
    /// Bytes that a pool may keep resident between jobs, over all its slots.
    pub warm: usize,
}

impl Room {
    /// Makes room for a process that serves nothing: what its pool keeps resident does not matter.
    pub fn unserved(jobs: u32, memory: usize) -> Room {
        Room { jobs, memory, warm: usize::MAX }
    }
}

/// Bytes of stack that a guest may use.
const DEPTH: usize = 512 << 10;

/// The settings that all engines for a target share, and so all that machine code depends on.
pub(in crate::wasm) fn config(Target { flavour, stacks, addressing }: Target) -> Config {
    let details = match stacks {
        Stacks::Names => WasmBacktraceDetails::Disable,
        Stacks::Lines => WasmBacktraceDetails::Enable,
    };
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        // Half of the fiber is left for host frames: an overflow there would abort the process.
        .max_wasm_stack(DEPTH)
        .async_stack_size(1 << 20)
        .memory_init_cow(true)
        // On by default: it gives each store the tables of the async component model, which most
        // modules do not use, and lets in components that do.
        .concurrency_support(flavour == Flavour::Concurrent)
        .wasm_component_model_async(flavour == Flavour::Concurrent)
        .relaxed_simd_deterministic(true)
        .wasm_multi_memory(true)
        // Exceptions are objects of a heap of their own. Nothing else may be: what is not let in cannot be attacked.
        .wasm_exceptions(true)
        .wasm_gc(false)
        .collector(Collector::Copying)
        .wasm_backtrace_details(details)
        .wasm_backtrace_max_frames(NonZeroUsize::new(20));
    match addressing {
        Addressing::Reserved => config.memory_guard_size(2 << 30),
        // A guard that finds out small offsets, which most are, for a page of WebAssembly.
        Addressing::Compared => {
            config.memory_reservation(0).memory_guard_size(64 << 10).guard_before_linear_memory(false)
        }
    };
    config
}

/// Makes an engine without a pool, whose memories are reserved as large as they may become where that
/// leaves address space for all jobs, and are moved when they outgrow less.
///
/// # Errors
/// wasmtime does not run on this host.
pub(in crate::wasm) fn unpooled(target: Target, room: Room) -> Result<Engine> {
    // As little as is worth moving a memory for.
    const LEAST: u64 = 1 << 20;
    // The other half is for what there is besides the memories of jobs.
    let share = getrlimit(Resource::As).current.map(|most| most / 2 / u64::from(room.jobs.max(1)));
    let growth = share.unwrap_or(u64::MAX).min(room.memory as u64).max(LEAST);
    Engine::new(config(target).memory_reservation_for_growth(growth))
}

/// The most that one component is made of: in a pool, and without one.
pub(in crate::wasm) struct Parts {
    pub(in crate::wasm) instances: u32,
    pub(in crate::wasm) memories: u32,
    pub(in crate::wasm) tables: u32,
}

pub(in crate::wasm) const COMPONENT: Parts = Parts { instances: 40, memories: 2, tables: 16 };

/// A pool that is to be.
#[derive(Clone, Debug)]
pub(in crate::wasm) struct Pool {
    config: PoolingAllocationConfig,
    stacks: IdleStacks,
}

/// What becomes of a stack when its job has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum IdleStacks {
    /// It stays as it is.
    Kept,
    /// It is dropped, but for its top.
    Dropped,
}

/// What of a guest's memory a pool resets for the next guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resetting {
    /// The pages that were written, wherever the kernel has them.
    Written,
    /// All of it: the kernel cannot say which pages were written.
    Whole,
}

/// The pool: room for `jobs` jobs, warm from one job to the next.
///
/// What a job finds in its slot is what its module starts with, whoever had the slot before. In 48.0.8:
///
/// - Memories and tables are reset as they are given back, before their slot can be taken. Of both,
///   `keep_resident` bytes of the pages that were written are overwritten, with the module's own data or
///   zeros, and the rest is dropped (`MADV_DONTNEED`). Where the kernel refuses to drop it, a memory's slot is mapped
///   anew before its next use and a table is overwritten.
/// - Which pages were written, the kernel says by a scan that wasmtime makes too narrow: see
///   [`confine::mended`]; nor may it be told of another page than was written: see [`confine::unmerged`]. Only as much
///   is scanned as a guest could reach; what it shrinks to is out of reach again (`mprotect`) until it was reset.
/// - Images that memories start with are mapped copy-on-write from files under seals: ours for modules,
///   wasmtime's for components. One of another module is unmapped before the slot is used.
/// - Warm slots, and that a module gets its own again, save work alone: each was reset before.
/// - Stacks need no reset: wasm has no address for them, and compiled code reads of its frames what it wrote there.
///   What a deep recursion has touched would stay resident, though: see [`Pool::stacks`].
/// - The heap of exceptions is a memory of the pool, which a job gets with its first one: counted and reset as any.
///   What the collector knows of types is cleared as it is detached.
/// - Instances are allocated and initialised for each job. The feature of protection keys is left out of wasmtime.
pub(in crate::wasm) fn pool(room: Room) -> Pool {
    pool_with(room, room.jobs)
}

/// The pool for stores that have several calls under way.
pub(in crate::wasm) fn concurrent_pool(room: Room) -> Pool {
    // One runs, one waits for the host, one does what the host gives it meanwhile, and one is kept.
    pool_with(room, room.jobs * 4)
}

fn pool_with(Room { jobs, warm, .. }: Room, stacks: u32) -> Pool {
    // For any table that our limits allow, and the CPython component's 14,000 functions.
    const TABLE_ELEMENTS: usize = 200_000;
    // Pages below this stay mapped, so that a small guest faults no page in.
    const RESIDENT: usize = 2 << 20;
    let mut pool = Pool { config: PoolingAllocationConfig::new(), stacks: IdleStacks::Kept };
    let stacks = pool.stacks(stacks, warm);
    // A slot's memory, its table and the heap of its exceptions each keep as much. Whole pages, as wasmtime counts them.
    let resident = (warm.saturating_sub(stacks) / (jobs.max(1) as usize * 3)).min(RESIDENT) & !0xfff;
    // Memories: two of its own, and one for its exceptions. A component is made of many modules, CPython's of 30.
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

impl Pool {
    /// Sets how many stacks there are, and says how many bytes of them may stay resident between jobs: what they come
    /// to if each was once as deep as a guest can make it, where that is no more than half of what may stay warm.
    /// Elsewhere a stack is dropped after each job, but for its top: that costs a small job 2 us of the 20 that it
    /// takes. Where even the tops are more than that half, a stack is dropped whole.
    fn stacks(&mut self, stacks: u32, warm: usize) -> usize {
        // As deep as jobs commonly are. Overwritten with zeros, which is cheaper than to be dropped.
        const TOP: usize = 32 << 10;
        let all = |each: usize| (stacks as usize).saturating_mul(each);
        let is_little = all(DEPTH) <= warm / 2;
        let top = if is_little || all(TOP) > warm / 2 { 0 } else { TOP };
        self.stacks = if is_little { IdleStacks::Kept } else { IdleStacks::Dropped };
        self.config.total_stacks(stacks).async_stack_keep_resident(top);
        if is_little { all(DEPTH) } else { all(top) }
    }
}

/// Makes an engine with a pool. Its pool scans for what guests wrote only where that finds what is not
/// present as well and no page is put in the place of another, and resets all of their memory elsewhere.
/// Ends the merging of pages for the process, also where it fails.
///
/// # Errors
/// The host refuses the address space.
pub(in crate::wasm) fn pooled(config: &Config, mut pool: Pool) -> Result<(Engine, Resetting)> {
    // First, and whatever becomes of the pool: merged pages tell other jobs by time, also where nothing is scanned.
    let unmerged = confine::unmerged();
    let engine = |pool: &Pool| {
        let strategy = InstanceAllocationStrategy::Pooling(pool.config.clone());
        let drops_stacks = pool.stacks == IdleStacks::Dropped;
        Engine::new(config.clone().async_stack_zeroing(drops_stacks).allocation_strategy(strategy))
    };
    // It tries a scan as it is made, and nothing runs in it before it is known where that went.
    let scanning = engine(&pool)?;
    if confine::mended() && unmerged {
        return Ok((scanning, Resetting::Written));
    }
    drop(scanning);
    pool.config.pagemap_scan(Enabled::No);
    Ok((engine(&pool)?, Resetting::Whole))
}

/// Digests all that machine code for a target depends on besides its module: wasmtime and its settings,
/// the processor's features, and our own version.
///
/// # Errors
/// wasmtime does not run on this host.
pub(in crate::wasm) fn fingerprint(target: Target) -> Result<[u8; 32]> {
    // Not those of the engine that runs it: how much is reserved for growth is nothing to the code.
    let engine = Engine::new(&config(target))?;
    let mut hasher = Fingerprint(Sha256::new_with_prefix(concat!("portcullis ", env!("CARGO_PKG_VERSION"))));
    // In 48.0.8: triple, Cranelift's flags, those of the processor, tunables, features, version
    // (wasmtime's src/compile/code_builder.rs).
    engine.precompile_compatibility_hash().hash(&mut hasher);
    Ok(hasher.0.finalize().into())
}

/// Gives what is hashed to SHA-256: std's hashers have 64 bits and change with its versions.
struct Fingerprint(Sha256);

impl Hasher for Fingerprint {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Is never asked for: the digest is taken whole.
    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Target =
        Target { flavour: Flavour::Sequential, stacks: Stacks::Names, addressing: Addressing::Reserved };

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

        // Elsewhere than to us, a scan would find too little: see `confine::mended`.
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
            Target { flavour: Flavour::Concurrent, ..TARGET },
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
        let concurrent = Target { flavour: Flavour::Concurrent, ..TARGET };
        Engine::new(&config(concurrent)).unwrap().precompile_component(&component).unwrap();
    }
}
