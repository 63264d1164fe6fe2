//! The checked configuration: every value valid, every default filled in, every path absolute.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::asked_limits::AskedLimits;
use super::database::{DatabaseConfig, DatabaseGrantConfig};
use super::http::HttpLimits;
use super::logging::Logging;
use super::memory_bound::MemoryBound;
use super::rate_limit::RateLimitConfig;
use super::route_model::RouteConfig;
use super::secret::Secret;
use super::store::{StoreConfig, StoreGrantConfig};
use crate::access::{AccessGate, AddressSet, FetchedKeySet, OperatorRights};
use crate::catalog::{Cors, ReasonHeader, ResponseRules, VersionHeader};
use crate::job::{Conduct, Env, Limits, Name, OutputFormat, Schedule};
use crate::net::outbound::{Block, Pattern};
use crate::net::{Endpoint, TlsOptions};
use crate::observe::latency::Histograms;
use crate::observe::traces::TraceOptions;
use crate::wasm::Scripts;
use crate::wasm::compile::CompileLimits;

/// The default mode of the admin socket: only the user of the daemon may open it.
pub(super) const ADMIN_MODE: u32 = 0o600;

/// Everything that configures the daemon. Command-line flags replace fields.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// Where to listen; never empty.
    pub listen: Vec<Endpoint>,
    /// The Unix socket for operators. `None` serves no admin socket.
    pub admin: Option<PathBuf>,
    /// The endpoints that serve metrics and probes, and nothing else.
    pub observe: Vec<Endpoint>,
    /// The proxies whose word about their clients is believed.
    pub trusted_proxies: AddressSet,
    /// The endpoints whose connections begin with a header of the PROXY protocol.
    pub proxy_protocol: Vec<Endpoint>,
    /// Who may open the admin socket.
    pub admin_access: UnixOptions,
    /// What clients of the admin socket may do that are neither root nor the daemon's user.
    pub admin_group_access: OperatorRights,
    /// How long running jobs may go on after a shutdown began.
    pub grace: Duration,
    /// How long connections are accepted after a shutdown began, before `grace`.
    pub shutdown_delay: Duration,
    /// How long the old process may run after an upgrade.
    pub upgrade_grace: Duration,
    /// How long the daemon may have no clients before it exits. `None` means it never exits by itself.
    pub idle_exit: Option<Duration>,
    /// Jobs at once over all handlers, 1 to 4096.
    pub jobs: usize,
    /// The memory of all jobs together.
    pub total_memory: MemoryBound,
    /// The settings of the log and of the access log.
    pub logging: Logging,
    /// Where spans go, and which; the environment completes it.
    pub traces: TraceOptions,
    /// Whether each route also answers behind `/v1.14`, unless its group says which versions.
    pub version_prefix: bool,
    /// Whether responses say which version of a handler made them.
    pub version_header: VersionHeader,
    /// Whether responses say why a request failed.
    pub reason_header: ReasonHeader,
    /// Whether requests over TCP in clear are redirected to `https:`.
    pub https_redirect: bool,
    /// The rules for the responses of all routes.
    pub response_rules: ResponseRules,
    /// Whether error responses carry the details of a failed job, such as its last line of stderr.
    pub debug: bool,
    /// Whether the admin socket serves the profiler: set by `debug` or by `-D`.
    pub profiler: bool,
    /// Where failed jobs are recorded. `Some` if any handler records jobs.
    pub record_dir: Option<PathBuf>,
    /// The bytes of memory in which ended jobs are kept. 0 keeps nothing.
    pub history: usize,
    /// Whether durations are counted in histograms.
    pub histograms: Histograms,
    /// Whether a changed module or configuration file is loaded by itself.
    pub watch: bool,
    /// Whether stack traces of guests name files and lines. The size of debug information is not
    /// limited.
    pub source_lines: bool,
    /// Whether components of wasi:http 0.3 are served.
    pub wasi_http_03: bool,
    /// Where compiled modules are kept from one start to the next.
    pub cache: CacheDir,
    /// The size of that cache in bytes, without the modules in use.
    pub cache_size: u64,
    /// Where large bodies are kept. `None` means a directory beside the cache of the service manager or
    /// the user.
    pub scratch: Option<PathBuf>,
    /// The limits on compiling one module.
    pub compile: CompileLimits,
    /// How the process restricts itself.
    pub hardening: Hardening,
    /// The group and mode of `unix://` endpoints.
    pub unix: UnixOptions,
    /// The limits of a connection.
    pub http: HttpLimits,
    /// The certificates and the endpoints that use TLS. `None` disables TLS.
    pub tls: Option<TlsOptions>,
    /// What pages of other origins may do. `None` disables CORS.
    pub cors: Option<Cors>,
    /// The built-in gates, in the order of the file. Names are unique.
    pub gates: Vec<Arc<AccessGate>>,
    /// The stores that have a table, in the order of the file.
    pub stores: Vec<StoreConfig>,
    /// The databases that have a table, in the order of the file.
    pub databases: Vec<DatabaseConfig>,
    /// The certificates that requests of handlers and of the daemon trust beside those of the system.
    pub outbound_ca: Option<Ca>,
    /// The handlers, in the order of the file. Names are unique.
    pub handlers: Vec<HandlerConfig>,
    /// The names of the groups of routes, in the order of the file, those without routes too.
    pub groups: Vec<String>,
    /// The routes, in the order of the file. Their handlers exist, and none conflicts with another.
    pub routes: Vec<RouteConfig>,
}

/// Where compiled modules are kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CacheDir {
    /// The cache directory of the service manager or of the user's environment.
    Standard,
    /// This directory.
    At(PathBuf),
    /// No cache: every start compiles all modules.
    Off,
}

/// Who may connect to a Unix socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnixOptions {
    /// The group, by name or number. `None` keeps the daemon's own.
    pub group: Option<String>,
    /// The permissions, at most `0o777`.
    pub mode: u32,
}

/// A handler that is a WebAssembly module.
#[derive(Clone, PartialEq, Debug)]
pub struct HandlerConfig {
    /// The name by which routes and other handlers call it.
    pub name: Name,
    /// The file of the module. It existed when the configuration was read.
    pub module: PathBuf,
    /// Arguments that come before those of the request.
    pub args: Vec<String>,
    /// Variables that are set after those of the request, and so override them.
    pub env: Env,
    /// Variables whose values are not in the configuration. None of them is in `env`.
    pub secrets: Vec<Secret>,
    /// The handlers that its jobs may call. All of them exist, and none is listed twice.
    pub calls: Vec<Name>,
    /// When it runs by itself. `None` means on requests only.
    pub schedule: Option<Schedule>,
    /// The directories it may see. Guest paths are unique.
    pub mounts: Vec<MountConfig>,
    /// The size limit in bytes of each job's own `/tmp`. `None` gives jobs no `/tmp`.
    pub tmp: Option<u64>,
    /// The limits of each job: its own settings over `[limits]` over the defaults.
    pub limits: Limits,
    /// Which of the limits that cost file descriptors are set.
    pub asked: AskedLimits,
    /// For an interpreter, the directory of its scripts, inside one of its mounts.
    pub scripts: Option<Scripts>,
    /// How stdout becomes a response.
    pub mapping: OutputFormat,
    /// How its requests are taken.
    pub conduct: Conduct,
    /// The number of requests that one instance answers, one after the other. `None` starts an instance
    /// for each request.
    pub reuse: Option<NonZeroU32>,
    /// Which of its jobs are recorded.
    pub recording: Recording,
    /// The request that a new version must answer before it serves. `None` means no probe.
    pub probe: Option<Probe>,
    /// The outbound requests that its jobs may make.
    pub outbound: OutboundConfig,
    /// The stores that its jobs may open. Names are unique.
    pub stores: Vec<StoreGrantConfig>,
    /// The databases that its jobs may open. Names are unique.
    pub databases: Vec<DatabaseGrantConfig>,
    /// How many requests of all its routes pass in which time. `None` means all of them.
    pub limit: Option<RateLimitConfig>,
    /// The line of the file on which the handler starts.
    pub line: usize,
}

/// Which jobs of a handler are recorded for replay.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Recording {
    /// None of them.
    #[default]
    Nothing,
    /// Failed jobs, with the part of the request body that they have read.
    Failures,
    /// Failed jobs without the request body, since a body may hold confidential data.
    FailuresWithoutBodies,
}

/// The outbound requests that a handler may make; by default none.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct OutboundConfig {
    /// The allowed origins.
    pub allow: Vec<Pattern>,
    /// The addresses that are allowed although they are not public.
    pub addresses: Vec<Block>,
    /// Certificates to trust besides the system's.
    pub ca: Option<Ca>,
}

/// A file of certificates and its content when the configuration was read. Other content makes another
/// configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ca {
    /// The path of the file.
    pub path: PathBuf,
    /// The content of the file.
    pub pem: Arc<[u8]>,
}

/// A request that tests a new version, and the expected status.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probe {
    /// The path and query of the GET request, which must route to the handler itself.
    pub path: String,
    /// The expected status of the response.
    pub status: StatusCode,
}

/// A directory that a handler may see.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MountConfig {
    /// The directory. It was there when the configuration was read for a start.
    pub host: PathBuf,
    /// The guest path: absolute, without a final `/`.
    pub guest: String,
    /// Whether the handler may change what is in it.
    pub write: bool,
}

impl HandlerConfig {
    /// Makes a handler with default settings for a module that has no configuration.
    pub fn of_module(name: Name, module: PathBuf) -> HandlerConfig {
        HandlerConfig {
            name,
            module,
            args: Vec::new(),
            env: Env::new(),
            secrets: Vec::new(),
            calls: Vec::new(),
            schedule: None,
            mounts: Vec::new(),
            tmp: None,
            limits: Limits::default(),
            asked: AskedLimits::default(),
            scripts: None,
            mapping: OutputFormat::Cgi,
            conduct: Conduct::default(),
            reuse: None,
            recording: Recording::Nothing,
            probe: None,
            outbound: OutboundConfig::default(),
            stores: Vec::new(),
            databases: Vec::new(),
            limit: None,
            line: 0,
        }
    }
}

impl Config {
    /// Iterates over the sets of keys that gates fetch from a URL.
    pub fn key_sets(&self) -> impl Iterator<Item = &Arc<FetchedKeySet>> {
        self.gates.iter().filter_map(|gate| gate.key_set())
    }
}

impl Default for UnixOptions {
    /// Docker's socket has the same mode.
    fn default() -> UnixOptions {
        UnixOptions { group: None, mode: 0o660 }
    }
}

/// Which restrictions the process puts on itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hardening {
    /// No new privileges, no core dumps, no debugger, and only the capabilities that the configuration
    /// needs.
    pub privileges: bool,
    /// Only the part of the file system that the configuration names.
    pub files: bool,
    /// No system calls that a daemon does not need.
    pub syscalls: bool,
    /// More directories that stay reachable, for use after a reload.
    pub reach: Vec<PathBuf>,
}

impl Default for Hardening {
    fn default() -> Hardening {
        Hardening { privileges: true, files: true, syscalls: true, reach: Vec::new() }
    }
}
