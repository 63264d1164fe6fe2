//! The trait of commands: how a verb asks for a built-in job, with one encoder for all callers.

use std::sync::Arc;

use crate::engine::Engine;
use crate::http::client::JobCall;
use crate::job::{Fault, Job, Policy};

/// A request to run one built-in job.
pub trait Command {
    /// The name of the job.
    const NAME: &'static str;

    /// How the job is treated during a drain, and against which quota it counts.
    const POLICY: Policy;

    /// The JSON that the job writes to stdout, or `()` if it writes text or nothing.
    type Reply;

    /// Encodes the command as arguments and variables, without input.
    fn encode(&self) -> JobCall {
        call::<Self>([])
    }

    /// Makes the job, to be run in this process.
    ///
    /// # Errors
    /// [`Fault::NotFound`] if the job is not registered.
    fn job(&self, engine: &Arc<Engine>) -> Result<Job, Fault> {
        let JobCall { name, args, env, .. } = self.encode();
        let mut job = engine.job(&name)?;
        job.args = args;
        for (name, value) in env {
            job.env.set(name, value).map_err(|error| Fault::Host(error.into()))?;
        }
        Ok(job)
    }
}

/// Makes the call of a command with these arguments.
pub(super) fn call<C: Command + ?Sized>(args: impl IntoIterator<Item = String>) -> JobCall {
    JobCall { name: C::NAME.to_owned(), args: args.into_iter().collect(), ..JobCall::default() }
}
