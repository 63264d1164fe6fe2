//! `upgrade [--force] [TIME]`: starts the program on disk, hands every socket to it, and leaves serving to it.

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
use super::generations::Generations;
use super::reload::Reload;
use super::reply::ReplyJob;
use super::successor::SuccessorProcess;
use crate::confine::BlockedSignals;
use crate::engine::Engine;
use crate::job::{Job, Stop, StopReason};
use crate::net::{self, Activation, Successor};
use crate::observe::{log, systemd};

/// The time limit of the new process to be ready is the compiler's limit for one module plus this, unless the job names
/// one.
const MARGIN: Duration = Duration::from_secs(30);

/// The time limit of the new process to open its gate, which takes no work.
const OPENING: Duration = Duration::from_secs(5);

/// The first inherited descriptor, sd_listen_fds(3).
const FIRST: i32 = 3;

/// Replaces the process. State that only this process has, trials and versions that were swapped in, is lost only with
/// `--force`. If the new process fails or is too slow, or the daemon drains, the old one goes on and nothing has
/// changed.
pub struct UpgradeJob {
    /// Locked meanwhile: the state that is passed on must not change.
    pub generations: Arc<Generations>,
    /// The sockets to pass on.
    pub state: Arc<DaemonState>,
    /// Checks the configuration before the new process starts.
    pub reload: Arc<Reload>,
    /// The program to start, and its arguments and environment.
    pub launch: Launch,
    /// Ends this process once the new one serves.
    pub stop: Stop,
}

/// How this process was started, and how an upgrade starts the next one.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The path of the program. An upgrade starts the file that is there at that time.
    pub program: PathBuf,
    /// The arguments.
    pub args: Vec<OsString>,
    /// Variables to add to the environment.
    pub env: Vec<(&'static str, String)>,
}

/// A child that is killed when this is dropped, unless it was taken out.
struct ChildGuard(Option<Child>);

impl ReplyJob for UpgradeJob {
    type Command = UpgradeCommand;

    async fn answer(&self, engine: &Arc<Engine>, job: &Job) -> Result<UpgradeReply> {
        let gate = self.state.server.gate.clone();
        tokio::select! {
            outcome = self.upgrade(engine, job) => outcome,
            () = gate.draining() => Err(anyhow!("the daemon is draining")),
        }
    }
}

impl Launch {
    /// Finds out how this process was started.
    ///
    /// # Errors
    /// The path of its program is unknown.
    pub fn of_this_process() -> Result<Launch> {
        let program = std::env::current_exe().context("the path of this program is not known")?;
        Ok(Launch { program, args: std::env::args_os().skip(1).collect(), env: Vec::new() })
    }
}

impl UpgradeJob {
    async fn upgrade(&self, engine: &Arc<Engine>, job: &Job) -> Result<UpgradeReply> {
        let UpgradeCommand { force, time } = UpgradeCommand::decode(&job.args)?;
        // If process 1 ends, its container ends with all other processes in it.
        ensure!(std::process::id() != 1, "process 1 cannot hand over: restart the container");
        let turn = self.generations.turn(engine).await?;
        // Reading the module files takes little time compared with a start.
        let (limits, losses) =
            tokio::task::block_in_place(|| self.reload.check_next().map(|limits| (limits, turn.losses())))?;
        let patience = time.unwrap_or_else(|| limits.wall() + MARGIN);
        ensure!(losses.is_empty() || force, refusal(&losses));
        let (successor, mut passed) = self.state.sockets.pass(&self.state.operators)?;
        // Opens mounts, which may block on a network file system.
        let told = tokio::task::block_in_place(|| self.generations.loader.tell())?;
        passed.push(net::writable(told));
        let (child, stderr) =
            self.spawn(passed).with_context(|| self.launch.program.display().to_string())?;
        let process = child.id();
        // From here on the child is killed if anything fails.
        let mut heir = ChildGuard(Some(child));
        let process = process.context("the new process has ended")?;
        info!("upgrade: process {process} is starting");
        let said = tokio::spawn(forward(stderr));
        let next = SuccessorProcess::of(process)?;
        if let Err(failure) = let_in(successor, patience).await {
            return Err(heir.reason(said, failure).await);
        }
        // The child serves. Nothing can fail from here on.
        heir.0 = None;
        info!("upgrade: process {process} serves");
        // Before the sockets are closed: the daemon ends with the last of them.
        systemd::succeeded_by(process);
        self.state.hand_over(next);
        self.generations.end();
        self.generations.loader.leave_stores();
        self.stop.raise(StopReason::Shutdown);
        losses.iter().for_each(|loss| warn!("upgrade: lost with this process: {loss}"));
        Ok(UpgradeReply { process, lost: losses })
    }

    fn spawn(&self, passed: Vec<(String, OwnedFd)>) -> Result<(Child, ChildStderr)> {
        let names: Vec<&str> = passed.iter().map(|(name, _)| name.as_str()).collect();
        // Starts this program first, whatever is on disk: the new program need not know how the sockets are passed.
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
        // The signals stay blocked until `cli::exec` runs in the child and ignores some of them.
        let _held = BlockedSignals::new();
        let child = Command::from(command).spawn()?;
        Ok((child, ChildStderr::from_std(OwnedFd::from(stderr).into())?))
    }
}

/// Describes what an upgrade would undo, and what to do about it.
fn refusal(losses: &[String]) -> String {
    format!(
        "the new process starts with the module files, and would undo:\n  {}\ncopy the versions to keep over the module files and wait for trials to end, or lose them: upgrade {}",
        losses.join("\n  "),
        UpgradeCommand::FORCE
    )
}

/// Waits until the new process is ready, then lets it open its gate.
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

/// Logs the stderr of the new process, and returns its last line.
async fn forward(stderr: ChildStderr) -> String {
    /// The maximum length of that line, in characters.
    const LINE: usize = 1000;
    /// More bytes than a start writes.
    const MAX: u64 = 1 << 20;
    let mut lines = BufReader::new(stderr.take(MAX)).split(b'\n');
    let mut last = String::new();
    while let Ok(Some(line)) = lines.next_segment().await {
        let line = String::from_utf8_lossy(&line);
        let line = log::without_priority(&line);
        info!("upgrade: {line}");
        if !line.trim().is_empty() {
            // The prefix is dropped: the error in which this line appears has its own.
            last = line.strip_prefix("portcullis: ").unwrap_or(line).chars().take(LINE).collect();
        }
    }
    last
}

impl ChildGuard {
    /// Kills the process, and describes why it failed: by its last line on stderr, if it wrote any.
    async fn reason(&mut self, said: JoinHandle<String>, failure: anyhow::Error) -> anyhow::Error {
        /// Long enough for a killed process to end.
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

impl Drop for ChildGuard {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ended = child.start_kill();
        }
    }
}
