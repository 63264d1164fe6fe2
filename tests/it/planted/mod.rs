//! Names that a handler may replace: a planted link or file never leads the daemon elsewhere.
//!
//! Floors, lowest first: the helpers in this file; `displaced`, `earlier`, `offline`, `race`, which do not use one
//! another.

mod displaced;
mod earlier;
mod offline;
mod race;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::harness::{
    Authority, Daemon, Ended, Landlock, PATIENCE, Pair, Program, Setup, finish, found, guests, portcullis,
    until,
};

/// The content of files outside, which must never be seen or changed.
const CANARY: &str = "canary-of-the-host";

/// The two kinds of modules that have files.
const KINDS: [&str; 2] = ["files", "files-wasip2"];

fn guest(kind: &str) -> Vec<u8> {
    fs::read(guests().join(format!("{kind}.wasm"))).unwrap()
}

/// The mounts in a handler's table.
fn mounts(list: &str) -> String {
    format!("output = \"raw\"\nlimits.cpu = \"30s\"\nmounts = [{list}]")
}

/// Makes a handler carry out these operations, and returns their outcomes.
fn operate(daemon: &Daemon, path: &str, operations: &str) -> Vec<String> {
    let response = daemon.client().submit("POST", path, "", operations.as_bytes());
    assert_eq!(response.status(), 200, "{}", response.text());
    response.text().lines().map(str::to_owned).collect()
}

/// Nested handlers: `up` writes to `data`, `mid` to `data/mid`, and `files` has `data/mid/public`, writable if `write`
/// is set.
fn nested(kind: &str, write: bool) -> Setup {
    let inner = format!("{{ host = \"data/mid/public\", guest = \"/public\", write = {write} }}");
    let setup = Setup::new("")
        .handler("up", &mounts("{ host = \"data\", guest = \"/data\", write = true }"), &guest(kind))
        .handler("mid", &mounts("{ host = \"data/mid\", guest = \"/mid\", write = true }"), &guest(kind))
        .handler("files", &mounts(&inner), &guest(kind));
    fs::create_dir_all(setup.path("data/mid/public")).unwrap();
    fs::create_dir_all(setup.path("outside/public")).unwrap();
    fs::write(setup.path("data/mid/public/file"), "mine").unwrap();
    for place in ["outside/file", "outside/public/file"] {
        fs::write(setup.path(place), CANARY).unwrap();
    }
    setup
}

/// Asserts that nothing outside was changed.
fn untouched(daemon: &Daemon) {
    let outside = daemon.path("outside");
    let names = |dir: &Path| {
        let names = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(
        (names(&outside), names(&outside.join("public"))),
        (vec!["file".to_owned(), "public".to_owned()], vec!["file".to_owned()])
    );
    for file in ["file", "public/file"] {
        assert_eq!(fs::read_to_string(outside.join(file)).unwrap(), CANARY);
    }
}

/// Reloads, and returns the lines with the reasons of the refusal.
fn refused_reload(daemon: &Daemon) -> String {
    daemon.signal(Signal::HUP);
    daemon.log.next("reload failed, the previous generation stays in force:");
    until("it says why", || {
        let log = daemon.log.text();
        let (_, why) = log.rsplit_once("reload failed, the previous generation stays in force:")?;
        why.trim().contains('\n').then(|| why.to_owned()).or_else(|| (why.len() > 40).then(|| why.to_owned()))
    })
}

#[test]
fn a_mount_within_a_writable_mount_is_held_whatever_is_put_in_its_place() {
    for (kind, landlock) in Landlock::each(KINDS) {
        for write in [true, false] {
            let daemon = landlock.start(nested(kind, write));
            let read = "read /public/file\nlist /public\nwrite /public/new x\nwrite /public/file x\nremove /public/new";

            // A rename is possible for the handler. It cannot make the links, but they would be followed in the same
            // way.
            assert_eq!(operate(&daemon, "/up", "rename /data/mid/public /data/gone"), ["ok "]);
            let outcomes = operate(&daemon, "/up", "symlink ../../outside/public /data/mid/public");
            assert_eq!(outcomes, ["failed PermissionDenied"], "{kind}");
            symlink("../../outside/public", daemon.path("data/mid/public")).unwrap();

            let outcomes = operate(&daemon, "/files", read);
            assert!(outcomes[0].starts_with("ok mine"), "{kind}: {outcomes:?}");
            assert_eq!(outcomes[2].starts_with("ok"), write, "{kind}: {outcomes:?}");
            untouched(&daemon);

            // One level higher, and by a reload.
            fs::rename(daemon.path("data/mid"), daemon.path("data/was")).unwrap();
            symlink("../outside", daemon.path("data/mid")).unwrap();
            daemon.signal(Signal::HUP);
            daemon.log.line("reloaded: generation 2");
            for handler in ["mid", "files"] {
                let warned = daemon.log.line(&format!("WARN handler \"{handler}\": the mount "));
                assert!(warned.contains("symbolic link \"mid\" within "), "{kind}: {warned}");
            }
            let outcomes =
                operate(&daemon, "/files", "list /public\nread /public/secret\nread /public/public/file");
            assert_eq!(outcomes[1..], ["failed NotFound", "failed NotFound"], "{kind}: {outcomes:?}");
            let outcomes = operate(&daemon, "/mid", "list /mid\nwrite /mid/new x\nread /mid/file");
            assert_eq!(outcomes[2], "failed NotFound", "{kind}: {outcomes:?}");
            untouched(&daemon);
        }
    }
}

#[test]
fn a_link_in_the_place_of_a_mount_is_refused_by_every_verb() {
    for landlock in Landlock::BOTH {
        let setup = nested("files", false);
        fs::rename(setup.path("data/mid/public"), setup.path("data/mid/gone")).unwrap();
        symlink("../../outside/public", setup.path("data/mid/public")).unwrap();
        let file = setup.path("portcullis.toml");
        let wanted = "handler.files.mounts: ";
        let done = |verb: &mut Command, stdin: &[u8]| landlock.around(|| finish(verb, stdin, PATIENCE));

        let checked = done(portcullis().arg("check").arg("-c").arg(&file), b"");
        assert_eq!(checked.code, Some(1));
        let line = checked.stderr.lines().find(|line| line.contains(wanted)).unwrap_or(&checked.stderr);
        assert!(
            line.contains("portcullis.toml:") && line.contains("symbolic link \"public\" within "),
            "{line}"
        );
        let mount = |host: &str, guest: &str| format!("{}::{guest}", setup.path(host).display());
        let mut run = portcullis();
        run.arg("run").arg("--mount").arg(mount("data", "/data"));
        run.arg("--mount").arg(mount("data/mid/public", "/p")).arg(setup.path("files.wasm"));
        let ran = done(&mut run, b"read /p/file\n");
        assert!(
            ran.code == Some(1) && ran.stderr.contains("symbolic link"),
            "{:?} {}",
            ran.stdout,
            ran.stderr
        );
        // Directories that other handlers may write to count as well.
        let ran = done(portcullis().args(["run", "-c"]).arg(&file).arg("files"), b"read /public/file\n");
        assert!(
            ran.code == Some(1) && ran.stderr.contains("symbolic link"),
            "{:?} {}",
            ran.stdout,
            ran.stderr
        );
        let refused = landlock.around(|| setup.fail());
        assert!(refused.code == Some(1) && refused.stderr.contains(wanted), "{}", refused.stderr);
    }
}

#[test]
fn a_directory_that_an_operator_puts_in_the_place_of_a_mount_is_taken_up_by_a_reload() {
    let setup =
        Setup::new("").handler("files", &mounts("{ host = \"data\", guest = \"/data\" }"), &guest("files"));
    fs::create_dir(setup.path("data")).unwrap();
    fs::write(setup.path("data/file"), "old").unwrap();
    let daemon = setup.start();
    assert_eq!(operate(&daemon, "/files", "read /data/file"), ["ok old"]);

    fs::rename(daemon.path("data"), daemon.path("before")).unwrap();
    fs::create_dir(daemon.path("data")).unwrap();
    fs::write(daemon.path("data/file"), "new").unwrap();

    assert_eq!(operate(&daemon, "/files", "read /data/file"), ["ok old"]);
    daemon.signal(Signal::HUP);
    daemon.log.line("reloaded: generation 2");
    assert_eq!(operate(&daemon, "/files", "read /data/file"), ["ok new"]);
}

/// A handler `up` that may write to `data`, where all files lie that the daemon reads and writes.
fn exposed(lines: &str) -> Setup {
    let up = mounts("{ host = \"data\", guest = \"/data\", write = true }");
    let setup = Setup::new("").handler("up", &up, &guest("files")).prepend(lines);
    for dir in ["data/state", "data/cache"] {
        fs::create_dir_all(setup.path(dir)).unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(setup.path(dir), private).unwrap();
    }
    fs::copy(setup.path("up.wasm"), setup.path("data/m.wasm")).unwrap();
    fs::write(setup.path("data/ca.pem"), "").unwrap();
    symlink("data/m.wasm", setup.path("alias.wasm")).unwrap();
    symlink("data", setup.path("entry")).unwrap();
    symlink("../up.wasm", setup.path("data/back.wasm")).unwrap();
    symlink("..", setup.path("data/door")).unwrap();
    setup
}

fn check(setup: &Setup, file: &str) -> Ended {
    let mut command = portcullis();
    command.env("HOME", setup.path("")).arg("check").arg("-c").arg(setup.path(file));
    finish(&mut command, b"", PATIENCE)
}

#[test]
fn what_the_daemon_looks_up_in_a_writable_mount_is_refused_with_its_key() {
    let second = |module: &str| format!("\n[handler.two]\nmodule = \"{module}\"\n");
    let tls = "[tls]\ncert = \"data/cert.pem\"\nkey = \"data/key.pem\"\n";
    let rows: [(&str, String, &str); 15] = [
        ("hardening.reach = [\"data/door\"]\n", String::new(), "hardening.reach"),
        ("", second("data/m.wasm"), "handler.two.module"),
        ("", second("entry/m.wasm"), "handler.two.module"),
        ("", second("alias.wasm"), "handler.two.module"),
        ("", second("data/back.wasm"), "handler.two.module"),
        ("", second("data/../up.wasm"), "handler.two.module"),
        ("record_dir = \"data/state\"\n", String::new(), "record_dir"),
        ("record_dir = \"data\"\n", String::new(), "record_dir"),
        ("record_dir = \"data/new/state\"\n", String::new(), "record_dir"),
        ("cache = \"data/cache\"\n", String::new(), "cache"),
        ("admin = \"unix://data/admin.sock\"\n", String::new(), "admin"),
        ("listen = [\"unix://entry/web.sock\"]\n", String::new(), "listen"),
        ("", tls.to_owned(), "tls"),
        ("", "[outbound]\nca = \"data/ca.pem\"\n".to_owned(), "outbound.ca"),
        ("", "\n[handler.two]\nmodule = \"up.wasm\"\nmounts = [{ host = \"/etc\", guest = \"/etc\", write = true }]\n".to_owned(), "mounts"),
    ];
    for (lines, tables, key) in rows {
        let setup = exposed(lines).add(&tables);
        // This module compiles at once.
        fs::write(setup.path("up.wasm"), Program::new().wasm()).unwrap();
        let Pair { cert, key: secret } = Authority::usual().server(&["localhost"]);
        fs::write(setup.path("data/cert.pem"), cert).unwrap();
        fs::write(setup.path("data/key.pem"), secret).unwrap();

        let ended = check(&setup, "portcullis.toml");

        let wanted = |line: &str| line.contains(&format!(" {key}: ")) && line.contains(" may write to");
        let found = ended.stderr.lines().any(wanted);
        assert!(ended.code == Some(1) && found, "{lines}{tables}: {:?} {}", ended.code, ended.stderr);
        // The test harness sets another address to listen on.
        if key == "listen" {
            continue;
        }
        for landlock in Landlock::BOTH {
            let refused = landlock.around(|| setup.fail());
            assert!(
                refused.code == Some(1) && refused.stderr.lines().any(wanted),
                "{lines}{tables}: {}",
                refused.stderr
            );
        }
    }
}

#[test]
fn a_configuration_in_a_writable_mount_is_refused_and_one_beside_it_is_not() {
    let setup = exposed("");
    let text = fs::read_to_string(setup.path("portcullis.toml")).unwrap();
    fs::write(
        setup.path("data/p.toml"),
        text.replace("host = \"data\"", "host = \".\"").replace("up.wasm", "../up.wasm"),
    )
    .unwrap();
    symlink("data/p.toml", setup.path("link.toml")).unwrap();

    let inside = check(&setup, "data/p.toml");
    assert!(inside.code == Some(1) && inside.stderr.contains("p.toml: "), "{}", inside.stderr);
    assert!(inside.stderr.contains("p.toml is looked up in "), "{}", inside.stderr);
    let beside = check(&setup, "portcullis.toml");
    assert_eq!(beside.code, Some(0), "{}", beside.stderr);
    // Anything may lie beside a read-only mount.
    let text =
        text.replace("host = \"data\", guest = \"/data\", write = true", "host = \".\", guest = \"/data\"");
    fs::write(setup.path("portcullis.toml"), text).unwrap();
    let read_only = check(&setup, "portcullis.toml");
    assert_eq!(read_only.code, Some(0), "{}", read_only.stderr);
}

#[test]
fn a_reload_after_which_a_handler_could_write_to_a_module_is_refused() {
    let rows = [
        ("", "\n[handler.two]\nmodule = \"data/m.wasm\"\n", "handler.two.module: ", "m.wasm"),
        ("record_dir = \"data/state\"\n", "", "record_dir: ", "data/state"),
        ("cache = \"data/cache\"\n", "", "cache: ", "data/cache"),
    ];
    for ((lines, tables, key, file), landlock) in Landlock::each(rows) {
        let daemon = landlock.start(exposed(""));
        let config = daemon.path("portcullis.toml");
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, format!("{lines}{text}{tables}")).unwrap();

        daemon.signal(Signal::HUP);

        let why = daemon.log.line(&format!("{file} is looked up in "));
        assert!(why.contains(key) && why.contains("which handler \"up\" may write to"), "{why}");
        daemon.log.line("reload failed, the previous generation stays in force:");
        assert_eq!(operate(&daemon, "/up", "write /data/x y\nread /data/x"), ["ok ", "ok y"]);
    }
}

#[test]
fn a_bind_mount_is_no_way_around() {
    if !found(&["unshare"], "util-linux") {
        return;
    }
    let setup = exposed("").add("\n[handler.two]\nmodule = \"bound/m.wasm\"\n");
    fs::create_dir_all(setup.path("data/deep")).unwrap();
    fs::copy(setup.path("up.wasm"), setup.path("data/deep/m.wasm")).unwrap();
    fs::create_dir(setup.path("bound")).unwrap();
    let tried = |script: &str| {
        let mut command = std::process::Command::new("unshare");
        command.env("HOME", setup.path("")).args(["-rm", "sh", "-c", script]).arg(setup.path(""));
        command.arg(env!("CARGO_BIN_EXE_portcullis"));
        finish(&mut command, b"", PATIENCE)
    };
    if tried("mount --bind \"$0/data\" \"$0/bound\"").code != Some(0) {
        crate::harness::figure("skipped: needs user namespaces (sysctl kernel.unprivileged_userns_clone=1)");
        return;
    }

    for bound in ["data", "data/deep"] {
        let ended = tried(&format!(
            "cp \"$0/up.wasm\" \"$0/data/m.wasm\"; mount --bind \"$0/{bound}\" \"$0/bound\" && exec \"$1\" check -c \"$0/portcullis.toml\""
        ));
        let wanted = ended.stderr.contains("handler.two.module: ") && ended.stderr.contains(" may write to");
        assert!(ended.code == Some(1) && wanted, "{bound}: {}", ended.stderr);
    }
}

#[test]
fn a_crate_that_a_handler_could_have_written_is_not_built() {
    let setup = exposed("");
    fs::create_dir_all(setup.path("data/src")).unwrap();
    fs::write(setup.path("data/Cargo.toml"), "[package]\nname = \"planted\"\nversion = \"0.1.0\"\n").unwrap();
    fs::write(setup.path("data/src/main.rs"), "fn main() {}").unwrap();
    fs::write(setup.path("data/build.rs"), "fn main() { std::fs::write(\"built\", \"\").unwrap() }").unwrap();

    let ended = finish(portcullis().arg("build").arg(setup.path("")), b"", PATIENCE);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(said.contains("data is not built: it lies in ") && said.contains(" may write to"), "{said}");
    assert!(!setup.path("data/built").exists() && !setup.path("build").exists());
}

#[test]
fn a_version_that_is_swapped_in_has_the_mounts_that_are_held() {
    for (kind, landlock) in Landlock::each(KINDS) {
        let setup = nested(kind, false).prepend("admin = \"unix://admin.sock\"\n");
        let daemon = landlock.start(setup);
        fs::rename(daemon.path("data/mid/public"), daemon.path("data/mid/gone")).unwrap();
        symlink("../../outside/public", daemon.path("data/mid/public")).unwrap();
        let another = daemon.path("another.wasm");
        fs::write(&another, guest(kind)).unwrap();

        let swapped = daemon.verb(&["swap", "files", another.to_str().unwrap()]);

        assert_eq!(swapped.code, Some(0), "{}", swapped.stderr);
        assert_eq!(operate(&daemon, "/files", "read /public/file"), ["ok mine"], "{kind}");
        untouched(&daemon);
    }
}
