//! A job's own `/tmp`: counts every operation that would make it larger, before it is carried out.
//!
//! wasmtime-wasi does not tell which directory a descriptor is in. So this module tracks the descriptors in the job's
//! `/tmp`: the directory itself, and everything opened from it. No path of WASI leads out of a directory.
//!
//! Floors, lowest first: `stream`; the tracking in this file; `stock`.

mod stock;
mod stream;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::task::spawn_blocking;

pub(in crate::wasm) use self::stock::{Stock, TmpGuard};
pub(in crate::wasm) use self::stream::TmpStream;
use self::stream::{Growth, lock, size};
use crate::scratch::Quota;

/// The directory's path for guests.
pub(in crate::wasm) const GUEST: &str = "/tmp";

/// The account of one job's `/tmp`.
pub(in crate::wasm) struct Tmp {
    quota: Arc<Mutex<Quota>>,
    opened: Arc<Mutex<Vec<Weak<File>>>>,
    /// The number of mounts that are preopened before it.
    place: usize,
    /// The descriptors in it, by preview 1's number or by index in a component's table.
    held: HashMap<u32, HeldDescriptor>,
}

/// A descriptor in the directory.
struct HeldDescriptor {
    /// `None` for a directory.
    file: Option<Weak<File>>,
    /// Whether writes go to the end of the file. Always `false` for components, which have separate calls for that.
    append: bool,
}

impl Tmp {
    fn new(quota: Arc<Mutex<Quota>>, place: usize) -> Tmp {
        let opened = lock(&quota).opened();
        Tmp { quota, opened, place, held: HashMap::new() }
    }

    /// Returns the number of mounts that are preopened before it.
    pub(in crate::wasm) fn place(&self) -> usize {
        self.place
    }

    /// Reports whether a descriptor is in it.
    pub(in crate::wasm) fn holds(&self, fd: u32) -> bool {
        self.held.contains_key(&fd)
    }

    /// Reports whether exactly one of two descriptors is in it.
    pub(in crate::wasm) fn is_between(&self, one: u32, other: u32) -> bool {
        self.holds(one) != self.holds(other)
    }

    /// Records a directory in it.
    pub(in crate::wasm) fn hold_dir(&mut self, fd: u32) {
        self.held.insert(fd, HeldDescriptor { file: None, append: false });
    }

    /// Records a descriptor that was opened from a directory in it.
    pub(in crate::wasm) fn hold(&mut self, fd: u32, file: Option<Weak<File>>, append: bool) {
        if let Some(file) = &file {
            let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
            if opened.len() == opened.capacity() {
                opened.retain(|file| file.strong_count() > 0);
            }
            opened.push(file.clone());
        }
        self.held.insert(fd, HeldDescriptor { file, append });
    }

    /// Forgets a descriptor that was closed.
    pub(in crate::wasm) fn release(&mut self, fd: u32) {
        self.held.remove(&fd);
    }

    /// Moves the record of `from` to `to`, whose descriptor was closed.
    pub(in crate::wasm) fn renumber(&mut self, from: u32, to: u32) {
        let held = self.held.remove(&from);
        self.held.remove(&to);
        self.held.extend(held.map(|held| (to, held)));
    }

    /// Records whether writes to a file append.
    pub(in crate::wasm) fn append(&mut self, fd: u32, append: bool) {
        self.held.entry(fd).and_modify(|held| held.append = append);
    }

    /// Counts one more file, directory or link.
    pub(in crate::wasm) async fn take_entry(&self) -> io::Result<()> {
        self.apart(|quota| quota.take_entry()).await
    }

    /// Counts the bytes that a write at `position` would add to a file. Returns how many bytes of the write there is
    /// room for.
    ///
    /// # Errors
    /// `ENOSPC` if there is room for none.
    pub(in crate::wasm) async fn take_write(&self, fd: u32, position: u64, length: u64) -> io::Result<u64> {
        let Some((file, append)) = self.file(fd) else { return Ok(length) };
        // Never waits for the disk: the file is open.
        let size = size(&file)?;
        let growth = Growth::of(size, if append { size } else { position }, length);
        if growth.bytes == 0 || lock(&self.quota).take_at_hand(growth.bytes) {
            return Ok(length);
        }
        self.apart(move |quota| growth.take(quota)).await
    }

    /// Counts the bytes that a file of size `wanted` would add.
    pub(in crate::wasm) async fn take_size(&self, fd: u32, wanted: u64) -> io::Result<()> {
        let Some((file, _)) = self.file(fd) else { return Ok(()) };
        let by = wanted.saturating_sub(size(&file)?);
        if by == 0 { Ok(()) } else { self.apart(move |quota| quota.take_bytes(by)).await }
    }

    /// Writes to a component's file. Returns `None` if the file is not in here. Counting and writing are one step, as
    /// in [`resize`](Tmp::resize), because a stream may write at the same time.
    pub(in crate::wasm) async fn write(&self, fd: u32, bytes: Vec<u8>, at: u64) -> Option<io::Result<u64>> {
        let ((file, _), quota) = (self.file(fd)?, self.quota.clone());
        let written = spawn_blocking(move || stream::write(&file, &quota, &bytes, Some(at)));
        Some(written.await.map_err(io::Error::other).flatten())
    }

    /// Resizes a component's file. Returns `None` if the file is not in here.
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

    /// Makes a stream that writes to a component's file. Returns `None` if the file is not in here.
    pub(in crate::wasm) fn stream(&self, fd: u32, at: Option<u64>) -> Option<TmpStream> {
        let (file, _) = self.file(fd)?;
        Some(TmpStream::new(file, self.quota.clone(), at))
    }

    fn file(&self, fd: u32) -> Option<(Arc<File>, bool)> {
        let held = self.held.get(&fd)?;
        Some((held.file.as_ref()?.upgrade()?, held.append))
    }

    /// Runs work on a thread that may block.
    async fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Quota) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let quota = self.quota.clone();
        spawn_blocking(move || work(&mut lock(&quota))).await.map_err(io::Error::other)?
    }
}
