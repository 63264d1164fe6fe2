//! `portcullis top`: the handlers' figures as a terminal program.
//!
//! Floors, lowest first: `ending_signal`, `figures`; `order`; `samples`; `screen`; `verb`.

mod ending_signal;
mod figures;
mod order;
mod samples;
mod screen;
pub(super) mod verb;
