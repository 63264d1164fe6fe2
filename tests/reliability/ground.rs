//! A daemon under abuse, and a good client beside it.

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
        self.status("VmRSS")
    }

    /// Counts its open files.
    pub(crate) fn descriptors(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }

    /// Waits until it has no more files open than this, and says how long that took.
    ///
    /// # Errors
    /// Some stay open.
    pub(crate) fn emptied(&self, files: usize) -> Result<Duration> {
        let start = Instant::now();
        // Those of the good client are closed by now, or will be; some files are the daemon's own.
        while self.descriptors()? > files + 16 {
            ensure!(start.elapsed() < PATIENCE, "{} files are still open, {files} were", self.descriptors()?);
            thread::park_timeout(Duration::from_millis(20));
        }
        Ok(start.elapsed())
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

    /// Ends it by a signal that it does not outlive.
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

    /// Returns the processor time it has used so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        /// Ticks a second in /proc: USER_HZ, which is part of the kernel's interface, time(7).
        const TICKS: u32 = 100;
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // proc_pid_stat(5): behind the name in parentheses comes field 3; 14 is utime, 15 stime.
        let (_, fields) = stat.rsplit_once(") ").context("no name in /proc/PID/stat")?;
        let ticks = fields.split(' ').skip(14 - 3).take(2).map(str::parse::<u32>).sum::<Result<u32, _>>()?;
        Ok(Duration::from_secs(1) * ticks / TICKS)
    }

    /// Leaves it so many bytes of memory besides what it has.
    pub(crate) fn leave(&self, bytes: u64) -> Result<()> {
        let most = Some(self.status("VmData")? + bytes);
        prlimit(Some(self.pid()?), Resource::Data, Rlimit { current: most, maximum: most })
            .context("prlimit")?;
        Ok(())
    }

    /// Forgets the peak of its memory so far, and returns what it has now, in bytes.
    pub(crate) fn forget_peak(&self) -> Result<u64> {
        // proc_pid_clear_refs(5).
        fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").context("clear_refs")?;
        self.memory()
    }

    /// Returns the most memory it had at once, in bytes.
    pub(crate) fn peak(&self) -> Result<u64> {
        self.status("VmHWM")
    }

    fn pid(&self) -> Result<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("the id of the daemon")
    }

    /// Reads a number of bytes in its status: proc_pid_status(5).
    fn status(&self, name: &str) -> Result<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&path).with_context(|| path.clone())?;
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let value = value.with_context(|| format!("{path}: no {name}"))?;
        Ok(value.trim().trim_end_matches(" kB").parse::<u64>().context(path)? << 10)
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
    /// Takes what was measured.
    pub(crate) fn of(latencies: Vec<Duration>) -> Latencies {
        Latencies(latencies)
    }

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
}
