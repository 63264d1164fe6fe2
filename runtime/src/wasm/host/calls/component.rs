//! `portcullis:job/jobs`, the interface through which a component calls jobs.

use bytes::Bytes;
use wasmtime::Result;
use wasmtime::component::{HasSelf, Linker, Resource};

use self::portcullis::job::jobs::{self, Failure, HostJob, Sides};
use super::failure;
use crate::wasm::host::component_state::State;

wasmtime::component::bindgen!({
    path: "../guest-sdk/wit",
    world: "calls",
    imports: { default: async | trappable },
    with: { "portcullis:job/jobs.job": JobHandle },
});

/// The package of the interface, as the prefix of a component's imports.
pub(crate) const PACKAGE: &str = "portcullis:job/";

/// A component's handle of a job. Its representation is the job's index in [`Calling`](super::Calling).
#[expect(unreachable_pub, reason = "what the macro makes of it is public")]
pub struct JobHandle;

/// Bytes that one call moves at most: the capacity of the pipes.
const PIECE: usize = 64 << 10;

/// Adds the interface to a linker.
pub(crate) fn link(linker: &mut Linker<State>) -> Result<()> {
    jobs::add_to_linker::<State, HasSelf<State>>(linker, |state| state)
}

type CallResult<T> = std::result::Result<T, Failure>;

impl jobs::Host for State {}

impl HostJob for State {
    async fn open(&mut self, name: String) -> Result<CallResult<Resource<JobHandle>>> {
        Ok(self.calls()?.open(name).map(Resource::new_own).map_err(Failure::from))
    }

    async fn arg(&mut self, job: Resource<JobHandle>, value: String) -> Result<CallResult<()>> {
        Ok(self.calls()?.arg(job.rep(), value).map_err(Failure::from))
    }

    async fn env(&mut self, job: Resource<JobHandle>, name: String, value: String) -> Result<CallResult<()>> {
        Ok(self.calls()?.env(job.rep(), name, value).map_err(Failure::from))
    }

    async fn start(&mut self, job: Resource<JobHandle>) -> Result<CallResult<()>> {
        Ok(self.calls()?.start(job.rep()).map_err(Failure::from))
    }

    async fn write(&mut self, job: Resource<JobHandle>, bytes: Vec<u8>) -> Result<CallResult<u32>> {
        let (calling, job) = (self.calls()?, job.rep());
        let room = match calling.room(job).await {
            Ok(room) => room.min(PIECE).min(bytes.len()),
            Err(failure) => return Ok(Err(failure.into())),
        };
        // Copied, because a slice would keep the whole list in memory until its last byte is read.
        let piece = Bytes::copy_from_slice(&bytes[..room]);
        let room = u32::try_from(room)?;
        Ok(calling.put(job, &piece).map(|()| room).map_err(Failure::from))
    }

    async fn close(&mut self, job: Resource<JobHandle>) -> Result<CallResult<()>> {
        Ok(self.calls()?.close(job.rep()).map_err(Failure::from))
    }

    async fn read(&mut self, job: Resource<JobHandle>, max: u32) -> Result<CallResult<Vec<u8>>> {
        let (calling, job) = (self.calls()?, job.rep());
        if let Err(failure) = calling.filled(job).await {
            return Ok(Err(failure.into()));
        }
        let max = usize::try_from(max)?.min(PIECE);
        Ok(calling.take(job, max).map(Vec::from).map_err(Failure::from))
    }

    async fn poll(&mut self, job: Resource<JobHandle>) -> Result<CallResult<Sides>> {
        let ready = self.calls()?.ready(job.rep()).await;
        let sides = |ready: super::Ready| {
            let side = |is: bool, side: Sides| if is { side } else { Sides::empty() };
            side(ready.read, Sides::READ) | side(ready.write, Sides::WRITE)
        };
        Ok(ready.map(sides).map_err(Failure::from))
    }

    async fn wait(&mut self, job: Resource<JobHandle>) -> Result<CallResult<jobs::End>> {
        let end = self.calls()?.ended(job.rep()).await;
        let end = end.map(|end| jobs::End { status: end.status.0, fault: end.fault.map(Failure::from) });
        Ok(end.map_err(Failure::from))
    }

    async fn drop(&mut self, job: Resource<JobHandle>) -> Result<()> {
        self.calls()?.forget(job.rep());
        Ok(())
    }
}

impl From<failure::Failure> for Failure {
    fn from(failure: failure::Failure) -> Failure {
        Failure { code: failure.code.to_owned(), message: failure.message }
    }
}
