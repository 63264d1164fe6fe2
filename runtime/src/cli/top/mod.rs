//! `portcullis top`: the handlers' figures as a terminal program.
//!
//! Floors, lowest first: `figures`; `order`; `samples`; `screen`; `verb`.

mod figures;
mod order;
mod samples;
mod screen;
pub(super) mod verb;
