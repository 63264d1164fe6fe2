//! A PostgreSQL server for tests, on a port of its own.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::daemon::finish;
use super::{PATIENCE, free_port, within};

/// The user that runs the server if the tests are run by root, for whom it does not start: nobody.
const NOBODY: u32 = 65534;

/// A server that ends with the test.
pub(crate) struct DatabaseServer {
    programs: PathBuf,
    port: u16,
    child: Option<Child>,
    /// Its data.
    dir: tempfile::TempDir,
}

impl DatabaseServer {
    /// Starts a server. If there is none on this machine, the test fails in CI and is skipped elsewhere.
    pub(crate) fn start() -> Option<DatabaseServer> {
        let Some(programs) = programs() else {
            assert!(std::env::var_os("CI").is_none(), "there is no server: apt-get install postgresql");
            super::figure("skipped: there is no PostgreSQL server: apt-get install postgresql");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        if rustix::process::geteuid().is_root() {
            chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let port = free_port();
        let mut server = DatabaseServer { programs, port, child: None, dir };
        let mut make = server.command("initdb");
        make.args(["-D", "data", "-U", "tests", "--auth=trust", "-N", "-E", "UTF8", "--locale=C"]);
        let made = finish(&mut make, b"", PATIENCE);
        assert_eq!(made.code, Some(0), "{}", made.stderr);
        let number = port.to_string();
        let mut run = server.command("postgres");
        run.args(["-D", "data", "-p", &number, "-h", "127.0.0.1", "-k", "", "-F"]);
        run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        server.child = Some(run.spawn().unwrap());
        within(PATIENCE, "the server answers", || {
            let mut ask = server.command("pg_isready");
            let asked = finish(ask.args(["-q", "-h", "127.0.0.1", "-p", &number]), b"", PATIENCE);
            (asked.code == Some(0)).then_some(())
        });
        Some(server)
    }

    /// Returns the URL of its only database.
    pub(crate) fn url(&self) -> String {
        format!("postgres://tests@127.0.0.1:{}/postgres", self.port)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(self.dir.path()).env_clear().env("LC_ALL", "C");
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }
}

impl Drop for DatabaseServer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended already.
            let _ended = child.kill();
            let _status = child.wait();
        }
    }
}

/// Finds the programs of the newest version, which Debian keeps out of PATH.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<PathBuf> = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin"))).collect();
    found.retain(|dir| dir.join("postgres").exists());
    found.sort();
    found.pop()
}
