//! What a built-in job is asked to do, with one encoder for every caller.

use std::sync::Arc;

use crate::engine::Engine;
use crate::http::client::JobCall;
use crate::job::{Fault, Job, Policy};

/// What a verb asks of one built-in job.
pub trait Command {
    /// The name of the job.
    const NAME: &'static str;

    /// What the daemon does about the job.
    const POLICY: Policy = Policy::LOOK;

    /// What the job writes to stdout as JSON. `()` where it writes lines of text, or nothing.
    type Reply;

    /// Returns the arguments and variables that the job decodes, without input.
    fn encode(&self) -> JobCall {
        call::<Self>([])
    }

    /// Makes the job in this process.
    ///
    /// # Errors
    /// [`Fault::NotFound`]: it is not registered.
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
