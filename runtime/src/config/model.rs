//! The configuration as it is meant: every value checked, every default filled in, every path whole.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};

use super::http::HttpLimits;
use super::report::{ConfigError, ConfigErrors};
use super::secret::Secret;
use crate::catalog::{
    Cors, ReasonHeader, RouteError, RouteSpec, Routes, Upgrade, VersionHeader, VersionPrefix,
};
use crate::job::{Conduct, Entry, Env, Limits, Mapping, Name, Schedule};
use crate::net::outbound::{Block, Pattern};
use crate::net::{Endpoint, TlsOptions};
use crate::wasm::Scripts;
use crate::wasm::compile::CompileLimits;

/// Who may open the admin socket, if the file does not say: whoever runs the daemon.
pub(super) const ADMIN_MODE: u32 = 0o600;

/// Everything the daemon is told. Flags of the command line replace fields.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// Where to listen; never empty.
    pub listen: Vec<Endpoint>,
    /// The Unix socket on which operators reach the daemon; none: they do not.
    pub admin: Option<PathBuf>,
    /// Where metrics and probes are shown, and nothing else.
    pub observe: Vec<Endpoint>,
    /// Who may open it.
    pub admin_access: UnixOptions,
    /// How long running jobs may go on after a shutdown began.
    pub grace: Duration,
    /// How long connections are accepted after a shutdown began, before `grace`.
    pub shutdown_delay: Duration,
    /// How long the process before an upgrade may go on.
    pub upgrade_grace: Duration,
    /// How long nobody may be connected before the daemon ends; none: for ever.
    pub idle_exit: Option<Duration>,
    /// Jobs at once over all handlers, 1 to 4096.
    pub jobs: usize,
    /// The memory of all jobs together.
    pub total_memory: TotalMemory,
    /// Whether each request is logged.
    pub access_log: bool,
    /// Whether each route also answers behind `/v1.14`.
    pub version_prefix: VersionPrefix,
    /// Whether responses say which version of a handler made them.
    pub version_header: VersionHeader,
    /// Whether responses say why a request failed.
    pub reason_header: ReasonHeader,
    /// Whether responses say what a handler says to its operator.
    pub debug: bool,
    /// Whether operators are shown what computes: `debug`, or `-D`.
    pub profiler: bool,
    /// Where failed jobs are kept; there if a handler keeps any.
    pub record_dir: Option<PathBuf>,
    /// Whether a module or configuration that changes on disk is taken up.
    pub watch: bool,
    /// Whether stacks of guests name files and lines, from debug information that nothing bounds.
    pub source_lines: bool,
    /// Whether components of wasi:http 0.3 are served.
    pub wasi_http_03: bool,
    /// Where compiled modules are kept from one start to the next.
    pub cache: CacheDir,
    /// Bytes of compiled modules that are kept there beside those in use.
    pub cache_size: u64,
    /// Where large bodies are kept; `None`: beside the cache of the service manager or the user.
    pub scratch: Option<PathBuf>,
    /// What compiling one module may take.
    pub compile: CompileLimits,
    /// What the process takes from itself.
    pub hardening: Hardening,
    /// The sockets of `unix://` endpoints.
    pub unix: UnixOptions,
    /// What a connection may take.
    pub http: HttpLimits,
    /// What is encrypted; none: nothing.
    pub tls: Option<TlsOptions>,
    /// What browsers of other origins may do; none: nothing.
    pub cors: Option<Cors>,
    /// The handlers, in the order of the file; no name stands twice.
    pub handlers: Vec<HandlerConfig>,
    /// The routes, in the order of the file: to handlers that are there, without conflicts.
    pub routes: Vec<RouteConfig>,
}

/// How much memory all jobs may have together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TotalMemory {
    /// What the control group or the machine has, less what the daemon needs itself.
    Auto,
    /// So many bytes.
    Bytes(usize),
    /// As much as `limits.memory` and `jobs` come to.
    Unlimited,
}

/// Where compiled modules are kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CacheDir {
    /// Where the service manager or the user's environment keeps caches.
    Standard,
    /// In this directory.
    At(PathBuf),
    /// Nowhere: every start compiles them.
    Off,
}

/// Who may connect to a Unix socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnixOptions {
    /// The group, by name or number; none leaves the daemon's own.
    pub group: Option<String>,
    /// The permissions, at most `0o777`.
    pub mode: u32,
}

/// A handler that is a WebAssembly module.
#[derive(Clone, PartialEq, Debug)]
pub struct HandlerConfig {
    /// What calls it.
    pub name: Name,
    /// The file of the module, which was there when the configuration was read.
    pub module: PathBuf,
    /// Arguments that come before a request's own.
    pub args: Vec<String>,
    /// Variables that come after a request's own, and so win.
    pub env: Env,
    /// Variables whose values are not in the configuration; none of them is in `env`.
    pub secrets: Vec<Secret>,
    /// The handlers that its jobs may call; all of them are there, and none stands twice.
    pub calls: Vec<Name>,
    /// When it runs by itself; none: never.
    pub schedule: Option<Schedule>,
    /// The directories it may see; no guest path stands twice.
    pub mounts: Vec<Mount>,
    /// Bytes that each of its jobs may have in a `/tmp` of its own; `None`: it has none.
    pub tmp: Option<u64>,
    /// What each of its jobs may use: its own settings over `[limits]` over the defaults.
    pub limits: Limits,
    /// Where its scripts lie, if it is an interpreter: in one of its mounts.
    pub scripts: Option<Scripts>,
    /// How stdout becomes a response.
    pub mapping: Mapping,
    /// How its requests are taken.
    pub conduct: Conduct,
    /// Requests that one instance answers, one after the other; none: each has its own.
    pub reuse: Option<NonZeroU32>,
    /// Which of its jobs are kept.
    pub recording: Recording,
    /// What a new version must answer before it serves; none: nothing.
    pub probe: Option<Probe>,
    /// What its jobs may ask of other servers.
    pub outbound: Outbound,
    /// The line of the file that names it.
    pub line: usize,
}

/// Which jobs of a handler are kept, to be run again.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Recording {
    /// None of them.
    #[default]
    Nothing,
    /// Those that fail, with what they have read.
    Failures,
    /// Those that fail, without it: a body may hold what is nobody's to keep.
    FailuresWithoutBodies,
}

/// What a handler may ask of other servers; by default nothing.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Outbound {
    /// The origins.
    pub allow: Vec<Pattern>,
    /// The addresses that are not public.
    pub addresses: Vec<Block>,
    /// Certificates to believe besides the system's.
    pub ca: Option<Ca>,
}

/// A file of certificates, as it was when the configuration was read: another one is another
/// configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ca {
    /// Where it is.
    pub path: PathBuf,
    /// What is in it.
    pub pem: Arc<[u8]>,
}

/// A request that proves a version, and the answer it must get.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probe {
    /// What a GET asks for; a route of the handler it proves.
    pub path: String,
    /// The status of the answer.
    pub status: StatusCode,
}

/// A directory that a handler may see.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mount {
    /// The directory, which was there when the configuration was read.
    pub host: PathBuf,
    /// What the handler calls it: an absolute path without a final `/`.
    pub guest: String,
    /// Whether the handler may change what is in it.
    pub write: bool,
}

/// A route to a handler.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouteConfig {
    /// The path: `/hello/{who}`.
    pub path: String,
    /// The methods; empty: all of them.
    pub methods: Vec<Method>,
    /// The host; none: every host.
    pub host: Option<String>,
    /// What answers.
    pub handler: Name,
    /// What its clients change over to; none: they stay with HTTP.
    pub upgrade: Option<Upgrade>,
    /// The line of the file on which the route starts.
    pub line: usize,
}

impl HandlerConfig {
    /// Makes a handler of a module that no configuration speaks of.
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
            scripts: None,
            mapping: Mapping::Cgi,
            conduct: Conduct::default(),
            reuse: None,
            recording: Recording::Nothing,
            probe: None,
            outbound: Outbound::default(),
            line: 0,
        }
    }
}

impl Config {
    /// Checks what can be said only when the flags have been applied. `file` is the configuration, as
    /// it was asked for.
    ///
    /// # Errors
    /// The daemon would end for want of work, and nobody would start it again; something is said of an
    /// admin socket, and there is none; what the daemon looks up by name lies where a handler may write.
    pub fn check_whole(&self, file: &Path) -> Result<(), ConfigErrors> {
        let alone = [self.check_admin(), self.check_idle_exit()].into_iter().filter_map(Result::err);
        let errors: Vec<ConfigError> = alone.chain(self.exchangeable(file)).collect();
        let file = file.display().to_string();
        if errors.is_empty() { Ok(()) } else { Err(ConfigErrors { file, errors }) }
    }

    /// Checks that a daemon which ends when nobody asks is started again.
    fn check_idle_exit(&self) -> Result<(), ConfigError> {
        let ours = self.listen.iter().find(|endpoint| !matches!(endpoint, Endpoint::Fd(_)));
        match (self.idle_exit, ours) {
            (Some(_), Some(endpoint)) => Err(ConfigError {
                line: 0,
                key: "idle_exit".to_owned(),
                message: format!(
                    "goes only with sockets of systemd, which starts the daemon again: listen has {endpoint}, write fd:// or leave idle_exit out"
                ),
            }),
            (Some(_), None) => self.check_schedules(),
            (None, _) => Ok(()),
        }
    }

    /// Checks that whoever says who may open the admin socket has one.
    fn check_admin(&self) -> Result<(), ConfigError> {
        let UnixOptions { group, mode } = &self.admin_access;
        let key = match (&self.admin, group, *mode) {
            (None, Some(_), _) => "admin_group",
            (None, None, mode) if mode != ADMIN_MODE => "admin_mode",
            (Some(_), ..) | (None, None, _) => return Ok(()),
        };
        Err(ConfigError {
            line: 0,
            key: key.to_owned(),
            message: "goes only with admin: set admin = \"unix://PATH\", or leave it out".to_owned(),
        })
    }

    /// Checks that a daemon which ends when nobody asks has nothing to do by itself.
    fn check_schedules(&self) -> Result<(), ConfigError> {
        let Some(handler) = self.handlers.iter().find(|handler| handler.schedule.is_some()) else {
            return Ok(());
        };
        Err(ConfigError {
            line: handler.line,
            key: format!("handler.{}.schedule", handler.name),
            message:
                "does not go with idle_exit: a daemon that has ended runs nothing; leave one of them out"
                    .to_owned(),
        })
    }

    /// Makes the routing table, once there are handlers.
    ///
    /// # Errors
    /// A route to a handler that is not among them; conflicts, which a configuration that was read
    /// does not have.
    pub fn routes(&self, handlers: &BTreeMap<Name, Arc<Entry>>) -> Result<Routes, Vec<RouteError>> {
        let mut specs = Vec::with_capacity(self.routes.len());
        let mut errors = Vec::new();
        for (position, route) in self.routes.iter().enumerate() {
            let RouteConfig { path, methods, host, handler, upgrade, .. } = route;
            match handlers.get(handler) {
                Some(entry) => specs.push(RouteSpec {
                    pattern: path.clone(),
                    methods: methods.clone(),
                    host: host.clone(),
                    handler: entry.clone(),
                    upgrade: upgrade.clone(),
                }),
                None => errors.push(RouteError {
                    position,
                    message: format!("route {path:?}: there is no handler {:?}", handler.as_str()),
                }),
            }
        }
        if errors.is_empty() { Routes::new(specs, self.version_prefix) } else { Err(errors) }
    }
}

impl Default for UnixOptions {
    /// What Docker gave its socket.
    fn default() -> UnixOptions {
        UnixOptions { group: None, mode: 0o660 }
    }
}

/// Steps by which the process takes from itself what it does not need.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hardening {
    /// No new privileges, no capabilities but those the configuration needs, no core dumps, no debugger.
    pub privileges: bool,
    /// Only the part of the file system that the configuration names.
    pub files: bool,
    /// No system calls that a daemon has no use for.
    pub syscalls: bool,
    /// Directories besides, which a reload may then come to need.
    pub reach: Vec<PathBuf>,
}

impl Default for Hardening {
    fn default() -> Hardening {
        Hardening { privileges: true, files: true, syscalls: true, reach: Vec::new() }
    }
}
