//! Servers of stores, on ports of their own, which a test stops and starts.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use super::{PATIENCE, free_port, tool, within};

/// A server that ends with the test.
pub(crate) struct StoreServer {
    pub(crate) scheme: &'static str,
    pub(crate) port: u16,
    command: Box<dyn Fn(u16) -> Command>,
    child: Option<Child>,
    /// What it keeps between two starts.
    _dir: tempfile::TempDir,
}

impl StoreServer {
    /// Starts a Redis server that writes every command to disk, with these flags. `None` if it is not installed.
    pub(crate) fn redis(flags: &[&str]) -> Option<StoreServer> {
        let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
        StoreServer::start_new(("redis-server", "redis"), move |port, dir| {
            let mut command = Command::new("redis-server");
            command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir", dir, "--save", ""]);
            command.args(["--appendonly", "yes", "--appendfsync", "always"]).args(&flags);
            command
        })
    }

    /// Starts a NATS server with JetStream, with these flags. `None` if it is not installed.
    pub(crate) fn nats(flags: &[&str]) -> Option<StoreServer> {
        let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
        StoreServer::start_new(("nats-server", "nats"), move |port, dir| {
            let mut command = Command::new("nats-server");
            command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd", dir]).args(&flags);
            command
        })
    }

    fn start_new(
        (program, scheme): (&str, &'static str),
        command: impl Fn(u16, &str) -> Command + 'static,
    ) -> Option<StoreServer> {
        if !tool::found(&[program], program) {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap().to_owned();
        let port = free_port();
        let command = Box::new(move |port| command(port, &path));
        let mut server = StoreServer { scheme, port, command, child: None, _dir: dir };
        server.start();
        Some(server)
    }

    /// Returns the URL of a store in it, without credentials.
    pub(crate) fn url(&self) -> String {
        self.url_as("")
    }

    /// Returns the URL with something before the host, such as `user:password@`.
    pub(crate) fn url_as(&self, user: &str) -> String {
        format!("{}://{user}127.0.0.1:{}", self.scheme, self.port)
    }

    /// Starts the process and waits until it accepts connections.
    pub(crate) fn start(&mut self) {
        let mut command = (self.command)(self.port);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        self.child = Some(child);
        within(PATIENCE, "the server", || TcpStream::connect(("127.0.0.1", self.port)).ok());
    }

    /// Kills the process.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for StoreServer {
    fn drop(&mut self) {
        self.stop();
    }
}
