//! `tap`: the command. The job writes an ended job a line, as a JSON object.

use super::command::{Command, call};
use crate::http::client::JobCall;
use crate::job::{Policy, builtin};

/// Reports jobs and requests as they end.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct TapCommand {
    /// Conditions such as `handler=notes status>=500`, which must all hold. Empty for all.
    pub filter: String,
}

impl TapCommand {
    /// Reads the arguments of a job: conditions, one or more in each. They are checked where they are parsed.
    pub fn decode(args: &[String]) -> TapCommand {
        TapCommand { filter: args.join(" ") }
    }
}

impl Command for TapCommand {
    const NAME: &'static str = builtin::TAP;
    const POLICY: Policy = Policy::LISTEN;
    type Reply = ();

    fn encode(&self) -> JobCall {
        call::<Self>(Some(self.filter.clone()).filter(|filter| !filter.is_empty()))
    }
}
