//! A WebAssembly module as a job handler: its code and its grants.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::BoxFuture;
use tokio::time::timeout;

use super::host::files::Files;
use super::host::guest::{Wasi, bare};
use super::host::tmp::TmpGuard;
use super::kinds::http::Warm;
use super::kinds::instance_pool::InstancePool;
use super::sandbox::Code;
use crate::in_place;
use crate::job::{Fault, Grants, Handler, Job, Kind, Limits, Needs, Outbound, Run, Status, Usage};

/// A handler that runs a WebAssembly module.
pub struct Module {
    /// The compiled code.
    pub code: Code,
    /// The host files that jobs may use; `None` if the handler is granted none.
    pub files: Option<Files>,
    /// Carries out the module's requests to other servers.
    outbound: Arc<dyn Outbound>,
    /// The pool of reusable instances; `None` unless the handler reuses them.
    idle: Option<InstancePool<Warm>>,
    /// Bytes of the memories and tables that an instance starts with.
    memory: usize,
}

impl Module {
    /// Makes a handler. With `reuse`, an instance of a component that answers HTTP serves that many
    /// requests, one after the other. `reuse` has no effect on other modules, nor on handlers with files.
    pub fn new(
        code: Code,
        files: Option<Files>,
        outbound: Arc<dyn Outbound>,
        reuse: Option<NonZeroU32>,
    ) -> Module {
        let idle = match (&code, reuse) {
            (Code::Http(code), Some(requests)) if files.is_none() => Some(code.idle(requests)),
            (Code::Core(_) | Code::Command(_) | Code::Http(_), _) => None,
        };
        let memory = match &code {
            Code::Core(code) => code.memory(),
            Code::Command(code) => code.memory(),
            Code::Http(code) => code.memory(),
        };
        Module { code, files, outbound, idle, memory }
    }

    /// Returns the kind of module.
    pub fn kind(&self) -> Kind {
        self.code.kind()
    }

    /// Returns what its jobs are granted.
    pub fn grants(&self) -> Grants {
        Grants {
            reuse: self.idle.as_ref().map(InstancePool::requests),
            mounts: self.files.as_ref().map(|files| files.mounts().to_vec()).unwrap_or_default(),
            tmp: self.files.as_ref().and_then(Files::own_bytes),
            outbound: Some(self.outbound.clone()),
            passes_on: matches!(&self.code, Code::Http(code) if code.passes_on()),
            ..Grants::default()
        }
    }

    /// Runs a job with its granted files. The thread lease covers the whole job.
    async fn run_with_files(&self, files: &Files, job: Box<Job>) -> Result<Status, Fault> {
        let usage = job.usage.clone();
        let threads = files.lease()?;
        let run = async |mut job: Box<Job>| {
            files.direct(&mut job).await?;
            let (wasi, own) = files.grant(&threads, job.allotment.as_mut()).await?;
            let outcome = self.run_with(|| wasi, job).await;
            give_back(own, &usage).await;
            outcome
        };
        threads.run(usage.clone(), Box::pin(run(job))).await
    }

    async fn run_with(&self, wasi: impl FnOnce() -> Wasi, job: Box<Job>) -> Result<Status, Fault> {
        match &self.code {
            Code::Core(code) => code.run(code.prepare(wasi(), job)).await,
            Code::Command(code) => code.run(wasi(), &self.outbound, job).await,
            Code::Http(code) => code.run(wasi, &self.outbound, self.idle.as_ref(), job).await,
        }
    }

    async fn prove_with(&self, wasi: Wasi, limits: &Limits) -> Result<(), Fault> {
        match &self.code {
            Code::Core(code) => code.prove(wasi, limits).await,
            Code::Command(code) => code.prove(wasi, limits).await,
            Code::Http(code) => code.prove(wasi, limits).await,
        }
    }
}

/// Releases the directory that the job had to itself, if any.
async fn give_back(own: Option<TmpGuard>, usage: &Usage) {
    if let Some(own) = own {
        own.end(&usage.waits).await;
    }
}

/// How long instantiation may take in a proof. A start function has nothing to wait for.
const PROOF: Duration = Duration::from_secs(5);

impl Handler for Module {
    fn run(self: Arc<Self>, job: Box<Job>) -> Run {
        in_place::pinned(|| async move {
            // A future is as large as its largest branch. The two longer branches are boxed, so that the common one (a
            // core module without files) stays small.
            match (&self.code, &self.files) {
                (Code::Core(code), None) => code.run(code.prepare(bare(), job)).await,
                (_, None) => in_place::pinned(|| self.run_with(bare, job)).await,
                (_, Some(files)) => Box::pin(self.run_with_files(files, job)).await,
            }
        })
    }

    fn needs(&self, limits: &Limits) -> Needs {
        // An idle instance has its memory already.
        let waits = self.idle.as_ref().is_some_and(InstancePool::has_some);
        Needs {
            // A module that starts with more than the limit fails at instantiation, with its own error.
            memory: if waits { 0 } else { self.memory.min(limits.memory) },
            descriptors: self.files.as_ref().map_or(0, Files::needs),
        }
    }

    fn prove(self: Arc<Self>, limits: Limits) -> BoxFuture<'static, anyhow::Result<()>> {
        Box::pin(async move {
            let proof = async {
                let Some(files) = &self.files else {
                    return self.prove_with(bare(), &limits).await;
                };
                let (threads, usage) = (files.lease()?, Arc::<Usage>::default());
                let within = async {
                    let (wasi, own) = files.grant(&threads, None).await?;
                    let outcome = self.prove_with(wasi, &limits).await;
                    give_back(own, &usage).await;
                    outcome
                };
                threads.run(usage.clone(), within).await
            };
            match timeout(PROOF, proof).await {
                Ok(outcome) => outcome.context("cannot be instantiated"),
                Err(_) => {
                    anyhow::bail!("cannot be instantiated: its start function does not end within {PROOF:?}")
                }
            }
        })
    }
}
