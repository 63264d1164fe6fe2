//! Portcullis: an HTTP daemon whose request handlers are WebAssembly modules.
//!
//! Every request becomes a **job** - a name, arguments, an environment, three streams and an exit
//! status, as a Unix process has - and a sandboxed module runs it, in a fresh instance, under
//! limits, replaceable while the daemon serves.
//!
//! # The map
//!
//! Layers, lowest first; a module uses only what stands above it in this list. Within a module, files import one
//! another in no circle. `tests/it/layering.rs` proves both. The `mod.rs` of a module with rooms lists its floors:
//!
//! | layer | module | holds |
//! |---|---|---|
//! | 0 | [`budget`] | what the process has once, and how handlers share it |
//! | 0 | [`operator_file`] | files that an operator names: read whole, within a bound, never waited for |
//! | 0 | [`observe`] | the log, the profiler, what is counted of the process itself, what the service manager is told |
//! | 0 | [`confine`] | what the process takes from itself: files, privileges, system calls |
//! | 1 | [`scratch`] | what does not fit into memory: files without a name, and directories of jobs |
//! | 1 | [`net`] | sockets, from the address as written to the accepted stream or the next process; the gate |
//! | 1 | [`job`] | the job and all it is made of |
//! | 2 | [`cgi`] | a request as variables, a handler's output as a response (RFC 3875); pure |
//! | 2 | [`catalog`] | one immutable generation of handlers and routes, and the pointer to it |
//! | 3 | [`engine`] | makes jobs, admits them, runs them, ends with them |
//! | 3 | [`wasm`] | the sandbox; the only place that knows wasmtime |
//! | 4 | [`http`] | connections and requests, the admin API and its client; the only place that knows hyper |
//! | 4 | [`config`] | `portcullis.toml`, as written and as meant |
//! | 4 | [`record`] | jobs that failed, kept in files, so that they can be run again |
//! | 5 | [`jobs`] | the built-in jobs, one a file |
//! | 6 | [`daemon`] | bind, load, open, wait, drain |
//! | 7 | [`cli`] | one file a verb |
//!
//! # The path of a request
//!
//! | where | what |
//! |---|---|
//! | [`net`] | `bind`, then [`net::Gate`], then [`net::Listener`] accepts |
//! | `http::server::accept`, `http::limits` | a permit for the connection; where none is free, an idle one makes room |
//! | `http::server::tls` | TLS, in the connection's own task |
//! | `http::server::connection` | HTTP/1 goes on in `h1`, HTTP/2 in `h2`, under `http::wire`: `deadline_io`, and `guarded_io`, where every byte is checked before hyper has it |
//! | `http::service`, `handlers` | pins the [`catalog::Catalog`] and finds the route; `request::h2_rules` checks of HTTP/2 what `wire::h1` has of HTTP/1; `request::drain_body` reads what the job leaves of the request body |
//! | `http::request::cgi_job` | makes the [`job::Job`], its environment by [`cgi::meta`]; `wasi_http` for `wasi:http` |
//! | [`engine::Engine::start`] | `admission`: a slot or a place in line; `supervise`: the limits; `lane`: for jobs that compute |
//! | [`wasm::Module`] | a fresh store and instance |
//! | `http::request::cgi_response`, `wasi_http`; `http::upgrade` | the head that the job wrote ([`cgi::document`]), the response of a component, or a connection that leaves HTTP |
//! | `http::request::job_response`, `job_body`, `access_log` | the rest, at the client's pace; what is counted and logged of it |
//! | `http::wire::close_delimited` | whether the end of the connection may be told as the end of the body |
//!
//! # What holds throughout
//!
//! 1. Everything the daemon does is a job.
//! 2. One pointer is swapped: a request keeps the catalog it was routed by.
//! 3. Cancellation is `Drop`: a client that leaves drops the response, which drops the run, which
//!    drops the store.
//! 4. Every failure has an owner: 4xx the caller's, 502 and 504 the handler's, 503 load's, 500 ours.
//! 5. Nothing is appended after a response's head: a late failure resets the stream.

pub mod budget;
pub mod confine;
pub mod observe;
pub mod operator_file;

pub mod net;
pub mod scratch;

pub mod job;

pub mod catalog;
pub mod cgi;

pub mod engine;
pub mod wasm;

pub mod config;
pub mod http;
pub mod record;

pub mod jobs;

pub mod daemon;

pub mod cli;
