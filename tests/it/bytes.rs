//! Input and output of guests, in calls of any size.

use std::fs;

use crate::harness::{Client, Daemon, PATIENCE, Setup, finish, guests, output, portcullis};

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

/// Makes bytes that show it if a piece is missing or at the wrong place.
pub(crate) fn pattern(count: usize) -> Vec<u8> {
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
    let limits = "limits = { cpu = \"20s\", time = \"none\" }";
    Setup::new("").handler("b", &format!("args = [{words}]\n{limits}"), &module).start()
}

/// Returns a client that waits for a job of low priority, as each is that computes for long.
fn patient(daemon: &Daemon) -> Client {
    daemon.client().patient(PATIENCE * 5)
}

#[test]
fn an_upload_of_four_megabytes_is_read_at_once() {
    for kind in KINDS {
        let daemon = serve(kind, "\"in\", \"4000000\"");

        let response = patient(&daemon).submit("POST", "/b", "", &pattern(4_000_000));

        assert_eq!((response.status(), response.text().trim_end()), (200, "4000000 true"), "{kind}");
    }
}

#[test]
fn an_answer_of_four_megabytes_is_written_at_once() {
    let daemon = serve(KINDS[0], "\"out\", \"4000000\"");

    let response = patient(&daemon).get("/b");

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

/// A component that makes one call, and then writes two bytes to its stdout. Its memory has room for 16 MiB and a
/// page in front of them.
fn calling(call: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
          (import "wasi:io/error@0.2.0" (instance $errors (export "error" (type (sub resource)))))
          (alias export $errors "error" (type $error))
          (import "wasi:io/streams@0.2.0" (instance $streams
            (export "output-stream" (type $s (sub resource)))
            (alias outer 1 $error (type $e)) (export "error" (type $f (eq $e)))
            (type $failure (variant (case "last-operation-failed" (own $f)) (case "closed")))
            (export "stream-error" (type $g (eq $failure)))
            (type $write (func (param "self" (borrow $s)) (param "contents" (list u8)) (result (result (error $g)))))
            (export "[method]output-stream.write" (func (type $write)))
            (export "[method]output-stream.blocking-write-and-flush" (func (type $write)))))
          (alias export $streams "output-stream" (type $stream))
          (import "wasi:cli/stdout@0.2.0" (instance $stdout
            (alias outer 1 $stream (type $s)) (export "output-stream" (type $t (eq $s)))
            (export "get-stdout" (func (result (own $t))))))
          (import "wasi:random/random@0.2.0" (instance $random
            (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))
          (core module $memory
            (memory (export "memory") 258)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536)))
          (core instance $libc (instantiate $memory))
          (core func $get (canon lower (func $stdout "get-stdout")))
          (core func $write (canon lower (func $streams "[method]output-stream.write")
            (memory (core memory $libc "memory"))))
          (core func $flush (canon lower (func $streams "[method]output-stream.blocking-write-and-flush")
            (memory (core memory $libc "memory"))))
          (core func $some (canon lower (func $random "get-random-bytes")
            (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
          (core module $m
            (import "" "get" (func $get (result i32)))
            (import "" "write" (func $write (param i32 i32 i32 i32)))
            (import "" "flush" (func $flush (param i32 i32 i32 i32)))
            (import "" "random" (func $random (param i64 i32)))
            (func (export "run") (result i32) (local $out i32)
              (local.set $out (call $get))
              {call}
              (call $write (local.get $out) (i32.const 65536) (i32.const 2) (i32.const 0))
              (i32.const 0)))
          (core instance $i (instantiate $m (with "" (instance
            (export "get" (func $get)) (export "write" (func $write)) (export "flush" (func $flush))
            (export "random" (func $some))))))
          (func $run (result (result)) (canon lift (core func $i "run")))
          (instance $e (export "run" (func $run)))
          (export "wasi:cli/run@0.2.0" (instance $e)))"#
    );
    wat::parse_str(text).unwrap()
}

#[test]
fn a_call_of_a_component_passes_as_much_as_the_manual_says_and_one_byte_more_is_refused_in_its_words() {
    const MOST: usize = 16 << 20;
    // What WASI 0.2 defines for this function.
    const FLUSHED: usize = 4096;
    let write = |size: usize| {
        format!("(call $write (local.get $out) (i32.const 65536) (i32.const {size}) (i32.const 0))")
    };
    let flush = |size: usize| {
        format!("(call $flush (local.get $out) (i32.const 65536) (i32.const {size}) (i32.const 0))")
    };
    let random = |size: usize| format!("(call $random (i64.const {size}) (i32.const 0))");
    let too_much = "one call passes more than 16MiB: pass it in parts";
    let settings = "output = \"raw\"\nlimits = { cpu = \"20s\", time = \"none\" }";
    let mut setup = Setup::new("reason_header = true\n");
    let cases = [
        (write(MOST), Ok(MOST + 2)),
        (write(MOST + 1), Err(too_much)),
        (random(MOST), Ok(2)),
        (random(MOST + 1), Err(too_much)),
        (flush(FLUSHED), Ok(FLUSHED + 2)),
        (flush(FLUSHED + 1), Err("blocking-write-and-flush (expected at most 4096)")),
    ];
    for (number, (call, _)) in cases.iter().enumerate() {
        setup = setup.handler(&format!("c{number}"), settings, &calling(call));
    }
    let daemon = setup.start();

    for (number, (call, wanted)) in cases.iter().enumerate() {
        let response = patient(&daemon).get(&format!("/c{number}"));

        match wanted {
            Ok(size) => assert_eq!((response.status(), response.body.len()), (200, *size), "{call}"),
            Err(part) => {
                let reason = response.field("x-portcullis-reason");
                assert_eq!((response.status(), reason), (502, Some("trapped")), "{call}");
                assert!(response.text().contains(part), "{call}: {}", response.text());
                daemon.log.line(&format!("{part} (trapped)"));
            }
        }
    }
}
