//! A daemon under abuse, and a well-behaved client beside it.

use std::fs;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tempfile::TempDir;

use crate::guests::GUESTS;
use crate::load::{Client, Exchange, Way};

/// The real daemon, as cargo built it.
const PORTCULLIS: &str = env!("CARGO_BIN_EXE_portcullis");

/// The limit on anything that happens at once if nothing is wrong.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The connections of the good client, with one request at a time on each.
const GOOD: usize = 4;

/// A temporary directory with the modules for the daemons.
pub(crate) struct Ground {
    dir: TempDir,
}

/// A running daemon. Dropping it kills it.
pub(crate) struct Daemon {
    /// The address it listens on.
    pub(crate) address: SocketAddr,
    child: Child,
    admin: PathBuf,
}

/// The latencies of responses.
pub(crate) struct Latencies(Vec<Duration>);

impl Ground {
    /// Assembles the modules.
    pub(crate) fn new() -> Result<Ground> {
        let dir = tempfile::tempdir().context("make a temporary directory")?;
        for (name, text) in GUESTS {
            fs::write(dir.path().join(format!("{name}.wasm")), wat::parse_str(text)?)?;
        }
        Ok(Ground { dir })
    }

    /// Starts a daemon with every guest. `settings` precede the tables of its configuration.
    pub(crate) fn daemon(&self, settings: &str) -> Result<Daemon> {
        self.daemon_with(settings, "")
    }

    /// Starts a daemon with every guest and further tables.
    pub(crate) fn daemon_with(&self, settings: &str, tables: &str) -> Result<Daemon> {
        let mut config = format!(
            "listen = [\"tcp://127.0.0.1:0\", \"unix://p.sock\"]\nadmin = \"unix://admin.sock\"\ncache = \"cache\"\n{settings}\n"
        );
        for (name, _) in GUESTS {
            config += &format!(
                "[handler.{name}]\nmodule = \"{name}.wasm\"\n[[route]]\npath = \"/{name}\"\nhandler = \"{name}\"\n"
            );
        }
        config += tables;
        let path = self.dir.path().join("portcullis.toml");
        fs::write(&path, config)?;
        self.start()
    }

    /// Starts another daemon with the last configuration.
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
        // Read to the end, so that the daemon never waits for a reader.
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
    /// Runs the good client for `time`.
    pub(crate) fn good(&self, time: Duration) -> Result<Latencies> {
        self.ask(&Exchange::get("/good", "ok"), time)
    }

    /// Repeats an exchange for `time`.
    pub(crate) fn ask(&self, exchange: &Exchange, time: Duration) -> Result<Latencies> {
        Ok(Latencies(Client::connect(self.address, exchange, Way::plain(GOOD))?.run(time)?))
    }

    /// Sends requests until one gets a good response, and returns how long that took.
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

    /// Returns its current memory, in bytes.
    pub(crate) fn memory(&self) -> Result<u64> {
        self.status("VmRSS")
    }

    /// Returns the number of its open files.
    pub(crate) fn descriptors(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }

    /// Waits until it has no more open files than `files`, and returns how long that took.
    ///
    /// # Errors
    /// More files stay open.
    pub(crate) fn emptied(&self, files: usize) -> Result<Duration> {
        let start = Instant::now();
        // The slack is for the good client's connections, which are closing, and for the daemon's own files.
        while self.descriptors()? > files + 16 {
            ensure!(start.elapsed() < PATIENCE, "{} files are still open, {files} were", self.descriptors()?);
            thread::park_timeout(Duration::from_millis(20));
        }
        Ok(start.elapsed())
    }

    /// Checks that it still runs.
    ///
    /// # Errors
    /// It has ended; the message says how.
    pub(crate) fn alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the daemon has ended: {status}"),
        }
    }

    /// Ends it by a signal that it cannot survive.
    pub(crate) fn end(&mut self, signal: Signal) -> Result<ExitStatus> {
        kill_process(self.pid()?, signal)?;
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(start.elapsed() < PATIENCE, "signal {} has not ended the daemon", signal.as_raw());
            thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// Returns the processor time it has used.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        /// Ticks a second in /proc: USER_HZ, which is part of the kernel's interface, time(7).
        const TICKS: u32 = 100;
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // proc_pid_stat(5): behind the name in parentheses comes field 3; 14 is utime, 15 stime.
        let (_, fields) = stat.rsplit_once(") ").context("no name in /proc/PID/stat")?;
        let ticks = fields.split(' ').skip(14 - 3).take(2).map(str::parse::<u32>).sum::<Result<u32, _>>()?;
        Ok(Duration::from_secs(1) * ticks / TICKS)
    }

    /// Limits its memory to `bytes` more than it has now.
    pub(crate) fn leave(&self, bytes: u64) -> Result<()> {
        let most = Some(self.status("VmData")? + bytes);
        prlimit(Some(self.pid()?), Resource::Data, Rlimit { current: most, maximum: most })
            .context("prlimit")?;
        Ok(())
    }

    /// Resets its peak memory, and returns its current memory, in bytes.
    pub(crate) fn forget_peak(&self) -> Result<u64> {
        // proc_pid_clear_refs(5).
        fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").context("clear_refs")?;
        self.memory()
    }

    /// Returns its peak memory, in bytes.
    pub(crate) fn peak(&self) -> Result<u64> {
        self.status("VmHWM")
    }

    fn pid(&self) -> Result<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("the id of the daemon")
    }

    /// Returns a size from proc_pid_status(5), in bytes.
    fn status(&self, name: &str) -> Result<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&path).with_context(|| path.clone())?;
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let value = value.with_context(|| format!("{path}: no {name}"))?;
        Ok(value.trim().trim_end_matches(" kB").parse::<u64>().context(path)? << 10)
    }
}

/// Reads the log until it names the listening address.
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
        // The id belongs to this child until it is waited for. The child may have ended already.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Latencies {
    /// Makes latencies from measured times.
    pub(crate) fn of(latencies: Vec<Duration>) -> Latencies {
        Latencies(latencies)
    }

    /// Returns the latency that `percent` of the responses do not exceed.
    pub(crate) fn percentile(&mut self, percent: usize) -> Duration {
        self.0.sort_unstable();
        let last = self.0.len().saturating_sub(1);
        self.0.get((self.0.len() * percent / 100).min(last)).copied().unwrap_or_default()
    }

    /// Adds the latencies of another run.
    pub(crate) fn add(&mut self, other: Latencies) {
        self.0.extend(other.0);
    }
}
