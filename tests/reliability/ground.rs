//! A daemon under abuse, and a good client beside it.

use std::fs;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use crate::load::{Client, Exchange, Way};

/// The real daemon, as cargo built it.
const PORTCULLIS: &str = env!("CARGO_BIN_EXE_portcullis");

/// How long anything may take that happens at once when nothing is wrong.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Connections of the good client, a request at a time on each.
const GOOD: usize = 4;

/// The modules that daemons are given, in a directory that goes afterwards.
pub(crate) struct Ground {
    dir: TempDir,
}

/// A daemon that runs until it is dropped.
pub(crate) struct Daemon {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    child: Child,
    admin: PathBuf,
}

/// How long responses took.
pub(crate) struct Latencies(Vec<Duration>);

/// Says `TEXT` at once.
const GOOD_GUEST: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00\1e\00\00\00") ;; one piece: at 16, 30 bytes
  (data (i32.const 16) "Content-Type: text/plain\r\n\r\nok")
  (func (export "_start") (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

/// Computes for as long as it is let.
const SPIN: &str = r#"(module (memory (export "memory") 1) (func (export "_start") (loop $l (br $l))))"#;

/// Traps at once.
const TRAP: &str = r#"(module (memory (export "memory") 1) (func (export "_start") unreachable))"#;

/// Asks for memory until there is none, and then traps.
const GROW: &str = r#"(module (memory (export "memory") 1)
  (func (export "_start") (loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable))"#;

/// Reads its stdin to the end, then says that it has.
const READ: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "\10\00\00\00\1e\00\00\00")
  (data (i32.const 16) "Content-Type: text/plain\r\n\r\nok")
  (func (export "_start")
    (i32.store (i32.const 100) (i32.const 65536)) (i32.store (i32.const 104) (i32.const 65536))
    (loop $l
      (drop (call $fd_read (i32.const 0) (i32.const 100) (i32.const 1) (i32.const 108)))
      (br_if $l (i32.load (i32.const 108))))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

/// Writes for as long as somebody reads.
const POUR: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "\10\00\00\00\1c\00\00\00")
  (data (i32.const 16) "Content-Type: text/plain\r\n\r\n")
  (func (export "_start")
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (i32.store (i32.const 100) (i32.const 65536)) (i32.store (i32.const 104) (i32.const 65536))
    (loop $l
      (br_if $l (i32.eqz (call $fd_write (i32.const 1) (i32.const 100) (i32.const 1) (i32.const 108)))))))"#;

/// The handlers that every daemon here has, by name, at `/NAME`.
const GUESTS: [(&str, &str); 6] =
    [("good", GOOD_GUEST), ("spin", SPIN), ("trap", TRAP), ("grow", GROW), ("read", READ), ("pour", POUR)];

impl Ground {
    /// Assembles the modules.
    pub(crate) fn new() -> Result<Ground> {
        let dir = tempfile::tempdir().context("make a temporary directory")?;
        for (name, text) in GUESTS {
            fs::write(dir.path().join(format!("{name}.wasm")), wat::parse_str(text)?)?;
        }
        Ok(Ground { dir })
    }

    /// Starts a daemon with every guest; `settings` go before the tables.
    pub(crate) fn daemon(&self, settings: &str) -> Result<Daemon> {
        let mut config = format!(
            "listen = [\"tcp://127.0.0.1:0\", \"unix://p.sock\"]\nadmin = \"unix://admin.sock\"\ncache = \"cache\"\n{settings}\n"
        );
        for (name, _) in GUESTS {
            config += &format!(
                "[handler.{name}]\nmodule = \"{name}.wasm\"\n[[route]]\npath = \"/{name}\"\nhandler = \"{name}\"\n"
            );
        }
        let path = self.dir.path().join("portcullis.toml");
        fs::write(&path, config)?;
        self.start()
    }

    /// Starts the daemon of the last configuration once more.
    pub(crate) fn start(&self) -> Result<Daemon> {
        let mut command = Command::new(PORTCULLIS);
        command.arg("serve").arg("-c").arg(self.dir.path().join("portcullis.toml"));
        command.env_remove("PORTCULLIS_LOG").env("HOME", self.dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("run {command:?}"))?;
        let mut log = BufReader::new(child.stderr.take().context("stderr is piped")?);
        let admin = self.dir.path().join("admin.sock");
        let mut daemon = Daemon { address: ([0; 4], 0).into(), child, admin };
        daemon.address = listening(&mut log)?;
        // Read to its end, so that the daemon never waits for us.
        thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        daemon.recovered()?;
        Ok(daemon)
    }

    /// Returns the path of a file in the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Daemon {
    /// Drives a good client for a while.
    pub(crate) fn good(&self, time: Duration) -> Result<Latencies> {
        self.ask(&Exchange::get("/good", "ok"), time)
    }

    /// Asks the same thing for a while.
    pub(crate) fn ask(&self, exchange: &Exchange, time: Duration) -> Result<Latencies> {
        Ok(Latencies(Client::connect(self.address, exchange, Way::plain(GOOD))?.run(time)?))
    }

    /// Asks until there is a good answer, and says how long that took.
    pub(crate) fn recovered(&self) -> Result<Duration> {
        let start = Instant::now();
        let exchange = Exchange::get("/good", "ok");
        loop {
            let answered = Client::connect(self.address, &exchange, Way::plain(1))
                .and_then(|mut client| client.run(Duration::from_millis(1)));
            if answered.is_ok_and(|latencies| !latencies.is_empty()) {
                return Ok(start.elapsed());
            }
            ensure!(start.elapsed() < PATIENCE, "no good answer within {PATIENCE:?}");
        }
    }

    /// Runs a job over the admin socket and returns the whole response.
    pub(crate) fn job(&self, call: &str, stdin: &[u8]) -> Result<String> {
        let mut stream = UnixStream::connect(&self.admin).context("connect to the admin socket")?;
        stream.set_read_timeout(Some(PATIENCE * 2))?;
        let length = stdin.len();
        write!(
            stream,
            "POST /jobs/{call} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        )?;
        stream.write_all(stdin)?;
        let mut response = Vec::new();
        stream.read_to_end(&mut response).context("read the answer of the admin socket")?;
        Ok(String::from_utf8_lossy(&response).into_owned())
    }

    /// Returns the memory it has now, in bytes.
    pub(crate) fn memory(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&path).with_context(|| path.clone())?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>().context("VmRSS")? << 10)
    }

    /// Counts its open files.
    pub(crate) fn descriptors(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }

    /// Says whether it still runs.
    ///
    /// # Errors
    /// It has ended; the message says how.
    pub(crate) fn alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the daemon has ended: {status}"),
        }
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

/// Reads the log up to where the daemon listens.
fn listening(log: &mut impl BufRead) -> Result<SocketAddr> {
    let mut said = String::new();
    loop {
        let start = said.len();
        ensure!(log.read_line(&mut said)? > 0, "the daemon ended: {}", said.trim_end());
        if let Some((_, address)) = said[start..].split_once("listening on tcp://") {
            return address.trim_end().parse().context("the address it listens on");
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // By its id, which is ours until it is waited for. It may have ended already.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Latencies {
    /// Returns the latency that so many percent of the responses stay below.
    pub(crate) fn percentile(&mut self, percent: usize) -> Duration {
        self.0.sort_unstable();
        let last = self.0.len().saturating_sub(1);
        self.0.get((self.0.len() * percent / 100).min(last)).copied().unwrap_or_default()
    }

    /// Adds those of another while.
    pub(crate) fn add(&mut self, other: Latencies) {
        self.0.extend(other.0);
    }

    /// Counts the responses.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}
