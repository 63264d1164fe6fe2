//! From a configuration to a catalog: modules read, compiled, linked and put under their names.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use anyhow::{Context as _, Error, Result, anyhow, bail, ensure};
use tokio::runtime::Handle;

use super::credential;
use crate::catalog::Catalog;
use crate::config::{self, Ca, Config, HandlerConfig, Probe, Recording};
use crate::given::{self, Given};
use crate::http::outbound::{Caller, Grant};
use crate::job::{Access, Entry, Kind, Mapping, Mount, Name, Record, Recorder, Slots};
use crate::net::outbound::{System, Trust};
use crate::record::{Keeper, Masked, Store};
use crate::wasm::{Code, Digest, Files, Module, Sandbox, Source};

/// The names that no handler may have, sorted: those of the built-in jobs.
pub const BUILTIN: [&str; 20] = [
    "acceptconnections",
    "canary",
    "commands",
    "explain",
    "handlers",
    "jobs",
    "kill",
    "logs",
    "plan",
    "reload",
    "rollback",
    "routes",
    "runschedules",
    "serveadmin",
    "serveapi",
    "shutdown",
    "status",
    "swap",
    "upgrade",
    "version",
];

/// Loads catalogs, one after the other; what has not changed is not compiled again.
pub struct Loader {
    sandbox: Sandbox,
    progress: Progress,
    /// Where failed jobs are kept, if they are.
    store: Option<Arc<Store>>,
    /// The runtime that serves, if there is one: see [`Caller::new`].
    home: Option<Handle>,
    last: Mutex<Loaded>,
}

/// What the catalog was made of that was loaded last.
#[derive(Default)]
struct Loaded {
    /// Its code, by the digest of the module.
    code: HashMap<Digest, Code>,
    /// Its handlers as they were configured.
    handlers: Vec<HandlerConfig>,
    /// What was made of them.
    made: HashMap<Name, Made>,
}

/// A handler, and the module it was made of.
#[derive(Clone)]
struct Made {
    entry: Arc<Entry>,
    digest: Digest,
}

/// Is told of every module that is ready, from whatever thread loads it.
pub type Progress = Box<dyn Fn(Compiled<'_>) + Send + Sync>;

/// One module of several is ready.
pub struct Compiled<'a> {
    /// Whose module it is.
    pub name: &'a Name,
    /// How many are ready.
    pub done: usize,
    /// How many there are.
    pub total: usize,
}

/// The modules of one load. Handlers that share a module wait for the one of them that compiles it.
type Codes = Mutex<HashMap<Digest, Arc<OnceLock<Result<Code, String>>>>>;

/// The largest module, in bytes: four times the largest that was found, an interpreter with its library.
pub const LARGEST_MODULE: u64 = 256 << 20;

/// Modules that are read, checked or waited for at once. How many of them are compiled at once, the
/// sandbox decides.
const AT_ONCE: usize = 4;

impl Loader {
    /// Makes a loader that has compiled nothing yet. Calls of its handlers to other servers are made in
    /// the runtime that it is made in.
    pub fn new(sandbox: Sandbox, progress: Progress) -> Loader {
        Loader { sandbox, progress, store: None, home: Handle::try_current().ok(), last: Mutex::default() }
    }

    /// Has failed jobs kept here, of those handlers that want it.
    pub fn recording(self, store: Option<Arc<Store>>) -> Loader {
        Loader { store, ..self }
    }

    /// Makes the catalog that follows `base`. Blocks for as long as compiling takes.
    ///
    /// # Errors
    /// Everything that is wrong, one error each: a module that cannot be a handler, a handler with
    /// the name of a built-in job.
    pub fn catalog(&self, config: Config, base: &Catalog) -> Result<Catalog, Vec<Error>> {
        let codes = Codes::default();
        let mut made = HashMap::new();
        let mut errors = Vec::new();
        for (handler, fresh) in config.handlers.iter().zip(self.all(&config.handlers, &codes)) {
            match fresh {
                Ok(fresh) => {
                    let kept = self.unchanged(handler, &fresh, base);
                    made.insert(handler.name.clone(), kept.unwrap_or(fresh));
                }
                Err(error) => errors.push(error.context(format!("handler {:?}", handler.name.as_str()))),
            }
        }
        let handlers: BTreeMap<_, _> =
            made.iter().map(|(name, made)| (name.clone(), made.entry.clone())).collect();
        errors.extend(for_programs(&config, &handlers));
        let routes = match config.routes(&handlers) {
            Ok(routes) if errors.is_empty() => routes,
            // A route to a handler that failed is no mistake of its own.
            Ok(_) => return Err(errors),
            Err(_) if !errors.is_empty() => return Err(errors),
            Err(conflicts) => return Err(conflicts.into_iter().map(Error::from).collect()),
        };
        // Code that no handler uses any more goes with the catalog that used it.
        *self.last() = Loaded { code: compiled(codes), handlers: config.handlers, made };
        let next = base.next(handlers, routes);
        let Config { cors, version_header, reason_header, .. } = config;
        Ok(Catalog { cors, version_header, reason_header, ..next })
    }

    /// Makes one handler. Blocks for as long as compiling takes.
    ///
    /// # Errors
    /// The module cannot be read, or be a handler.
    pub fn entry(&self, config: &HandlerConfig) -> Result<Arc<Entry>> {
        self.load(config, &Codes::default()).map(|made| made.entry)
    }

    /// Finds the handler that serves already and is the same in everything: it goes on as it is, with
    /// its counters and the slots in which its jobs run.
    fn unchanged(&self, config: &HandlerConfig, fresh: &Made, base: &Catalog) -> Option<Made> {
        let last = self.last();
        let old = last.made.get(&config.name)?;
        // Where it stands in the file does not matter.
        let settings = |config: &HandlerConfig| HandlerConfig { line: 0, ..config.clone() };
        let before = last.handlers.iter().find(|handler| handler.name == config.name)?;
        let serving = base.handlers.get(&config.name)?;
        let same = old.digest == fresh.digest
            && settings(before) == settings(config)
            // A secret may have changed, and a swap may have put another version here.
            && old.entry.env == fresh.entry.env
            && Arc::ptr_eq(&old.entry, serving);
        same.then(|| old.clone())
    }

    /// Makes another version of a handler that is configured: its settings, this module. Blocks for
    /// as long as compiling takes.
    ///
    /// # Errors
    /// There is no such handler, or the module cannot be one.
    pub fn version(&self, name: &Name, bytes: Vec<u8>) -> Result<Arc<Entry>> {
        let config = self.configured(name);
        let config = config.with_context(|| format!("there is no handler {:?}", name.as_str()))?;
        let source = Source::new(bytes);
        let code = self.code(&source, &Codes::default());
        let code = code.map_err(|reason| anyhow!("the uploaded module: {reason}"))?;
        self.make(&config, source.digest(), code)
    }

    /// Returns the probe of a handler, if it has one.
    pub fn probe(&self, name: &Name) -> Option<Probe> {
        self.configured(name)?.probe
    }

    fn configured(&self, name: &Name) -> Option<HandlerConfig> {
        self.last().handlers.iter().find(|handler| handler.name == *name).cloned()
    }

    fn last(&self) -> MutexGuard<'_, Loaded> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes several handlers at once, and returns them in their order.
    fn all(&self, handlers: &[HandlerConfig], codes: &Codes) -> Vec<Result<Made>> {
        let entries: Vec<_> = handlers.iter().map(|_| OnceLock::new()).collect();
        let next = AtomicUsize::new(0);
        let done = Mutex::new(0);
        let work = || {
            while let Some((handler, entry)) = at(handlers, &entries, next.fetch_add(1, Ordering::Relaxed)) {
                entry.get_or_init(|| self.load(handler, codes));
                // Held while it is told, so that the last one to be told of is the last one.
                let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                *done += 1;
                (self.progress)(Compiled { name: &handler.name, done: *done, total: handlers.len() });
            }
        };
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        thread::scope(|scope| {
            for _ in 1..handlers.len().min(cores.clamp(2, AT_ONCE)) {
                // Without another thread this one does it all.
                let _joined_by_scope =
                    thread::Builder::new().name("load".to_owned()).spawn_scoped(scope, work);
            }
            work();
        });
        let set = "each position was taken, and what was taken was set";
        entries.into_iter().map(|entry| entry.into_inner().expect(set)).collect()
    }

    fn load(&self, config: &HandlerConfig, codes: &Codes) -> Result<Made> {
        ensure!(
            !BUILTIN.contains(&config.name.as_str()),
            "this is the name of a built-in job: choose another"
        );
        let Given { bytes, .. } = given::read(&config.module, LARGEST_MODULE)
            .with_context(|| format!("read {}", show(&config.module)))?;
        let source = Source::new(bytes);
        let code =
            self.code(&source, codes).map_err(|reason| anyhow!("{}: {reason}", show(&config.module)))?;
        let entry = self.make(config, source.digest(), code)?;
        Ok(Made { entry, digest: *source.digest() })
    }

    /// Finds the code of a module, or compiles it.
    fn code(&self, source: &Source, codes: &Codes) -> Result<Code, String> {
        let digest = *source.digest();
        let code = codes.lock().unwrap_or_else(PoisonError::into_inner).entry(digest).or_default().clone();
        let known = || self.last().code.get(&digest).cloned();
        let compile = || match known() {
            Some(code) => Ok(code),
            None => self.sandbox.compile(source).map_err(|error| format!("{error:#}")),
        };
        code.get_or_init(compile).clone()
    }

    /// Puts code under a handler's settings.
    ///
    /// # Errors
    /// A secret that cannot be had; a setting that this kind of module has no use for.
    fn make(&self, config: &HandlerConfig, digest: &Digest, code: Code) -> Result<Arc<Entry>> {
        let mut env = config.env.clone();
        credential::add(&mut env, &config.secrets)?;
        let for_programs = [
            ("output = \"raw\"", matches!(config.mapping, Mapping::Raw(_))),
            ("record = \"failures\"", config.recording == Recording::Failures),
            ("schedule", config.schedule.is_some()),
        ];
        let serves = matches!(code, Code::Proxy(_) | Code::Service(_));
        let wrong = for_programs.iter().find(|(_, set)| *set && serves);
        if let Some((setting, _)) = wrong {
            bail!("{setting} is for programs; this module answers by itself (wasi:http): leave the key out");
        }
        let recorder = self.store.as_ref().filter(|_| config.recording == Recording::Failures).map(|store| {
            let masked = Masked(config.secrets.iter().map(|secret| secret.variable.clone()).collect());
            let keeper = Keeper::new(store.clone(), config.module.clone(), hex(digest), masked);
            Arc::new(keeper) as Arc<dyn Recorder>
        });
        let mounts: Vec<Mount> = config.mounts.iter().map(mount).collect();
        let files = match mounts.is_empty() {
            true => None,
            false => Some(Files::new(mounts, config.limits.concurrency)?),
        };
        let module = Module::new(code, files, Arc::new(caller(config, self.home.clone())?), config.reuse)?;
        ensure!(
            config.outbound.allow.is_empty() || module.kind() != Kind::Core,
            "allow: a wasip1 module cannot ask other servers: build for wasm32-wasip2, or leave allow out"
        );
        Ok(Arc::new(Entry {
            name: config.name.clone(),
            kind: module.kind(),
            handler: Arc::new(module),
            version: hex(&digest[..6]),
            args: config.args.clone(),
            env,
            calls: config.calls.clone(),
            schedule: config.schedule.clone(),
            limits: config.limits.clone(),
            mapping: config.mapping.clone(),
            slots: Slots::new(&config.limits),
            record: Record::default(),
            recorder,
        }))
    }
}

/// Finds what is asked of handlers that answer HTTP by themselves and only a program can do: read
/// stdin and write stdout.
fn for_programs(config: &Config, handlers: &BTreeMap<Name, Arc<Entry>>) -> Vec<Error> {
    let proxy = |name: &Name| handlers.get(name).is_some_and(|entry| entry.kind == Kind::Proxy);
    let upgraded = config.routes.iter().filter(|route| route.upgrade.is_some() && proxy(&route.handler));
    let upgraded = upgraded.map(|route| {
        let (path, name) = (&route.path, route.handler.as_str());
        anyhow!("route {path:?}: upgrade is for programs; the handler {name:?} answers by itself (wasi:http)")
    });
    let called = config.handlers.iter().flat_map(|handler| {
        let called = handler.calls.iter().filter(|called| proxy(called));
        called.map(|called| {
            let (caller, called) = (handler.name.as_str(), called.as_str());
            anyhow!("handler {caller:?}: calls: only programs are called; {called:?} answers HTTP by itself")
        })
    });
    upgraded.chain(called).collect()
}

/// Writes bytes in hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes what carries out a handler's requests to other servers.
///
/// # Errors
/// A file of certificates that cannot be believed.
fn caller(config: &HandlerConfig, home: Option<Handle>) -> Result<Caller> {
    let config::Outbound { allow, addresses, ca } = config.outbound.clone();
    let ca = ca.filter(|_| !allow.is_empty());
    let trust = match ca {
        Some(Ca { path, pem }) => {
            Trust::and(&pem).with_context(|| format!("outbound.ca: {}", show(&path)))?
        }
        None => Trust::system(),
    };
    let grant = Grant { name: config.name.clone(), allow, addresses, trust };
    Ok(Caller::new(grant, Arc::new(System), home))
}

/// Pairs a handler with the place for what becomes of it.
fn at<'a, H, E>(handlers: &'a [H], entries: &'a [E], position: usize) -> Option<(&'a H, &'a E)> {
    handlers.get(position).zip(entries.get(position))
}

/// Keeps the modules that could be compiled.
fn compiled(codes: Codes) -> HashMap<Digest, Code> {
    let codes = codes.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter();
    codes.filter_map(|(digest, code)| Some((digest, code.get()?.clone().ok()?))).collect()
}

fn mount(config: &config::Mount) -> Mount {
    let access = if config.write { Access::Write } else { Access::Read };
    Mount { host: config.host.clone(), guest: config.guest.clone(), access }
}

/// Makes one error of several, a line each.
pub fn lines(errors: &[Error]) -> Error {
    let lines: Vec<String> = errors.iter().map(|error| format!("{error:#}")).collect();
    anyhow!(lines.join("\n"))
}

fn show(path: &Path) -> String {
    path.display().to_string()
}
