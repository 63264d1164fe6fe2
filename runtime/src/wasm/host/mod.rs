//! Host state and functions for guests: memory limits, streams, files, calls of jobs, outgoing HTTP, and their outcome.
//!
//! Floors, lowest first: `interfaces`, `handles`, `call_size`, `memory_meter`, `stdio`, `directory`,
//! `file_thread_cpu`, `confine_refusal`, `cgi_script`, `body`, `pollables`, `environ`, `output_switch`; `outbound`,
//! `trap`; `tmp`; `mounted`, `guest`, `links`, `open_guard`; `threads`; `tmp::stock`; `files`; `calls`; `held_stream`;
//! `stores::grants`, `databases::grants`; `core_wasi`; `core_state`, `component_state`; `preview1`, `preview2`,
//! `middleware`, `calls::core`, `calls::component`, `stores`, `databases`, `telemetry`.

pub(super) mod body;
mod call_size;
pub(super) mod calls;
pub(super) mod cgi_script;
pub(super) mod component_state;
mod confine_refusal;
pub(super) mod core_state;
pub(super) mod core_wasi;
pub(super) mod databases;
mod directory;
pub(super) mod environ;
mod file_thread_cpu;
pub(super) mod files;
pub(super) mod guest;
pub(super) mod handles;
mod held_stream;
mod interfaces;
pub(super) mod links;
pub(super) mod memory_meter;
pub(super) mod middleware;
pub(super) mod mounted;
pub(super) mod open_guard;
pub(super) mod outbound;
pub(super) mod output_switch;
pub(super) mod pollables;
pub(super) mod preview1;
pub(super) mod preview2;
pub(super) mod stdio;
pub(super) mod stores;
pub(super) mod telemetry;
mod threads;
pub(super) mod tmp;
pub(super) mod trap;
