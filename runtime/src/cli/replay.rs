//! `portcullis replay`: runs a recorded failed job again, offline, and compares the outcome.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use data_encoding::HEXLOWER;

use super::out::complain;
use super::run::Terminal;
use super::{serve, user_caches};
use crate::cgi::{HeadParser, Parsed, bodiless};
use crate::config::{self, HandlerConfig, MountConfig};
use crate::confine::{self, Untrusted, Writable};
use crate::engine::Engine;
use crate::job::{Destination, Fault, Input, Job, JobFailure, Output, OutputFormat, Tail};
use crate::jobs::Loader;
use crate::operator_file;
use crate::record::{self, Bundle, RecordedOutcome};
use crate::wasm::compile::CompileLimits;
use crate::wasm::{ModuleBytes, Room, Sandbox, Stacks, WasiHttp03};

/// Run a recorded failed job again, and compare the outcome.
///
/// Needs the record and the module, but no daemon. Mounts are read-only, and stores and databases are denied, so that no
/// change is made twice.
/// Exit status: 0 the outcome is the same, 1 it is different.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The record, a file of `record_dir`.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Run this module instead of the configured module that failed.
    #[arg(long, value_name = "NEW")]
    module: Option<PathBuf>,
    /// Set a variable, such as one whose value was not recorded. May be repeated.
    #[arg(short, long = "env", value_name = "K=V")]
    env: Vec<String>,
    /// Give the job this file as stdin, such as a body that was not recorded.
    #[arg(long, value_name = "FILE")]
    stdin: Option<PathBuf>,
    /// Let the job write to the mounts that were writable for it.
    #[arg(long)]
    write: bool,
}

pub(super) fn replay(args: Args) -> Result<ExitCode> {
    let shown = args.file.display().to_string();
    let file = operator_file::read(&args.file, record::LARGEST).with_context(|| format!("read {shown}"))?;
    let bundle = Bundle::read(&file.bytes).with_context(|| shown.clone())?;
    let mut env = bundle.env()?;
    for variable in &args.env {
        let (name, value) =
            variable.split_once('=').with_context(|| format!("-e {variable:?}: write K=V"))?;
        env.set(name, value)?;
    }
    let told = |name: &&String| env.get(name).is_some_and(|value| !value.is_empty());
    let untold: Vec<&str> = bundle.masked.iter().filter(|name| !told(name)).map(String::as_str).collect();
    if !untold.is_empty() {
        complain(&format!("not recorded, and empty here: {}; give them with -e K=V", untold.join(", ")));
    }
    let given = |name: &&String| {
        args.env.iter().any(|given| given.split_once('=').is_some_and(|(key, _)| key == *name))
    };
    let in_part: Vec<&str> =
        bundle.masked_in_part.iter().filter(|name| !given(name)).map(String::as_str).collect();
    if !in_part.is_empty() {
        complain(&format!(
            "recorded without credentials, *** here: {}; give them with -e K=V",
            in_part.join(", ")
        ));
    }
    for (what, names) in [("stores", &bundle.stores), ("databases", &bundle.databases)] {
        if !names.is_empty() {
            complain(&format!("its {what} are not recorded, and denied here: {}", names.join(", ")));
        }
    }
    let stdin = args.stdin(&bundle)?;
    confine::serve_none();
    let engine = Engine::new(1);
    // Kept until the job has ended: its ticker makes guests yield, so that limits apply.
    let handler = args.handler(&bundle)?;
    let room = Room::unserved(1, handler.limits.memory);
    let sandbox = Sandbox::new(room, user_caches::of_user(Stacks::Lines), WasiHttp03::Served)?;
    let scratch = handler.tmp.map(|_| user_caches::scratch()).transpose().context("tmp")?;
    let loader = Loader::new(sandbox, Box::new(|_| {})).within(scratch);
    let untrusted = untrusted(&bundle)?;
    let entry = loader.program(&handler, &untrusted, CompileLimits::GENEROUS)?;
    loader.tidy([]);
    let mut job = engine.job_of(entry);
    job.args.clone_from(&bundle.args);
    job.env = env;
    job.stdin = Input::from(Bytes::from(stdin));
    let answer = Arc::new(ResponseCheck::of(&job));
    let last_byte = Tail::new(1);
    job.stdout =
        Output::to(vec![Arc::new(Terminal(io::stdout())), answer.clone(), Arc::new(last_byte.clone())]);
    job.stderr.add(Arc::new(Terminal(io::stderr())));
    let outcome = run(&engine, job, &answer)?;
    if !matches!(last_byte.text().as_str(), "" | "\n") {
        // Our lines do not continue the last line of the response.
        let _gone = writeln!(io::stderr());
    }
    Ok(compare(&bundle.outcome, &outcome))
}

/// Lists the directories that handlers could write to when the job failed, and those by the configurations around the
/// module and the current directory.
fn untrusted(bundle: &Bundle) -> Result<Untrusted> {
    let mut all: Vec<Writable> = bundle.writable().collect();
    let mut files = bundle.module.parent().map(config::around).unwrap_or_default();
    files.extend(std::env::current_dir().map(|here| config::around(&here)).unwrap_or_default());
    for file in files {
        all.extend(config::writable(&file)?);
    }
    Untrusted::of(all)
}

impl Args {
    /// Returns the stdin of the job, and reports where it differs from the original.
    fn stdin(&self, bundle: &Bundle) -> Result<Vec<u8>> {
        if let Some(path) = &self.stdin {
            let given = operator_file::read(path, CompileLimits::LARGEST_MODULE)
                .with_context(|| format!("read {}", path.display()))?;
            return Ok(given.bytes);
        }
        if bundle.stdin_withheld {
            complain(
                "its stdin was not recorded (record_body = false), and is empty here; give it with --stdin FILE",
            );
        } else if bundle.stdin_truncated {
            complain("the job read more than was recorded: here its stdin ends earlier");
        }
        Ok(bundle.stdin())
    }

    /// Makes the configuration of the handler that failed, with its own module or another one.
    fn handler(&self, bundle: &Bundle) -> Result<HandlerConfig> {
        let module = self.module.clone().unwrap_or_else(|| bundle.module.clone());
        let given = operator_file::read(&module, CompileLimits::LARGEST_MODULE)
            .with_context(|| format!("read {}: name a module with --module", module.display()))?;
        let digest = HEXLOWER.encode(ModuleBytes::new(given.bytes).digest());
        if self.module.is_none() && digest != bundle.digest {
            complain(&format!("{} is not the module that failed", module.display()));
        }
        let mount = |(host, guest, write): (&Path, &str, bool)| MountConfig {
            host: host.to_owned(),
            guest: guest.to_owned(),
            write: write && self.write,
        };
        Ok(HandlerConfig {
            mounts: bundle.mounts().map(mount).collect(),
            tmp: bundle.tmp,
            limits: bundle.limits(),
            mapping: bundle.mapping(),
            ..HandlerConfig::of_module(bundle.handler.parse()?, module)
        })
    }
}

/// Runs the job as a request would, and returns its outcome.
fn run(engine: &Arc<Engine>, job: Box<Job>, answer: &ResponseCheck) -> Result<RecordedOutcome> {
    let stderr_tail = job.stderr_tail.clone();
    let runtime = serve::runtime()?;
    let ended = runtime.block_on(engine.start(job));
    runtime.shutdown_background();
    let fault = stderr_tail.check(ended).err().or_else(|| answer.fault());
    Ok(fault.map_or_else(RecordedOutcome::ok, |fault| JobFailure::of(&fault).into()))
}

fn compare(before: &RecordedOutcome, now: &RecordedOutcome) -> ExitCode {
    let show = |outcome: &RecordedOutcome| match outcome.message.as_str() {
        "" => outcome.code.clone(),
        message => format!("{message} ({})", outcome.code),
    };
    complain(&format!("then: {}", show(before)));
    complain(&format!("now:  {}", show(now)));
    now.stack.lines().for_each(complain);
    if before.is_same(now) {
        complain("the outcome is the same");
        ExitCode::SUCCESS
    } else {
        complain("the outcome differs");
        ExitCode::FAILURE
    }
}

/// Checks the output of the job as the HTTP side does.
struct ResponseCheck {
    mapping: OutputFormat,
    /// Whether the request had the method HEAD, whose response has no body.
    head_only: bool,
    seen: Mutex<SeenResponse>,
}

/// The part of the response that the job has written.
enum SeenResponse {
    Head(HeadParser),
    /// A complete head, and bytes of its body.
    Body {
        /// The length that must be there, if any.
        announced: Option<u64>,
        found: u64,
    },
    Wrong(Fault),
}

impl ResponseCheck {
    /// Makes the check for a job that is about to start.
    fn of(job: &Job) -> ResponseCheck {
        ResponseCheck {
            mapping: job.entry.mapping.clone(),
            head_only: job.env.get("REQUEST_METHOD") == Some("HEAD"),
            seen: Mutex::new(SeenResponse::Head(HeadParser::new())),
        }
    }

    /// Returns the fault in the response of a job that has ended.
    fn fault(&self) -> Option<Fault> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let nothing = SeenResponse::Body { announced: None, found: 0 };
        match (&self.mapping, std::mem::replace(&mut *seen, nothing)) {
            (OutputFormat::Raw(_), _) => None,
            // The daemon drops what is longer.
            (OutputFormat::Cgi, SeenResponse::Body { announced, found }) => announced
                .filter(|announced| found < *announced)
                .map(|announced| Fault::short_answer(announced, found)),
            (OutputFormat::Cgi, SeenResponse::Head(parser)) => {
                Some(Fault::BadAnswer(parser.finish().to_string()))
            }
            (OutputFormat::Cgi, SeenResponse::Wrong(fault)) => Some(fault),
        }
    }
}

impl Destination for ResponseCheck {
    fn write(&self, bytes: &Bytes) -> io::Result<()> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *seen {
            SeenResponse::Head(parser) => match parser.push(bytes.clone()) {
                Ok(None) => {}
                Ok(Some(Parsed { head, rest })) => {
                    let has_body = !self.head_only && !bodiless(head.status);
                    let announced = head.content_length.filter(|_| has_body);
                    *seen = SeenResponse::Body { announced, found: rest.len() as u64 };
                }
                Err(error) => *seen = SeenResponse::Wrong(Fault::BadAnswer(error.to_string())),
            },
            SeenResponse::Body { found, .. } => *found += bytes.len() as u64,
            SeenResponse::Wrong(_) => {}
        }
        Ok(())
    }
}
