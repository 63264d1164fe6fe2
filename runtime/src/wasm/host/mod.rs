//! What the host gives a guest: memory, streams, files, calls, requests to other servers; and what it says of its end.

pub(super) mod body;
pub(super) mod calls;
mod charged;
mod directory;
pub(super) mod environ;
pub(super) mod files;
pub(super) mod handles;
mod interfaces;
pub(super) mod links;
pub(super) mod meter;
pub(super) mod open_guard;
pub(super) mod outbound;
pub(super) mod output_switch;
pub(super) mod preview1;
pub(super) mod preview2;
pub(super) mod scripts;
pub(super) mod stdio;
mod threads;
pub(super) mod tmp;
pub(super) mod trap;
