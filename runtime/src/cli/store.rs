//! `portcullis store`: lists stores and keys, and reads, writes, dumps and loads entries.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use bytes::Bytes;
use clap::Subcommand;
use futures_util::Stream;
use futures_util::stream::poll_fn;
use tokio::sync::mpsc;

use super::out::{self, say};
use super::socket::{Reply, Socket, end, read};
use super::table::{self, list, or_dash, size, text};
use crate::config;
use crate::jobs::api::{
    SetCondition, StoreDeleteCommand, StoreDeleteReply, StoreDumpCommand, StoreGetCommand, StoreGetReply,
    StoreListCommand, StoreListReply, StoreLoadCommand, StoreLoadReply, StoreReport, StoreSetCommand,
    StoreSetReply, StoresCommand,
};
use crate::store::MAX_VALUE;

/// The size of the pieces in which a dump is sent.
const PIECE: usize = 64 << 10;

/// Show what handlers keep in their stores, and change it.
///
/// A value that is not UTF-8 is printed as it is, or in base64 with --json.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: StoreVerb,
}

#[derive(Subcommand)]
enum StoreVerb {
    /// List the stores, or the keys of a store.
    List {
        /// The store. Without it, the stores are listed.
        #[arg(value_name = "NAME")]
        store: Option<String>,
        /// List only keys that begin with this.
        #[arg(value_name = "PREFIX", default_value = "")]
        prefix: String,
        /// Begin behind this key.
        #[arg(long, value_name = "KEY")]
        after: Option<String>,
        /// List at most N keys.
        #[arg(short = 'n', long, value_name = "N")]
        limit: Option<usize>,
        #[command(flatten)]
        socket: Socket,
    },
    /// Print the value of a key.
    Get {
        #[arg(value_name = "NAME")]
        store: String,
        #[arg(value_name = "KEY")]
        key: String,
        #[command(flatten)]
        socket: Socket,
    },
    /// Set the value of a key.
    Set {
        #[arg(value_name = "NAME")]
        store: String,
        #[arg(value_name = "KEY")]
        key: String,
        /// The value. Without it, the value is read from stdin.
        #[arg(value_name = "VALUE")]
        value: Option<String>,
        /// The time after which the entry is gone, such as 90s or 24h. By default it stays.
        #[arg(long, value_name = "TIME", value_parser = config::duration)]
        ttl: Option<Duration>,
        /// Set it only if the key has no value.
        #[arg(long, conflicts_with = "if_version")]
        if_absent: bool,
        /// Set it only if the value has this version, as `get --json` shows it.
        #[arg(long, value_name = "N")]
        if_version: Option<u64>,
        #[command(flatten)]
        socket: Socket,
    },
    /// Delete keys.
    Delete {
        #[arg(value_name = "NAME")]
        store: String,
        #[arg(value_name = "KEY", required = true)]
        keys: Vec<String>,
        #[command(flatten)]
        socket: Socket,
    },
    /// Write all entries to stdout, one JSON object a line.
    ///
    /// Versions are left out. The dump of a file (redb) is of one moment; of any other store, each entry is
    /// of some moment of the dump. Handlers go on meanwhile.
    Dump {
        #[arg(value_name = "NAME")]
        store: String,
        /// Write only entries whose key begins with this.
        #[arg(value_name = "PREFIX", default_value = "")]
        prefix: String,
        #[command(flatten)]
        socket: Socket,
    },
    /// Write the entries of a dump to a store.
    ///
    /// An entry replaces that of the same key; other entries stay. If a line is refused, the lines before it
    /// may be written already. Loading the whole dump again does no harm.
    Load {
        #[arg(value_name = "NAME")]
        store: String,
        /// The dump. Without it, or with -, the dump is read from stdin.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        #[command(flatten)]
        socket: Socket,
    },
}

pub(super) fn store(Args { verb }: Args) -> Result<ExitCode> {
    match verb {
        StoreVerb::List { store: None, socket, .. } => stores(&socket),
        StoreVerb::List { store: Some(store), prefix, after, limit, socket } => {
            keys(&socket, StoreListCommand { store, prefix, after, limit })
        }
        StoreVerb::Get { store, key, socket } => get(&socket, &StoreGetCommand { store, key }),
        StoreVerb::Set { store, key, value, ttl, if_absent, if_version, socket } => {
            let condition = match (if_absent, if_version) {
                (true, _) => SetCondition::Absent,
                (false, Some(version)) => SetCondition::Version(version),
                (false, None) => SetCondition::Always,
            };
            let value = value.map_or_else(value_of_stdin, |value| Ok(value.into_bytes()))?;
            let command = StoreSetCommand { store, key, ttl, condition };
            socket.show(&command, value, |StoreSetReply { version }| say(&format!("version {version}")))
        }
        StoreVerb::Delete { store, keys, socket } => {
            let deleted = |StoreDeleteReply { deleted }| say(&format!("deleted {deleted}"));
            socket.show(&StoreDeleteCommand { store, keys }, "", deleted)
        }
        StoreVerb::Dump { store, prefix, socket } => {
            let command = StoreDumpCommand { store, prefix };
            let outcome = socket.follow(&command, true, say)?;
            // A reader that closes stdout has what it wanted.
            Ok(outcome.map_or(ExitCode::SUCCESS, |outcome| end(&outcome)))
        }
        StoreVerb::Load { store, file, socket } => {
            let loaded = |StoreLoadReply { loaded, expired }| {
                let expired = if expired > 0 { format!(", {expired} had expired") } else { String::new() };
                say(&format!("loaded {loaded}{expired}"));
            };
            socket.show_streaming(&StoreLoadCommand { store }, dump(file)?, loaded)
        }
    }
}

fn stores(socket: &Socket) -> Result<ExitCode> {
    socket.show(&StoresCommand, "", |stores| {
        let row = |store: &StoreReport| {
            let StoreReport { name, url, used, quota, error, granted } = store;
            vec![
                text(name),
                or_dash(*used, size),
                size(*quota),
                list(granted),
                text(url),
                error.as_ref().map(|error| text(error)).unwrap_or_default(),
            ]
        };
        let titles = ["NAME", "USED", "QUOTA", "GRANTED TO", "URL", "ERROR"];
        table::print(&titles, &stores.iter().map(row).collect::<Vec<_>>());
    })
}

/// Prints keys, page after page: each on a line, or each page as an object with --json.
fn keys(socket: &Socket, mut command: StoreListCommand) -> Result<ExitCode> {
    // A page of the daemon has one key at least.
    if command.limit == Some(0) {
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        let Reply { stdout, outcome } = socket.ask(&command, "")?;
        if !outcome.status.is_ok() {
            return Ok(end(&outcome));
        }
        let page = String::from_utf8_lossy(&stdout);
        let StoreListReply { keys, cursor } = read::<StoreListCommand>(&page)?;
        match socket.json {
            true => say(page.trim_end()),
            false => keys.iter().for_each(|key| say(&text(key))),
        }
        command.limit = command.limit.map(|limit| limit.saturating_sub(keys.len()));
        command.after = cursor;
        if command.after.is_none() || command.limit == Some(0) || !out::is_open() {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// Prints a value as it is; on a terminal, escaped and with a line break.
fn get(socket: &Socket, command: &StoreGetCommand) -> Result<ExitCode> {
    let mut broken = None;
    let ended = socket.show(command, "", |StoreGetReply { value, .. }| match value.bytes() {
        Ok(value) if io::stdout().is_terminal() => say(&text(&String::from_utf8_lossy(&value))),
        Ok(value) => out::print(&value),
        Err(error) => broken = Some(error),
    })?;
    broken.map_or(Ok(ended), Err)
}

fn value_of_stdin() -> Result<Vec<u8>> {
    let mut value = Vec::new();
    // One byte more, to see that it is too large.
    io::stdin().lock().take(MAX_VALUE as u64 + 1).read_to_end(&mut value).context("stdin")?;
    ensure!(value.len() <= MAX_VALUE, "a value has {MAX_VALUE} bytes at most: store it in pieces");
    Ok(value)
}

/// Reads a dump piece by piece, on a thread that may block.
fn dump(file: Option<PathBuf>) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + 'static> {
    let mut from: Box<dyn Read + Send> = match file.filter(|file| file.as_os_str() != "-") {
        Some(file) => {
            let open = File::open(&file).map_err(|error| anyhow!("{}: {error}", file.display()))?;
            // It can be opened, and an error of the first read would break off the request.
            ensure!(!open.metadata()?.is_dir(), "{}: wanted a file, found a directory", file.display());
            Box::new(open)
        }
        None => Box::new(io::stdin()),
    };
    let (pieces, mut receiver) = mpsc::channel(1);
    let reading = move || {
        let mut piece = vec![0; PIECE];
        loop {
            let read = from.read(&mut piece).map(|length| Bytes::copy_from_slice(&piece[..length]));
            let is_last = !matches!(&read, Ok(read) if !read.is_empty());
            let is_empty = matches!(&read, Ok(read) if read.is_empty());
            if is_empty || pieces.blocking_send(read).is_err() || is_last {
                return;
            }
        }
    };
    // Left to itself: it may wait for a stdin that never ends.
    std::thread::Builder::new().name("dump".to_owned()).spawn(reading)?;
    Ok(poll_fn(move |context| receiver.poll_recv(context)))
}
