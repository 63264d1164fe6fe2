//! Faults of the kernel and the disk, injected by strace, and random bytes as modules.

use std::fs;

use rustix::process::Signal;

use crate::harness::{PATIENCE, Program, Random, Setup, finish, found, guests, portcullis, until};

fn hello() -> Setup {
    Setup::one("", &Program::text().say("hello\n").wasm())
}

/// Starts a daemon whose system calls strace makes fail.
fn disturbed(setup: Setup, options: &[&str]) -> Setup {
    let fixed = ["strace", "-D", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null"];
    setup.under(&[&fixed, options].concat())
}

#[test]
fn no_error_of_accept_ends_the_daemon() {
    if !found(&["strace"], "strace") {
        return;
    }
    for error in ["EMFILE", "ENFILE", "ECONNABORTED", "EPROTO", "ENOBUFS", "ENOMEM", "EPERM"] {
        let inject = format!("inject=accept4:error={error}:when=1..3");
        let daemon = disturbed(hello(), &["-e", "trace=accept4", "-e", &inject]).start();

        assert_eq!(daemon.get("/").text(), "hello\n", "{error}");
    }
}

#[test]
fn a_cache_that_cannot_be_written_costs_the_next_start_time_and_nothing_else() {
    if !found(&["strace"], "strace") {
        return;
    }
    for (call, error) in [("fsync", "EIO"), ("renameat,renameat2,rename", "EIO"), ("fsync", "ENOSPC")] {
        let setup = hello().prepend("cache = \"cache\"\n");
        let cache = setup.path("cache");
        let inject = format!("inject={call}:error={error}");
        let daemon = disturbed(setup, &["-e", &format!("trace={call}"), "-e", &inject]).start();

        assert_eq!(daemon.get("/").text(), "hello\n", "{call} {error}");
        daemon.log.line("a compiled module is not kept in ");
        // The directory of large bodies may be there as well.
        let entries = fs::read_dir(&cache).unwrap().map(Result::unwrap);
        let left: Vec<_> = entries.filter(|entry| entry.file_type().unwrap().is_file()).collect();
        assert!(left.is_empty(), "{call} {error}: nothing half written stays: {left:?}");
    }
}

#[test]
fn a_full_disk_is_the_concern_of_the_guest_that_fills_it() {
    if !found(&["strace"], "strace") {
        return;
    }
    let module = fs::read(guests().join("files.wasm")).unwrap();
    let mount = |host: &str| {
        format!("output = \"raw\"\nmounts = [{{ host = \"{host}\", guest = \"/data\", write = true }}]")
    };
    for (error, told) in [("ENOSPC", "failed StorageFull\n"), ("EIO", "failed "), ("EDQUOT", "failed ")] {
        let setup =
            Setup::new("").handler("full", &mount("full"), &module).handler("good", &mount("good"), &module);
        fs::create_dir(setup.path("full")).unwrap();
        fs::create_dir(setup.path("good")).unwrap();
        fs::write(setup.path("full/file"), "").unwrap();
        let path = setup.path("full/file");
        let inject = format!("inject=pwrite64:error={error}");
        let options = ["-P", path.to_str().unwrap(), "-e", "trace=pwrite64", "-e", &inject];
        let daemon = disturbed(setup, &options).start();
        let ask = |path: &str| {
            let response = daemon.client().submit("POST", path, "", b"write /data/file x\nread /data/file\n");
            response.text().to_owned()
        };

        let full = ask("/full");

        assert!(full.starts_with(told), "{error}: {full}");
        assert_eq!(ask("/good"), "ok \nok x\n", "{error}");
        assert_eq!(daemon.log.count("ERROR"), 0, "{error}: {}", daemon.log.text());
    }
}

#[test]
fn a_daemon_that_is_killed_at_any_time_starts_again() {
    /// The number of log lines before the gate opens.
    const LINES: usize = 9;
    let dir = tempfile::tempdir().unwrap();
    let cache = format!("cache = {:?}\n", dir.path().join("cache"));
    let socket = dir.path().join("p.sock");
    for round in 0..18 {
        let daemon = hello().prepend(&cache).host(format!("unix://{}", socket.display())).spawn();
        // Killed a little later each time: while it binds, compiles, serves.
        until("its time has come", || {
            let lines = daemon.log.text().lines().count();
            (lines >= round % LINES).then_some(())
        });
        daemon.signal(Signal::KILL);
        drop(daemon);
    }

    let daemon = hello().prepend(&cache).host(format!("unix://{}", socket.display())).start();

    assert_eq!(crate::harness::Client::unix(&socket).get("/").text(), "hello\n");
    assert_eq!(daemon.log.count("is deleted and not used"), 0, "{}", daemon.log.text());
}

#[test]
fn a_spoilt_module_is_refused_with_a_reason_or_is_a_module_all_the_same() {
    let whole = Program::text().say("hello\n").wasm();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for case in 0..80 {
        let mut spoilt = whole.clone();
        match case % 3 {
            0 => spoilt.truncate(random.below(whole.len())),
            1 => (0..=random.below(8)).for_each(|_| {
                let at = random.below(whole.len());
                spoilt[at] = random.next().to_le_bytes()[0];
            }),
            _ => {
                let at = random.below(whole.len());
                let noise: Vec<u8> =
                    (0..random.below(64)).flat_map(|_| random.next().to_le_bytes()).collect();
                spoilt.splice(at..at, noise);
            }
        }

        let ended = finish(portcullis().arg("compile-worker"), &spoilt, PATIENCE);

        let said = ended.stderr;
        match ended.code {
            Some(0) => assert!(!ended.stdout.is_empty(), "case {case}"),
            Some(1) => assert!(ended.stdout.is_empty() && said.lines().count() >= 1, "case {case}: {said}"),
            other => panic!("case {case}: ended by {other:?}: {said}"),
        }
        assert!(!said.contains("panicked"), "case {case}: {said}");
    }
}
