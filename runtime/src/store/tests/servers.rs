//! Servers for the suite, on ports of their own.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::free_port::free_port;

/// A server that ends with the test.
pub(super) struct ServerProcess {
    pub(super) url: String,
    port: u16,
    command: Box<dyn Fn(u16) -> Command + Send>,
    child: Option<Child>,
    /// What it keeps between two starts.
    dir: tempfile::TempDir,
}

/// Starts a Redis server that writes every command to disk. `None` if there is none on this machine.
#[cfg(feature = "redis")]
pub(super) fn redis() -> Option<ServerProcess> {
    redis_with("yes")
}

/// Starts a Redis server that keeps everything in memory, so that no test waits for a disk. `None` if there is none on this
/// machine.
#[cfg(feature = "redis")]
pub(super) fn redis_in_memory() -> Option<ServerProcess> {
    redis_with("no")
}

#[cfg(feature = "redis")]
fn redis_with(append_only: &'static str) -> Option<ServerProcess> {
    start("redis-server", "redis", move |port, dir| {
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir", dir, "--save", ""]);
        command.args(["--appendonly", append_only, "--appendfsync", "always"]);
        command
    })
}

/// Starts a NATS server with JetStream. `None` if there is none on this machine.
#[cfg(feature = "nats")]
pub(super) fn nats() -> Option<ServerProcess> {
    start("nats-server", "nats", |port, dir| {
        let mut command = Command::new("nats-server");
        command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd", dir]);
        command
    })
}

fn start(
    program: &str,
    scheme: &str,
    command: impl Fn(u16, &str) -> Command + Send + 'static,
) -> Option<ServerProcess> {
    if let Err(error) = Command::new(program).arg("--version").stdout(Stdio::null()).status() {
        assert!(
            std::env::var_os("CI").is_none(),
            "{program}: {error}: install the Debian package of that name"
        );
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap().to_owned();
    let port = free_port();
    let url = format!("{scheme}://127.0.0.1:{port}");
    let command = Box::new(move |port| command(port, &path));
    let mut server = ServerProcess { url, port, command, child: None, dir };
    server.start();
    Some(server)
}

impl ServerProcess {
    /// Starts the process and waits until it accepts connections.
    pub(super) fn start(&mut self) {
        let mut command = (self.command)(self.port);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        self.child = Some(child);
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "{} does not answer", self.url);
            std::thread::yield_now();
        }
    }

    /// Kills the process, and removes what it has kept.
    #[cfg(feature = "nats")]
    pub(super) fn lose(&mut self) {
        self.stop();
        for kept in std::fs::read_dir(self.dir.path()).unwrap() {
            std::fs::remove_dir_all(kept.unwrap().path()).unwrap();
        }
    }

    /// Kills the process.
    pub(super) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.stop();
    }
}
