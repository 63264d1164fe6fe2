//! A directory that a job has to itself, under `/tmp`: what stands before each call that would make it larger.
//!
//! wasmtime-wasi tells nobody which directory a descriptor lies in. So it is noted here which descriptors are in this
//! one: its own, and what was opened from one that is. No path leads out of a directory of WASI's, or into another.

mod stock;
mod stream;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::task::spawn_blocking;

pub(in crate::wasm) use self::stock::{Stock, TmpGuard};
pub(in crate::wasm) use self::stream::TmpStream;
use self::stream::{lock, size};
use crate::scratch::Quota;

/// What guests call the directory.
pub(in crate::wasm) const GUEST: &str = "/tmp";

/// What one job has of it.
pub(in crate::wasm) struct Tmp {
    quota: Arc<Mutex<Quota>>,
    opened: Arc<Mutex<Vec<Weak<File>>>>,
    /// How many mounts come before it.
    place: usize,
    /// The descriptors that are in it, as preview 1 or a component's table counts them.
    held: HashMap<u32, Held>,
}

/// A descriptor in it.
struct Held {
    /// `None`: a directory.
    file: Option<Weak<File>>,
    /// Whether all that is written to it goes behind its end. Components have calls of their own for that.
    append: bool,
}

impl Tmp {
    fn new(quota: Arc<Mutex<Quota>>, place: usize) -> Tmp {
        let opened = lock(&quota).opened();
        Tmp { quota, opened, place, held: HashMap::new() }
    }

    /// Says how many mounts come before it.
    pub(in crate::wasm) fn place(&self) -> usize {
        self.place
    }

    /// Reports whether a descriptor is in it.
    pub(in crate::wasm) fn holds(&self, fd: u32) -> bool {
        self.held.contains_key(&fd)
    }

    /// Reports whether one of two descriptors is in it, and the other is not.
    pub(in crate::wasm) fn is_between(&self, one: u32, other: u32) -> bool {
        self.holds(one) != self.holds(other)
    }

    /// Notes a directory in it.
    pub(in crate::wasm) fn hold_dir(&mut self, fd: u32) {
        self.held.insert(fd, Held { file: None, append: false });
    }

    /// Notes what was opened from a directory in it.
    pub(in crate::wasm) fn hold(&mut self, fd: u32, file: Option<Weak<File>>, append: bool) {
        if let Some(file) = &file {
            let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
            if opened.len() == opened.capacity() {
                opened.retain(|file| file.strong_count() > 0);
            }
            opened.push(file.clone());
        }
        self.held.insert(fd, Held { file, append });
    }

    /// Notes that a descriptor is closed.
    pub(in crate::wasm) fn release(&mut self, fd: u32) {
        self.held.remove(&fd);
    }

    /// Notes that a descriptor has the number of another, which is closed.
    pub(in crate::wasm) fn renumber(&mut self, from: u32, to: u32) {
        let held = self.held.remove(&from);
        self.held.remove(&to);
        self.held.extend(held.map(|held| (to, held)));
    }

    /// Notes where writes to a file go.
    pub(in crate::wasm) fn append(&mut self, fd: u32, append: bool) {
        self.held.entry(fd).and_modify(|held| held.append = append);
    }

    /// Counts one more file, directory or link.
    pub(in crate::wasm) async fn take_entry(&self) -> io::Result<()> {
        self.apart(|quota| quota.take_entry()).await
    }

    /// Counts what a write would add to a file, from a position on.
    pub(in crate::wasm) async fn take_write(&self, fd: u32, position: u64, length: u64) -> io::Result<()> {
        let Some((file, append)) = self.file(fd) else { return Ok(()) };
        // Of an open file, which needs no disk.
        let size = size(&file)?;
        let end = if append { size } else { position }.saturating_add(length);
        let by = end.saturating_sub(size);
        if by == 0 || lock(&self.quota).take_at_hand(by) {
            return Ok(());
        }
        self.apart(move |quota| quota.take_bytes(by)).await
    }

    /// Counts what a file of this size would have more.
    pub(in crate::wasm) async fn take_size(&self, fd: u32, wanted: u64) -> io::Result<()> {
        let Some((file, _)) = self.file(fd) else { return Ok(()) };
        let by = wanted.saturating_sub(size(&file)?);
        if by == 0 { Ok(()) } else { self.apart(move |quota| quota.take_bytes(by)).await }
    }

    /// Writes to a file of a component's; `None`: it is not in here. A stream may write at the same time: so this is one
    /// step, as [`resize`](Tmp::resize) is.
    pub(in crate::wasm) async fn write(&self, fd: u32, bytes: Vec<u8>, at: u64) -> Option<io::Result<u64>> {
        let ((file, _), quota) = (self.file(fd)?, self.quota.clone());
        let written = spawn_blocking(move || stream::write(&file, &quota, &bytes, Some(at)));
        Some(written.await.map_err(io::Error::other).flatten())
    }

    /// Makes a file of a component's as large as this; `None`: it is not in here.
    pub(in crate::wasm) async fn resize(&self, fd: u32, wanted: u64) -> Option<io::Result<()>> {
        let (file, _) = self.file(fd)?;
        let resize = move |quota: &mut Quota| {
            let by = wanted.saturating_sub(size(&file)?);
            if by > 0 {
                quota.take_bytes(by)?;
            }
            file.set_len(wanted)
        };
        Some(self.apart(resize).await)
    }

    /// Makes a stream that writes to a file of a component's; `None`: it is not in here.
    pub(in crate::wasm) fn stream(&self, fd: u32, at: Option<u64>) -> Option<TmpStream> {
        let (file, _) = self.file(fd)?;
        Some(TmpStream::new(file, self.quota.clone(), at))
    }

    fn file(&self, fd: u32) -> Option<(Arc<File>, bool)> {
        let held = self.held.get(&fd)?;
        Some((held.file.as_ref()?.upgrade()?, held.append))
    }

    /// Has a thread that may block do what does.
    async fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Quota) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let quota = self.quota.clone();
        spawn_blocking(move || work(&mut lock(&quota))).await.map_err(io::Error::other)?
    }
}
