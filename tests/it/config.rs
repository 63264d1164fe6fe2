//! Errors for a bad configuration or module, at the start and at a reload.

use std::fs;

use rustix::process::Signal;

use crate::harness::{Daemon, PATIENCE, Program, Setup, finish, portcullis, until};

fn saying(text: &str) -> Vec<u8> {
    Program::text().say(text).wasm()
}

/// Replaces a file atomically, as a careful operator does.
fn replace(daemon: &Daemon, name: &str, bytes: &[u8]) {
    fs::write(daemon.path("new"), bytes).unwrap();
    fs::rename(daemon.path("new"), daemon.path(name)).unwrap();
}

const FIVE: &str = "\
listen = [\"tcp:8080\"]
grace = \"soon\"
colour = \"red\"

[handler.one]
module = \"absent.wasm\"

[[route]]
path = \"/\"
handler = \"two\"
";

#[test]
fn five_mistakes_are_five_lines_in_their_order() {
    let setup = Setup::new(FIVE);
    let file = setup.path("portcullis.toml").display().to_string();

    let ended = setup.fail();

    assert_eq!(ended.code, Some(1));
    assert!(ended.stdout.is_empty());
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(lines.len(), 5, "{}", ended.stderr);
    let starts = [
        "1: listen[0]: ",
        "2: grace: ",
        "3: colour: unknown key",
        "6: handler.one.module: there is no module at ",
        "10: route[0].handler: there is no handler \"two\"",
    ];
    for (line, start) in lines.iter().zip(starts) {
        assert!(line.starts_with(&format!("portcullis: {file}:{start}")), "{line}\nwanted {start}");
    }
}

#[test]
fn check_says_the_same_as_serve() {
    let setup = Setup::new(FIVE);
    let file = setup.path("portcullis.toml");

    let checked = finish(portcullis().arg("check").arg("-c").arg(&file), b"", PATIENCE);

    assert_eq!(checked.code, Some(1));
    assert_eq!(checked.stderr, setup.fail().stderr);
}

#[test]
fn check_of_a_sound_configuration_is_one_line_and_0() {
    let setup = Setup::one("", &saying("x"));
    let file = setup.path("portcullis.toml");

    let ended = finish(portcullis().arg("check").arg("-c").arg(&file), b"", PATIENCE);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let said = String::from_utf8(ended.stdout).unwrap();
    assert_eq!(said, format!("{}: 1 handler, 1 route: ok\n", file.display()));
    assert_eq!(ended.stderr, "");
}

#[test]
fn check_refuses_a_variable_that_serve_refuses() {
    let setup = Setup::one("[traces]\n", &saying("x"));
    let file = setup.path("portcullis.toml");
    let mut check = portcullis();
    check.arg("check").arg("-c").arg(&file).env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");

    let ended = finish(&mut check, b"", PATIENCE);

    assert_eq!(ended.code, Some(1));
    let refusal = "portcullis: traces: OTEL_EXPORTER_OTLP_PROTOCOL: \"grpc\" is not spoken: wanted \
                   \"http/protobuf\", to port 4318 of most collectors";
    assert_eq!(ended.stderr.trim_end(), refusal);
}

#[test]
fn a_module_that_cannot_be_a_handler_is_one_line_that_says_why() {
    let wat = |text: &str| wat::parse_str(text).unwrap();
    let foreign = "(module (import \"env\" \"alpha\" (func)) (func (export \"_start\")))";
    let unknown =
        "(module (import \"wasi_snapshot_preview1\" \"sock_open\" (func)) (func (export \"_start\")))";
    for (module, wanted) in [
        (b"Hello, I am text".to_vec(), "not a WebAssembly module: it starts with \"Hello, I am text\""),
        (b"(module)".to_vec(), "WebAssembly text, not a module"),
        (Vec::new(), "the file is empty"),
        (wat("(module (func (export \"add\")))"), "exports no `_start` function"),
        (wat(foreign), "env::alpha"),
        (wat(unknown), "sock_open"),
        (wat("(component)"), "exports neither `wasi:cli/run` nor `wasi:http/incoming-handler`"),
    ] {
        let setup = Setup::one("", &module);
        let (ended, left) = setup.fail_leaving();

        assert_eq!(ended.code, Some(1), "{wanted}");
        let complaints: Vec<&str> =
            ended.stderr.lines().filter(|line| line.starts_with("portcullis: ")).collect();
        assert_eq!(complaints.len(), 1, "{}", ended.stderr);
        assert!(complaints[0].starts_with("portcullis: handler \"one\": "), "{}", complaints[0]);
        assert!(complaints[0].contains(wanted), "{}\nwanted {wanted}", complaints[0]);
        assert_eq!(left, ["one.wasm", "portcullis.toml"]);
    }
}

#[test]
fn two_bad_modules_are_two_lines() {
    let ended = Setup::new("").handler("a", "", b"text").handler("b", "", b"").fail();

    let complaints = ended.stderr.lines().filter(|line| line.starts_with("portcullis: handler \""));
    assert_eq!(complaints.count(), 2, "{}", ended.stderr);
}

#[test]
fn a_reload_publishes_the_new_module() {
    let daemon = Setup::one("", &saying("old")).start();
    let mut client = daemon.client();
    assert_eq!(client.get("/").text(), "old");
    replace(&daemon, "one.wasm", &saying("new"));

    daemon.signal(Signal::HUP);

    daemon.log.line("reloaded: generation 2");
    assert_eq!(client.get("/").text(), "new", "on the same connection");
}

#[test]
fn a_reload_keeps_the_old_generation_when_a_module_is_bad() {
    let daemon = Setup::one("", &saying("old")).start();
    replace(&daemon, "one.wasm", b"text");

    daemon.signal(Signal::HUP);

    daemon.log.line("reload failed, the previous generation stays in force");
    assert_eq!(daemon.get("/").text(), "old");
}

#[test]
fn a_reload_keeps_the_old_generation_when_the_configuration_is_bad() {
    let daemon = Setup::one("", &saying("old")).start();
    replace(&daemon, "portcullis.toml", b"listen = 1\ncolour = 2\n");

    daemon.signal(Signal::HUP);

    daemon.log.line("reload failed, the previous generation stays in force");
    daemon.log.line("2: colour: unknown key");
    assert_eq!(daemon.get("/").text(), "old");
    replace(
        &daemon,
        "portcullis.toml",
        b"[handler.one]\nmodule = \"one.wasm\"\n[[route]]\npath = \"/new\"\nhandler = \"one\"\n",
    );
    daemon.signal(Signal::HUP);
    daemon.log.line("reloaded: generation 2");
    assert_eq!((daemon.get("/new").status(), daemon.get("/").status()), (200, 404));
}

/// Makes a configuration with this many captures in one path, this many fields that one route sets, and this many
/// routes with different texts behind a capture.
fn with(captures: usize, fields: usize, texts: usize) -> String {
    let captures: String = (0..captures).map(|number| format!("/{{c{number}}}")).collect();
    let fields: Vec<String> = (0..fields).map(|number| format!("x-{number} = \"{number}\"")).collect();
    let text = |number| format!("[[route]]\npath = \"/texts/{{name}}.{number}\"\nhandler = \"one\"\n");
    format!(
        "[handler.one]\nmodule = \"one.wasm\"\n[[route]]\nhandler = \"one\"\npath = \"{captures}\"\n\
         [[route]]\nhandler = \"one\"\npath = \"/fields\"\nfields.set = {{ {} }}\n{}",
        fields.join(", "),
        (0..texts).map(text).collect::<String>()
    )
}

#[test]
fn the_limit_of_a_library_is_a_line_with_its_key_in_check_start_and_reload() {
    let daemon = Setup::new(&with(25, 100, 256)).file("one.wasm", &saying("x")).start();
    let serves = || {
        assert_eq!(daemon.get(&"/a".repeat(25)).status(), 200);
        assert_eq!(daemon.get("/fields").field("x-99"), Some("99"));
        assert_eq!(daemon.get("/texts/a.255").status(), 200);
    };
    serves();

    for (beyond, wanted) in [
        (with(26, 100, 256), "a path has 25 captures at most besides a tail, found 26: join some of them"),
        (with(25, 101, 256), "route[1].fields.set.x-100: wanted 100 fields at most"),
        (with(25, 100, 257), "256 different texts at most follow the capture in \"/texts/{}\""),
    ] {
        let other = Setup::new(&beyond).file("one.wasm", &saying("x"));
        let file = other.path("portcullis.toml");
        let checked = finish(portcullis().arg("check").arg("-c").arg(&file), b"", PATIENCE);
        let started = other.fail();

        for ended in [checked, started] {
            let lines: Vec<&str> = ended.stderr.lines().filter(|line| line.contains(": route[")).collect();
            assert_eq!((ended.code, lines.len()), (Some(1), 1), "{}", ended.stderr);
            assert!(lines[0].starts_with(&format!("portcullis: {}:", file.display())), "{}", lines[0]);
            assert!(lines[0].contains(wanted) && !ended.stderr.contains("panicked"), "{}", ended.stderr);
        }
        replace(&daemon, "portcullis.toml", beyond.as_bytes());
        daemon.signal(Signal::HUP);
        daemon.log.next("reload failed, the previous generation stays in force");
        daemon.log.next(wanted);
        serves();
    }
}

#[test]
fn a_request_under_way_is_finished_by_the_module_it_began_with() {
    let slow = |name: &str| Program::text().say(name).read_once().say(name).wasm();
    let daemon = Setup::one("", &slow("old\n")).start();
    let mut client = daemon.client();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\n");
    client.head();
    assert_eq!(client.chunk(), b"old\n");
    replace(&daemon, "one.wasm", &slow("new\n"));

    daemon.signal(Signal::HUP);

    daemon.log.line("reloaded: generation 2");
    assert_eq!(daemon.client().submit("POST", "/", "", b"x").text(), "new\nnew\n");
    client.send("x");
    assert_eq!(client.chunks(), b"old\n");
}

#[test]
fn no_request_is_lost_while_generations_follow_each_other() {
    let daemon = Setup::one("", &saying("generation")).start();
    let port = daemon.port();
    let asking = std::thread::spawn(move || {
        let mut client = crate::harness::Client::tcp(port);
        (0..500).filter(|_| client.get("/").text().starts_with("generation")).count()
    });

    for generation in 2..12 {
        replace(&daemon, "one.wasm", &saying(&format!("generation {generation}")));
        daemon.signal(Signal::HUP);
        daemon.log.line(&format!("reloaded: generation {generation}"));
    }

    assert_eq!(asking.join().unwrap(), 500);
    assert_eq!(daemon.get("/").text(), "generation 11");
}

#[test]
fn what_changes_under_up_is_built_and_swapped_in() {
    let text = |said: &str| {
        let length = said.len() + 26;
        format!(
            "(module (import \"wasi_snapshot_preview1\" \"fd_write\" (func $write (param i32 i32 i32 i32) (result i32)))
               (memory (export \"memory\") 1)
               (data (i32.const 0) \"\\10\\00\\00\\00\\{length:02x}\\00\\00\\00\")
               (data (i32.const 16) \"Content-Type: text/plain\\n\\n{said}\")
               (func (export \"_start\")
                 (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"
        )
    };
    let config =
        "[handler.one]\nmodule = \"build/one.wasm\"\n[[route]]\npath = \"/one/{who}\"\nhandler = \"one\"\n";
    let daemon = Setup::new(config).file("one.wat", text("old").as_bytes()).up().start();
    assert_eq!(daemon.get("/one/x").text(), "old");
    let port = daemon.port();
    assert!(daemon.out.line("  curl ").contains(&format!("curl http://127.0.0.1:{port}/one/who")));

    fs::write(daemon.path("one.wat"), text("new")).unwrap();

    until("the new one answers", || (daemon.get("/one/x").text() == "new").then_some(()));
    fs::write(daemon.path("one.wat"), "(module (oops))").unwrap();
    daemon.log.line("not built, the old generation goes on");
    assert_eq!(daemon.get("/one/x").text(), "new");
}

#[test]
fn check_reports_the_configuration_the_certificates_and_the_modules_at_once() {
    let setup = Setup::new(
        "grace = \"soon\"\nlisten = [\"unix://p.sock\"]\nunix.group = \"no such group\"\n\
         [tls]\ncert = \"absent.pem\"\nkey = \"one.wasm\"\n\
         [handler.one]\nmodule = \"one.wasm\"\n[handler.two]\nmodule = \"absent.wasm\"\n\
         [[route]]\npath = \"/\"\nhandler = \"two\"\n",
    )
    .file("one.wasm", b"text");
    let file = setup.path("portcullis.toml");

    let ended = finish(portcullis().arg("check").arg("-c").arg(&file), b"", PATIENCE);

    assert_eq!(ended.code, Some(1));
    let file = file.display();
    let starts = [
        format!("portcullis: {file}:1: grace: "),
        format!("portcullis: {file}:10: handler.two.module: there is no module at "),
        format!("portcullis: {file}: unix.group: group \"no such group\" not found in /etc/group"),
        format!("portcullis: {file}:5: tls.cert: "),
        format!("portcullis: {file}:6: tls.key: "),
        "portcullis: handler \"one\": ".to_owned(),
    ];
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(lines.len(), starts.len(), "{}", ended.stderr);
    for (line, start) in lines.iter().zip(starts) {
        assert!(line.starts_with(&start), "{line}\nwanted {start}");
    }
}

#[test]
fn check_does_without_secrets_where_nobody_gives_any_and_says_so() {
    let setup = Setup::one("secrets = { KEY = \"key\" }", &saying("x"));
    let mut check = portcullis();
    check.arg("check").arg("-c").arg(setup.path("portcullis.toml")).env_remove("CREDENTIALS_DIRECTORY");

    let ended = finish(&mut check, b"", PATIENCE);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended
            .stderr
            .starts_with("portcullis: warning: secrets that only the daemon can read are not checked: "),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_second_up_says_who_serves_the_directory() {
    let setup =
        Setup::new("[handler.one]\nmodule = \"one.wasm\"\n[[route]]\npath = \"/\"\nhandler = \"one\"\n");
    let daemon = setup.file("one.wasm", &saying("x")).up().start();
    let mut second = portcullis();
    second.arg("up").arg(daemon.path("")).args(["-H", "tcp://127.0.0.1:0"]);

    let ended = finish(&mut second, b"", PATIENCE);

    assert_eq!(ended.code, Some(1));
    let wanted = format!("portcullis: process {} serves this directory already", daemon.pid());
    assert!(ended.stderr.contains(&wanted), "{}", ended.stderr);
    assert_eq!(daemon.get("/").text(), "x");
}
