//! How a handler's requests are taken, from as written to as meant.

use super::file;
use super::report::Report;
use crate::job::{Conduct, Intake};

/// Reads what a handler says of its requests; what it does not say is the default.
pub(super) fn read(handler: &file::Handler, report: &Report<'_>) -> Conduct {
    let intake = report.settle(handler.body.as_ref(), None, |word| match word.as_str() {
        "whole" => Ok(Some(Intake::Whole)),
        "stream" => Ok(Some(Intake::Stream)),
        _ => Err(format!("wanted \"whole\" or \"stream\", found {word:?}")),
    });
    Conduct { intake }
}
