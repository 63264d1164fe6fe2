//! The fuzz targets without a fuzzer: what is kept of their corpora, and changes made to it.

#[path = "../fuzz/src/targets.rs"]
#[expect(unreachable_pub, reason = "the fuzz targets are crates of their own")]
mod targets;

use std::fs;
use std::path::Path;

/// Changes made to each file.
const CHANGES: usize = 400;

/// Bytes that mean something to one of the parsers.
const TELLING: &[u8] = b"\0\t\n\r \"#%&'*+,-./0129:;=?@AZ[\\]_az{|}~\x7f\x80\xc3\xff";

/// Has a target see every file of its corpus, as it is and changed.
fn replay(name: &str, target: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus").join(name);
    let files: Vec<_> = fs::read_dir(&dir).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(files.len() >= 3, "{} has a corpus", dir.display());
    for file in files {
        let bytes = fs::read(&file).unwrap();
        target(&bytes);
        let mut random = 0x9e37_79b9_7f4a_7c15 ^ bytes.len() as u64;
        for _ in 0..CHANGES {
            target(&changed(&bytes, &mut random));
        }
    }
}

/// Changes a few bytes. The numbers look random and are the same every time (xorshift64).
fn changed(bytes: &[u8], random: &mut u64) -> Vec<u8> {
    let mut next = |bound: usize| {
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        usize::try_from(*random % bound.max(1) as u64).unwrap()
    };
    let mut bytes = bytes.to_vec();
    for _ in 0..=next(4) {
        let (at, byte) = (next(bytes.len() + 1), TELLING[next(TELLING.len())]);
        match next(4) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, byte),
            2 if at < bytes.len() => bytes[at] = byte,
            _ => {
                let piece = bytes[at..].iter().take(next(16)).copied().collect::<Vec<_>>();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

#[test]
fn any_document_of_a_handler() {
    replay("document", targets::document);
}

#[test]
fn any_bytes_of_a_client() {
    replay("framing", targets::framing);
}

#[test]
fn any_path_and_host_of_a_request() {
    replay("path", targets::path);
}

#[test]
fn any_endpoint() {
    replay("endpoint", targets::endpoint);
}

#[test]
fn any_configuration() {
    replay("config", targets::config);
}

#[test]
fn any_line_of_a_job() {
    replay("line", targets::line);
}
