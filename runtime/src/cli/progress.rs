//! The progress bar on a terminal while modules are compiled.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::jobs::{OnProgress, Step, StepTurn};

/// Returns a callback that draws the progress of a load on stderr. Draws nothing if stderr is not a terminal, or if all
/// is ready too soon to be read.
pub(super) fn bar() -> OnProgress {
    if !std::io::stderr().is_terminal() {
        return Box::new(|_| {});
    }
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("compiling {bar:30} {pos}/{len} {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(200));
    Box::new(move |step| match step {
        Step::Compiling(_, StepTurn { name, .. }) => bar.set_message(name.to_string()),
        Step::Ready(StepTurn { number, total, .. }) => {
            bar.set_length(total as u64);
            bar.set_position(number as u64);
            if number == total {
                bar.finish_and_clear();
            }
        }
        Step::Ended(_) => bar.finish_and_clear(),
    })
}
