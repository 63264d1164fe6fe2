//! `portcullis run`: runs one job from the terminal, without HTTP.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};
use futures_util::stream;
use tokio::sync::mpsc;

use super::out::complain;
use super::{out, serve, user_caches};
use crate::catalog::{Catalog, Routes};
use crate::config::{self, HandlerConfig, MountConfig, OutboundConfig};
use crate::confine::{self, Untrusted};
use crate::daemon;
use crate::database;
use crate::engine::Engine;
use crate::job::{Destination, Fault, Input, Limits, Output, Policy, builtin};
use crate::jobs::{Commands, Loader, TellVersion};
use crate::net::outbound::{Block, Pattern};
use crate::scratch::Scratch;
use crate::wasm::compile::CompileLimits;
use crate::wasm::{Compilation, Room, Sandbox, Stacks, WasiHttp03};

/// Run one job with this terminal's stdin, stdout and stderr, without HTTP and without a daemon.
///
/// A handler runs as configured: its arguments, variables, mounts, limits, and the handlers that it may
/// call. Its stores and databases are those that serve requests: what it writes there stays. A module given
/// as a file runs like a program: with the directories of --mount only, without stores and databases, without
/// a time limit, and with 4 GiB of memory. The built-in jobs are `commands` and `version`. To query a running
/// daemon, use the other verbs, such as `jobs`.
#[derive(clap::Args)]
#[command(after_help = STATUSES, override_usage = "portcullis run [OPTIONS] <NAME|FILE.wasm> [ARGS]...")]
pub(super) struct Args {
    #[command(flatten)]
    options: RunOptions,
    /// A handler of the configuration, a built-in job, or a module (a path with a `/` or ending in .wasm), followed by the
    /// arguments of the job. They come after the configured arguments. Everything after a module is an argument, options too.
    /// After a NAME, options of `run` may come first; `--` ends them.
    #[arg(value_name = "NAME|FILE.wasm [ARGS]", required = true, num_args = 1.., trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// Options before the name of the job.
#[derive(clap::Args, Default)]
struct RunOptions {
    /// Set a variable; it overrides the configuration. May be repeated.
    #[arg(short, long = "env", value_name = "K=V")]
    env: Vec<String>,
    /// Mount a directory, writable, at this absolute path. May be repeated.
    #[arg(long = "mount", value_name = "HOST::GUEST")]
    mounts: Vec<String>,
    /// Allow a component to call this origin, such as https://api.example.org. May be repeated.
    #[arg(long, value_name = "URL")]
    allow: Vec<Pattern>,
    /// Allow it these non-public addresses there, such as 127.0.0.1 or 10.0.0.0/8. May be repeated.
    #[arg(long = "allow-address", value_name = "NET")]
    addresses: Vec<Block>,
    /// The configuration that contains NAME [default: portcullis.toml].
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Options and arguments after the name of a handler.
#[derive(clap::Parser)]
#[command(name = "portcullis run NAME", no_binary_name = true, disable_help_flag = true)]
struct TrailingArgs {
    #[command(flatten)]
    options: RunOptions,
    #[arg(value_name = "ARGS", trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// What to run, with its arguments and options.
struct RunRequest {
    what: String,
    args: Vec<String>,
    options: RunOptions,
}

/// The meaning of exit statuses, and examples.
const STATUSES: &str = "\
Exit status: that of the job, or
  1    the job could not be started
  124  stopped at a time or processor limit
  134  trapped
  137  out of memory

Examples:
  portcullis run -e ROUTE_WHO=ada hello            a handler of ./portcullis.toml, with the capture {who}
  portcullis run -e GREETING=Hi build/hello.wasm   a module
  portcullis run ./wc.wasm -c README.md            -c is an option of the module
  echo text | portcullis run wc -l                 stdin and stdout belong to the job";

/// Slots for jobs: one for the job itself, the others for jobs that it calls.
const PLACES: usize = 1 + 64;

pub(super) fn run(args: Args) -> Result<ExitCode> {
    let asked = match RunRequest::of(args) {
        Ok(asked) => asked,
        Err(wrong) => return Ok(out::usage(&wrong)),
    };
    confine::serve_none();
    let engine = Engine::new(PLACES);
    engine.register(builtin::COMMANDS, Policy::LOOK, Arc::new(Commands))?;
    engine.register(builtin::VERSION, Policy::LOOK, Arc::new(TellVersion))?;
    let runtime = serve::runtime()?;
    // The job's outbound requests run on this runtime.
    let within = runtime.enter();
    // Kept until the job has ended: its ticker makes guests yield, so that limits apply.
    let loader;
    let mut catalog = Catalog::default();
    let entry = match engine.registry().find(&asked.what) {
        Some(builtin) => builtin,
        None => {
            let WantedRun { handlers, untrusted, compilation, limits, scratch } = asked.handlers()?;
            let alone = handlers.iter().all(|handler| handler.calls.is_empty());
            let jobs = if alone { 1 } else { u32::try_from(PLACES)? };
            let memory = handlers.iter().map(|handler| handler.limits.memory).max().unwrap_or_default();
            let sandbox = Sandbox::new(Room::unserved(jobs, memory), compilation, WasiHttp03::Served)?;
            loader = Loader::new(sandbox, Box::new(|_| {})).within(scratch);
            let entry = loader.program(&handlers[0], &untrusted, limits)?;
            let mut entries = BTreeMap::from([(entry.name.clone(), entry.clone())]);
            for handler in &handlers[1..] {
                entries.insert(handler.name.clone(), loader.entry(handler, &untrusted, limits)?);
            }
            loader.tidy([]);
            catalog = catalog.next(entries, Routes::default());
            entry
        }
    };
    let mut job = engine.job_of(entry);
    job.args.extend(asked.args);
    job.env.extend(&job.entry.env.clone());
    engine.grant(&mut job, &Arc::new(catalog));
    job.stdin = stdin();
    job.stdout = Output::to(vec![Arc::new(Terminal(io::stdout()))]);
    job.stderr = Output::to(vec![Arc::new(Terminal(io::stderr()))]);
    drop(within);
    let outcome = runtime.block_on(engine.start(job));
    // The thread that reads our stdin may block forever.
    runtime.shutdown_background();
    let status = match outcome {
        Ok(status) => ExitCode::from(status.0),
        Err(fault) => {
            // If stdout has no reader any more, the failure of the program is expected. If stdout cannot be written,
            // that was reported already.
            if out::is_open() {
                complain(&format!("{}: {fault}", asked.what));
                if let Fault::Trapped { stack, .. } = &fault {
                    stack.lines().for_each(complain);
                }
            }
            ExitCode::from(fault.status().0)
        }
    };
    // A stopped job returns its connection when it yields, so the ticker is needed here.
    database::wait_until_closed();
    Ok(status)
}

/// The handlers to run, and how to compile them.
struct WantedRun {
    /// The handler itself, then the handlers that it may call.
    handlers: Vec<HandlerConfig>,
    untrusted: Untrusted,
    compilation: Compilation,
    limits: CompileLimits,
    /// The scratch directory, if a handler has a `/tmp` of its own.
    scratch: Option<Arc<Scratch>>,
}

impl RunRequest {
    /// Separates the arguments of the job from the options of `run`.
    ///
    /// # Errors
    /// An option is unknown or lacks its value.
    fn of(Args { mut options, mut words }: Args) -> Result<RunRequest, clap::Error> {
        let what = words.remove(0);
        if what.starts_with('-') {
            // The same text as clap's for other verbs.
            let wrong = TrailingArgs::command()
                .error(ErrorKind::UnknownArgument, format!("unexpected argument '{what}' found"));
            return Err(wrong);
        }
        if is_file(&what) {
            words.drain(..usize::from(words.first().is_some_and(|word| word == "--")));
            return Ok(RunRequest { what, args: words, options });
        }
        let TrailingArgs { options: more, args } = TrailingArgs::try_parse_from(words)?;
        options.env.extend(more.env);
        options.mounts.extend(more.mounts);
        options.allow.extend(more.allow);
        options.addresses.extend(more.addresses);
        options.config = more.config.or(options.config);
        Ok(RunRequest { what, args, options })
    }

    fn config(&self) -> &Path {
        self.options.config.as_deref().unwrap_or(Path::new("portcullis.toml"))
    }

    /// Finds the handler, or makes one from the module, with the handlers that it may call. Also finds the directories
    /// that these and all other configured handlers may write to.
    fn handlers(&self) -> Result<WantedRun> {
        let is_file = is_file(&self.what);
        let mut scratch = None;
        let (mut handlers, mut all, compilation, limits) = if is_file {
            let handler = of_file(Path::new(&self.what))?;
            (vec![handler], Vec::new(), user_caches::of_user(Stacks::Lines), CompileLimits::GENEROUS)
        } else {
            let mut config = config::load(self.config())?;
            config.develop(self.config().parent().unwrap_or(Path::new(".")))?;
            let compilation = user_caches::of(&config, Stacks::Lines);
            let handlers = self.of_config(&config.handlers)?;
            if handlers.iter().any(|handler| handler.tmp.is_some()) {
                scratch = Some(user_caches::swept(daemon::open_scratch(&config).context("tmp")?));
            }
            (handlers, config.handlers, compilation, config.compile)
        };
        let handler = &mut handlers[0];
        for variable in &self.options.env {
            let (name, value) =
                variable.split_once('=').with_context(|| format!("-e {variable:?}: write K=V"))?;
            handler.env.set(name, value)?;
        }
        for mount in &self.options.mounts {
            let (host, guest) =
                mount.split_once("::").with_context(|| format!("--mount {mount:?}: write HOST::GUEST"))?;
            let mount = MountConfig { host: PathBuf::from(host), guest: guest.to_owned(), write: true };
            handler.mounts.push(mount);
        }
        self.grant(&mut handler.outbound)?;
        all.extend(handlers.iter().cloned());
        let untrusted = config::untrusted(&all)?;
        Ok(WantedRun { handlers, untrusted, compilation, limits, scratch })
    }

    /// Adds the permissions for outbound requests.
    fn grant(&self, granted: &mut OutboundConfig) -> Result<()> {
        let RunOptions { allow, addresses, .. } = &self.options;
        granted.allow.extend(allow.iter().cloned());
        granted.addresses.extend(addresses.iter().cloned());
        ensure!(
            addresses.is_empty() || !granted.allow.is_empty(),
            "--allow-address allows nothing by itself: add --allow http://HOST:PORT"
        );
        for pattern in allow {
            let Some(Err(refused)) =
                pattern.address().map(|address| Block::check(address, &granted.addresses))
            else {
                continue;
            };
            bail!("--allow {pattern}: {refused}: add --allow-address {}", refused.address);
        }
        Ok(())
    }

    /// Finds the handler and, transitively, the handlers that it may call.
    fn of_config(&self, handlers: &[HandlerConfig]) -> Result<Vec<HandlerConfig>> {
        let names: Vec<String> = handlers.iter().map(|handler| handler.name.to_string()).collect();
        let named = |name: &str| handlers.iter().find(|handler| handler.name.as_str() == name).cloned();
        let first = named(&self.what).with_context(|| {
            let file = self.config().display();
            format!(
                "{:?} is not a handler of {file} (it has: {}); for a module, name its file",
                self.what,
                names.join(", ")
            )
        })?;
        let mut found = vec![first];
        let mut at = 0;
        while let Some(handler) = found.get(at) {
            at += 1;
            let calls = handler.calls.clone();
            let fresh = calls.iter().filter(|name| found.iter().all(|known| known.name != **name));
            found.extend(fresh.filter_map(|name| named(name.as_str())).collect::<Vec<_>>());
        }
        Ok(found)
    }
}

/// Returns `true` if the text names a module file, not a handler.
fn is_file(what: &str) -> bool {
    what.contains('/') || what.ends_with(".wasm")
}

/// Makes a handler from a module without configuration. Its limits are generous, as for a program in a terminal.
fn of_file(module: &Path) -> Result<HandlerConfig> {
    let stem = module.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    // The file name may not be a valid job name.
    let name = stem.parse().or_else(|_| "module".parse())?;
    let limits = Limits { memory: 4 << 30, concurrency: 1, ..Limits::NATIVE };
    Ok(HandlerConfig { limits, ..HandlerConfig::of_module(name, module.to_owned()) })
}

/// Reads stdin when the job asks for it, on a thread of its own: a read from a terminal cannot be cancelled.
fn stdin() -> Input {
    /// The default capacity of a pipe on Linux, pipe(7): the most that one read returns.
    const CHUNK: usize = 64 << 10;
    // Only one chunk ahead, so that input which the job does not read stays for the next program in the shell.
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut buffer = vec![0; CHUNK];
        loop {
            let chunk = match io::stdin().lock().read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => Ok(Bytes::copy_from_slice(&buffer[..read])),
                Err(error) => Err(Fault::InputBroken(error.to_string())),
            };
            if sender.blocking_send(chunk).is_err() {
                return;
            }
        }
    });
    let next =
        |mut receiver: mpsc::Receiver<_>| async { receiver.recv().await.map(|chunk| (chunk, receiver)) };
    Input::stream(stream::unfold(receiver, next))
}

/// Writes to this process's stdout or stderr unchanged. Blocks, which only the one job here notices.
pub(super) struct Terminal<W>(pub(super) W);

impl Destination for Terminal<io::Stdout> {
    fn write(&self, bytes: &Bytes) -> io::Result<()> {
        let mut stdout = self.0.lock();
        out::noted(stdout.write_all(bytes).and_then(|()| stdout.flush()))
    }
}

impl Destination for Terminal<io::Stderr> {
    fn write(&self, bytes: &Bytes) -> io::Result<()> {
        self.0.lock().write_all(bytes)
    }
}
