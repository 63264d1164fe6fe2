//! Several gates in front of a route: each is asked, whatever the target of the route is.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt as _;
use std::time::SystemTime;

use crate::harness::{Client, PATIENCE, Program, Setup, finish, portcullis, until};

/// "ada:lovelace"
const ADA: &str = "Authorization: Basic YWRhOmxvdmVsYWNl\r\n";

/// Orders of an address gate, a password gate and a handler that lets nobody pass.
const ORDERS: [&str; 4] =
    ["\"office\", \"staff\"", "\"staff\", \"office\"", "\"staff\", \"closed\"", "\"closed\", \"staff\""];

/// Targets: the path of the route, the path of a request, the target, and its status.
const TARGETS: [(&str, &str, &str, u16); 4] = [
    ("fixed", "fixed", "respond = { body = \"x\" }", 200),
    ("old", "old", "redirect = \"/env\"", 302),
    ("files/{*path}", "files/a.txt", "static = { dir = \"public\" }", 200),
    ("run", "run", "handler = \"env\"", 200),
];

#[test]
fn a_remembered_password_passes_its_own_gate_alone_and_a_file_in_memory_is_guarded() {
    let gates = "[gate.office]\nkind = \"addresses\"\ndeny = [\"127.0.0.3\"]\n\
                 [gate.staff]\nkind = \"basic\"\nusers_file = \"users\"\n";
    let users = format!("ada:{}\n", bcrypt::hash("lovelace", 4).unwrap());
    let mut setup = Setup::new(gates)
        .handler("env", "", &Program::text().environment().wasm())
        .handler("closed", "", &Program::new().say("Status: 403\n\n").wasm())
        .file("users", users.as_bytes());
    for (number, before) in ORDERS.iter().enumerate() {
        for (path, _, target, _) in TARGETS {
            setup = setup
                .add(&format!("[[route]]\npath = \"/{number}/{path}\"\n{target}\nbefore = [{before}]\n"));
        }
    }
    fs::create_dir(setup.path("public")).unwrap();
    let daemon = setup.file("public/a.txt", b"a").host("tcp://127.0.0.1:0").start();
    // A file that was changed less than 2 s ago is not kept in memory.
    until("the file has settled", || {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let changed = fs::metadata(daemon.path("public/a.txt")).unwrap().ctime().cast_unsigned();
        (changed + 3 < now).then_some(())
    });
    let from = |last: u8, path: &str, fields: &str| {
        Client::tcp_from(Ipv4Addr::new(127, 0, 0, last), daemon.port()).ask("GET", path, fields).status()
    };

    for (_, path, _, passed) in TARGETS {
        let asked = |order: usize| {
            let path = format!("/{order}/{path}");
            let _remembered = [(); 3].map(|()| from(2, &path, ADA));
            [from(2, &path, ADA), from(3, &path, ADA), from(2, &path, ""), from(3, &path, "")]
        };
        assert_eq!(asked(0), [passed, 403, 401, 403], "{path}");
        assert_eq!(asked(1), [passed, 403, 401, 401], "{path}");
        assert_eq!(asked(2), [403, 403, 401, 401], "{path}");
        assert_eq!(asked(3), [403; 4], "{path}");
    }
}

#[test]
fn check_warns_of_gates_that_are_idle_or_closed_and_of_a_path_that_is_rewritten_twice() {
    let settings = "[gate.office]\nkind = \"addresses\"\ndeny = [\"192.0.2.1\"]\n\
                    [gate.idle]\nkind = \"addresses\"\ndeny = [\"192.0.2.1\"]\n\
                    [gate.closed]\nkind = \"addresses\"\nallow = [\"192.0.2.1\"]\ndeny = [\"192.0.2.0/24\"]\n\
                    [gate.named]\nkind = \"client_certificate\"\nnames = [\"ada\"]\n\
                    [[route]]\npath = \"/once\"\nrewrite = \"/last?a=1\"\n\
                    [[route]]\npath = \"/twice\"\nrewrite = \"/once?a=1\"\n\
                    [[route]]\npath = \"/last\"\nrespond = {}\nbefore = [\"office\", \"closed\", \"named\"]\n";
    let setup = Setup::new(settings);

    let checked = finish(portcullis().arg("check").current_dir(setup.path("")), b"", PATIENCE);

    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    let warned = |text: &str| checked.stderr.contains(&format!("warning: {text}"));
    assert!(warned("gate.idle stands in front of no route: "), "{}", checked.stderr);
    assert!(!warned("gate.office"), "{}", checked.stderr);
    for closed in
        ["gate.closed lets nobody pass: all of `allow`", "gate.named lets nobody pass: no client has"]
    {
        assert!(warned(closed), "{closed}: {}", checked.stderr);
    }
    assert!(
        warned("route \"/twice\" is answered with 508: its `rewrite` leads to \"/once\""),
        "{}",
        checked.stderr
    );
    assert!(!warned("route \"/once\""), "{}", checked.stderr);
}

#[test]
fn a_gate_whose_route_has_a_mistake_is_not_called_idle() {
    let settings = "[gate.office]\nkind = \"addresses\"\ndeny = [\"192.0.2.1\"]\n\
                    [[route]]\npath = \"/\"\nrespond = {}\nmethods = [\"get\"]\nbefore = [\"office\"]\n";
    let setup = Setup::new(settings);

    let checked = finish(portcullis().arg("check").current_dir(setup.path("")), b"", PATIENCE);

    assert_eq!(checked.code, Some(1), "{}", checked.stderr);
    assert!(checked.stderr.contains("route[0].methods[0]: "), "{}", checked.stderr);
    assert!(!checked.stderr.contains("gate.office"), "{}", checked.stderr);
}

#[test]
fn a_gate_in_front_of_rewrites_alone_is_called_idle() {
    let settings = "[gate.office]\nkind = \"addresses\"\ndeny = [\"192.0.2.1\"]\n\
                    [group.old]\nprefix = \"/old\"\nbefore = [\"office\"]\n\
                    [[route]]\npath = \"/a\"\ngroup = \"old\"\nrewrite = \"/b\"\n\
                    [[route]]\npath = \"/b\"\nrespond = {}\n";
    let setup = Setup::new(settings);

    let checked = finish(portcullis().arg("check").current_dir(setup.path("")), b"", PATIENCE);

    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    assert!(checked.stderr.contains("gate.office stands in front of no route: "), "{}", checked.stderr);
}

#[test]
fn check_warns_of_a_password_and_a_token_that_no_request_can_have_both() {
    let hash = bcrypt::hash("x", 4).unwrap();
    let settings = format!(
        "before = [\"staff\"]\n[gate.staff]\nkind = \"basic\"\nusers = {{ ada = \"{hash}\" }}\n\
         [gate.api]\nkind = \"jwt\"\nalgorithms = [\"HS256\"]\nsecret = \"secret\"\nissuer = \"us\"\n\
         [[route]]\npath = \"/a\"\nrespond = {{}}\n\
         [[route]]\npath = \"/b\"\nrespond = {{}}\nbefore = [\"between\", \"api\"]\n"
    );
    let setup = Setup::new(&settings)
        .handler("between", "", &Program::text().wasm())
        .file("secret", b"0123456789abcdef0123456789abcdef");
    let check = || finish(portcullis().arg("check").current_dir(setup.path("")), b"", PATIENCE);
    assert!(!check().stderr.contains("nobody passes"), "a middleware may stand between: {}", check().stderr);
    let text = fs::read_to_string(setup.path("portcullis.toml")).unwrap();
    fs::write(setup.path("portcullis.toml"), text.replace("\"between\", ", "")).unwrap();

    let checked = check();

    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    let warning =
        "warning: nobody passes gate.staff and gate.api, which both stand in front of the route \"/b\": ";
    assert_eq!(checked.stderr.matches(warning).count(), 1, "{}", checked.stderr);
}

#[test]
fn check_warns_of_a_group_that_no_route_names() {
    let settings = "[group.team]\nprefix = \"/team\"\nbefore = [\"login\"]\n[group.open]\nprefix = \"/open\"\n\
                    [[route]]\npath = \"/team/plans\"\nrespond = {}\n\
                    [[route]]\npath = \"/a\"\ngroup = \"open\"\nrespond = {}\n";
    let setup = Setup::new(settings).handler("login", "", &Program::text().wasm());

    let checked = finish(portcullis().arg("check").current_dir(setup.path("")), b"", PATIENCE);

    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    let warning = "warning: group.team has no route: write group = \"team\" at its routes, or remove it";
    assert!(checked.stderr.contains(warning), "{}", checked.stderr);
    assert!(!checked.stderr.contains("group.open"), "{}", checked.stderr);
}
