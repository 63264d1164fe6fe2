//! Input and output of guests, in calls of any size.

use std::fs;

use crate::harness::{Daemon, PATIENCE, Setup, finish, guests, output, portcullis};

/// The two kinds of modules that have stdin, stdout and files.
const KINDS: [&str; 2] = ["bytes", "bytes-wasip2"];

/// Sizes around one internal transfer of a file, the former limit of the host for one call, and
/// beyond.
const SIZES: [usize; 9] = [
    0,
    (1 << 16) + 8,
    (1 << 20) - 1,
    1 << 20,
    (1 << 20) + 1,
    (2 << 20) - 1,
    2 << 20,
    (2 << 20) + 1,
    4_000_000,
];

fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

/// Runs a guest from the terminal, and returns its stdout.
fn run(kind: &str, words: &[&str], stdin: &[u8]) -> (Option<i32>, Vec<u8>, String) {
    let dir = tempfile::tempdir().unwrap();
    let mut command = portcullis();
    command.arg("run").arg("--mount").arg(format!("{}::/data", dir.path().display()));
    command.arg(guests().join(format!("{kind}.wasm"))).args(words);
    // Megabytes byte by byte, in a build without optimisation.
    let ended = finish(&mut command, stdin, PATIENCE * 5);
    (ended.code, ended.stdout, ended.stderr)
}

/// Runs an operation of a guest with each of these sizes, and returns its report on each.
fn said(kind: &str, verb: &str, sizes: &[usize], stdin: &[u8]) -> Vec<String> {
    let sizes: Vec<_> = sizes.iter().map(ToString::to_string).collect();
    let words: Vec<_> = std::iter::once(verb).chain(sizes.iter().map(String::as_str)).collect();
    let (code, stdout, stderr) = run(kind, &words, stdin);
    let stdout = String::from_utf8(stdout).unwrap();
    assert_eq!(code, Some(0), "{kind} {words:?}: {stdout}{stderr}");
    stdout
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("Content"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_read_of_stdin_is_as_large_as_a_program_likes() {
    for kind in KINDS {
        for size in [(2 << 20) - 1, 2 << 20, 4_000_000] {
            assert_eq!(said(kind, "in", &[size], &pattern(size)), [format!("{size} true")], "{kind}");
        }
    }
}

#[test]
fn a_write_to_stdout_is_as_large_as_a_program_likes_and_takes_the_whole() {
    for kind in KINDS {
        for size in [(1 << 16) + 8, 2 << 20, 4_000_000] {
            let (code, stdout, stderr) = run(kind, &["out", &size.to_string()], b"");

            assert_eq!(code, Some(0), "{kind} {size}: {stderr}");
            let written = stdout.strip_prefix(b"Content-Type: text/plain\n\n").unwrap();
            let told = stderr.trim().strip_prefix("told ").unwrap().parse::<usize>().unwrap();
            assert_eq!(written.len(), told, "{kind} {size}: what it was told is written arrives");
            assert!(*written == pattern(size)[..told], "{kind} {size}");
            assert_eq!(told, size, "{kind}");
        }
    }
}

#[test]
fn a_write_to_stderr_is_as_large_as_a_program_likes() {
    assert_eq!(said(KINDS[0], "err", &[3_000_000], b""), ["told 3000000"]);
    assert!(said(KINDS[1], "err", &[3_000_000], b"")[0].starts_with("told "));
}

#[test]
fn a_file_is_read_and_written_at_once_whatever_its_size() {
    let whole = SIZES.map(|size| format!("{size} true"));
    for kind in KINDS {
        assert_eq!(said(kind, "file", &SIZES, b""), whole, "{kind}");
        assert_eq!(said(kind, "at", &SIZES, b""), whole, "{kind}");
        assert_eq!(said(kind, "once", &SIZES[1..], b""), ["true true"; SIZES.len() - 1], "{kind}");
    }
}

#[test]
fn a_write_of_a_great_many_slices_arrives() {
    for kind in KINDS {
        let counts = [1, 2, 1024, 400_000];
        assert_eq!(said(kind, "slices", &counts, b""), counts.map(|count| format!("{count} true")), "{kind}");
    }
}

#[test]
fn random_bytes_come_as_many_as_a_program_asks_for() {
    for kind in KINDS {
        let counts = [0, 16, (64 << 10) + 1, 4_000_000];
        assert_eq!(said(kind, "random", &counts, b""), ["0 true"; 4], "{kind}");
    }
}

#[test]
fn every_exit_status_is_the_module_s_own() {
    for kind in KINDS {
        for status in [0, 125, 126, 137, 255] {
            let (code, _, stderr) = run(kind, &["exit", &status.to_string()], b"");
            // Rust's adapter for 0.2 can only express success and failure.
            let told = if kind == KINDS[0] { status } else { i32::from(status != 0) };
            assert!(code == Some(told) || code == Some(status), "{kind} {status}: {code:?} {stderr}");
            assert!(!stderr.contains("trapped"), "{stderr}");
        }
    }
    let wat = r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1) (func (export "_start") (call $exit (i32.const -1))))"#;
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("m.wasm"), wat::parse_str(wat).unwrap()).unwrap();
    let ended = finish(portcullis().arg("run").arg(dir.path().join("m.wasm")), b"", PATIENCE);
    assert_eq!(ended.code, Some(255), "{}", ended.stderr);
}

fn serve(kind: &str, words: &str) -> Daemon {
    let module = fs::read(guests().join(format!("{kind}.wasm"))).unwrap();
    Setup::new("").handler("b", &format!("args = [{words}]\nlimits.cpu = \"20s\""), &module).start()
}

#[test]
fn an_upload_of_four_megabytes_is_read_at_once() {
    for kind in KINDS {
        let daemon = serve(kind, "\"in\", \"4000000\"");

        let response = daemon.client().submit("POST", "/b", "", &pattern(4_000_000));

        assert_eq!((response.status(), response.text().trim_end()), (200, "4000000 true"), "{kind}");
    }
}

#[test]
fn an_answer_of_four_megabytes_is_written_at_once() {
    let daemon = serve(KINDS[0], "\"out\", \"4000000\"");

    let response = daemon.client().get("/b");

    assert_eq!(response.status(), 200);
    assert!(response.body == pattern(4_000_000));
    daemon.log.line("told 4000000");
}

#[test]
fn a_program_whose_reader_has_gone_learns_it() {
    for kind in KINDS {
        let mut child = portcullis()
            .arg("run")
            .arg(guests().join(format!("{kind}.wasm")))
            .args(["until", "1"])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .stdin(std::process::Stdio::null())
            .spawn()
            .unwrap();
        drop(child.stdout.take());

        let ended = output(child, PATIENCE);

        assert!(ended.stderr.contains("ended BrokenPipe"), "{kind}: {}", ended.stderr);
    }
}
