//! Text from clients and guests cannot forge, hide or reorder what an operator reads.

use crate::harness::{Daemon, PATIENCE, Program, Setup, finish, portcullis};

/// Characters that end a line, move the cursor or reverse text, one of each kind.
const FORGERS: [char; 9] =
    ['\u{1b}', '\u{85}', '\u{9b}', '\u{200f}', '\u{2028}', '\u{2029}', '\u{202e}', '\u{2066}', '\u{61c}'];

/// A text with all of these characters.
fn hostile() -> String {
    FORGERS.iter().map(|letter| format!("<{letter}>")).collect()
}

/// The text as the log must show it.
fn shown() -> String {
    FORGERS.iter().map(|letter| format!("<\\u{{{:x}}}>", u32::from(*letter))).collect()
}

fn assert_clean(text: &str) {
    let raw = text.chars().find(|letter| FORGERS.contains(letter));
    assert_eq!(raw, None, "{text}");
}

/// Requests a path and returns the log line it causes.
fn line(daemon: &Daemon, path: &str, part: &str) -> String {
    assert!(daemon.get(path).status() >= 200);
    daemon.log.line(part)
}

#[test]
fn no_word_of_a_guest_reaches_the_log_as_it_is() {
    let hostile = hostile();
    // The text format of WebAssembly has the same escapes.
    let trap = format!(
        "(module (memory (export \"memory\") 1) (func $f (@name \"evil{}\") unreachable)
         (func (export \"_start\") (call $f)))",
        shown()
    );
    let daemon = Setup::new("")
        .handler("says", "", &Program::text().complain(&format!("says{hostile}\n")).wasm())
        .handler("ends", "", &Program::new().complain(&format!("ends{hostile}\n")).exit(3).wasm())
        .handler(
            "panics",
            "",
            &Program::new().complain(&format!("panicked at x:1:1:\nalas{hostile}\n")).trap().wasm(),
        )
        .handler("answers", "", &Program::new().say(&format!("odd{hostile}\n\n")).wasm())
        .handler("traps", "", &wat::parse_str(trap).unwrap())
        .prepend("access_log = true\nadmin = \"unix://admin.sock\"\n")
        .flag("-D")
        .start();

    assert!(line(&daemon, "/says", " says: says").ends_with(&format!("says{}", shown())));
    assert!(line(&daemon, "/ends", "ends@").contains(&shown()));
    assert!(line(&daemon, "/panics", "panicked at x:1:1: alas").contains(&shown()));
    line(&daemon, "/answers", "the handler wrote");
    assert!(line(&daemon, "/traps", "0: evil").ends_with(&shown()));
    assert_clean(&daemon.log.text());
    let journal = String::from_utf8(daemon.verb(&["logs"]).stdout).unwrap();
    assert!(journal.contains(&shown()), "{journal}");
    assert_clean(&journal);
}

#[test]
fn no_word_of_a_client_reaches_the_log_as_it_is() {
    let daemon = Setup::one("", &Program::text().say("hi").wasm())
        .prepend("access_log = true\nadmin = \"unix://admin.sock\"\n")
        .flag("-D")
        .start();

    // Other characters beyond ASCII are accepted in a target. Control characters are refused.
    let mut client = daemon.client();
    client.send("GET /?a\u{202e}b\u{2028}c HTTP/1.1\r\nHost: test\r\n\r\n");
    client.response();

    daemon.log.line("GET /?a\\u{202e}b\\u{2028}c -> ");
    let mut client = crate::harness::Client::unix(&daemon.path("admin.sock"));
    client.send("GET /x\u{202e}y HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.response();
    daemon.log.line("admin: GET ");
    assert_clean(&daemon.log.text());
}

#[test]
fn an_error_that_a_verb_prints_is_clean() {
    let program = Program::new().complain(&format!("alas{}\n", hostile())).exit(3);
    let setup = Setup::one("", &program.wasm()).prepend("admin = \"unix://admin.sock\"\n");
    let module = setup.path("one.wasm");
    let failed = finish(portcullis().arg("run").arg("/nowhere\u{202e}.wasm"), b"", PATIENCE);
    assert_clean(&failed.stderr);
    assert!(failed.stderr.contains("\\u{202e}"), "{}", failed.stderr);

    // The user who runs a module sees its output verbatim.
    let run = finish(portcullis().arg("run").arg(module), b"", PATIENCE);
    assert!(run.stderr.contains(&format!("alas{}", hostile())), "{}", run.stderr);
}

#[test]
fn debug_mode_adds_no_noise_of_the_engine_to_its_lines() {
    let daemon = Setup::one("", &Program::text().complain("said\n").say("hi").wasm()).flag("-D").start();

    assert_eq!(daemon.get("/").text(), "hi");

    let line = daemon.log.line("one: said");
    let (_, rest) = line.split_once("INFO ").unwrap();
    assert!(rest.starts_with('['), "nothing stands before the number of the job: {line}");
}
