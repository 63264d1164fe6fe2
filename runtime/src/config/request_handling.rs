//! Reads `body`, `captures` and `client_leaves`: how a handler takes its requests.

use super::report::Diagnostics;
use super::schema;
use crate::job::{Captures, Conduct, Intake, Leaving};

/// Reads the keys of a handler. A missing key takes its default.
pub(super) fn read(handler: &schema::Handler, report: &Diagnostics<'_>) -> Conduct {
    let intake = report.settle(handler.body.as_ref(), None, |word| match word.as_str() {
        "whole" => Ok(Some(Intake::Whole)),
        "stream" => Ok(Some(Intake::Stream)),
        _ => Err(format!("wanted \"whole\" or \"stream\", found {word:?}")),
    });
    let leaving =
        report.settle(handler.client_leaves.as_ref(), Leaving::Cancel, |word| match word.as_str() {
            "cancel" => Ok(Leaving::Cancel),
            "finish" => Ok(Leaving::Finish),
            _ => Err(format!("wanted \"cancel\" or \"finish\", found {word:?}")),
        });
    let captures = report.settle(handler.captures.as_ref(), Captures::Words, |word| match word.as_str() {
        "words" => Ok(Captures::Words),
        "any" => Ok(Captures::Any),
        _ => Err(format!("wanted \"words\" or \"any\", found {word:?}")),
    });
    Conduct { intake, leaving, captures }
}
