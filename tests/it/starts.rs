//! Starts under resource limits, and starts after leftovers of earlier daemons.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;

use crate::harness::{Client, Daemon, PATIENCE, Setup, finish, found, guests, portcullis, reaped};
use crate::lifecycle::hello;

/// Larger than the code of a guest, and smaller than the maximum request body.
const MOST: usize = 8 * PIECE;

/// Bytes of one write.
const PIECE: usize = 1_000_000;

#[test]
fn a_file_beyond_the_limit_of_the_process_fails_for_its_writer_alone() {
    if !found(&["prlimit"], "util-linux") {
        return;
    }
    let files = fs::read(guests().join("files.wasm")).unwrap();
    let settings = "output = \"raw\"\nmounts = [{ host = \"data\", guest = \"/data\", write = true }]";
    let setup = Setup::new("");
    fs::create_dir(setup.path("data")).unwrap();
    let limit = format!("--fsize={MOST}");
    let line = format!("append /data/x {}\n", "x".repeat(PIECE));
    let lines = line.repeat(MOST / PIECE + 1);
    let file = setup.path("data/x");
    let refused = |said: &[u8]| {
        let said = std::str::from_utf8(said).unwrap().lines().collect::<Vec<_>>();
        let (last, others) = said.split_last().unwrap();
        assert!(last.starts_with("failed") && others.iter().all(|line| line.starts_with("ok")), "{said:?}");
        fs::metadata(&file).unwrap().len()
    };
    fs::write(&file, "").unwrap();
    let daemon = setup.handler("files", settings, &files).under(&["prlimit", &limit]).start();

    let answer = daemon.client().submit("POST", "/files", "", lines.as_bytes());

    assert_eq!(refused(&answer.body), MOST as u64);
    let small = daemon.client().submit("POST", "/files", "", b"write /data/y content\n");
    assert_eq!(small.text(), "ok \n");

    fs::write(&file, "").unwrap();
    let mut run = Command::new("prlimit");
    run.arg(&limit).arg(env!("CARGO_BIN_EXE_portcullis")).arg("run");
    run.arg("--mount").arg(format!("{}::/data", daemon.path("data").display()));
    let ended = finish(run.arg(daemon.path("files.wasm")), lines.as_bytes(), PATIENCE);
    assert_eq!(refused(&ended.stdout), MOST as u64, "{}", ended.stderr);
}

#[test]
fn a_process_that_may_write_no_file_says_so_instead_of_dying() {
    if !found(&["prlimit"], "util-linux") {
        return;
    }

    let ended = Setup::one("", &hello()).under(&["prlimit", "--fsize=0"]).fail();

    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("File too large"), "{}", ended.stderr);
}

#[test]
fn a_low_soft_limit_of_open_files_is_raised_to_the_hard_one() {
    if !found(&["prlimit"], "util-linux") {
        return;
    }

    let daemon = Setup::one("", &hello()).under(&["prlimit", "--nofile=256:2048"]).start();

    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().take(2).collect::<Vec<_>>(), ["2048", "2048"], "soft and hard");
    // More than the soft limit was.
    let mut clients: Vec<Client> = (0..300).map(|_| daemon.client()).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.get("/").text(), "hello\n"));
}

#[test]
fn more_descriptors_than_there_are_is_told_by_check_and_start_before_they_are_missed() {
    if !found(&["prlimit"], "util-linux") {
        return;
    }
    // A check raises the limit as the start does.
    let limit = "--nofile=256:1024";
    let setup = |limits: &str| {
        let mounts = "mounts = [{ host = \"data\", guest = \"/data\" }]";
        let setup = Setup::one(&format!("{mounts}\nlimits = {{ {limits} }}"), &hello());
        fs::create_dir(setup.path("data")).unwrap();
        setup
    };
    let check = |setup: &Setup| {
        let mut check = Command::new("prlimit");
        check.args([limit, env!("CARGO_BIN_EXE_portcullis"), "check"]);
        let ended = finish(check.env("HOME", setup.path("")).current_dir(setup.path("")), b"", PATIENCE);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended.stderr
    };
    let (modest, greedy) = (setup("handles = 16, concurrency = 1"), setup("handles = 256"));

    let said = check(&modest);
    assert!(!said.contains("limits.handles"), "{said}");
    let said = check(&setup("concurrency = 200"));
    assert!(
        said.contains("limits.handles: jobs may hold 400 file descriptors at once (one: 200 jobs)"),
        "{said}"
    );
    let said = check(&greedy);
    let at = said.find("limits.handles: jobs may hold").unwrap_or_else(|| panic!("{said}"));
    let told = said[at..].lines().next().unwrap();
    // Half of them are for connections, 192 are kept in reserve, and the mount takes 7.
    assert!(
        told.contains(" file descriptors at once (one: 64 jobs), and 313 of 1024 are for them"),
        "{told}"
    );
    assert!(told.contains("LimitNOFILE="), "{told}");
    let daemon = greedy.under(&["prlimit", limit]).start();
    daemon.log.line(told);
    assert_eq!(daemon.get("/").text(), "hello\n");
}

#[test]
fn limits_that_nobody_has_set_cause_no_warning_about_descriptors() {
    if !found(&["prlimit"], "util-linux") {
        return;
    }
    let limit = "--nofile=1024:1024";
    let settings = "mounts = [{ host = \"data\", guest = \"/data\" }]";
    let setup = Setup::one(settings, &hello()).prepend("[limits]\nmemory = \"64MiB\"\n");
    fs::create_dir(setup.path("data")).unwrap();

    let mut check = Command::new("prlimit");
    check.args([limit, env!("CARGO_BIN_EXE_portcullis"), "check"]);
    let checked = finish(check.env("HOME", setup.path("")).current_dir(setup.path("")), b"", PATIENCE);

    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    assert!(!checked.stderr.contains("limits.handles"), "{}", checked.stderr);
    let daemon = setup.under(&["prlimit", limit]).start();
    assert_eq!(daemon.get("/").text(), "hello\n");
    assert_eq!(daemon.log.count("limits.handles"), 0, "{}", daemon.log.text());
}

/// Returns a command prefix that limits the number of threads, or `None` if that is impossible here.
/// The kernel does not apply the limit to root, so the command switches to another user.
fn unprivileged(limit: &str) -> Option<Vec<String>> {
    if !found(&["prlimit", "setpriv"], "util-linux") || !rustix::process::geteuid().is_root() {
        return None;
    }
    // A user ID that no other process has, so no other threads count.
    let user = 4_000_000 + std::process::id();
    let words = ["setpriv", &format!("--reuid={user}"), "--regid=65534", "--clear-groups", "prlimit", limit];
    Some(words.iter().map(|word| (*word).to_owned()).collect())
}

#[test]
fn a_start_without_threads_is_one_line_and_an_end() {
    for count in 1..=5 {
        let Some(under) = unprivileged(&format!("--nproc={count}:{count}")) else { return };
        let setup = Setup::one("", &hello()).prepend("cache = \"none\"\n");
        fs::set_permissions(setup.path(""), fs::Permissions::from_mode(0o755)).unwrap();
        let under: Vec<&str> = under.iter().map(String::as_str).collect();

        let ended = setup.under(&under).fail();

        let said: Vec<&str> = ended.stderr.lines().filter(|line| line.starts_with("portcullis: ")).collect();
        assert_eq!(ended.code, Some(1), "{count}: {}", ended.stderr);
        assert_eq!(said.len(), 1, "{count}: {}", ended.stderr);
        assert!(!ended.stderr.contains("panicked"), "{count}: {}", ended.stderr);
    }
}

/// Starts a daemon whose state and cache directories are links, as systemd makes them for a dynamic user.
fn linked(place: &std::path::Path) -> Daemon {
    let at = |name: &str| place.join(name);
    if !at("private").exists() {
        fs::create_dir_all(at("private/state")).unwrap();
        fs::create_dir_all(at("private/cache")).unwrap();
        symlink("private/state", at("state")).unwrap();
        symlink("private/cache", at("cache")).unwrap();
        symlink("private/records", at("records")).unwrap();
    }
    fs::create_dir_all(at("private/records")).unwrap();
    fs::set_permissions(at("private/records"), fs::Permissions::from_mode(0o700)).unwrap();
    Setup::one("", &hello())
        .prepend(&format!("record_dir = {:?}\n", at("records")))
        .env("STATE_DIRECTORY", at("state"))
        .env("CACHE_DIRECTORY", at("cache"))
        .start()
}

#[test]
fn directories_that_links_of_the_service_manager_lead_to_are_used() {
    use std::os::unix::fs::MetadataExt as _;
    let place = tempfile::tempdir().unwrap();
    let kept = || -> Vec<u64> {
        let entries = fs::read_dir(place.path().join("private/cache/code")).unwrap();
        entries.map(|entry| entry.unwrap().metadata().unwrap().ino()).collect()
    };

    let mut first = linked(place.path());
    assert_eq!(first.get("/").text(), "hello\n");
    let written = kept();
    assert_eq!(written.len(), 1, "{}", first.log.text());
    assert!(!first.terminate().stderr.contains("not kept"));

    let second = linked(place.path());
    assert_eq!(second.get("/").text(), "hello\n");
    assert_eq!(kept(), written, "it was not written again");
    assert!(place.path().join("private/state/cache.key").is_file());
}

#[test]
fn a_socket_that_was_passed_and_that_nobody_takes_is_told() {
    let passed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = passed.local_addr().unwrap();
    let setup = Setup::one("", &hello());
    let config = setup.path("portcullis.toml");
    let script = "exec 3<&0 </dev/null; exec \"$0\" exec \"$0\" serve -c \"$1\" -H tcp://127.0.0.1:0";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_portcullis")]).arg(config);
    command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "web").env_remove("NOTIFY_SOCKET");
    command.stdin(std::os::fd::OwnedFd::from(passed)).stderr(std::process::Stdio::piped());
    let mut daemon = command.spawn().unwrap();
    let log = crate::harness::Log::of(daemon.stderr.take().unwrap());

    let line = log.line("which no endpoint uses");

    daemon.kill().unwrap();
    reaped(&mut daemon, PATIENCE);
    assert!(line.contains(&format!("WARN systemd passed tcp://{address} (descriptor 3, \"web\")")), "{line}");
}

#[test]
fn a_word_of_the_log_that_means_nothing_is_refused_and_none_is_the_default() {
    for typo in ["warning", "nonsense", "portcullis::nett=debug"] {
        let ended = Setup::one("", &hello()).env("PORTCULLIS_LOG", typo).fail();

        assert_eq!(ended.code, Some(1), "{typo}");
        assert!(ended.stderr.contains(&format!("PORTCULLIS_LOG={typo:?}: ")), "{}", ended.stderr);
    }
    let daemon = Setup::one("", &hello()).env("PORTCULLIS_LOG", "").start();
    daemon.log.line("listening on tcp://");
}

#[test]
fn a_socket_made_under_any_umask_appears_and_what_others_left_is_named() {
    let setup = Setup::one("", &hello());
    let socket = setup.path("p.sock");
    let host = format!("unix://{}", socket.display());
    let umask = "umask 0777; exec \"$0\" \"$@\"";
    let daemon = setup.host(&host).under(&["sh", "-c", umask]).prepend("cache = \"none\"\n").start();
    assert_eq!(crate::harness::Client::unix(&socket).get("/").text(), "hello\n");
    drop(daemon);

    let setup = Setup::one("", &hello());
    let (socket, other) = (setup.path("p.sock"), setup.path(".p.sock.binding"));
    fs::create_dir(&other).unwrap();
    fs::write(other.join("file"), "").unwrap();
    let ended = setup.host(format!("unix://{}", socket.display())).fail();
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains(&format!("remove it (rm -r {})", other.display())), "{}", ended.stderr);
}

#[test]
fn what_can_never_matter_is_refused_by_check() {
    for (lines, told) in [
        ("admin_group = \"0\"\n", "admin_group: needs admin"),
        ("admin_mode = \"0660\"\n", "admin_mode: needs admin"),
        ("hardening.reach = [\"\"]\n", "wanted a directory, found \"\""),
    ] {
        let setup = Setup::one("", &hello()).prepend(lines);
        let mut check = portcullis();
        let ended = finish(check.arg("check").arg("-c").arg(setup.path("portcullis.toml")), b"", PATIENCE);

        assert_eq!(ended.code, Some(1), "{lines}");
        assert!(ended.stderr.contains(told), "{lines}: {}", ended.stderr);
    }
}

/// Returns one of the units that are shipped.
fn unit(name: &str) -> String {
    fs::read_to_string(format!("{}/systemd/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

#[test]
fn the_sockets_of_clients_lie_outside_of_what_the_service_takes_with_it() {
    let (service, socket) = (unit("portcullis.service"), unit("portcullis.socket"));

    let [runtime] = values(&service, "RuntimeDirectory")[..] else { panic!("one") };
    for listen in values(&socket, "ListenStream") {
        assert!(!listen.starts_with(&format!("/run/{runtime}/")), "{listen}");
    }
    // systemd.exec(5): with DynamicUser=, a preserved runtime directory is in /run/private.
    assert_eq!(values(&service, "DynamicUser"), ["yes"]);
    assert!(values(&service, "RuntimeDirectoryPreserve").is_empty());
}

#[test]
fn systemd_understands_the_units() {
    if !found(&["systemd-analyze"], "systemd") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let service = unit("portcullis.service").replace("/usr/bin/portcullis", env!("CARGO_BIN_EXE_portcullis"));
    fs::write(dir.path().join("portcullis.service"), service).unwrap();
    fs::write(dir.path().join("portcullis.socket"), unit("portcullis.socket")).unwrap();

    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no"]);
    verify.args(["portcullis.service", "portcullis.socket"].map(|name| dir.path().join(name)));
    let ended = finish(&mut verify, b"", PATIENCE);

    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
}
