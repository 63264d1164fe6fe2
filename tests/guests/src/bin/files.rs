//! Carries out the file operations on its stdin, one a line, and reports the outcome of each.

use std::collections::BTreeSet;
use std::ffi::{CString, c_char, c_int};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, Seek as _, SeekFrom, Write as _};

// From the C library that every WASI program is linked with: std has no stable names for these.
unsafe extern "C" {
    fn symlink(target: *const c_char, path: *const c_char) -> c_int;
    fn utimes(path: *const c_char, times: *const i64) -> c_int;
}

fn main() {
    for line in io::stdin().lock().lines() {
        let line = line.unwrap_or_default();
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let outcome = operate(&word(), &word(), &word());
        match outcome {
            Ok(said) => println!("ok {said}"),
            Err(error) => println!("failed {:?}", error.kind()),
        }
    }
}

fn operate(verb: &str, one: &str, other: &str) -> io::Result<String> {
    let done = |()| String::new();
    match verb {
        "read" => fs::read_to_string(one),
        "write" => fs::write(one, other).map(done),
        "append" => OpenOptions::new().append(true).open(one)?.write_all(other.as_bytes()).map(done),
        "make" => OpenOptions::new().write(true).create_new(true).open(one)?.write_all(b"x").map(done),
        "cut" => OpenOptions::new().write(true).truncate(true).open(one).map(|_| String::new()),
        "remove" => fs::remove_file(one).map(done),
        "rename" => fs::rename(one, other).map(done),
        "link" => fs::hard_link(one, other).map(done),
        "symlink" => link(one, other).map(done),
        "follow" => fs::read_link(one).map(|path| path.display().to_string()),
        "touch" => touch(one).map(done),
        "look" => fs::symlink_metadata(one).map(|metadata| format!("{}", metadata.is_symlink())),
        "stat" => fs::metadata(one).map(|metadata| metadata.len().to_string()),
        "mkdir" => fs::create_dir(one).map(done),
        "rmdir" => fs::remove_dir(one).map(done),
        "list" => {
            let names = fs::read_dir(one)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
            let mut names = names.collect::<io::Result<Vec<_>>>()?;
            names.sort();
            Ok(names.join(","))
        }
        "hoard" => {
            let most = other.parse().unwrap_or(0);
            let held: Vec<File> = std::iter::from_fn(|| File::open(one).ok()).take(most).collect();
            Ok(held.len().to_string())
        }
        // Lists a directory repeatedly.
        "relist" => {
            let times = 0..other.parse().unwrap_or(0);
            let entries = times.map(|_| fs::read_dir(one).map_or(0, Iterator::count));
            Ok(entries.sum::<usize>().to_string())
        }
        // Reads a file repeatedly, and reports all contents that it saw.
        "hammer" => {
            let seen = (0..other.parse().unwrap_or(0)).map(|_| match fs::read_to_string(one) {
                Ok(text) => text,
                Err(error) => format!("{:?}", error.kind()),
            });
            Ok(seen.collect::<BTreeSet<String>>().into_iter().collect::<Vec<_>>().join(","))
        }
        // Writes to a file repeatedly, wherever its name leads.
        "stamp" => {
            let times = other.parse().unwrap_or(0);
            Ok((0..times).filter(|_| fs::write(one, "stamped").is_ok()).count().to_string())
        }
        _ => grow(verb, one, other.parse().unwrap_or(0)),
    }
}

/// Makes a directory larger in every way that a program has, and reports how far it came.
fn grow(verb: &str, path: &str, count: u64) -> io::Result<String> {
    let create = || OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    match verb {
        // Writes pieces of 64 KiB until there are `count` bytes or no room is left.
        "fill" => {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
            Ok(fill(&mut file, count).to_string())
        }
        "behind" => {
            let mut file = OpenOptions::new().append(true).create(true).open(path)?;
            Ok(fill(&mut file, count).to_string())
        }
        // Writes to a deleted file, and keeps it open.
        "orphan" => {
            let mut file = create()?;
            fs::remove_file(path)?;
            let filled = fill(&mut file, count);
            std::mem::forget(file);
            Ok(filled.to_string())
        }
        "size" => create()?.set_len(count).map(|()| String::new()),
        // Writes a byte at this offset.
        "hole" => {
            let mut file = create()?;
            file.seek(SeekFrom::Start(count))?;
            file.write_all(b"x").map(|()| String::new())
        }
        // Makes this many files with long names.
        "many" => {
            let name = |number| format!("{path}/{number:0>250}");
            let made = (0..count).take_while(|number| fs::write(name(*number), "").is_ok()).count();
            Ok(made.to_string())
        }
        // Makes nested directories.
        "deep" => {
            let mut here = path.to_owned();
            let made = (0..count).take_while(|_| {
                here.push_str("/d");
                fs::create_dir(&here).is_ok()
            });
            Ok(made.count().to_string())
        }
        "variable" => Ok(std::env::var(path).unwrap_or_default()),
        "wait" => {
            std::thread::sleep(std::time::Duration::from_millis(count));
            Ok(String::new())
        }
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn fill(file: &mut File, count: u64) -> u64 {
    let piece = [b'x'; 64 << 10];
    let mut filled = 0;
    while filled < count {
        match file.write(&piece[..piece.len().min((count - filled) as usize)]) {
            Ok(written) if written > 0 => filled += written as u64,
            _ => break,
        }
    }
    filled
}

/// Sets the times of the file that a path leads to.
fn touch(path: &str) -> io::Result<()> {
    let path = CString::new(path)?;
    // SAFETY: a string that ends with a NUL and outlives the call, as CString made it just now; no
    // times are the time of the call, utimes(3).
    match unsafe { utimes(path.as_ptr(), std::ptr::null()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn link(target: &str, path: &str) -> io::Result<()> {
    let (target, path) = (CString::new(target)?, CString::new(path)?);
    // SAFETY: both are strings that end with a NUL and outlive the call, as CString made them just now.
    match unsafe { symlink(target.as_ptr(), path.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
