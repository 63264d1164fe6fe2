//! The parent's side of compiling in a child: feeds it, limits it, and reports how it ended.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use wasmtime::error::Context as _;
use wasmtime::{Result, bail, ensure};

use super::flags::{COMPARED, CONCURRENT, CPU, EXAMINE, LINES, MEMORY, MODULE, VERB, Work};
use super::{CompileLimits, reason};
use crate::confine::BlockedSignals;
use crate::wasm::engine::engine_kind::EngineKind;
use crate::wasm::engine::sealed::{Sealed, SealedDraft};
use crate::wasm::engine::settings::{Addressing, Stacks, Target};

/// The largest machine code, in bytes.
const LARGEST_CODE: u64 = 512 << 20;

/// The most bytes of the child's stderr that are read.
const COMPLAINT: u64 = 4 << 10;

/// Compiles or examines a module in a child process.
pub(super) fn run(
    program: &Path,
    work: Work,
    target: Target,
    wasm: &[u8],
    limits: &CompileLimits,
) -> Result<Sealed> {
    let deadline = Deadline { at: Instant::now() + limits.wall(), limits };
    let wasm = Sealed::of(wasm).context("hold the module in memory")?;
    let mut worker = Worker::spawn(program, work, target, wasm.file()?, limits)?;
    let code = worker.read(deadline)?;
    let status = worker.wait(deadline)?;
    if status.success() {
        return code.seal().context("seal the code");
    }
    bail!("{}", reason::of(status, &worker.complaint(), limits))
}

/// When a child is killed.
#[derive(Clone, Copy)]
struct Deadline<'a> {
    at: Instant,
    limits: &'a CompileLimits,
}

/// A child that compiles. Dropping it kills it.
struct Worker {
    child: Child,
    /// A pidfd, which becomes readable when the child has ended.
    ended: OwnedFd,
}

impl Worker {
    /// Starts a child with the module, and nothing else of the daemon: not its environment, working
    /// directory, process group or descriptors, except for the three streams.
    fn spawn(
        program: &Path,
        work: Work,
        target: Target,
        wasm: File,
        limits: &CompileLimits,
    ) -> Result<Worker> {
        let Target { kind, stacks, addressing } = target;
        let kind = match kind {
            EngineKind::Sequential => None,
            EngineKind::Concurrent => Some(CONCURRENT),
        };
        let stacks = match stacks {
            Stacks::Names => None,
            Stacks::Lines => Some(LINES),
        };
        let addressing = match addressing {
            Addressing::Reserved => None,
            Addressing::Compared => Some(COMPARED),
        };
        let work = match work {
            Work::Compile => None,
            Work::Examine => Some(EXAMINE),
        };
        let flags = [work, kind, stacks, addressing].into_iter().flatten().map(|flag| format!("--{flag}"));
        let CompileLimits { cpu, memory, module, .. } = limits;
        let bounds = [(CPU, cpu.as_secs()), (MEMORY, *memory), (MODULE, *module)];
        let flags = flags.chain(bounds.into_iter().map(|(flag, bound)| format!("--{flag}={bound}")));
        // Signals are blocked while the child starts, and stay blocked in it. A signal that a terminal or
        // service manager sends to all processes is for the daemon, and the child ends with the daemon.
        let held = BlockedSignals::new();
        let child = Command::new(program)
            .arg0("portcullis")
            .arg(VERB)
            .args(flags)
            .env_clear()
            .current_dir("/")
            .process_group(0)
            .stdin(wasm)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        drop(held);
        let mut child = child.context("start a compiler")?;
        match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(ended) => Ok(Worker { child, ended }),
            Err(refusal) => {
                // Without a pidfd there is no wait with a deadline, so the child is killed.
                end(&mut child);
                Err(refusal).context("watch a compiler: pidfd_open(2) needs Linux 5.3")
            }
        }
    }

    /// Reads the code until the child closes its stdout.
    fn read(&mut self, deadline: Deadline<'_>) -> Result<SealedDraft> {
        let Some(mut stdout) = self.child.stdout.take() else { bail!("the compiler has no stdout") };
        let mut code = SealedDraft::new().context("hold the code in memory")?;
        let mut buffer = vec![0; 64 << 10];
        let mut length = 0;
        loop {
            until(&stdout, deadline)?;
            match read(&mut stdout, &mut buffer)? {
                0 => return Ok(code),
                read => {
                    length += read as u64;
                    ensure!(
                        length <= LARGEST_CODE,
                        "its code is larger than {LARGEST_CODE} bytes (512 MiB), which no key raises: split the module"
                    );
                    code.write_all(&buffer[..read]).context("hold the code in memory")?;
                }
            }
        }
    }

    /// Waits for the child to end.
    fn wait(&mut self, deadline: Deadline<'_>) -> Result<std::process::ExitStatus> {
        until(&self.ended, deadline)?;
        self.child.wait().context("wait for the compiler")
    }

    /// Returns the stderr of the child, which has ended.
    fn complaint(&mut self) -> String {
        let mut said = Vec::new();
        if let Some(stderr) = self.child.stderr.take() {
            // After an error, the part that was read is used.
            let _read = stderr.take(COMPLAINT).read_to_end(&mut said);
        }
        String::from_utf8_lossy(&said).into_owned()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Kills and reaps a child, unless it was reaped already.
fn end(child: &mut Child) {
    // Both fail for a child that was reaped; then there is nothing to do.
    let _ended = child.kill();
    let _reaped = child.wait();
}

fn read(stdout: &mut ChildStdout, buffer: &mut [u8]) -> Result<usize> {
    loop {
        match stdout.read(buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            read => return read.context("read the code"),
        }
    }
}

/// Waits until the descriptor is readable or at its end.
fn until(readable: &impl AsFd, deadline: Deadline<'_>) -> Result<()> {
    loop {
        let left = deadline.at.saturating_duration_since(Instant::now());
        ensure!(
            !left.is_zero(),
            "compiling it takes longer than {:?}, without using up its CPU time: the host may be overloaded",
            deadline.limits.wall()
        );
        let timeout = Timespec::try_from(left).context("a deadline that fits")?;
        match poll(&mut [PollFd::new(readable, PollFlags::IN)], Some(&timeout)) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(refusal) => return Err(refusal).context("wait for the compiler"),
        }
    }
}
