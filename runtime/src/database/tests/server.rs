//! A PostgreSQL server for the tests, on a port of its own.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;

/// The user that runs the server if the tests are run by root, for whom it does not start: nobody.
const NOBODY: u32 = 65534;

/// A server that ends with the test.
pub(super) struct PostgresServer {
    programs: PathBuf,
    port: u16,
    child: Option<Child>,
    /// Its data.
    dir: tempfile::TempDir,
}

/// Starts a server. `None` if there is none on this machine.
pub(super) async fn postgres() -> Option<PostgresServer> {
    let Some(programs) = programs() else {
        assert!(std::env::var_os("CI").is_none(), "no server: install the Debian package postgresql");
        return None;
    };
    let dir = tempfile::tempdir().unwrap();
    if rustix::process::geteuid().is_root() {
        chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut server = PostgresServer { programs, port, child: None, dir };
    let initialized = server
        .command("initdb")
        .args(["-D", "data", "-U", "tests", "--auth=trust", "-N", "-E", "UTF8", "--locale=C"])
        .output()
        .unwrap();
    assert!(initialized.status.success(), "{}", String::from_utf8_lossy(&initialized.stderr));
    server.start().await;
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

    /// Starts the process and waits until it answers.
    pub(super) async fn start(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.open("postgres", 1).open().await.is_err() {
            assert!(Instant::now() < deadline, "the server does not answer");
            // It ends at once while processes of one that was killed are still there.
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
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
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
        let url = format!("postgres://tests@127.0.0.1:{}/{name}", self.port);
        DatabasePool::default().get(&options(url.parse().unwrap(), connections))
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.stop();
    }
}
