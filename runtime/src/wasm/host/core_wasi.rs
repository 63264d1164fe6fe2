//! The WASI context of a core module, made when the guest first needs it.

use wasmtime_wasi::WasiView as _;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p1::types::Fd;

use super::guest::{self, Wasi};
use super::handles;
use super::stdio::{Descriptor, GoneReader, Stdin, Stdout};
use super::tmp::Tmp;
use crate::job::{Input, Output};

/// The WASI context of one instance.
///
/// Many programs read their environment and write their answer, and need no context for that. Making it, filling its
/// table of descriptors and dropping both costs a tenth of such a request.
pub(in crate::wasm) struct CoreWasi {
    /// `None` until the guest calls a function that needs it.
    made: Option<Box<WasiP1Ctx>>,
    plan: Wasi,
    stdin: Input,
    stdout: Stdout,
    stderr: Stdout,
    /// The maximum number of handles.
    handles: usize,
}

impl CoreWasi {
    /// Plans the context of a job with these streams. The job may write `max` bytes to stdout.
    pub(in crate::wasm) fn new(
        plan: Wasi,
        (stdin, stdout, stderr): (Input, Output, Output),
        max: u64,
        handles: usize,
    ) -> CoreWasi {
        let stdout = Stdout::new(stdout, max, GoneReader::Pipe);
        let stderr = Stdout::new(stderr, guest::UNBOUNDED, GoneReader::Pipe);
        let has_files = plan.has_files();
        let mut wasi = CoreWasi { made: None, plan, stdin, stdout, stderr, handles };
        if has_files {
            // The first call of a guest fails if its table has no room for its directories, also a write.
            wasi.get();
        }
        wasi
    }

    /// Plans the context of an instance that runs no job: its input is empty, and its output is dropped.
    pub(in crate::wasm) fn idle(plan: Wasi, handles: usize) -> CoreWasi {
        let streams = (Input::empty(), Output::nowhere(), Output::nowhere());
        CoreWasi::new(plan, streams, u64::MAX, handles)
    }

    /// Takes the account of the job's own `/tmp`, if it has one.
    pub(super) fn take_tmp(&mut self) -> Option<Box<Tmp>> {
        self.plan.tmp.take()
    }

    /// Returns the context, and makes it the first time.
    pub(in crate::wasm) fn get(&mut self) -> &mut WasiP1Ctx {
        let CoreWasi { made, plan, stdin, stdout, stderr, handles } = self;
        made.get_or_insert_with(|| {
            let stdout = Descriptor(stdout.clone());
            plan.builder().stdin(Stdin::new(std::mem::take(stdin))).stdout(stdout).stderr(stderr.clone());
            let mut wasi = Box::new(plan.build_p1());
            handles::bound(wasi.ctx().table, *handles);
            wasi
        })
    }

    /// Returns the stream behind a descriptor of stdout or stderr. `None` once there is a context: the guest may have
    /// closed or renumbered the descriptor since.
    pub(super) fn untouched(&self, fd: Fd) -> Option<&Stdout> {
        match u32::from(fd) {
            1 if self.made.is_none() => Some(&self.stdout),
            2 if self.made.is_none() => Some(&self.stderr),
            _ => None,
        }
    }
}
