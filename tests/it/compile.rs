//! Compiling in a child process, and caching its code: with the real binary.

#![allow(clippy::unwrap_used, reason = "what a test sets up is there")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::harness::{Ended, PATIENCE, bomb, finish, portcullis, reaped};

/// Makes a core module with this body of `_start`.
fn module(body: &[u8]) -> Vec<u8> {
    let length = leb(body.len());
    let section = |id: u8, content: &[u8]| [&[id], leb(content.len()).as_slice(), content].concat();
    [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, b"\x01\x60\0\0"),
        section(3, b"\x01\0"),
        section(7, b"\x01\x06_start\0\0"),
        section(10, &[b"\x01", length.as_slice(), body].concat()),
    ]
    .concat()
}

/// Makes a core module with an empty `_start`, and these sections before and after its exports.
fn module_with(before: &[u8], behind: &[u8]) -> Vec<u8> {
    let whole = module(b"\0\x0b");
    let exports = whole.windows(2).position(|bytes| bytes == b"\x07\x0a").expect("a section of exports");
    let code = exports + 12;
    [&whole[..exports], before, &whole[exports..code], behind, &whole[code..]].concat()
}

/// Makes a command that writes a response to stdout with one `fd_write`.
fn saying(response: &[u8]) -> Vec<u8> {
    let section = |id: u8, content: &[u8]| [&[id], leb(content.len()).as_slice(), content].concat();
    let name = |name: &str| [leb(name.len()), name.as_bytes().to_vec()].concat();
    // An iovec at 0 that points to the response at 16; the count of written bytes goes to 8.
    let mut memory = vec![0; 16];
    memory[..4].copy_from_slice(&16u32.to_le_bytes());
    memory[4..8].copy_from_slice(&u32::try_from(response.len()).expect("short").to_le_bytes());
    memory.extend_from_slice(response);
    let import =
        [b"\x01".to_vec(), name("wasi_snapshot_preview1"), name("fd_write"), b"\0\0".to_vec()].concat();
    let exports =
        [b"\x02".to_vec(), name("_start"), b"\0\x01".to_vec(), name("memory"), b"\x02\0".to_vec()].concat();
    let code = b"\0\x41\x01\x41\0\x41\x01\x41\x08\x10\0\x1a\x0b";
    [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, b"\x02\x60\x04\x7f\x7f\x7f\x7f\x01\x7f\x60\0\0"),
        section(2, &import),
        section(3, b"\x01\x01"),
        section(5, b"\x01\0\x01"),
        section(7, &exports),
        section(10, &[b"\x01", leb(code.len()).as_slice(), code].concat()),
        section(11, &[b"\x01\0\x41\0\x0b".as_slice(), &leb(memory.len()), &memory].concat()),
    ]
    .concat()
}

/// Encodes a number as WebAssembly does.
fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        bytes.push(if number == 0 { low } else { low | 0x80 });
        if number == 0 {
            return bytes;
        }
    }
}

/// Runs the compiler process as the daemon does.
fn worker(wasm: &[u8]) -> Ended {
    finish(portcullis().arg("compile-worker").env_clear(), wasm, PATIENCE)
}

/// A directory with a configuration and a home for the cache and its key, but no daemon yet.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("compile-{name}"));
        let _absent = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("start.wasm"), saying(b"Status: 204 No Content\n\n")).unwrap();
        fs::write(
            path.join("p.toml"),
            "listen = [\"unix://p.sock\"]\ncompile.cpu = \"5s\"\n[handler.start]\nmodule = \"start.wasm\"\n\
             [[route]]\npath = \"/\"\nhandler = \"start\"\n",
        )
        .unwrap();
        Place(path)
    }

    fn serve(&self) -> Daemon {
        let child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["serve", "-c", "p.toml"])
            .current_dir(&self.0)
            .env_clear()
            .env("HOME", &self.0)
            .stderr(fs::File::create(self.0.join("log")).unwrap())
            .spawn();
        Daemon { child: child.unwrap(), place: self.0.clone() }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.0.join("log")).unwrap()
    }

    fn cache(&self) -> PathBuf {
        self.0.join(".cache/portcullis/code")
    }

    fn entries(&self) -> Vec<PathBuf> {
        fs::read_dir(self.cache())
            .map_or(Vec::new(), |entries| entries.map(|entry| entry.unwrap().path()).collect())
    }
}

/// A daemon. Dropping it kills it.
struct Daemon {
    child: Child,
    place: PathBuf,
}

impl Daemon {
    /// Sends a request, waits for the gate if necessary, and returns the status line.
    fn get(&self) -> String {
        let deadline = Instant::now() + Duration::from_secs(30);
        let socket = self.place.join("p.sock");
        let mut stream = loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > deadline => panic!("{}: {error}", socket.display()),
                Err(_) => std::thread::yield_now(),
            }
        };
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.lines().next().unwrap_or_default().to_owned()
    }

    /// Sends a signal with the shell's `kill`, as std has no such function.
    fn signal(&self, name: &str) {
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.child.id())).status();
        assert!(sent.unwrap().success());
    }

    fn end(mut self) {
        self.signal("TERM");
        reaped(&mut self.child, PATIENCE);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

const SERVED: &str = "HTTP/1.1 204 No Content";

#[test]
fn the_worker_turns_a_module_into_code() {
    let Ended { code, stdout, stderr } = worker(&module(b"\0\x0b"));

    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.starts_with(b"\x7fELF") && stderr.is_empty());
}

#[test]
fn a_module_of_too_large_parts_is_refused_before_it_is_compiled() {
    let body = [b"\0".to_vec(), b"\x10\0".repeat(2_000_000), b"\x0b".to_vec()].concat();
    let place = Place::new("large");
    fs::write(place.0.join("start.wasm"), module(&body)).unwrap();
    let mut daemon = place.serve();

    let status = reaped(&mut daemon.child, PATIENCE);

    let log = place.log();
    assert_eq!(status.code(), Some(1), "{log}");
    let reason = "start.wasm: a function in it has 4000002 bytes: 1048576 at most; raise compile.function,";
    assert!(log.contains(reason), "{log}");
}

#[test]
fn a_small_module_whose_instances_start_slowly_is_refused_before_it_is_compiled() {
    let section = |id: u8, content: &[u8]| [&[id], leb(content.len()).as_slice(), content].concat();
    // A passive segment that lists the first function `count` times.
    let items = |count: usize| [b"\x01\x01\0".to_vec(), leb(count), vec![0; count]].concat();
    // A global whose value is a sum of ones.
    let sum =
        |count: usize| [b"\x01\x7f\0\x41\x01", b"\x41\x01\x6a".repeat(count).as_slice(), b"\x0b"].concat();
    // Globals with one sum each; segments of one byte each, one of them at the end of the memory.
    let sums = |count: usize| [leb(count), b"\x7f\0\x41\x01\x41\x01\x6a\x0b".repeat(count)].concat();
    let bytes = |count: usize| {
        [leb(count), b"\0\x41\0\x0b\x01x".repeat(count - 1), b"\0\x41\x7f\x0b\x01x".to_vec()].concat()
    };
    let behind_code =
        |data: Vec<u8>| [module_with(&section(5, b"\x01\0\x01"), b""), section(11, &data)].concat();
    let laid_out = "items, globals and data that code has to set in an instance: 20000 at most";
    for (wasm, reason) in [
        (
            module_with(b"", &section(9, &items(200_000))),
            "200000 items of passive element segments: 5000 at most",
        ),
        (
            module_with(&section(6, &sum(5_000_000)), b""),
            "15000003 bytes of constant expressions: 1000000 at most",
        ),
        (module_with(&section(6, &sums(20_001)), b""), laid_out),
        (behind_code(bytes(20_001)), laid_out),
        // Two tables; the first one alone exceeds the limit.
        (
            module_with(&section(4, b"\x02\x70\0\xc0\x84\x3d\x70\0\x01"), b""),
            "1000000 initial elements of tables: 500000 at most",
        ),
    ] {
        let place = Place::new("slow");
        fs::write(place.0.join("start.wasm"), wasm).unwrap();

        let status = reaped(&mut place.serve().child, PATIENCE);

        let log = place.log();
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains(reason), "{reason}: {log}");
    }
}

#[test]
fn the_worker_refuses_what_is_no_module_in_one_line() {
    for (wasm, reason) in [
        (&b""[..], "the file is empty"),
        (b"\x7fELF\x02\x01", "native program"),
        (b"(module)", "WebAssembly text"),
        (b"\0asm\x01\0\0\0\x01", "not a valid module"),
    ] {
        let Ended { code, stdout, stderr: said } = worker(wasm);

        assert_eq!((code, stdout.len(), said.lines().count()), (Some(1), 0, 1), "{said}");
        assert!(said.contains(reason), "{said}");
    }
}

#[test]
fn a_second_start_uses_what_the_first_has_kept() {
    let place = Place::new("warm");
    let first = place.serve();
    assert_eq!(first.get(), SERVED);
    first.end();
    let kept = place.entries();
    let written = fs::metadata(&kept[0]).unwrap().ino_of();

    let second = place.serve();
    assert_eq!(second.get(), SERVED);

    assert_eq!(place.entries(), kept);
    assert_eq!(fs::metadata(&kept[0]).unwrap().ino_of(), written, "it was not written again");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&place.cache()), mode(&kept[0])), (0o700, 0o600));
    assert_eq!(mode(&place.0.join(".local/state/portcullis/cache.key")), 0o600);
    assert!(!place.log().contains("WARN"), "{}", place.log());
}

#[test]
fn what_was_tampered_with_is_compiled_anew() {
    let place = Place::new("tampered");
    let first = place.serve();
    assert_eq!(first.get(), SERVED);
    first.end();
    let [entry] = &place.entries()[..] else { panic!("one entry") };
    let mut bytes = fs::read(entry).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(entry, &bytes).unwrap();

    let second = place.serve();
    assert_eq!(second.get(), SERVED);

    assert!(place.log().contains("another program has written or changed it"), "{}", place.log());
    assert_ne!(fs::read(entry).unwrap(), bytes, "it was written anew");
}

#[test]
fn a_cache_that_is_not_ours_alone_is_not_used_through_a_link_either() {
    let place = Place::new("linked");
    fs::create_dir_all(place.0.join("elsewhere")).unwrap();
    fs::set_permissions(place.0.join("elsewhere"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(place.cache().parent().unwrap()).unwrap();
    symlink(place.0.join("elsewhere"), place.cache()).unwrap();

    assert_eq!(place.serve().get(), SERVED);

    assert!(place.log().contains("compiled modules are not kept"), "{}", place.log());
    assert_eq!(fs::read_dir(place.0.join("elsewhere")).unwrap().count(), 0);
}

#[test]
fn a_bomb_fails_alone_with_its_reason_while_requests_go_on() {
    let place = Place::new("bomb");
    let daemon = place.serve();
    assert_eq!(daemon.get(), SERVED);
    let good = fs::read(place.0.join("start.wasm")).unwrap();
    fs::write(place.0.join("start.wasm"), bomb()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(200);

    daemon.signal("HUP");

    let mut times = Vec::new();
    while !place.log().contains("reload failed") {
        assert!(Instant::now() < deadline, "{}", place.log());
        let asked = Instant::now();
        assert_eq!(daemon.get(), SERVED);
        times.push(asked.elapsed());
    }
    times.sort();
    // Others may have the processor for longer now and then.
    assert!(times[times.len() / 2] < Duration::from_secs(2), "{times:?}");
    assert!(times[times.len() - 1] < Duration::from_secs(10), "{times:?}");
    let log = place.log();
    // The memory limit, or the time limit if other processes use the processor.
    assert!(log.contains("start.wasm: compiling it takes "), "{log}");
    fs::write(place.0.join("start.wasm"), good).unwrap();
    assert_eq!(daemon.get(), SERVED);
    daemon.end();
}

/// The inode of a file, which changes when the file is replaced.
trait Inode {
    fn ino_of(&self) -> u64;
}

impl Inode for fs::Metadata {
    fn ino_of(&self) -> u64 {
        std::os::unix::fs::MetadataExt::ino(self)
    }
}
