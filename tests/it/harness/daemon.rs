//! The daemon as a child process: starting it, waiting for it, sending requests and ending it.

use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{Client, Log, PATIENCE, Program, until, within};

/// The limit on a start, which compiles each module that is not in the cache. Compilers have low priority.
const STARTING: Duration = Duration::from_secs(300);

/// The name of the file that releases a held daemon.
const OPEN: &str = "open";

/// How a daemon is started.
pub(crate) struct Setup {
    dir: TempDir,
    program: Vec<OsString>,
    verb: Vec<OsString>,
    hosts: Vec<String>,
    flags: Vec<OsString>,
    env: Vec<(String, OsString)>,
}

/// A running daemon. Dropping it kills it.
pub(crate) struct Daemon {
    /// Its stderr so far.
    pub(crate) log: Log,
    /// Its stdout so far.
    pub(crate) out: Log,
    child: Child,
    dir: TempDir,
    notify: UnixDatagram,
}

/// How a process has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit status; `None` if a signal ended the process.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// Makes a command of the program under test.
pub(crate) fn portcullis() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    clear(&mut command);
    command
}

/// Runs a command to its end with this stdin, and fails the test if it takes longer than `patience`.
pub(crate) fn finish(command: &mut Command, stdin: &[u8], patience: Duration) -> Ended {
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (mut to, bytes) = (child.stdin.take().unwrap(), stdin.to_vec());
    // A child may ignore its stdin, so an error here does not matter.
    std::thread::spawn(move || to.write_all(&bytes));
    output(child, patience)
}

/// Reads the pipes of a child until it ends, and fails the test if that takes too long.
pub(crate) fn output(mut child: Child, patience: Duration) -> Ended {
    let log = child.stderr.take().map(Log::of);
    let mut from = child.stdout.take();
    let reading = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        from.as_mut().map_or(Ok(0), |from| from.read_to_end(&mut bytes)).map(|_| bytes)
    });
    let status = reaped(&mut child, patience);
    // A grandchild may hold the pipe open.
    until("the end of its stdout", || reading.is_finished().then_some(()));
    let stderr = log.map_or_else(String::new, |log| log.whole());
    Ended { code: status.code(), stdout: reading.join().unwrap().unwrap(), stderr }
}

/// Waits until a child has ended, and fails the test if that takes too long.
pub(crate) fn reaped(child: &mut Child, patience: Duration) -> ExitStatus {
    within(patience, &format!("process {} ends", child.id()), || child.try_wait().unwrap())
}

/// Returns the CPU time of a process by its own clock: clock_getcpuclockid(3).
pub(crate) fn cpu_time(process: u32) -> Duration {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: both calls write into variables of their own, and the time is read once it was written.
    let time = unsafe {
        let mut clock = 0;
        assert_eq!(libc::clock_getcpuclockid(process.cast_signed(), &raw mut clock), 0, "process {process}");
        assert_eq!(libc::clock_gettime(clock, time.as_mut_ptr()), 0, "process {process}");
        time.assume_init()
    };
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap())
}

/// Removes environment variables that would change the program's behavior.
fn clear(command: &mut Command) {
    for name in
        ["PORTCULLIS_LOG", "NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "JOURNAL_STREAM"]
    {
        command.env_remove(name);
    }
}

impl Setup {
    /// Starts with a configuration, in its own directory.
    pub(crate) fn new(config: &str) -> Setup {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("portcullis.toml");
        fs::write(&file, config).unwrap();
        Setup {
            dir,
            verb: vec!["serve".into(), "-c".into(), file.into()],
            program: vec![env!("CARGO_BIN_EXE_portcullis").into()],
            hosts: Vec::new(),
            flags: Vec::new(),
            env: Vec::new(),
        }
    }

    /// Serves one module at `/`, with `settings` in its table.
    pub(crate) fn one(settings: &str, module: &[u8]) -> Setup {
        Setup::new(&format!(
            "[handler.one]\nmodule = \"one.wasm\"\n{settings}\n[[route]]\npath = \"/\"\nhandler = \"one\"\n"
        ))
        .file("one.wasm", module)
    }

    /// Adds a handler of this name at `/NAME`.
    pub(crate) fn handler(self, name: &str, settings: &str, module: &[u8]) -> Setup {
        self.add(&format!(
            "\n[handler.{name}]\nmodule = \"{name}.wasm\"\n{settings}\n[[route]]\npath = \"/{name}\"\nhandler = \"{name}\"\n"
        ))
        .file(&format!("{name}.wasm"), module)
    }

    /// Adds lines to the configuration.
    pub(crate) fn add(self, lines: &str) -> Setup {
        let path = self.path("portcullis.toml");
        fs::write(&path, fs::read_to_string(&path).unwrap() + lines).unwrap();
        self
    }

    /// Adds lines to the configuration, in front of its tables.
    pub(crate) fn prepend(self, lines: &str) -> Setup {
        let path = self.path("portcullis.toml");
        fs::write(&path, lines.to_owned() + &fs::read_to_string(&path).unwrap()).unwrap();
        self
    }

    /// Puts a file into the directory.
    pub(crate) fn file(self, name: &str, bytes: &[u8]) -> Setup {
        fs::write(self.path(name), bytes).unwrap();
        self
    }

    /// Adds an address to listen on. Without any, a free port of 127.0.0.1 is used.
    pub(crate) fn host(mut self, host: impl Into<String>) -> Setup {
        self.hosts.push(host.into());
        self
    }

    /// Adds a flag of `serve`.
    pub(crate) fn flag(mut self, flag: impl Into<OsString>) -> Setup {
        self.flags.push(flag.into());
        self
    }

    /// Sets an environment variable of the daemon.
    pub(crate) fn env(mut self, name: &str, value: impl Into<OsString>) -> Setup {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// Serves the directory with `portcullis up`.
    pub(crate) fn up(mut self) -> Setup {
        self.verb = vec!["up".into(), self.dir.path().into()];
        self
    }

    /// Serves another directory with `portcullis up`.
    pub(crate) fn up_in(mut self, dir: &std::path::Path) -> Setup {
        self.verb = vec!["up".into(), dir.into()];
        self
    }

    /// Starts the daemon through another program, which must execute it in place.
    pub(crate) fn under(mut self, program: &[&str]) -> Setup {
        self.program.splice(0..0, program.iter().map(OsString::from));
        self
    }

    /// Returns a path in the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts the daemon and waits until it reports that it is ready.
    pub(crate) fn start(self) -> Daemon {
        let mut daemon = self.spawn();
        daemon.ready();
        daemon
    }

    /// Starts the daemon.
    pub(crate) fn spawn(self) -> Daemon {
        let socket = self.path("notify.sock");
        let notify = UnixDatagram::bind(&socket).unwrap();
        notify.set_nonblocking(true).unwrap();
        let mut command = self.command();
        command.env("NOTIFY_SOCKET", socket);
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let log = Log::of(child.stderr.take().unwrap());
        let out = Log::of(child.stdout.take().unwrap());
        Daemon { log, out, child, dir: self.dir, notify }
    }

    /// Runs a daemon that must end by itself.
    pub(crate) fn fail(&self) -> Ended {
        finish(&mut self.command(), b"", PATIENCE)
    }

    /// Runs a daemon that must end by itself. Also returns the names of the files in its directory.
    pub(crate) fn fail_leaving(self) -> (Ended, Vec<String>) {
        let ended = finish(&mut self.command(), b"", PATIENCE);
        let names = fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<String> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        (ended, names)
    }

    /// Starts the daemon with one more handler, whose probe is answered only after [`Daemon::open`]. Until then the
    /// daemon waits between binding its sockets and opening its gate.
    pub(crate) fn shut(self) -> Daemon {
        let daemon = self.holding().spawn();
        daemon.log.line("listening on");
        daemon
    }

    /// Adds the handler that holds up every generation in which it is new.
    pub(crate) fn holding(self) -> Setup {
        fs::create_dir(self.path("held")).unwrap();
        let settings = "mounts = [{ host = \"held\", guest = \"/held\" }]\nlimits.time = \"none\"\n\
            probe = { path = \"/holds\" }\n";
        let module = Program::new().await_file(OPEN).say("Content-Type: text/plain\n\n").wasm();
        self.handler("holds", settings, &module)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program[0]);
        clear(&mut command);
        command.args(&self.program[1..]).args(&self.verb);
        match &self.hosts[..] {
            [] => command.args(["-H", "tcp://127.0.0.1:0"]),
            hosts => command.args(hosts.iter().flat_map(|host| ["-H", host])),
        };
        command.args(&self.flags);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl Daemon {
    /// Waits until the daemon reports that it is ready.
    pub(crate) fn ready(&mut self) {
        self.ready_within(STARTING);
    }

    /// Waits until the daemon reports that it is ready, for at most `patience`.
    pub(crate) fn ready_within(&mut self, patience: Duration) {
        let mut message = [0; 4096];
        loop {
            let length = within(patience, "READY=1", || match self.notify.recv(&mut message) {
                Ok(length) => Some(length),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let ended = self.child.try_wait().unwrap();
                    assert!(ended.is_none(), "the daemon has ended: {ended:?}\n{}", self.log.text());
                    None
                }
                Err(error) => panic!("{error}"),
            });
            if message[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
                return;
            }
        }
    }

    /// Releases a daemon started with [`Setup::shut`], and waits until it is ready.
    pub(crate) fn open(&mut self) {
        self.let_go();
        self.ready();
    }

    /// Releases a generation that is held up.
    pub(crate) fn let_go(&self) {
        fs::write(self.path("held").join(OPEN), "").unwrap();
    }

    /// Returns a path in the daemon's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns the port of the first TCP socket, from the log.
    pub(crate) fn port(&self) -> u16 {
        let line = self.log.line("listening on tcp://");
        let port = line.rsplit_once(':').unwrap().1;
        // In JSON, something follows.
        port.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().unwrap()
    }

    /// Connects to the first TCP socket.
    pub(crate) fn client(&self) -> Client {
        Client::tcp(self.port())
    }

    /// Sends a GET request on a new connection.
    pub(crate) fn get(&self, target: &str) -> super::Response {
        self.client().get(target)
    }

    /// Runs a verb against the daemon, whose admin socket is `admin.sock`.
    pub(crate) fn verb(&self, words: &[&str]) -> Ended {
        finish(portcullis().args(words).arg("--socket").arg(self.path("admin.sock")), b"", PATIENCE)
    }

    /// Returns the process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until the daemon has ended by itself.
    pub(crate) fn wait(&mut self, patience: Duration) -> Ended {
        let status = reaped(&mut self.child, patience);
        let stderr = self.log.whole();
        assert_eq!(status.signal(), None, "{stderr}");
        Ended { code: status.code(), stdout: Vec::new(), stderr }
    }

    /// Ends the daemon with SIGTERM, as a service manager does, and returns how it ended.
    pub(crate) fn terminate(&mut self) -> Ended {
        self.signal(Signal::TERM);
        self.wait(PATIENCE)
    }

    /// Returns the daemon's peak memory, in KiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.status("VmHWM")
    }

    /// Returns the CPU time of the daemon.
    pub(crate) fn cpu_time(&self) -> Duration {
        cpu_time(self.pid())
    }

    /// Returns a number from proc_pid_status(5).
    pub(crate) fn status(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // A process that has ended cannot be killed; that is no error.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
        if std::thread::panicking() {
            let _told = writeln!(std::io::stderr(), "the daemon's log:\n{}", self.log.text());
        }
    }
}
