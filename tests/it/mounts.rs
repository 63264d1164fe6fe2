//! Attacks on mounts: every way out, races on the path, and special files.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, renameat_with};

use crate::harness::{Daemon, Ends, Landlock, Setup, figure, found, guests, until};

/// The content of a file outside, which must never be seen or changed.
const CANARY: &str = "canary-of-the-host";

/// The two kinds of modules that have files.
const KINDS: [&str; 2] = ["files", "files-wasip2"];

/// Ways out of a mount. Each must fail.
const WAYS: &str = include_str!("ways_out.txt");

/// Some of these steps are allowed, but none may lead out of the mount.
const DETOURS: &str = "\
symlink ../outside /data/door
list /data/door
read /data/door/secret
write /data/door/secret x
symlink ../outside/secret /data/key
read /data/key
write /data/key x
symlink door /data/sub/door
read /data/sub/door/secret
rename /data/door /data/sub/moved
read /data/sub/moved/secret
link /data/relative /data/twin
read /data/twin
write /data/twin x
rename /data/sub /data/sub2
read /data/sub2/up
mkdir /data/deep
rename /data/sub2 /data/deep/sub2
read /data/deep/sub2/up
write /data/deep/sub2/up x";

/// A handler with `granted` as writable /data and `readonly` as /ro. Nothing else is granted.
fn besieged(kind: &str, landlock: Landlock) -> Daemon {
    let module = fs::read(guests().join(format!("{kind}.wasm"))).unwrap();
    let setup = Setup::new("").handler(
        "files",
        "output = \"raw\"\nlimits.cpu = \"30s\"\nmounts = [{ host = \"granted\", guest = \"/data\", write = true }, { host = \"readonly\", guest = \"/ro\" }]",
        &module,
    );
    let at = |name: &str| setup.path(name);
    for dir in ["granted/sub", "readonly/sub", "outside/empty"] {
        fs::create_dir_all(at(dir)).unwrap();
    }
    fs::write(at("granted/mine"), "mine").unwrap();
    fs::write(at("readonly/public"), "public").unwrap();
    fs::write(at("outside/secret"), CANARY).unwrap();
    let links = [
        ("../outside/secret", "granted/relative"),
        ("relative", "granted/chain"),
        ("../outside/dangling", "granted/dangling"),
        ("../outside", "granted/directory"),
        ("..", "granted/parent"),
        ("/", "granted/root"),
        ("loop", "granted/loop"),
        ("/proc/self", "granted/self"),
        ("/proc/self/fd", "granted/fd"),
        ("../../outside/secret", "granted/sub/up"),
        ("../granted/mine", "readonly/writable"),
    ];
    for (target, path) in links {
        symlink(target, at(path)).unwrap();
    }
    symlink(at("outside/secret"), at("granted/absolute")).unwrap();
    landlock.start(setup)
}

fn operate(daemon: &Daemon, path: &str, operations: &str) -> Vec<String> {
    let response = daemon.client().submit("POST", path, "", operations.as_bytes());
    assert_eq!(response.status(), 200, "{}", response.text());
    response.text().lines().map(str::to_owned).collect()
}

fn tree(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.display().to_string();
        match entry.symlink_metadata().unwrap() {
            metadata if metadata.is_dir() => {
                found.extend(tree(&entry));
                found.insert(name, Vec::new());
            }
            metadata if metadata.is_symlink() => {
                found.insert(name, fs::read_link(entry).unwrap().into_os_string().into_encoded_bytes());
            }
            _ => drop(found.insert(name, fs::read(entry).unwrap())),
        }
    }
    found
}

#[test]
fn a_hundred_ways_out_of_a_mount_are_shut() {
    for (kind, landlock) in Landlock::each(KINDS) {
        let daemon = besieged(kind, landlock);
        let dirs = ["granted", "readonly", "outside"].map(|name| daemon.path(name));
        let before = dirs.clone().map(|dir| tree(&dir));

        let outcomes = operate(&daemon, "/files", WAYS);

        assert_eq!(outcomes.len(), WAYS.lines().count());
        for (way, outcome) in WAYS.lines().zip(&outcomes) {
            assert!(outcome.starts_with("failed "), "{kind}: {way}: {outcome}");
        }
        assert_eq!(dirs.map(|dir| tree(&dir)), before, "{kind}: nothing has changed");
    }
}

#[test]
fn links_that_a_guest_makes_and_moves_lead_nowhere() {
    for (kind, landlock) in Landlock::each(KINDS) {
        let daemon = besieged(kind, landlock);
        let dirs = ["readonly", "outside"].map(|name| daemon.path(name));
        let before = dirs.clone().map(|dir| tree(&dir));

        let outcomes = operate(&daemon, "/files", DETOURS);

        assert_eq!(outcomes.len(), DETOURS.lines().count());
        for (step, outcome) in DETOURS.lines().zip(&outcomes) {
            assert!(!outcome.contains(CANARY) && !outcome.contains("secret"), "{kind}: {step}: {outcome}");
        }
        assert_eq!(dirs.map(|dir| tree(&dir)), before, "{kind}: nothing outside has changed");
    }
}

fn exchanging<T>(one: &Path, other: &Path, work: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
            }
        });
        let _ends = Ends(&over);
        work()
    })
}

#[test]
fn whoever_wins_a_race_of_renames_no_guest_gets_out() {
    for (kind, landlock) in Landlock::each(KINDS) {
        let daemon = besieged(kind, landlock);
        let (door, other) = (daemon.path("granted/door"), daemon.path("granted/other"));
        fs::create_dir(&door).unwrap();
        fs::write(door.join("secret"), "mine").unwrap();
        symlink("../outside", &other).unwrap();

        // One request for each: on a busy machine, one operation alone takes seconds.
        let operations = [
            "hammer /data/door/secret 1000",
            "stamp /data/door/secret 1000",
            "hammer /data/sub/../door/./secret 500",
        ];
        let all = || operations.map(|operation| operate(&daemon, "/files", operation)).concat();
        let outcomes = exchanging(&door, &other, all);

        assert!(outcomes.iter().all(|outcome| outcome.starts_with("ok ")), "{outcomes:?}");
        assert!(!outcomes.concat().contains(CANARY), "{kind}: {outcomes:?}");
        assert_eq!(fs::read_to_string(daemon.path("outside/secret")).unwrap(), CANARY, "{kind}");
    }
}

#[test]
fn a_fifo_a_socket_and_a_device_in_a_mount_are_refused_at_once() {
    for (kind, landlock) in Landlock::each(KINDS) {
        let daemon = besieged(kind, landlock);
        let at = |name: &str| daemon.path(&format!("granted/{name}"));
        mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        symlink("fifo", at("to-fifo")).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        // mknod(2): the null device; needs privilege.
        let null = rustix::fs::makedev(1, 3);
        let device =
            mknodat(CWD, at("device"), FileType::CharacterDevice, Mode::RUSR | Mode::WUSR, null).is_ok();
        let mut operations: Vec<&str> = vec![
            "read /data/fifo",
            "write /data/fifo x",
            "append /data/fifo x",
            "read /data/to-fifo",
            "write /data/to-fifo x",
            "read /data/socket",
            "write /data/socket x",
        ];
        if device {
            operations.extend(["read /data/device", "write /data/device x"]);
        }
        let started = Instant::now();

        let outcomes = operate(&daemon, "/files", &operations.join("\n"));

        for (operation, outcome) in operations.iter().zip(&outcomes) {
            assert_eq!(outcome, "failed PermissionDenied", "{kind}: {operation}");
        }
        // Special files can be renamed and removed like any other.
        assert_eq!(
            operate(&daemon, "/files", "rename /data/fifo /data/pipe\nremove /data/pipe"),
            ["ok ", "ok "]
        );
        // `limits.time` is 30 s: no operation waited for it.
        assert!(started.elapsed() < Duration::from_secs(20));
    }
}

#[test]
fn a_fifo_that_slips_in_by_a_race_holds_up_its_own_handler_alone() {
    let module = fs::read(guests().join("files.wasm")).unwrap();
    let mount = |host: &str, time: &str| {
        format!(
            "output = \"raw\"\nmounts = [{{ host = \"{host}\", guest = \"/data\" }}]\nlimits.time = \"{time}\"\nlimits.concurrency = 4"
        )
    };
    let setup = Setup::new("").handler("bad", &mount("bad", "1s"), &module).handler(
        "good",
        &mount("good", "30s"),
        &module,
    );
    fs::create_dir(setup.path("bad")).unwrap();
    fs::create_dir(setup.path("good")).unwrap();
    fs::write(setup.path("good/file"), "good").unwrap();
    fs::write(setup.path("bad/file"), "bad").unwrap();
    mknodat(CWD, setup.path("bad/other"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let daemon = setup.start();
    let (file, other) = (daemon.path("bad/file"), daemon.path("bad/other"));

    let statuses = exchanging(&file, &other, || {
        std::thread::scope(|scope| {
            let ask = || daemon.client().submit("POST", "/bad", "", b"hammer /data/file 5000").status();
            let asked: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            asked.into_iter().map(|asked| asked.join().unwrap()).collect::<Vec<u16>>()
        })
    });

    // A stuck job was ended at its limit, and no other job was.
    assert!(statuses.iter().all(|status| [200, 504].contains(status)), "{statuses:?}");
    assert_eq!(operate(&daemon, "/good", "read /data/file"), ["ok good"]);
    daemon.signal(rustix::process::Signal::HUP);
    daemon.log.line("reloaded: generation 2");
    assert_eq!(operate(&daemon, "/good", "read /data/file"), ["ok good"]);
}

fn threads(daemon: &Daemon, name: &str) -> usize {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|found| found.trim() == name).count()
}

#[test]
fn files_that_hang_hold_up_their_own_handler_alone() {
    if !found(&["strace"], "strace") {
        return;
    }
    let module = fs::read(guests().join("files.wasm")).unwrap();
    let mount = |host: &str| {
        format!(
            "output = \"raw\"\nmounts = [{{ host = \"{host}\", guest = \"/data\" }}]\nlimits.concurrency = 8"
        )
    };
    let setup =
        Setup::new("").handler("slow", &mount("slow"), &module).handler("good", &mount("good"), &module);
    for name in ["slow", "good"] {
        fs::create_dir(setup.path(name)).unwrap();
        fs::write(setup.path(name).join("file"), name).unwrap();
    }
    let slow = setup.path("slow");
    let daemon = setup
        .under(&[
            "strace",
            "-D",
            "-f",
            "-qq",
            "--seccomp-bpf",
            "-o",
            "/dev/null",
            "-P",
            slow.to_str().unwrap(),
            "-e",
            "trace=openat2",
            "-e",
            "inject=openat2:delay_enter=2500000",
        ])
        .start();

    std::thread::scope(|scope| {
        let ask = || daemon.client().submit("POST", "/slow", "", b"read /data/file").text().to_owned();
        let asked: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        // The threads of the daemon that strace delays in the middle of an operation.
        until("they hang", || (threads(&daemon, "files") >= 10).then_some(()));

        assert_eq!(operate(&daemon, "/good", "read /data/file"), ["ok good"]);
        daemon.signal(rustix::process::Signal::HUP);
        daemon.log.line("reloaded: generation 2");
        assert_eq!(operate(&daemon, "/good", "read /data/file"), ["ok good"]);
        assert!(asked.iter().all(|asked| !asked.is_finished()), "they hang still");

        for asked in asked {
            assert_eq!(asked.join().unwrap(), "ok slow\n");
        }
    });
}

#[test]
fn a_large_directory_is_listed_in_time_that_grows_with_it_and_not_faster() {
    const FILES: usize = 16_000;
    /// How many times the files of the small directory these are.
    const TIMES: usize = 8;
    for kind in KINDS {
        let module = fs::read(guests().join(format!("{kind}.wasm"))).unwrap();
        let settings =
            "output = \"raw\"\nlimits.cpu = \"60s\"\nmounts = [{ host = \"some\", guest = \"/data\" }]";
        let setup = Setup::new("").handler("files", settings, &module);
        for (dir, files) in [("some/small", FILES / TIMES), ("some/large", FILES)] {
            fs::create_dir_all(setup.path(dir)).unwrap();
            (0..files).for_each(|number| fs::write(setup.path(&format!("{dir}/{number}")), "").unwrap());
        }
        let daemon = setup.start();
        let list = |dir: &str, times: usize, files: usize| {
            let before = daemon.cpu_time();
            for _ in 0..times {
                let listed = operate(&daemon, "/files", &format!("list /data/{dir}"));
                assert_eq!(listed[0].trim_start_matches("ok ").split(',').count(), files, "{kind}");
            }
            daemon.cpu_time() - before
        };

        // As many files in small pieces as in a large one.
        let (small, large) = (list("small", TIMES, FILES / TIMES), list("large", 1, FILES));

        figure(&format!(
            "{kind}: {FILES} files are listed in {large:?} of the daemon's, in {TIMES} pieces in {small:?}"
        ));
        // If each call read the whole directory, it would be eight times. Less than 50 ms is noise.
        assert!(large < 3 * small.max(Duration::from_millis(50)), "{kind}: {large:?}, in pieces {small:?}");
    }
}

#[test]
fn a_name_that_is_not_utf8_hides_no_other() {
    for kind in KINDS {
        let module = fs::read(guests().join(format!("{kind}.wasm"))).unwrap();
        let settings = "output = \"raw\"\nmounts = [{ host = \"odd\", guest = \"/data\" }]";
        let setup = Setup::new("").handler("files", settings, &module);
        fs::create_dir(setup.path("odd")).unwrap();
        for name in [&b"a"[..], b"\xff\xfe", b"\xc3\xbc", b"z"] {
            fs::write(setup.path("odd").join(OsStr::from_bytes(name)), "").unwrap();
        }

        let listed = operate(&setup.start(), "/files", "list /data");

        assert_eq!(listed, ["ok a,z,\u{fc}"], "{kind}");
    }
}

#[test]
fn a_loop_over_a_directory_ends_at_the_limit_on_processor_time() {
    for kind in KINDS {
        let module = fs::read(guests().join(format!("{kind}.wasm"))).unwrap();
        let settings = "limits.cpu = \"1s\"\nlimits.time = \"none\"\noutput = \"raw\"\nmounts = [{ host = \"some\", guest = \"/data\" }]";
        let setup = Setup::new("").handler("files", settings, &module);
        fs::create_dir(setup.path("some")).unwrap();
        (0..200).for_each(|number| fs::write(setup.path(&format!("some/{number}")), "").unwrap());
        let daemon = setup.start();
        let before = daemon.cpu_time();

        let response = daemon.client().patient(Duration::from_secs(60)).submit(
            "POST",
            "/files",
            "",
            b"relist /data 1000000",
        );

        let spent = daemon.cpu_time() - before;
        assert_eq!(response.status(), 504, "{kind}: {}", response.text());
        figure(&format!(
            "{kind}: `limits.cpu` of 1 s ends a loop over a directory after {spent:?} of the daemon's"
        ));
        // It took 4.3 s when the threads for files were not limited.
        assert!(spent < Duration::from_millis(2500), "{kind}: {spent:?}");
    }
}
