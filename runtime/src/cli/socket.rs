//! Finds the admin socket of the daemon, and runs jobs over it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use bytes::Bytes;
use futures_util::Stream;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::out::complain;
use super::{out, serve};
use crate::config;
use crate::http::client::{self, JobCall, JobOutcome};
use crate::job::AdminQuota;
use crate::jobs::api::Command;

/// The name of the socket that `portcullis up DIR` makes in DIR.
pub(super) const BESIDE: &str = ".portcullis.sock";

/// The socket of the system's daemon.
const SYSTEM: &str = "/run/portcullis/admin.sock";

/// The time limit for a reply to begin, and for each further part of it.
const REPLY_WAIT: Duration = Duration::from_secs(10);

/// The flags that choose the daemon and the output format.
#[derive(clap::Args)]
pub(super) struct Socket {
    /// The admin socket of the daemon. By default the first that exists of: $PORTCULLIS_ADMIN, the
    /// `admin` of ./portcullis.toml, ./.portcullis.sock, /run/portcullis/admin.sock.
    #[arg(long, value_name = "PATH")]
    socket: Option<String>,
    /// The configuration that names the admin socket.
    #[arg(skip)]
    config: Option<PathBuf>,
    /// Print JSON, for programs.
    #[arg(long)]
    pub(super) json: bool,
}

/// The complete output of a job, with its outcome.
pub(super) struct Reply {
    pub(super) stdout: Vec<u8>,
    pub(super) outcome: JobOutcome,
}

impl Socket {
    /// Sets the configuration that names the admin socket, if one is given.
    pub(super) fn of(self, config: Option<PathBuf>) -> Socket {
        Socket { config, ..self }
    }

    /// Runs a job to its end with this input.
    ///
    /// # Errors
    /// No daemon listens, or the connection breaks.
    pub(super) fn ask<C: Command>(&self, command: &C, stdin: impl Into<Bytes>) -> Result<Reply> {
        let patience = match C::POLICY.admin_quota {
            AdminQuota::None => REPLY_WAIT,
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

    /// Runs a job with an input that is sent as it comes, and prints its reply; see [`Socket::show`].
    ///
    /// # Errors
    /// As [`Socket::ask`], and those of the input.
    pub(super) fn show_streaming<C: Command>(
        &self,
        command: &C,
        stdin: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
        render: impl FnOnce(C::Reply),
    ) -> Result<ExitCode>
    where
        C::Reply: DeserializeOwned,
    {
        let path = self.path();
        let reply = serve::runtime()?.block_on(async {
            let mut answer = client::run_streaming(&path, command.encode(), stdin).await?;
            let mut stdout = Vec::new();
            while let Some(piece) = answer.next().await? {
                stdout.extend_from_slice(&piece);
            }
            anyhow::Ok(Reply { stdout, outcome: answer.outcome() })
        });
        self.render::<C>(reply?, render)
    }

    /// Runs a job and prints its reply: unchanged with `--json`, else by `render`.
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
        self.render::<C>(self.ask(command, stdin)?, render)
    }

    fn render<C: Command>(
        &self,
        Reply { stdout, outcome }: Reply,
        render: impl FnOnce(C::Reply),
    ) -> Result<ExitCode>
    where
        C::Reply: DeserializeOwned,
    {
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

    /// Passes the lines of a job to `each`, until the job ends or stdout has no reader. In the latter case, the outcome
    /// is `None`. `is_endless` tells whether the job may be silent for any time.
    ///
    /// # Errors
    /// As [`Socket::ask`].
    pub(super) fn follow(
        &self,
        command: &impl Command,
        is_endless: bool,
        mut each: impl FnMut(&str),
    ) -> Result<Option<JobOutcome>> {
        let (path, patience) = (self.path(), if is_endless { Duration::MAX } else { REPLY_WAIT });
        let call = command.encode();
        serve::runtime()?.block_on(async {
            let following = async {
                let mut begun = Vec::new();
                let mut answer = in_time(&path, patience, client::run(&path, call)).await?;
                while out::is_open()
                    && let Some(piece) = in_time(&path, patience, answer.next()).await?
                {
                    begun.extend_from_slice(&piece);
                    let whole = begun.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
                    String::from_utf8_lossy(&begun[..whole]).lines().for_each(&mut each);
                    begun.drain(..whole);
                }
                Ok(out::is_open().then(|| answer.outcome()))
            };
            tokio::select! {
                outcome = following => outcome,
                () = out::reader_gone() => Ok(None),
            }
        })
    }

    /// Runs a job and passes its output to `each`, piece by piece.
    ///
    /// # Errors
    /// As [`Socket::ask`]; or those of `each`.
    pub(super) fn copy<C: Command>(
        &self,
        command: &C,
        mut each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<JobOutcome> {
        let (path, call) = (self.path(), command.encode());
        serve::runtime()?.block_on(async {
            let mut answer = client::run(&path, call).await?;
            while let Some(piece) = answer.next().await? {
                each(&piece)?;
            }
            Ok(answer.outcome())
        })
    }

    /// Returns the path of the admin socket.
    pub(super) fn path(&self) -> PathBuf {
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

/// Waits for the daemon, which either answers at once or is in trouble.
async fn in_time<T>(path: &Path, patience: Duration, answer: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(patience, answer).await.unwrap_or_else(|_| {
        let path = path.display();
        bail!(
            "the daemon at {path} has not answered within {patience:?}: its process is stopped, or its machine is overloaded"
        )
    })
}

/// Parses the reply of a job.
///
/// # Errors
/// The reply is not JSON, or lacks a field that this program reads.
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

/// Returns the exit status of the job, and prints its error if it failed.
pub(super) fn end(outcome: &JobOutcome) -> ExitCode {
    if !outcome.status.is_ok() {
        match outcome.error.trim_end() {
            "" => complain(&format!("exit status {}", outcome.status.0)),
            error => error.lines().for_each(complain),
        }
    }
    ExitCode::from(outcome.status.0)
}
