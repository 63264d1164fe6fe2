//! `top` and `tap` in a terminal of tmux: what they show, their keys, their end, and what `top` says elsewhere.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::harness::{Crowd, Daemon, PATIENCE, Program, Setup, finish, found, portcullis, until};

/// A terminal with one program. Dropping it ends both.
struct Terminal {
    dir: TempDir,
}

impl Terminal {
    /// Starts the program in a terminal of this width.
    fn start(width: u16, words: &[String]) -> Terminal {
        let terminal = Terminal { dir: tempfile::tempdir().unwrap() };
        let quoted = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
        // An interrupt ends the program, and not the shell.
        let script = format!("trap : INT; {quoted}; echo \"ended with $?\"; exec cat");
        let width = width.to_string();
        let started =
            terminal.tmux(&["new-session", "-d", "-x", &width, "-y", "12", &script]).output().unwrap();
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
        terminal
    }

    fn tmux(&self, words: &[&str]) -> Command {
        let mut tmux = Command::new("tmux");
        // A server of its own, without the user's configuration.
        tmux.arg("-S").arg(self.socket()).args(["-f", "/dev/null"]).args(words).env("TERM", "screen");
        tmux.stdin(Stdio::null());
        tmux
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("tmux")
    }

    /// Returns the process of the program, a child of the shell.
    fn program(&self) -> Pid {
        let shell = self.tmux(&["display-message", "-p", "#{pane_pid}"]).output().unwrap().stdout;
        let shell = String::from_utf8(shell).unwrap().trim().to_owned();
        let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
        let child = children.split_whitespace().next().and_then(|child| child.parse::<i32>().ok());
        child.and_then(Pid::from_raw).unwrap_or_else(|| panic!("the shell {shell} has {children:?}"))
    }

    fn press(&self, key: &str) {
        assert!(self.tmux(&["send-keys", key]).status().unwrap().success());
    }

    fn screen(&self) -> String {
        String::from_utf8(self.tmux(&["capture-pane", "-p"]).output().unwrap().stdout).unwrap()
    }

    /// Waits until the screen has what is wanted, and returns it.
    fn shows(&self, what: &str, is_there: impl Fn(&str) -> bool) -> String {
        until(what, || Some(self.screen()).filter(|screen| is_there(screen)))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ended = self.tmux(&["kill-server"]).output();
    }
}

fn setup() -> Setup {
    Setup::one("", &Program::text().say("hi").wasm())
        .handler("bad", "", &Program::new().trap().wasm())
        .prepend("admin = \"unix://admin.sock\"\n")
}

fn words(daemon: &Daemon, verb: &str) -> Vec<String> {
    let program = portcullis().get_program().to_str().unwrap().to_owned();
    let socket = daemon.path("admin.sock").to_str().unwrap().to_owned();
    vec![program, verb.to_owned(), "--socket".to_owned(), socket]
}

/// Returns the row of a handler.
fn row<'s>(screen: &'s str, name: &str) -> Option<&'s str> {
    screen.lines().find(|line| line.split_whitespace().next() == Some(name))
}

#[test]
fn handlers_are_shown_with_their_load_and_sorted_by_a_letter_until_q() {
    if !found(&["tmux"], "tmux") {
        return;
    }
    let mut daemon = setup().start();
    assert_eq!(daemon.get("/bad").status(), 502);
    let crowd = Crowd::on(daemon.port(), "/", 2);
    let terminal = Terminal::start(120, &words(&daemon, "top"));

    let has_load = |screen: &str| {
        let columns = row(screen, "one").map(|row| row.split_whitespace().collect::<Vec<_>>());
        // Requests a second, and the median.
        columns.is_some_and(|columns| columns[2] != "-" && columns[2] != "0" && columns[3].ends_with("ms"))
    };
    let screen = terminal.shows("the load of a handler", has_load);
    assert!(screen.contains("sorted by req/s") && screen.contains("q end  sort: n name"), "{screen}");
    assert!(row(&screen, "bad").unwrap().contains("trapped 1"), "{screen}");

    terminal.press("n");
    let screen = terminal.shows("the order by name", |screen| screen.contains("sorted by name"));
    let at = |name: &str| screen.lines().position(|line| line.starts_with(name)).unwrap();
    assert!(at("bad ") < at("one "), "{screen}");

    drop(crowd);
    daemon.terminate();
    terminal.shows("that the daemon has gone", |screen| screen.contains("no daemon listens at"));

    terminal.press("q");
    terminal.shows("the end", |screen| screen.contains("ended with 0") && !screen.contains("sort:"));
}

#[test]
fn without_a_terminal_or_a_daemon_top_says_what_to_do() {
    let daemon = setup().start();
    let words = words(&daemon, "top");

    let ended = finish(portcullis().args(&words[1..]), b"", PATIENCE);

    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("top needs a terminal"), "{}", ended.stderr);
    let ended = finish(portcullis().args(&words[1..]).arg("--json"), b"", PATIENCE);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("`portcullis handlers --json`"), "{}", ended.stderr);
}

#[test]
fn a_narrow_terminal_leaves_out_versions_and_keeps_failures() {
    if !found(&["tmux"], "tmux") {
        return;
    }
    let sorry = Program::new().say("Status: 503\n\nsorry").wasm();
    let daemon = setup().handler("sorry", "", &sorry).start();
    assert_eq!((daemon.get("/bad").status(), daemon.get("/sorry").status()), (502, 503));
    let terminal = Terminal::start(80, &words(&daemon, "top"));

    // Everything is drawn at once, and the last line comes last.
    let screen = terminal.shows("the handlers", |screen| screen.contains("q end"));

    assert!(!screen.contains("VERSION") && screen.contains("FAILED"), "{screen}");
    assert!(row(&screen, "bad").unwrap().contains("trapped 1"), "{screen}");
    assert!(row(&screen, "sorry").unwrap().contains("5xx 1"), "{screen}");
    terminal.press("Escape");
    terminal.shows("the end", |screen| screen.contains("ended with 0"));
}

#[test]
fn a_signal_ends_top_and_gives_the_terminal_back() {
    if !found(&["tmux"], "tmux") {
        return;
    }
    let daemon = setup().start();
    let terminal = Terminal::start(80, &words(&daemon, "top"));
    terminal.shows("the handlers", |screen| screen.contains("q end  sort:"));

    kill_process(terminal.program(), Signal::TERM).unwrap();

    terminal.shows("the end", |screen| screen.contains("ended with 143") && !screen.contains("sort:"));
}

#[test]
fn tap_prints_what_it_is_asked_for_until_it_is_interrupted() {
    if !found(&["tmux"], "tmux") {
        return;
    }
    let daemon = setup().start();
    let mut words = words(&daemon, "tap");
    words.push("status>=500".to_owned());
    let terminal = Terminal::start(200, &words);
    until("the listener", || (daemon.running("tap") == 1).then_some(()));

    assert_eq!((daemon.get("/").status(), daemon.get("/bad").status()), (200, 502));

    let screen = terminal.shows("a failure", |screen| screen.contains("(trapped)"));
    assert!(screen.contains(" GET /bad -> 502, ") && screen.contains(" by bad@"), "{screen}");
    assert!(!screen.contains("GET / ->"), "{screen}");
    terminal.press("C-c");
    // 128 and the number of SIGINT.
    terminal.shows("the end", |screen| screen.contains("ended with 130"));
}
