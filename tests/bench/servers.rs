//! The servers under test, each in its own process so that the kernel accounts for its use.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::baseline::Tongue;

/// The real daemon, as cargo built it for this benchmark.
pub(crate) const PORTCULLIS: &str = env!("CARGO_BIN_EXE_portcullis");

/// Clock ticks per second in /proc: USER_HZ, which is part of the kernel's interface, time(7).
const TICKS: f64 = 100.0;

/// A running server. Dropping it kills it.
pub(crate) struct Server {
    /// The address it listens on.
    pub(crate) address: SocketAddr,
    child: Child,
    /// Kept open, so that a server can write its log without an error.
    _stderr: BufReader<ChildStderr>,
}

impl Server {
    /// Starts the bare server, which is this program again. With a directory that contains a certificate, it serves
    /// over TLS.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn hyper(tongue: Tongue, certificate: Option<&Path>) -> Result<Server> {
        let mut command = Command::new(std::env::current_exe().context("find this program")?);
        let tongue = if tongue == Tongue::Http1 { "http1" } else { "http2" };
        command.args(["--baseline-server", tongue]);
        if let Some(dir) = certificate {
            command.arg("--certificate").arg(dir);
        }
        Server::start(command)
    }

    /// Starts `wasmtime serve` with a component.
    ///
    /// # Errors
    /// It does not start; the message is its own.
    pub(crate) fn wasmtime(program: &Path, arguments: &[&str], component: &Path) -> Result<Server> {
        let mut command = Command::new(program);
        // A Rust component also imports the interfaces of WASI's command world, on which its standard library is
        // built.
        command.args(["serve", "-S", "cli", "--addr", "127.0.0.1:0"]).args(arguments).arg(component);
        Server::start(command)
    }

    /// Starts the daemon with a configuration.
    ///
    /// # Errors
    /// It does not start; the message is its own.
    pub(crate) fn daemon(config: &Path) -> Result<Server> {
        let mut command = Command::new(PORTCULLIS);
        command.arg("serve").arg("--config").arg(config).env_remove("PORTCULLIS_LOG");
        Server::start(command)
    }

    /// Starts a server and waits until it prints its address.
    fn start(mut command: Command) -> Result<Server> {
        // The bare server ends when the pipe to its stdin is closed.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("run {command:?}"))?;
        let stderr = child.stderr.take().context("stderr is piped")?;
        let mut server = Server { address: ([0; 4], 0).into(), child, _stderr: BufReader::new(stderr) };
        let mut said = String::new();
        loop {
            let start = said.len();
            if server._stderr.read_line(&mut said)? == 0 {
                bail!("{command:?} ended: {}", said.trim_end());
            }
            let said = &said[start..];
            let address = ["listening on tcp://", "Serving HTTP on http://"].iter().find_map(|before| {
                said.split_once(before).map(|(_, address)| address.trim_end().trim_end_matches('/'))
            });
            if let Some(address) = address {
                server.address = address.parse().context("the address it listens on")?;
                return Ok(server);
            }
        }
    }

    /// Returns the CPU time it has used.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        cpu_of(self.child.id())
    }

    /// Resets its peak memory: compiling modules is not part of serving them.
    pub(crate) fn forget_peak(&self) {
        // proc_pid_clear_refs(5): 5 resets the peak. If that fails, the peak includes the start.
        let _unreset = fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5");
    }

    /// Returns its peak memory, in bytes.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn peak(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&path).with_context(|| path.clone())?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().context("VmHWM")?;
        Ok(kibibytes << 10)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The id belongs to this child until it is waited for. The child may have ended already.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Returns the CPU time of a process, in user mode and in the kernel.
///
/// # Errors
/// There is no such process.
pub(crate) fn cpu_of(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| path.clone())?;
    // The second field is a name in parentheses, which may contain anything. proc_pid_stat(5) numbers the fields after
    // it from 3; utime is 14, stime 15.
    let (_, fields) = stat.rsplit_once(") ").context("no name in /proc/PID/stat")?;
    let ticks = fields.split(' ').skip(14 - 3).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_secs_f64(ticks as f64 / TICKS))
}

/// Returns the CPU time of the whole machine. In a virtual machine it includes time taken by other guests.
///
/// # Errors
/// /proc/stat cannot be read or parsed.
pub(crate) fn cpu_of_all() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat").context("/proc/stat")?;
    // proc_stat(5): cpu user nice system idle iowait irq softirq steal, in ticks.
    let fields = stat.lines().next().unwrap_or_default().split_ascii_whitespace().skip(1).take(8);
    let busy = fields.enumerate().filter(|(field, _)| ![3, 4].contains(field));
    let ticks = busy.map(|(_, ticks)| ticks.parse::<u64>()).sum::<Result<u64, _>>()?;
    Ok(Duration::from_secs_f64(ticks as f64 / TICKS))
}
