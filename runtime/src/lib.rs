//! Portcullis: an HTTP daemon whose request handlers are WebAssembly modules.
//!
//! Every request becomes a **job**: a name, arguments, an environment, three streams and an exit status, like a Unix
//! process. A sandboxed module runs the job in a fresh instance, within limits. The module can be replaced while the
//! daemon serves.
//!
//! # The map
//!
//! Layers, lowest first; a module uses only what stands above it in this list. Within a module, files import one
//! another in no circle, and the `mod.rs` of a room lists its floors: a file uses only lower ones. `tests/it/layering.rs`
//! proves all of it:
//!
//! | layer | module | holds |
//! |---|---|---|
//! | 0 | [`budget`] | resources that exist once in the process, divided among handlers |
//! | 0 | [`access`] | who a client is, and whether it may pass: trusted proxies, rate limits, gates |
//! | 0 | [`operator_file`] | reads files that an operator names: whole, within a size limit, without blocking |
//! | 0 | [`coarse_clock`] | the clocks of the kernel as of its last tick |
//! | 0 | `free_port` | ports for the servers of tests; not in the program |
//! | 0 | [`file_place`] | whether a path still leads to the file that is open, or a file could be made at it |
//! | 0 | [`in_place`] | boxes whose value is made where it stays |
//! | 0 | [`runtime_context`] | polls a future in the context of another tokio runtime |
//! | 0 | [`observe`] | the log, the history, traces, the profiler, figures of the process, messages to the service manager |
//! | 0 | [`confine`] | restrictions of the process itself: Landlock, capabilities, seccomp |
//! | 0 | [`dashboard`] | the page for operators: HTML, CSS and JavaScript in the program |
//! | 1 | [`database`] | what handlers keep in tables: SQLite files and PostgreSQL servers, their connections and transactions |
//! | 1 | [`store`] | what handlers keep: key-value stores in memory, in a file or on a server |
//! | 2 | [`files`] | directories whose files are served: opened by descriptor, read without blocking others |
//! | 2 | [`scratch`] | data on disk that does not fit into memory: unnamed files, and directories of jobs |
//! | 2 | [`net`] | sockets, from the configured address to the accepted stream; TLS; systemd and handover between processes; the gate |
//! | 2 | [`job`] | the job with its streams, environment, limits and faults; the counters of its handler |
//! | 3 | [`cgi`] | a request as variables, and a handler's output as a response (RFC 3875); pure |
//! | 3 | [`catalog`] | one immutable generation of handlers and routes, the pointer to it, trials of new versions (canaries) |
//! | 4 | [`engine`] | makes, admits and runs jobs, and drains them at the end |
//! | 4 | [`wasm`] | the sandbox: engines, kinds of module, host functions, compiler, cache; the only module that uses wasmtime |
//! | 5 | [`http`] | connections and requests, the admin API and its client; the only module that uses hyper |
//! | 5 | [`config`] | `portcullis.toml`: parsed, checked, and with defaults |
//! | 5 | [`record`] | failed jobs, kept in files so that they can be run again |
//! | 6 | [`acme`] | obtains certificates from an ACME server; the only module that uses instant-acme |
//! | 6 | [`jobs`] | the built-in jobs, one a file: reload, swap, upgrade and others; their commands and replies in `api` |
//! | 7 | [`daemon`] | the life of the daemon: bind, load, open, wait, drain |
//! | 8 | [`cli`] | the command line, one file a verb |
//!
//! # The path of a request
//!
//! | where | what |
//! |---|---|
//! | [`net`] | binds; waits for [`net::Gate`]; [`net::Listener`] accepts |
//! | `http::server::accept`, `http::limits` | a permit for the connection; if none is free, an idle one makes room |
//! | `http::server::tls` | the TLS handshake, in the connection's own task |
//! | `http::server::connection` | HTTP/1 goes on in `h1`, HTTP/2 in `h2` |
//! | `http::wire` | below both: `deadline_io`; `guarded_io`, which checks every byte before hyper reads it |
//! | `http::request::client_address` | the client behind trusted proxies |
//! | `http::request::request_trace` | begins the span of the request, if traces are on |
//! | `http::request::h2_rules` | checks HTTP/2 heads by the rules that `http::wire::h1` has for HTTP/1 |
//! | `http::service`, `handlers` | pins the [`catalog::Catalog`] and finds the route, again behind a `http::request::rewrite` |
//! | `http::request::rate_limit` | counts for the limits before the gates, and for the others behind them |
//! | `http::request::gates` | asks the gates of the route |
//! | `http::gate_chain`, `middleware` | drives the two above, and runs middlewares around what stands behind them |
//! | `http::route_target` | lets the target of the route answer |
//! | `http::request::direct_response`, `http::static_files` | answer for routes without a handler |
//! | `http::request::cgi_job` | gives the [`job::Job`] its arguments, and its environment from [`cgi::meta`] |
//! | `http::request::wasi_http` | the same for a `wasi:http` handler |
//! | [`engine::Engine::start`] | `admission`: a slot or a place in the queue; `supervise`: the limits |
//! | `engine::slow_lane` | low-priority threads for jobs that compute for long |
//! | [`wasm::Module`] | a fresh store and instance |
//! | `http::request::cgi_response` | the head that the job wrote, parsed by `cgi::document::head` |
//! | `http::request::job_response`, `job_body` | the rest of the response, at the client's pace |
//! | `http::request::drain_body` | reads the rest of the request body that the job leaves |
//! | `http::service`, `handlers` | every response: the error page, what gates tell, the fields of the route, compression |
//! | `http::request::request_log` | the log line and the counters of the request |
//! | `http::upgrade` | a connection that leaves HTTP instead of getting a response |
//! | `http::wire::close_delimited` | whether closing the connection would end the body |
//!
//! # Where to look
//!
//! | for | in |
//! |---|---|
//! | slow clients: the head (kept, enforced), the body, the response | `http::wire::read_deadline`, `http::wire::deadline_io`; `http::request::request_body`; `http::wire::stall` |
//! | the time limits that no key sets | `http::timeouts` |
//! | request smuggling: the checks of a head, its framing, HTTP/2 | `http::wire::h1::head`, `http::wire::h1`, `http::request::h2_rules` |
//! | trusted proxies: their fields, and the header of the PROXY protocol | `access::forwarded`, `net::proxy_header` |
//! | the certificate for a server name; the names in a client's certificate | `net::tls::choice`; `net::tls::secured` |
//! | certificates from an ACME server: obtained; when due, and their files | `acme::keeper`, `net::tls::acme::kept` |
//! | gates: passwords; keys of tokens from a URL | `access::passwords`; `daemon::key_sets` |
//! | tokens of gates: claims and lifetime; the signature | `access::tokens`; `access::ring_provider` |
//! | the route of a request; the match of its path and captures, by matchit | `catalog::routes`; `catalog::path_tree` |
//! | rate limits: the token buckets of this daemon (governor), their memory; those in a store | `access::rate_limit`, `access::rate_slots`; `store::shared_rate` |
//! | floods of frames (RST_STREAM, PING, SETTINGS) | `http::wire::h2::flood`, `http::upgrade::websocket::flood` |
//! | the connection limits, in all and per address; which idle connections make room | `http::limits::connections` |
//! | the status, code and text of an error response | `http::refusal`; of a failed job: `job::fault`, its text `job::fault_text` |
//! | compression: the choice of the coding, the response | `catalog::coding`, `http::request::compress` |
//! | a line of the access log: made and written; the end of the request that it is for; its file | `http::request::access_line`; `http::request::request_log`; `observe::access_file` |
//! | the durations of requests and jobs: histograms, and how Prometheus gets them; those of a canary | `observe::latency::histogram`, `http::admin::latency_metrics`; `catalog::trial::histogram` |
//! | the counters of a handler | `job::handler_stats`; as metrics: `http::admin::handler_metrics` |
//! | the delay after a failing `accept` | `net::listen::accept_backoff` |
//! | `LISTEN_FDS`, and the handover of sockets | `net::activation::listen_fds`, `net::activation::handover` |
//! | an unknown configuration key, and what was meant | `config::reader`, `config::nearest` |
//! | a configuration key: as written, checked, applied | `config::schema`, `config::convert`, `config::restart` |
//! | reload, swap, canary, promotion, binary upgrade | `jobs::reload`, `jobs::swap`, `jobs::canary`, `jobs::promote`, `jobs::upgrade` |
//! | where a program, a component or a middleware may stand | `jobs::load::placement` |
//! | the small files that are kept in memory; whether a path still leads to one | `files::kept_files`; `files::direct_path`, `files::held_file`, `files::root` |
//! | secrets and passwords: read, and renewed | `jobs::credential`, `jobs::load::in_use` |
//! | stores and databases: granted by name, opened at a load, found by a job | `config::store_names`, `jobs::load::databases`, `wasm::host::stores::grants`, `wasm::host::databases::grants` |
//! | the publication of a new catalog | `jobs::generations`; the pointer: `catalog::serving` |
//! | verdicts on a canary | `catalog::trial::judgement` |
//! | graceful shutdown: signals, connections, jobs | `daemon::signals`, `http::server::drain`, `engine::drain` |
//! | job slots and the queue | `engine::admission`; their limits: `job::limits` |
//! | the limits of a job: time and CPU; memory | `engine::supervise`; `wasm::host::memory_meter` |
//! | what a job pays for SQL: processor time, memory of the host | `database::sqlite::meter`, `wasm::host::databases::charged` |
//! | whose turn it is: at a connection to a database, at the queue of writes of a store | `database::turns`; `store::room`, `store::redb::turns` |
//! | wasmtime's errors as faults | `wasm::host::trap` |
//! | the compiler process | `wasm::compile::spawn` |
//! | the cache of compiled code: its entries read and written; their format; their eviction | `wasm::cache`; `wasm::cache::entry`; `wasm::cache::evict` |
//! | mounts; symbolic links that lead out of them; devices and FIFOs in them | `wasm::host::mounted`; `wasm::host::links`; `wasm::host::open_guard` |
//! | outbound requests: their connections, the second try, loops, private addresses | `http::outbound::pool`; `http::outbound::exchange`; `http::outbound::cdn_loop`; `net::outbound::address` |
//! | a connection to SQLite: opened, its pragmas; its memory; the log of changes | `database::sqlite::open`; `database::sqlite::memory`; `database::sqlite::file` |
//! | the transaction of a job; its rollback when the job ends | `database::session`; `database::sqlite::pool`, `database::postgres::lease` |
//! | WebSockets | `http::upgrade::websocket` |
//! | middlewares: around a request, and the import by which they pass it on | `http::gate_chain`, `wasm::host::middleware` |
//! | the dashboard: its page, and its way to the admin socket | `dashboard`, `http::admin::forward` |
//! | traces: `traceparent`, spans, what is sampled, spans of guests, the collector | `observe::traces::context`, `observe::traces::spans`, `observe::traces::tracer`, `wasm::host::telemetry`, `http::collector` |
//! | undocumented behaviour that we rely on | `http::assumptions`, `wasm::assumptions` |
//!
//! # What holds throughout
//!
//! 1. Everything the daemon does is a job.
//! 2. One pointer is swapped: a request keeps the catalog that routed it.
//! 3. Cancellation is `Drop`: a client that leaves drops the response, which drops the run, which drops the store.
//! 4. Every failure has an owner: 4xx the client, 502 and 504 the handler, 503 load, 500 the daemon.
//! 5. Nothing is appended after a response's head: a late failure resets the stream.

pub mod access;
pub mod budget;
pub mod coarse_clock;
pub mod confine;
pub mod dashboard;
pub mod file_place;
#[cfg(all(test, any(feature = "nats", feature = "postgres", feature = "redis")))]
pub(crate) mod free_port;
pub mod in_place;
pub mod observe;
pub mod operator_file;
pub mod runtime_context;

pub mod database;
pub mod store;

pub mod files;
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

pub mod acme;
pub mod jobs;

pub mod daemon;

pub mod cli;
