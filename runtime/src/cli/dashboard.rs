//! `portcullis dashboard`: serves the dashboard to a browser on this machine.

use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tokio::time::timeout;

use super::socket::{Reply, Socket, end, read};
use super::{say, serve};
use crate::http::client::{self, JobOutcome};
use crate::http::forward::{Forwarder, ReplayOutput};
use crate::jobs::api::{Command as _, HistoryCommand, StatusCommand};
use crate::net::LoopbackListener;

/// The time limit of a replay, compiling included.
const REPLAY_TIME: Duration = Duration::from_secs(120);

/// The most bytes of each output of a replay that are shown.
const REPLAY_OUTPUT: u64 = 256 << 10;

/// Serve the dashboard to a browser on this machine, until Ctrl-C.
///
/// Prints a link that works once; when it has been opened, prints the next one. Listens on 127.0.0.1 alone. From another
/// machine: `ssh -t -L 7070:127.0.0.1:7070 HOST portcullis dashboard --port 7070`. The browser has the rights of this
/// user on the admin socket. Replays run as this user.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Listen on this port; 0 takes a free port.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,
    #[command(flatten)]
    socket: Socket,
}

pub(super) fn dashboard(Args { port, socket }: Args) -> Result<ExitCode> {
    // A daemon that is not there is an error here, and not in the browser.
    let Reply { outcome, .. } = socket.ask(&StatusCommand, "")?;
    if !outcome.status.is_ok() {
        return Ok(end(&outcome));
    }
    let (in_json, path) = (socket.json, socket.path());
    let forwarder = Forwarder {
        socket: path.clone(),
        find_record: Box::new(move |id| Box::pin(record_of(path.clone(), id))),
        replay: Box::new(|file| Box::pin(replay(file))),
        show: Box::new(move |url| {
            say(&if in_json { json!({ "url": url }).to_string() } else { url.to_owned() })
        }),
    };
    let never = serve::runtime()?.block_on(async {
        let listener = LoopbackListener::bind(port).await;
        let listener = listener.with_context(|| {
            format!("127.0.0.1:{port} cannot be bound: choose another with --port, or leave it out")
        })?;
        forwarder.run(listener).await
    });
    match never? {}
}

/// Asks the daemon for the record file of a job.
///
/// # Errors
/// The daemon does not answer, does not know the job, or has not recorded it.
async fn record_of(socket: PathBuf, id: String) -> Result<String> {
    let command = HistoryCommand { job: Some(id), ..HistoryCommand::default() };
    let mut reply = client::run(&socket, command.encode()).await?;
    let mut text = Vec::new();
    while let Some(piece) = reply.next().await? {
        text.extend_from_slice(&piece);
    }
    let JobOutcome { status, error } = reply.outcome();
    ensure!(status.is_ok(), error);
    let jobs = read::<HistoryCommand>(&String::from_utf8_lossy(&text))?;
    let file = jobs.into_iter().find_map(|job| job.replay);
    file.context("the job was not recorded: set record_dir, and record = \"failures\" at its handler")
}

/// Runs a record file again, in a process of its own, as `portcullis replay` does.
async fn replay(file: String) -> Result<ReplayOutput> {
    let mut command = Command::new("/proc/self/exe");
    command.arg("replay").arg("--").arg(file);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().context("start `portcullis replay`")?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let whole = async { tokio::join!(shown(stdout), shown(stderr), child.wait()) };
    let Ok((stdout, stderr, status)) = timeout(REPLAY_TIME, whole).await else {
        bail!("the replay has not ended within {REPLAY_TIME:?}");
    };
    Ok(ReplayOutput { status: status?.code(), stdout: stdout?, stderr: stderr? })
}

/// Reads the output of a process up to [`REPLAY_OUTPUT`]. A pipe that is not read to its end is closed.
async fn shown(output: Option<impl AsyncRead + Unpin>) -> Result<String> {
    let mut bytes = Vec::new();
    if let Some(output) = output {
        output.take(REPLAY_OUTPUT).read_to_end(&mut bytes).await?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
