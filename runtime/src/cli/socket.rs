//! Where the daemon is that a verb is for, and how it is asked.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::out::complain;
use super::{out, serve};
use crate::config;
use crate::http::client::{self, JobCall, JobOutcome};
use crate::job::AdminQuota;
use crate::jobs::api::{Command, LogsCommand};

/// The socket of `portcullis up DIR`, in DIR.
pub(super) const BESIDE: &str = ".portcullis.sock";

/// The socket of a daemon that the system runs.
const SYSTEM: &str = "/run/portcullis/admin.sock";

/// How long it may take for the answer, or for more of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which daemon, and for whom the answer is.
#[derive(clap::Args)]
pub(super) struct Socket {
    /// The admin socket of the daemon. By default the first that exists of: $PORTCULLIS_ADMIN, the
    /// `admin` of ./portcullis.toml, ./.portcullis.sock, /run/portcullis/admin.sock.
    #[arg(long, value_name = "PATH")]
    socket: Option<String>,
    /// The configuration whose admin socket it is.
    #[arg(skip)]
    config: Option<PathBuf>,
    /// Print JSON, for programs.
    #[arg(long)]
    pub(super) json: bool,
}

/// What a job has said, all of it.
pub(super) struct Reply {
    pub(super) stdout: Vec<u8>,
    pub(super) outcome: JobOutcome,
}

impl Socket {
    /// Asks the daemon of this configuration, if one is given.
    pub(super) fn of(self, config: Option<PathBuf>) -> Socket {
        Socket { config, ..self }
    }

    /// Runs a job to its end, on this input.
    ///
    /// # Errors
    /// No daemon listens, or it breaks off.
    pub(super) fn ask<C: Command>(&self, command: &C, stdin: impl Into<Bytes>) -> Result<Reply> {
        let patience = match C::POLICY.admin_quota {
            AdminQuota::None => PATIENCE,
            AdminQuota::Change | AdminQuota::LongLived => Duration::MAX,
        };
        let call = JobCall { stdin: stdin.into(), ..command.encode() };
        let path = self.path();
        serve::runtime()?.block_on(async {
            let mut stdout = Vec::new();
            let mut answer = in_time(&path, patience, client::run(&path, call)).await?;
            while let Some(piece) = in_time(&path, patience, answer.next()).await? {
                stdout.extend_from_slice(&piece);
            }
            Ok(Reply { stdout, outcome: answer.outcome() })
        })
    }

    /// Runs a job and shows its reply: to a program as it is, to a person by `render`.
    ///
    /// # Errors
    /// As [`Socket::ask`]; as [`read`].
    pub(super) fn show<C: Command>(
        &self,
        command: &C,
        stdin: impl Into<Bytes>,
        render: impl FnOnce(C::Reply),
    ) -> Result<ExitCode>
    where
        C::Reply: DeserializeOwned,
    {
        let Reply { stdout, outcome } = self.ask(command, stdin)?;
        if !outcome.status.is_ok() {
            return Ok(end(&outcome));
        }
        let text = String::from_utf8_lossy(&stdout);
        if self.json {
            super::say(text.trim_end());
        } else {
            render(read::<C>(&text)?);
        }
        Ok(end(&outcome))
    }

    /// Reads the journal and prints what comes, by `each`, until the job ends or nobody reads what is printed; then the
    /// outcome is `None`.
    ///
    /// # Errors
    /// As [`Socket::ask`].
    pub(super) fn follow(
        &self,
        command: &LogsCommand,
        mut each: impl FnMut(&[u8]),
    ) -> Result<Option<JobOutcome>> {
        let (path, patience) = (self.path(), if command.follow { Duration::MAX } else { PATIENCE });
        let call = command.encode();
        serve::runtime()?.block_on(async {
            let following = async {
                let mut answer = in_time(&path, patience, client::run(&path, call)).await?;
                while out::is_open()
                    && let Some(piece) = in_time(&path, patience, answer.next()).await?
                {
                    each(&piece);
                }
                Ok(out::is_open().then(|| answer.outcome()))
            };
            tokio::select! {
                outcome = following => outcome,
                () = out::reader_gone() => Ok(None),
            }
        })
    }

    fn path(&self) -> PathBuf {
        let variable = || std::env::var("PORTCULLIS_ADMIN").ok().filter(|_| self.config.is_none());
        let named = self.socket.clone().or_else(variable);
        if let Some(named) = named.filter(|named| !named.is_empty()) {
            return client::socket(&named);
        }
        if let Some(config) = &self.config {
            return config::admin_socket(config).unwrap_or_else(|| PathBuf::from(SYSTEM));
        }
        config::admin_socket(Path::new("portcullis.toml"))
            .or_else(|| Some(PathBuf::from(BESIDE)).filter(|path| path.exists()))
            .unwrap_or_else(|| PathBuf::from(SYSTEM))
    }
}

/// Waits for a daemon that answers at once or is in trouble.
async fn in_time<T>(path: &Path, patience: Duration, answer: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(patience, answer).await.unwrap_or_else(|_| {
        let path = path.display();
        bail!(
            "the daemon at {path} has not answered within {patience:?}: its process is stopped, or its machine is overloaded"
        )
    })
}

/// Reads the reply of a job.
///
/// # Errors
/// It is not JSON, or lacks a field that this program reads.
pub(super) fn read<C: Command>(text: &str) -> Result<C::Reply>
where
    C::Reply: DeserializeOwned,
{
    serde_json::from_str(text).map_err(|error| match error.is_data() {
        true => anyhow!(
            "the daemon is of another version: its reply to {:?} is not what this program reads: {error}; --json prints it as it is",
            C::NAME
        ),
        false => anyhow!("the daemon did not answer with JSON: {error}"),
    })
}

/// Ends the program as the job has ended, and prints its complaints if it failed.
pub(super) fn end(outcome: &JobOutcome) -> ExitCode {
    if !outcome.status.is_ok() {
        match outcome.error.trim_end() {
            "" => complain(&format!("exit status {}", outcome.status.0)),
            error => error.lines().for_each(complain),
        }
    }
    ExitCode::from(outcome.status.0)
}
