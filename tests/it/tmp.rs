//! The `/tmp` that each job has to itself: empty, bounded, and removed with the job.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Client, Daemon, Landlock, PATIENCE, Setup, figure, finish, guests, portcullis, until};

/// The test program as a core module and as a component.
const KINDS: [&str; 2] = ["files", "files-wasip2"];

/// Maximum bytes in it.
const TMP: u64 = 1 << 20;

fn module(kind: &str) -> Vec<u8> {
    fs::read(guests().join(format!("{kind}.wasm"))).unwrap()
}

/// A handler whose jobs have a `/tmp` of 1 MiB each, beside a mount.
fn site(kind: &str) -> Setup {
    let settings = "output = \"raw\"\ntmp = \"1MiB\"\nlimits.cpu = \"60s\"\nlimits.time = \"60s\"\n\
        mounts = [{ host = \"data\", guest = \"/data\", write = true }]";
    let setup =
        Setup::new("").handler("files", settings, &module(kind)).prepend("scratch = \"scratch\"\njobs = 8\n");
    fs::create_dir(setup.path("data")).unwrap();
    setup
}

/// Has a job carry out these lines, and returns its output.
fn run(daemon: &Daemon, lines: &str) -> String {
    let response = daemon.client().patient(PATIENCE * 3).submit("POST", "/files", "", lines.as_bytes());
    assert_eq!(response.status(), 200, "{lines}");
    response.text().trim_end_matches('\n').to_owned()
}

/// Maps an error to the error that this kind of program reports. The C library of Rust's wasm32-wasip2 reports every
/// failure of a stream as EIO, including a full disk.
fn in_words_of(kind: &str, said: &str) -> String {
    if kind == KINDS[1] { said.replace("StorageFull", "Uncategorized") } else { said.to_owned() }
}

/// Starts a job that carries out these lines.
fn begin(client: &mut Client, lines: &str) {
    client.send(format!("POST /files HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n{lines}", lines.len()));
}

/// Lists the files and links below a directory.
fn left(place: &Path) -> Vec<PathBuf> {
    let (mut files, mut dirs) = (Vec::new(), vec![place.to_owned()]);
    while let Some(dir) = dirs.pop() {
        // It may be removed by now.
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_dir { dirs.push(entry.path()) } else { files.push(entry.path()) }
        }
    }
    files
}

#[test]
fn each_job_finds_an_empty_tmp_and_the_variable_that_names_it() {
    for kind in KINDS {
        let daemon = site(kind).start();
        for _ in 0..3 {
            let said = run(
                &daemon,
                "list /tmp\nvariable TMPDIR\nmkdir /tmp/d\nwrite /tmp/d/f mine\nread /tmp/d/f\nlist /tmp",
            );
            assert_eq!(said, "ok \nok /tmp\nok \nok \nok mine\nok d", "{kind}");
        }
        until("what the jobs wrote is gone", || left(&daemon.path("scratch")).is_empty().then_some(()));
    }
}

#[test]
fn a_component_that_answers_by_itself_has_one_for_each_request() {
    let module = fs::read(guests().join("proxy.wasm")).unwrap();
    let setup = Setup::new("").file("p.wasm", &module).add(
        "[handler.p]\nmodule = \"p.wasm\"\ntmp = \"1MiB\"\n[[route]]\npath = \"/{*rest}\"\nhandler = \"p\"\n",
    );
    let daemon = setup.prepend("scratch = \"scratch\"\n").start();

    for (bytes, became) in [(TMP, "Ok(())"), (TMP, "Ok(())"), (TMP + 1, "Err(Uncategorized)")] {
        let said = daemon.get(&format!("/tmp/{bytes}"));
        assert_eq!(said.text(), format!("/tmp 0 {became}\n"));
    }
}

#[test]
fn what_a_job_has_in_tmp_is_bounded_whichever_way_it_writes() {
    const WHOLE: &str = "1048576";
    let one_less = (TMP - 1).to_string();
    for kind in KINDS {
        let daemon = site(kind).start();
        for (lines, wanted) in [
            // The last byte fits, and no more. Removing a file frees its bytes.
            (
                format!("fill /tmp/a {WHOLE}\nhole /tmp/a {WHOLE}\nremove /tmp/a\nfill /tmp/b {WHOLE}"),
                format!("ok {WHOLE}\nfailed StorageFull\nok \nok {WHOLE}"),
            ),
            ("fill /tmp/a 2000000".to_owned(), format!("ok {WHOLE}")),
            // A write that does not fit is short. A component's C library reports the error of a stream instead, and
            // not how much the stream took before.
            (
                "behind /tmp/a 600000\nbehind /tmp/a 600000\nstat /tmp/a\nwrite /tmp/b x".to_owned(),
                match kind == KINDS[0] {
                    true => "ok 600000\nok 448576\nok 1048576\nfailed StorageFull".to_owned(),
                    false => "ok 600000\nok 393216\nok 1048576\nfailed StorageFull".to_owned(),
                },
            ),
            // A hole counts as if it were written, because it can be.
            (
                format!("size /tmp/a {WHOLE}\nsize /tmp/b 1\nsize /tmp/a 10\nsize /tmp/b {one_less}"),
                "ok \nfailed StorageFull\nok \nfailed StorageFull".to_owned(),
            ),
            (
                format!("hole /tmp/a {one_less}\nhole /tmp/b 0\ncut /tmp/a\nhole /tmp/b 0"),
                "ok \nfailed StorageFull\nok \nok ".to_owned(),
            ),
            (format!("hole /tmp/a {}", u64::MAX / 4), "failed StorageFull".to_owned()),
            // A removed file counts while it is open.
            (format!("orphan /tmp/a {WHOLE}\nwrite /tmp/b x"), format!("ok {WHOLE}\nfailed StorageFull")),
            // Overwriting a file, or replacing it by another, frees its bytes.
            (
                format!(
                    "fill /tmp/a {WHOLE}\nfill /tmp/a {WHOLE}\nwrite /tmp/b \nrename /tmp/b /tmp/a\nfill /tmp/c {WHOLE}"
                ),
                format!("ok {WHOLE}\nok {WHOLE}\nok \nok \nok {WHOLE}"),
            ),
            (
                format!("fill /tmp/a {WHOLE}\nlink /tmp/a /tmp/b\nremove /tmp/a\nwrite /tmp/c x"),
                format!("ok {WHOLE}\nok \nok \nfailed StorageFull"),
            ),
            // One file, directory or link for each 16 KiB.
            (
                "many /tmp 100\nmkdir /tmp/d\nsymlink x /tmp/l\nlist /data".to_owned(),
                "ok 64\nfailed StorageFull\nfailed StorageFull\nok ".to_owned(),
            ),
            (
                "deep /tmp 100\nwrite /tmp/f x\nrmdir /tmp/d/d\nwrite /data/f x\nremove /data/f".to_owned(),
                "ok 64\nfailed StorageFull\nfailed Uncategorized\nok \nok ".to_owned(),
            ),
        ] {
            let said = run(&daemon, &lines);
            assert_eq!(in_words_of(kind, &said), in_words_of(kind, &wanted), "{kind}: {lines}");
        }
        until("all of it is gone", || left(&daemon.path("scratch")).is_empty().then_some(()));
    }
}

#[test]
fn nothing_moves_between_tmp_and_a_mount() {
    for (kind, landlock) in Landlock::each(KINDS) {
        let daemon = landlock.start(site(kind));

        let said = run(
            &daemon,
            "write /tmp/a x\nwrite /data/a y\nrename /tmp/a /data/b\nrename /data/a /tmp/b\nlink /tmp/a /data/b\n\
             link /data/a /tmp/b\nsymlink ../data/a /tmp/out\nread /tmp/../data/a\nread /data/../tmp/a\nlist /tmp\nlist /data",
        );

        let (moved, rest) = said.split_at(said.match_indices('\n').nth(5).unwrap().0);
        assert_eq!(moved, format!("ok \nok {}", "\nfailed CrossesDevices".repeat(4)), "{kind}");
        assert!(rest.starts_with("\nfailed ") && rest.ends_with("\nok a\nok a"), "{kind}: {rest}");
    }
}

#[test]
fn jobs_at_the_same_time_never_see_each_others_files() {
    for kind in KINDS {
        let daemon = site(kind).start();
        let job = |number: usize| {
            let said = run(
                &daemon,
                &format!(
                    "list /tmp\nwrite /tmp/{number} {number}\nwait x 200\nlist /tmp\nread /tmp/{number}"
                ),
            );
            assert_eq!(said, format!("ok \nok \nok \nok {number}\nok {number}"), "{kind}");
        };
        std::thread::scope(|scope| {
            (0..8).for_each(|number| drop(scope.spawn(move || (0..3).for_each(|_| job(number)))));
        });
    }
}

#[test]
fn a_job_that_is_cut_short_leaves_nothing() {
    for kind in KINDS {
        let setup = site(kind);
        let daemon = setup.start();
        let scratch = daemon.path("scratch");
        let mut client = daemon.client();
        begin(&mut client, "fill /tmp/a 500000\nmany /tmp 10\ndeep /tmp 9\nwait x 60000");
        until("it has written", || (left(&scratch).len() == 11).then_some(()));

        client.reset();

        until("it is gone", || left(&scratch).is_empty().then_some(()));
        assert_eq!(run(&daemon, "list /tmp"), "ok ");
    }
}

#[test]
fn what_a_daemon_that_was_killed_left_is_gone_when_the_next_one_serves() {
    let daemon = site(KINDS[0]).start();
    let scratch = daemon.path("scratch");
    let mut client = daemon.client();
    begin(&mut client, "fill /tmp/a 9000\ndeep /tmp 30\nwait x 60000");
    until("it has written", || (!left(&scratch).is_empty()).then_some(()));
    daemon.signal(Signal::KILL);
    // A zombie, because its parent has not waited for it yet: proc_pid_stat(5). Its last thread closes what is open.
    let process = format!("/proc/{}", daemon.pid());
    until("it is dead", || {
        let is_zombie = fs::read_to_string(format!("{process}/stat")).unwrap().contains(") Z ");
        (is_zombie && fs::read_dir(format!("{process}/task")).unwrap().count() == 1).then_some(())
    });
    assert!(!left(&scratch).is_empty(), "nobody could remove it");

    let next = site(KINDS[0]);
    let place = format!("scratch = \"{}\"\n", scratch.display());
    let text = fs::read_to_string(next.path("portcullis.toml")).unwrap();
    let next =
        next.file("portcullis.toml", text.replacen("scratch = \"scratch\"\n", &place, 1).as_bytes()).start();

    assert_eq!(run(&next, "list /tmp"), "ok ");
    until("nothing is left", || {
        let processes = fs::read_dir(&scratch).unwrap().count();
        (left(&scratch).is_empty() && processes == 1).then_some(())
    });
    drop(daemon);
}

#[test]
fn a_job_that_does_not_touch_tmp_leaves_it_to_the_next_one() {
    let daemon = site(KINDS[0]).start();
    // Lists no deeper: listing a directory changes its access time, which counts as a touch.
    let jobs = || {
        let below = |dir: PathBuf| fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        below(daemon.path("scratch")).flat_map(below).flat_map(below).collect::<Vec<_>>()
    };
    run(&daemon, "list /data");
    let first = until("it is taken back", || (jobs().len() == 1).then(jobs));

    (0..5).for_each(|_| drop(run(&daemon, "list /data")));

    assert_eq!(jobs(), first);
}

#[test]
fn without_a_scratch_directory_tmp_is_refused_and_says_so() {
    let setup = Setup::new("").handler("files", "tmp = \"1MiB\"", &module(KINDS[0]));

    let ended = setup.file("taken", b"").prepend("scratch = \"taken\"\n").fail();

    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("handler \"files\": tmp: there is no scratch directory"),
        "{}",
        ended.stderr
    );
}

#[test]
fn what_a_run_that_was_interrupted_left_is_gone_with_the_next_one() {
    let setup = site(KINDS[0]);
    let left = setup.path("scratch/jobs-1-0/3/0/deep");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("file"), "left").unwrap();
    // As the daemon makes it: no other user may enter it.
    fs::set_permissions(setup.path("scratch"), fs::Permissions::from_mode(0o700)).unwrap();
    let mut run = portcullis();
    run.args(["run", "files", "-c"]).arg(setup.path("portcullis.toml"));

    let ended = finish(&mut run, b"list /tmp\n", PATIENCE);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(fs::read_dir(setup.path("scratch")).unwrap().count(), 0);
}

#[test]
fn a_tmp_for_which_there_is_no_room_is_told_of_at_the_start_and_by_check() {
    let setup = Setup::new("").handler("files", "tmp = \"1TiB\"", &module(KINDS[0]));
    let setup = setup.prepend("scratch = \"scratch\"\n");
    let free = rustix::fs::statvfs(setup.path(".")).unwrap();
    if free.f_bavail * free.f_frsize > 1 << 40 {
        return;
    }
    let told = "handler.files.tmp: a job may have 1048576 MiB, and jobs find room for ";

    let mut check = portcullis();
    let checked = finish(check.arg("check").arg("-c").arg(setup.path("portcullis.toml")), b"", PATIENCE);
    let daemon = setup.start();

    assert!(checked.code == Some(0) && checked.stderr.contains(told), "{}", checked.stderr);
    daemon.log.line(told);
}

/// Returns the average time of a request, and how much processor time of the daemon it took, over many in sequence.
fn time(daemon: &Daemon, path: &str, lines: &str) -> (Duration, Duration) {
    const REQUESTS: u32 = 500;
    let mut client = daemon.client();
    let (began, spent) = (Instant::now(), daemon.cpu_time());
    for _ in 0..REQUESTS {
        assert_eq!(client.submit("POST", path, "", lines.as_bytes()).status(), 200);
    }
    (began.elapsed() / REQUESTS, (daemon.cpu_time() - spent) / REQUESTS)
}

#[test]
fn a_request_costs_a_little_more_with_tmp_and_nothing_without() {
    let files = module(KINDS[0]);
    let daemon = Setup::new("")
        .handler("without", "output = \"raw\"", &files)
        .handler("with", "output = \"raw\"\ntmp = \"64MiB\"", &files)
        .prepend("scratch = \"scratch\"\n")
        .start();
    for (path, lines) in [("/without", "variable A"), ("/with", "variable A"), ("/with", "write /tmp/f x")] {
        time(&daemon, path, lines);
    }

    let without = time(&daemon, "/without", "variable A");
    let untouched = time(&daemon, "/with", "variable A");
    let written = time(&daemon, "/with", "write /tmp/f x\nread /tmp/f");

    figure(&format!(
        "a request of a handler, its time and that on a processor, without tmp: {without:?}; with tmp: {untouched:?}, and \
         one file written and read: {written:?}"
    ));
    // Compares processor time: other processes may use the cores meanwhile.
    let ratio = written.1.as_secs_f64() / without.1.as_secs_f64();
    assert!(ratio < 30.0, "{ratio:.1}");
}
