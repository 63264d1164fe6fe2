//! Directories that handlers of earlier processes may write to; after an upgrade the jobs of those processes go on.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, memfd_create, openat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

/// The maximum size of the list in bytes; a hundred thousand directories need less.
const LARGEST: u64 = 32 << 20;

/// A directory that jobs of another process may write to.
pub(super) struct LeftDirectory {
    pub(super) handler: String,
    /// One descriptor, shared by all processes that listed the directory.
    pub(super) dir: Arc<OwnedFd>,
    pub(super) path: PathBuf,
    process: u32,
    alive: Arc<OwnedFd>,
}

/// An entry of the list that one process leaves to the next.
#[derive(Serialize, Deserialize)]
struct HeritageLine {
    process: u32,
    handler: String,
    path: Vec<u8>,
}

/// Writes the list for the next process: the directories of this process's handlers, and those that earlier ones left.
///
/// # Errors
/// No descriptor or memory is left.
pub(super) fn write<'a>(
    own: impl Iterator<Item = (String, PathBuf)>,
    left: impl Iterator<Item = &'a LeftDirectory>,
) -> Result<OwnedFd> {
    let line = |process, handler, path: &Path| HeritageLine {
        process,
        handler,
        path: path.as_os_str().as_bytes().to_owned(),
    };
    let mut lines: Vec<HeritageLine> =
        own.map(|(handler, path)| line(std::process::id(), handler, &path)).collect();
    lines.extend(left.map(|left| line(left.process, left.handler.clone(), &left.path)));
    let create = |flags| memfd_create("portcullis-writable", flags);
    // Not every kernel knows MFD_NOEXEC_SEAL; `wasm::sealed` handles that in the same way.
    let flags = MemfdFlags::CLOEXEC;
    let list =
        create(flags | MemfdFlags::NOEXEC_SEAL).or_else(|_| create(flags)).context("memfd_create(2)")?;
    let mut list = File::from(list);
    list.write_all(&serde_json::to_vec(&lines)?)?;
    Ok(list.into())
}

/// Reads the list of the process before.
///
/// # Errors
/// The list cannot be parsed, or a process or directory in it cannot be opened.
pub(super) fn read(list: OwnedFd) -> Result<Vec<LeftDirectory>> {
    let mut list = File::from(list);
    list.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::new();
    list.take(LARGEST).read_to_end(&mut bytes)?;
    let lines: Vec<HeritageLine> = serde_json::from_slice(&bytes)?;
    let mut alive: HashMap<u32, Option<Arc<OwnedFd>>> = HashMap::new();
    // By path, as the kernel reports it: the same directory seen through another mount may contain other mounts.
    let mut dirs: HashMap<PathBuf, Option<Arc<OwnedFd>>> = HashMap::new();
    let mut told = HashSet::new();
    let mut left = Vec::new();
    for HeritageLine { process, handler, path } in lines {
        let held = match alive.get(&process) {
            Some(held) => held.clone(),
            None => alive.entry(process).or_insert(hold(process)?).clone(),
        };
        let Some(held) = held else { continue };
        let path = PathBuf::from(OsString::from_vec(path));
        // Several handlers of a process may write to one directory. Only the first is kept.
        if !told.insert((process, path.clone())) {
            continue;
        }
        let dir = match dirs.get(&path) {
            Some(dir) => dir.clone(),
            None => dirs.entry(path.clone()).or_insert(open(&path)?).clone(),
        };
        left.extend(dir.map(|dir| LeftDirectory { handler, dir, path, process, alive: held }));
    }
    Ok(left)
}

/// Opens a directory. `None` if it does not exist: an operator has then removed it, and is responsible for its
/// replacement.
fn open(path: &Path) -> Result<Option<Arc<OwnedFd>>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match openat(CWD, path, flags, Mode::empty()) {
        Ok(dir) => Ok(Some(Arc::new(dir))),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(refusal) => Err(refusal).with_context(|| path.display().to_string()),
    }
}

/// Opens a pidfd for a process. `None` if the process has ended.
fn hold(process: u32) -> Result<Option<Arc<OwnedFd>>> {
    let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) else { return Ok(None) };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(held) => Ok(Some(Arc::new(held))),
        Err(Errno::SRCH) => Ok(None),
        Err(refusal) => Err(refusal).context("pidfd_open(2) needs Linux 5.3"),
    }
}

impl LeftDirectory {
    /// Returns `true` if the process has not ended.
    pub(super) fn is_alive(&self) -> bool {
        // A pidfd becomes readable when the process ends, pidfd_open(2).
        let mut ended = [PollFd::new(&*self.alive, PollFlags::IN)];
        !matches!(poll(&mut ended, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(1..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_counts_until_its_process_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let lines =
            [(child.id(), dir.path()), (child.id(), Path::new("/nowhere")), (i32::MAX as u32, dir.path())]
                .map(|(process, path)| HeritageLine {
                    process,
                    handler: "up".to_owned(),
                    path: path.as_os_str().as_bytes().to_owned(),
                });
        let mut list = tempfile::tempfile().unwrap();
        list.write_all(&serde_json::to_vec(&lines).unwrap()).unwrap();

        let left = read(list.into()).unwrap();
        let again = read(write(std::iter::empty(), left.iter()).unwrap()).unwrap();

        for left in [&left, &again] {
            assert!(left.len() == 1 && left[0].is_alive() && left[0].path == dir.path());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!left[0].is_alive() && !again[0].is_alive());
    }

    #[test]
    fn a_directory_takes_one_descriptor_however_often_it_is_told_of() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let processes = [child.id(), child.id(), std::process::id()];
        let lines = processes.map(|process| HeritageLine {
            process,
            handler: "up".to_owned(),
            path: dir.path().as_os_str().as_bytes().to_owned(),
        });
        let mut list = tempfile::tempfile().unwrap();
        list.write_all(&serde_json::to_vec(&lines).unwrap()).unwrap();

        let left = read(list.into()).unwrap();

        assert_eq!(left.iter().map(|left| left.process).collect::<Vec<_>>(), processes[1..]);
        assert!(Arc::ptr_eq(&left[0].dir, &left[1].dir));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
