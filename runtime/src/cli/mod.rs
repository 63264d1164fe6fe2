//! The command line: one file a verb, with shared files for output, tables, the admin socket and watching.
//!
//! Floors, lowest first: `compile_worker`, `curl`, `exec`, `user_caches`, `out`, `progress`, `tls`, `version`,
//! `file_watcher`; `build`, `reload_on_change`, `starting`, `table`; `explain`, `new`, `serve`, `sources`; `check`, `run`,
//! `socket`; `reload`, `history`, `logging`, `logs`, `replay`, `replies`, `sql`, `store`, `swap`, `up`; `dashboard`,
//! `tap`, `top`.

mod build;
mod check;
mod compile_worker;
mod curl;
mod dashboard;
mod exec;
mod explain;
mod file_watcher;
mod history;
mod logging;
mod logs;
mod new;
mod out;
mod progress;
mod reload;
mod reload_on_change;
mod replay;
mod replies;
mod run;
mod serve;
mod socket;
mod sources;
mod sql;
mod starting;
mod store;
mod swap;
mod table;
mod tap;
mod tls;
mod top;
mod up;
mod user_caches;
mod version;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::confine::{BlockedSignals, outlive_large_files};
use crate::wasm::compile;
use out::{complain, say};

/// Serve HTTP with WebAssembly handlers, each request a job in a fresh sandbox.
#[derive(Parser)]
#[command(name = "portcullis", version = &*version::text().leak(), propagate_version = true, subcommand_required = true)]
#[command(
    after_help = "Exit status: 0 success, 1 failure, 2 wrong usage; a verb that runs a job ends with its status."
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Up(up::Args),
    Serve(serve::Args),
    Run(run::Args),
    Replay(replay::Args),
    New(new::verb::Args),
    Build(build::verb::Args),
    Check(check::Args),
    /// Show the daemon's status.
    Status(replies::Args),
    /// List the handlers with their counters.
    Handlers(replies::Args),
    /// List the routes with their handlers.
    Routes(replies::Args),
    /// List the running jobs.
    Jobs(replies::Args),
    /// List the built-in jobs.
    Commands(replies::Args),
    /// End a job.
    Kill(replies::KillArgs),
    Logs(logs::Args),
    LogLevel(logging::LevelArgs),
    LogReopen(logging::ReopenArgs),
    History(history::Args),
    Show(history::ShowArgs),
    Tap(tap::Args),
    Top(top::verb::Args),
    Dashboard(dashboard::Args),
    /// Show which route answers a request, why, and with which grants; or why no route does.
    Explain(replies::ExplainArgs),
    Sql(sql::Args),
    Plan(reload::PlanArgs),
    Reload(reload::ReloadArgs),
    Store(store::Args),
    Swap(swap::SwapArgs),
    Promote(swap::PromoteArgs),
    Rollback(swap::RollbackArgs),
    /// Drain the daemon and end it.
    Shutdown(replies::Args),
    Upgrade(replies::UpgradeArgs),
    /// Internal: compile a module from stdin and write its code to stdout.
    #[command(name = compile::VERB, hide = true)]
    CompileWorker(compile_worker::Args),
    /// Internal: replace this process by another program, with its process id in the environment.
    #[command(hide = true)]
    Exec(exec::Args),
}

/// Runs the program and returns its exit status. Errors are printed, one a line.
pub fn main() -> ExitCode {
    // First of all: signals that arrive before the daemon listens for them are handled once it does.
    let held = BlockedSignals::new();
    outlive_large_files();
    leave_out_backtraces();
    let parsed = Cli::command().try_get_matches().and_then(|found| Cli::from_arg_matches(&found));
    let verb = match parsed {
        Ok(Cli { verb }) => verb,
        Err(told) => return out::usage(&told),
    };
    if matches!(verb, Verb::Serve(_) | Verb::Exec(_)) {
        held.keep();
    } else {
        drop(held);
    }
    // Output of these two is informational, so a failed write does not change their exit status.
    let is_daemon = matches!(verb, Verb::Serve(_) | Verb::Up(_));
    let outcome = match verb {
        Verb::Up(args) => up::up(args),
        Verb::Serve(args) => serve::serve(args),
        Verb::Run(args) => run::run(args),
        Verb::Replay(args) => replay::replay(args),
        Verb::New(args) => new::verb::run(args).map(|()| ExitCode::SUCCESS),
        Verb::Build(args) => build::verb::run(args).map(|()| ExitCode::SUCCESS),
        Verb::Check(args) => check::check(args).map(|()| ExitCode::SUCCESS),
        Verb::Status(args) => replies::status(args),
        Verb::Handlers(args) => replies::handlers(args),
        Verb::Routes(args) => replies::routes(args),
        Verb::Jobs(args) => replies::jobs(args),
        Verb::Commands(args) => replies::commands(args),
        Verb::Kill(args) => replies::kill(args),
        Verb::Logs(args) => logs::logs(args),
        Verb::LogLevel(args) => logging::level(args),
        Verb::LogReopen(args) => logging::reopen(args),
        Verb::History(args) => history::history(args),
        Verb::Show(args) => history::show(args),
        Verb::Tap(args) => tap::tap(args),
        Verb::Top(args) => top::verb::top(args),
        Verb::Dashboard(args) => dashboard::dashboard(args),
        Verb::Explain(args) => replies::explain(args),
        Verb::Sql(args) => sql::sql(args),
        Verb::Plan(args) => reload::plan(args),
        Verb::Reload(args) => reload::reload(args),
        Verb::Store(args) => store::store(args),
        Verb::Swap(args) => swap::swap(args),
        Verb::Promote(args) => swap::promote(args),
        Verb::Rollback(args) => swap::rollback(args),
        Verb::Shutdown(args) => replies::shutdown(args),
        Verb::Upgrade(args) => replies::upgrade(args),
        Verb::CompileWorker(args) => Ok(compile_worker::work(args)),
        Verb::Exec(args) => exec::exec(args).map(|()| ExitCode::SUCCESS),
    };
    // What a store without fsync has acknowledged is written before the process ends.
    crate::store::wait_until_closed();
    // `run` waits itself, and no other verb changes a database.
    if is_daemon {
        crate::database::wait_until_closed();
    }
    let ended = outcome.unwrap_or_else(|error| {
        for line in format!("{error:#}").lines() {
            complain(line);
        }
        ExitCode::FAILURE
    });
    if is_daemon { ended } else { out::outcome(ended) }
}

/// Turns off backtraces of errors, but not of panics (`RUST_BACKTRACE=1`). They are never printed, and each exit of a
/// guest is an error within wasmtime: a backtrace would make a small job four times slower.
fn leave_out_backtraces() {
    const VARIABLE: &str = "RUST_LIB_BACKTRACE";
    if std::env::var_os(VARIABLE).is_none() {
        // SAFETY: there is no other thread yet that could read the environment.
        unsafe { std::env::set_var(VARIABLE, "0") };
    }
}
