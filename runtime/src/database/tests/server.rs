//! A PostgreSQL server for the tests, on a port of its own.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::free_port::free_port;

/// The user that runs the server if the tests are run by root, for whom it does not start: nobody.
const NOBODY: u32 = 65534;

/// The file with what the server logs.
const LOG: &str = "log";

/// A server that ends with the test.
pub(super) struct PostgresServer {
    programs: PathBuf,
    pub(super) port: u16,
    child: Option<Child>,
    /// The authority of its certificate, if it has one. It then refuses connections without TLS.
    pub(super) ca: Option<PathBuf>,
    /// Its data.
    dir: tempfile::TempDir,
}

/// Starts a server. `None` if there is none on this machine.
pub(super) async fn postgres() -> Option<PostgresServer> {
    let mut server = made()?;
    server.start().await;
    Some(server)
}

/// Starts a server with this certificate and its key, in PEM, and the authority that has issued it. It refuses
/// connections without TLS.
pub(super) async fn postgres_over_tls(cert: &str, key: &str, ca: &str) -> Option<PostgresServer> {
    let mut server = made()?;
    server.write("server.crt", cert);
    server.write("server.key", key);
    server.write("data/pg_hba.conf", "hostssl all all 127.0.0.1/32 trust\n");
    server.ca = Some(server.write("ca.pem", ca));
    server.start().await;
    Some(server)
}

/// Makes the data of a server that is not started. `None` if there is none on this machine.
fn made() -> Option<PostgresServer> {
    let Some(programs) = programs() else {
        assert!(std::env::var_os("CI").is_none(), "no server: install the Debian package postgresql");
        return None;
    };
    let dir = tempfile::tempdir().unwrap();
    if rustix::process::geteuid().is_root() {
        chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let port = free_port();
    let server = PostgresServer { programs, port, child: None, ca: None, dir };
    let initialized = server
        .command("initdb")
        .args(["-D", "data", "-U", "tests", "--auth=trust", "-N", "-E", "UTF8", "--locale=C"])
        .output()
        .unwrap();
    assert!(initialized.status.success(), "{}", String::from_utf8_lossy(&initialized.stderr));
    Some(server)
}

/// Finds the programs of the newest version, which Debian keeps out of PATH.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<PathBuf> = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin"))).collect();
    found.retain(|dir| dir.join("postgres").exists());
    found.sort();
    found.pop()
}

impl PostgresServer {
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(self.dir.path()).env_clear().env("LC_ALL", "C");
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// Writes a file that belongs to the server alone: it refuses a key that others may read.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        if rustix::process::geteuid().is_root() {
            chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        path
    }

    /// Starts the process and waits until it answers.
    pub(super) async fn start(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.open("postgres", 1).open().await.is_err() {
            assert!(Instant::now() < deadline, "the server does not answer");
            // It ends at once while processes of a killed server are still there.
            let has_ended = |child: &mut Child| child.try_wait().unwrap().is_some();
            if self.child.as_mut().is_none_or(has_ended) {
                self.child = Some(self.spawn());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn spawn(&self) -> Child {
        let port = self.port.to_string();
        let mut command = self.command("postgres");
        command.args(["-D", "data", "-p", &port, "-h", "127.0.0.1", "-k", "", "-F"]);
        // Connections that break off are logged at this level, each line with the name of its program.
        command.args(["-c", "log_min_messages=debug1", "-c", "log_line_prefix=%a: "]);
        if self.ca.is_some() {
            // Relative to the data.
            command.args(["-c", "ssl=on", "-c", "ssl_cert_file=../server.crt"]);
            command.args(["-c", "ssl_key_file=../server.key"]);
        }
        let log = fs::OpenOptions::new().create(true).append(true).open(self.dir.path().join(LOG)).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    /// Returns what the server has logged.
    pub(super) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.dir.path().join(LOG)).unwrap()).into_owned()
    }

    /// Kills the process, and with it all that the server has to do.
    pub(super) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
            // The others of its processes end when they see that it is gone.
            let lock = self.dir.path().join("data/postmaster.pid");
            let _absent = fs::remove_file(lock);
        }
    }

    /// A database of this server, of a pool of its own.
    pub(super) fn open(&self, name: &str, connections: usize) -> Arc<SharedDatabase> {
        let tls = if self.ca.is_some() { "?sslmode=require" } else { "" };
        self.at(&format!("127.0.0.1:{}/{name}{tls}", self.port), self.ca.clone(), connections)
    }

    /// A database at this address with this authority.
    pub(super) fn at(&self, address: &str, ca: Option<PathBuf>, connections: usize) -> Arc<SharedDatabase> {
        let options = options(format!("postgres://tests@{address}").parse().unwrap(), connections);
        let ca = ca.map(|path| DatabaseCa { pem: fs::read(&path).unwrap_or_default().into(), path });
        DatabasePool::default().get(&DatabaseOptions { ca, ..options })
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.stop();
    }
}
