//! What the host gives a guest: memory, streams, files, calls, requests to other servers; and what it says of its end.
//!
//! Floors, lowest first: `interfaces`, `handles`, `meter`, `stdio`, `directory`, `charged`, `scripts`; `trap`, `pollables`,
//! `outbound`, `body`, `environ`, `output_switch`; `mounted`; `threads`; `tmp`; `links`, `open_guard`; `guest`; `files`;
//! `core_state`, `component_state`; `calls`, `preview1`, `preview2`, which take those two.

pub(super) mod body;
pub(super) mod calls;
mod charged;
pub(super) mod component_state;
pub(super) mod core_state;
mod directory;
pub(super) mod environ;
pub(super) mod files;
pub(super) mod guest;
pub(super) mod handles;
mod interfaces;
pub(super) mod links;
pub(super) mod meter;
pub(super) mod mounted;
pub(super) mod open_guard;
pub(super) mod outbound;
pub(super) mod output_switch;
pub(super) mod pollables;
pub(super) mod preview1;
pub(super) mod preview2;
pub(super) mod scripts;
pub(super) mod stdio;
mod threads;
pub(super) mod tmp;
pub(super) mod trap;
