//! `upgrade [--force] [TIME]`: starts the program that is on disk now, hands every socket to it, and lets it go on alone.

use std::ffi::OsString;
use std::io::pipe;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use command_fds::{CommandFdExt as _, FdMapping};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{info, warn};

use super::api::{UpgradeCommand, UpgradeReply};
use super::daemon_state::DaemonState;
use super::follower::Follower;
use super::generations::Generations;
use super::reload::Reload;
use super::reply::reply;
use crate::confine::BlockedSignals;
use crate::engine::{Engine, NativeJob};
use crate::job::{Job, Run, Stop, StopReason};
use crate::net::{self, Activation, Successor};
use crate::observe::{log, systemd};

/// How much longer the new process may take to be ready than its compiler for one module by the clock, if the job
/// names no time.
const MARGIN: Duration = Duration::from_secs(30);

/// How long the new process may take to open its gate: it only has to be told.
const OPENING: Duration = Duration::from_secs(5);

/// sd_listen_fds(3): the first descriptor passed.
const FIRST: i32 = 3;

/// Replaces the process. What only this one has, versions that were swapped in and trials, it does not
/// lose without `--force`. If the new one fails, is too slow or the daemon drains, the old one goes on
/// and nothing has changed.
pub struct UpgradeJob {
    /// Held meanwhile: what is passed on must not change.
    pub generations: Arc<Generations>,
    /// The sockets that are passed on.
    pub state: Arc<DaemonState>,
    /// Checks the configuration before the new process starts.
    pub reload: Arc<Reload>,
    /// The program to start, and its arguments and environment.
    pub launch: Launch,
    /// Ends this process once the new one serves.
    pub stop: Stop,
}

/// How this process was started, and so the next one is.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The path of the program; whatever is there at the time is started.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// What it finds in its environment besides.
    pub env: Vec<(&'static str, String)>,
}

/// A process that is killed when this is dropped, unless it is let go.
struct Heir(Option<Child>);

impl NativeJob for UpgradeJob {
    fn run(self: Arc<Self>, engine: Arc<Engine>, job: Job) -> Run {
        Box::pin(async move {
            let gate = self.state.server.gate.clone();
            let outcome = tokio::select! {
                outcome = self.upgrade(&engine, &job) => outcome,
                () = gate.draining() => Err(anyhow!("the daemon is draining")),
            };
            reply(&job, outcome).await
        })
    }
}

impl Launch {
    /// Finds out how this process was started.
    ///
    /// # Errors
    /// The system does not say which program we are.
    pub fn of_this_process() -> Result<Launch> {
        let program = std::env::current_exe().context("the path of this program is not known")?;
        Ok(Launch { program, args: std::env::args_os().skip(1).collect(), env: Vec::new() })
    }
}

impl UpgradeJob {
    async fn upgrade(&self, engine: &Arc<Engine>, job: &Job) -> Result<UpgradeReply> {
        let UpgradeCommand { force, time } = UpgradeCommand::decode(&job.args)?;
        // The end of process 1 is the end of its container, whoever else is in it.
        ensure!(std::process::id() != 1, "process 1 cannot hand over: restart the container");
        let turn = self.generations.turn(engine).await?;
        // Files of modules, read in no time next to what a start takes.
        let (limits, losses) =
            tokio::task::block_in_place(|| self.reload.check_next().map(|limits| (limits, turn.losses())))?;
        let patience = time.unwrap_or_else(|| limits.wall() + MARGIN);
        ensure!(losses.is_empty() || force, refusal(&losses));
        let (successor, mut passed) = self.state.sockets.pass(&self.state.operators)?;
        // Looks at mounts, which may lie on a server.
        let told = tokio::task::block_in_place(|| self.generations.loader.tell())?;
        passed.push(net::writable(told));
        let (child, stderr) =
            self.spawn(passed).with_context(|| self.launch.program.display().to_string())?;
        let process = child.id();
        // From here on killed with whatever fails.
        let mut heir = Heir(Some(child));
        let process = process.context("the new process has ended")?;
        info!("upgrade: process {process} is starting");
        let said = tokio::spawn(forward(stderr));
        let follower = Follower::of(process)?;
        if let Err(failure) = let_in(successor, patience).await {
            return Err(heir.reason(said, failure).await);
        }
        // It serves: nothing from here on can fail.
        heir.0 = None;
        info!("upgrade: process {process} serves");
        // Before the sockets go: with the last of them the daemon ends.
        systemd::succeeded_by(process);
        self.state.hand_over(follower);
        self.generations.end();
        self.stop.raise(StopReason::Shutdown);
        losses.iter().for_each(|loss| warn!("upgrade: lost with this process: {loss}"));
        Ok(UpgradeReply { process, lost: losses })
    }

    fn spawn(&self, passed: Vec<(String, OwnedFd)>) -> Result<(Child, ChildStderr)> {
        let names: Vec<&str> = passed.iter().map(|(name, _)| name.as_str()).collect();
        // Ourselves, whatever is on disk: what is started need not know how sockets are passed.
        let mut command = std::process::Command::new("/proc/self/exe");
        command.arg("exec").arg(&self.launch.program).args(&self.launch.args);
        command.env(Activation::VARIABLES[1], names.len().to_string());
        command.env(Activation::VARIABLES[2], names.join(":"));
        command.envs(self.launch.env.iter().map(|(name, value)| (*name, value)));
        let (stderr, theirs) = pipe()?;
        command.envs(log::journal_stream(&theirs).map(|stream| (log::JOURNAL_STREAM, stream)));
        command.stdin(Stdio::null()).stderr(theirs);
        let mappings =
            (FIRST..).zip(passed).map(|(child_fd, (_, parent_fd))| FdMapping { parent_fd, child_fd });
        command.fd_mappings(mappings.collect())?;
        // Until ourselves have begun there and had some of them ignored (`cli::exec`).
        let _held = BlockedSignals::new();
        let child = Command::from(command).spawn()?;
        Ok((child, ChildStderr::from_std(OwnedFd::from(stderr).into())?))
    }
}

/// Says what an upgrade would undo, and what to do about it.
fn refusal(losses: &[String]) -> String {
    format!(
        "the new process starts with the module files, and would undo:\n  {}\ncopy the versions to keep over the module files and wait for trials to end, or lose them: upgrade {}",
        losses.join("\n  "),
        UpgradeCommand::FORCE
    )
}

/// Waits until the new process is ready, and lets it in.
async fn let_in(mut successor: Successor, patience: Duration) -> Result<()> {
    match timeout(patience, successor.ready()).await {
        Ok(ready) => ready.context("it ended before it was ready")?,
        Err(_) => bail!("it was not ready within {patience:?}"),
    }
    match timeout(OPENING, successor.open()).await {
        Ok(opened) => opened.context("it ended while it took over"),
        Err(_) => bail!("it did not open its gate within {OPENING:?}"),
    }
}

/// Passes on what the new process says, and returns its last line.
async fn forward(stderr: ChildStderr) -> String {
    /// As much of a line as is worth keeping.
    const LINE: usize = 1000;
    /// More than a start has to say, in bytes.
    const MAX: u64 = 1 << 20;
    let mut lines = BufReader::new(stderr.take(MAX)).split(b'\n');
    let mut last = String::new();
    while let Ok(Some(line)) = lines.next_segment().await {
        let line = String::from_utf8_lossy(&line);
        let line = log::without_priority(&line);
        info!("upgrade: {line}");
        if !line.trim().is_empty() {
            // Whoever shows it says whose words these are.
            last = line.strip_prefix("portcullis: ").unwrap_or(line).chars().take(LINE).collect();
        }
    }
    last
}

impl Heir {
    /// Ends the process, and says why it was not let in: its own last words, if it has some.
    async fn reason(&mut self, said: JoinHandle<String>, failure: anyhow::Error) -> anyhow::Error {
        /// Long enough for a process that was killed.
        const ENDING: Duration = Duration::from_secs(5);
        if let Some(mut child) = self.0.take() {
            // It may have ended by itself.
            let _ended = child.start_kill();
            let _reaped = timeout(ENDING, child.wait()).await;
        }
        match timeout(ENDING, said).await {
            Ok(Ok(last)) if !last.is_empty() => failure.context(last),
            _ => failure,
        }
    }
}

impl Drop for Heir {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ended = child.start_kill();
        }
    }
}
