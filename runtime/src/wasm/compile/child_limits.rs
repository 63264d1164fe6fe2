//! The child process that compiles: it restricts itself, then reads a module and writes its code.

use std::io::{Read as _, Write as _};

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use wasmtime::Engine;

use super::CompileLimits;
use super::examine::examine;
use super::flags::Work;
use super::precompile::precompile;
use crate::confine::{self, LandlockRules, PathGrant, Reach, SyscallSet, Untrusted};
use crate::wasm::Target;
use crate::wasm::engine::settings;
use crate::wasm::host::trap;

/// The descriptor limit: the three streams, and what wasmtime and the allocator read under /proc and
/// /sys.
const DESCRIPTORS: u64 = 16;

/// Added to the nice(2) value of the daemon: on a core that serves, compiling gets a tenth.
const NICE: i32 = 10;

/// Compiles or examines the module on stdin for a target, and writes the code to stdout.
///
/// # Errors
/// The limits cannot be set, or the module cannot be compiled.
pub fn work(work: Work, target: Target, limits: &CompileLimits) -> anyhow::Result<()> {
    close_inherited();
    confine(limits).context("limit the compiler")?;
    give_up();
    // One thread: the cost of a module is then the same on every host, threads take memory of their
    // own, and the parent runs several compilers.
    let mut config = settings::config(target);
    config.parallel_compilation(false);
    let mut wasm = Vec::new();
    std::io::stdin().lock().take(limits.module + 1).read_to_end(&mut wasm).context("read the module")?;
    let engine = Engine::new(&config).map_err(trap::ours)?;
    let made = match work {
        Work::Compile => precompile(&engine, &wasm),
        Work::Examine => examine(&engine, &wasm),
    };
    let code = made.map_err(trap::ours)?;
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&code).and_then(|()| stdout.flush()).context("hand over the code")
}

/// Closes all descriptors except the three streams. The daemon's own descriptors are close-on-exec,
/// but descriptors that the daemon inherited may have been passed on.
fn close_inherited() {
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else { return };
    let numbers = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let listed: Vec<i32> = numbers.filter(|number| *number > 2).collect();
    // The descriptor of the listing itself was in it, and is closed by now.
    let is_open = |number: &i32| std::fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok();
    for number in listed.into_iter().filter(is_open) {
        // SAFETY: the descriptor is open, as was just checked, and nothing in this process owns it:
        // `cli::main` calls `work` before it opens anything, and there is no other thread.
        unsafe { rustix::io::close(number) };
    }
}

/// Gives up files, sockets, other programs and privileges, since modules are not trusted and the
/// compiler is large. Steps that this host does not support are skipped; the daemon has logged them.
fn give_up() {
    // The files that the allocator and wasmtime read.
    let places =
        ["/proc/self", "/proc/sys/vm", "/sys/devices/system"].map(|path| PathGrant::new(path, Reach::Read));
    let there: Vec<PathGrant> = places.into_iter().filter(|place| place.path.exists()).collect();
    let taken = [
        confine::no_new_privileges(),
        confine::retain(&[]).map(drop),
        LandlockRules::new(&there, &Untrusted::default()).and_then(|ground| ground.confine()),
        confine::refuse(SyscallSet::Compiler).map(drop),
    ];
    drop(taken);
}

/// Returns `true` if the parent has closed its end of stdout.
fn nobody_reads() -> rustix::io::Result<bool> {
    let stdout = std::io::stdout();
    let mut looked = [PollFd::new(&stdout, PollFlags::empty())];
    // pipe(7): a pipe without readers reports an error.
    Ok(poll(&mut looked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? > 0)
}

/// Sets the resource limits of this process and ties its life to the parent.
fn confine(limits: &CompileLimits) -> rustix::io::Result<()> {
    // The parent's thread waits for this process. If the parent is killed, this process must end too.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if nobody_reads()? {
        // The parent was killed before that.
        return Err(Errno::PIPE);
    }
    let (cpu, memory) = (limits.cpu.as_secs(), limits.memory);
    for (resource, soft, hard) in [
        (Resource::As, memory, memory),
        // The soft limit raises SIGXCPU, from which the parent knows the reason.
        (Resource::Cpu, cpu, cpu + 1),
        (Resource::Fsize, 0, 0),
        (Resource::Nofile, DESCRIPTORS, DESCRIPTORS),
        (Resource::Core, 0, 0),
    ] {
        let limit = Rlimit { current: Some(soft), maximum: Some(hard) };
        match setrlimit(resource, limit) {
            // A lower hard limit is already in force, and stays.
            Err(rustix::io::Errno::PERM) => {}
            set => set?,
        }
    }
    confine::serve_last(NICE).map_err(|refusal| Errno::from_io_error(&refusal).unwrap_or(Errno::IO))?;
    Ok(())
}
