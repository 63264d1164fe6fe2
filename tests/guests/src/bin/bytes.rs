//! Moves as many bytes as its arguments say in as few calls as possible, and reports the result.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Read as _, Write as _};
use std::os::fd::AsRawFd as _;

// From the C library that every WASI program is linked with: std writes to stdout in its own way.
unsafe extern "C" {
    fn write(fd: i32, bytes: *const u8, length: usize) -> isize;
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn random_get(at: *mut u8, length: usize) -> u16;
}

fn main() -> io::Result<()> {
    let mut words = std::env::args().skip(1);
    let verb = words.next().unwrap_or_default();
    for word in words {
        act(&verb, word.parse().unwrap_or(0))?;
    }
    Ok(())
}

fn act(verb: &str, count: usize) -> io::Result<()> {
    let path = "/data/f";
    match verb {
        // Reads stdin with a buffer of this size.
        "in" => {
            let (mut all, mut buffer) = (Vec::new(), vec![0; count]);
            loop {
                match io::stdin().read(&mut buffer)? {
                    0 => break,
                    read => all.extend_from_slice(&buffer[..read]),
                }
            }
            say(&format!("{} {}", all.len(), all == pattern(all.len())));
        }
        // Writes to stdout in one call, and reports the result on stderr.
        "out" => {
            print!("Content-Type: text/plain\n\n");
            io::stdout().flush()?;
            let bytes = pattern(count);
            // SAFETY: the bytes outlive the call.
            let written = unsafe { write(1, bytes.as_ptr(), bytes.len()) };
            eprintln!("told {written}");
        }
        // Writes to stderr in one call.
        "err" => {
            let bytes = vec![b'x'; count];
            // SAFETY: the bytes outlive the call.
            let written = unsafe { write(2, bytes.as_ptr(), bytes.len()) };
            say(&format!("told {written}"));
        }
        // Writes a file in one call, and reads it in one call.
        "file" => {
            fs::write(path, pattern(count))?;
            let read = fs::read(path)?;
            say(&format!("{} {}", read.len(), read == pattern(count)));
        }
        // One call each; reports how many bytes it moved.
        "once" => {
            let (bytes, mut buffer) = (pattern(count), vec![0; count]);
            let written = File::create(path)?.write(&bytes)?;
            let read = File::open(path)?.read(&mut buffer)?;
            let same = buffer[..read] == bytes[..read];
            say(&format!("{} {}", written > 0 && read == written, same));
        }
        // Writes and reads at positions, as databases do.
        "at" => {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
            let bytes = pattern(count);
            let mut placed = 0;
            while placed < count {
                placed += place(&file, &bytes[placed..], 7 + placed)?;
            }
            let (mut found, mut buffer) = (0, vec![0; count]);
            while found < count {
                found += find(&file, &mut buffer[found..], 7 + found)?;
            }
            say(&format!("{found} {}", buffer == bytes));
        }
        // Writes as many slices as there are bytes, in repeated calls.
        "slices" => {
            let bytes = pattern(count);
            let mut slices: Vec<_> = bytes.chunks(1).map(IoSlice::new).collect();
            let mut rest = &mut slices[..];
            let mut file = File::create(path)?;
            while !rest.is_empty() {
                let written = file.write_vectored(rest)?;
                IoSlice::advance_slices(&mut rest, written);
            }
            say(&format!("{count} {}", fs::read(path)? == bytes));
        }
        "random" => {
            let mut bytes = vec![0; count];
            // SAFETY: the buffer has `count` bytes, and only this call uses it.
            let errno = unsafe { random_get(bytes.as_mut_ptr(), count) };
            let distinct = bytes.chunks(1 << 10).filter(|chunk| chunk.iter().any(|byte| *byte != 0)).count();
            say(&format!("{errno} {}", distinct == count.div_ceil(1 << 10)));
        }
        "exit" => std::process::exit(count as i32),
        // Writes until the reader has gone, and reports the error.
        "until" => loop {
            if let Err(error) = io::stdout().write_all(&[b'x'; 4096]) {
                eprintln!("ended {:?}", error.kind());
                return Ok(());
            }
        },
        _ => say("unknown"),
    }
    Ok(())
}

// From the C library as well.
unsafe extern "C" {
    fn pwrite(fd: i32, bytes: *const u8, length: usize, at: i64) -> isize;
    fn pread(fd: i32, bytes: *mut u8, length: usize, at: i64) -> isize;
}

fn place(file: &File, bytes: &[u8], at: usize) -> io::Result<usize> {
    // SAFETY: the bytes outlive the call.
    let written = unsafe { pwrite(file.as_raw_fd(), bytes.as_ptr(), bytes.len(), at as i64) };
    usize::try_from(written).map_err(|_| io::Error::last_os_error())
}

fn find(file: &File, bytes: &mut [u8], at: usize) -> io::Result<usize> {
    // SAFETY: the bytes outlive the call, and only this call uses them.
    let read = unsafe { pread(file.as_raw_fd(), bytes.as_mut_ptr(), bytes.len(), at as i64) };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}

fn say(text: &str) {
    println!("Content-Type: text/plain\n\n{text}");
}

/// Makes bytes in which every position looks different.
fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}
