//! Checks the file of a store as opening it would, and changes nothing in it.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use redb::backends::FileBackend;
use redb::{Builder, StorageBackend};

use super::failure;
use super::open::{CACHE, prepare};
use crate::store::error::StoreError;

/// The unit in which changes are kept.
const BLOCK: u64 = 4096;

/// Checks a file. Blocks, and reads the whole of it.
///
/// A file that is open elsewhere was checked by who has opened it, and changes while it is read: it counts as sound.
///
/// # Errors
/// The file cannot be opened, or is damaged.
pub(in crate::store) fn examine(path: &Path) -> Result<(), StoreError> {
    let unavailable = |error: io::Error| StoreError::Unavailable(format!("{}: {error}", path.display()));
    // For writing too, as opening it would, so that a file which cannot be written is found.
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(unavailable)?;
    let locks = FileBackend::new(file.try_clone().map_err(unavailable)?);
    let locks = locks.map_err(|error| failure::of(path, error))?;
    let is_open = || locks.query_lock_range(Bound::Unbounded, Bound::Unbounded).unwrap_or(false);
    if is_open() {
        return Ok(());
    }
    let opened = failure::guarded(path, || {
        let unchanged = UnchangedFile::new(file).map_err(unavailable)?;
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
        let database = builder.create_with_backend(unchanged).map_err(|error| failure::of(path, error))?;
        prepare(path, &database)
    });
    match opened {
        // It was opened by a daemon meanwhile.
        Err(_) if is_open() => Ok(()),
        opened => opened,
    }
}

/// A file that is read, while everything that is written stays in memory: what a repair writes, which is little.
#[derive(Debug)]
struct UnchangedFile {
    file: File,
    changes: Mutex<FileChanges>,
}

#[derive(Debug)]
struct FileChanges {
    /// The length of the file with its changes.
    length: u64,
    /// The bytes of the file beyond which nothing of it is read any more.
    kept: u64,
    /// Changed blocks by their number.
    blocks: BTreeMap<u64, Vec<u8>>,
}

impl UnchangedFile {
    fn new(file: File) -> io::Result<UnchangedFile> {
        let length = file.metadata()?.len();
        let changes = Mutex::new(FileChanges { length, kept: length, blocks: BTreeMap::new() });
        Ok(UnchangedFile { file, changes })
    }

    /// Splits a range at the ends of blocks. Each part has the number of its block, where it begins in the block, and
    /// where it lies in the range.
    fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
        let mut done = 0;
        std::iter::from_fn(move || {
            let at = offset + done as u64;
            let begin = usize::try_from(at % BLOCK).unwrap_or(0);
            let size = (length - done).min(BLOCK as usize - begin);
            let part = done..done + size;
            done += size;
            (size > 0).then_some((at / BLOCK, begin, part))
        })
    }

    /// Returns a block as the file has it, with zeros beyond its end.
    fn block(&self, number: u64, kept: u64) -> io::Result<Vec<u8>> {
        let mut block = vec![0; BLOCK as usize];
        let begin = number * BLOCK;
        let there = usize::try_from(kept.saturating_sub(begin).min(BLOCK)).unwrap_or(0);
        self.file.read_exact_at(&mut block[..there], begin)?;
        Ok(block)
    }
}

impl StorageBackend for UnchangedFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.changes.lock().unwrap_or_else(PoisonError::into_inner).length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let end = offset + out.len() as u64;
        if end > changes.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if end <= changes.kept {
            self.file.read_exact_at(out, offset)?;
        } else {
            for (number, begin, part) in UnchangedFile::parts(offset, out.len()) {
                let block = self.block(number, changes.kept)?;
                let size = part.len();
                out[part].copy_from_slice(&block[begin..begin + size]);
            }
        }
        for (number, begin, part) in UnchangedFile::parts(offset, out.len()) {
            if let Some(block) = changes.blocks.get(&number) {
                let size = part.len();
                out[part].copy_from_slice(&block[begin..begin + size]);
            }
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if length < changes.length {
            // What is beyond the end is zero when the file grows again.
            changes.kept = changes.kept.min(length);
            changes.blocks.split_off(&length.div_ceil(BLOCK));
            let last = length % BLOCK;
            if let Some(block) = changes.blocks.get_mut(&(length / BLOCK)) {
                block[usize::try_from(last).unwrap_or(0)..].fill(0);
            }
        }
        changes.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = changes.kept;
        changes.length = changes.length.max(offset + data.len() as u64);
        for (number, begin, part) in UnchangedFile::parts(offset, data.len()) {
            let block = match changes.blocks.entry(number) {
                std::collections::btree_map::Entry::Occupied(block) => block.into_mut(),
                std::collections::btree_map::Entry::Vacant(place) => place.insert(self.block(number, kept)?),
            };
            block[begin..begin + part.len()].copy_from_slice(&data[part]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn changes_are_read_back_and_the_file_stays() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[1; 10_000]).unwrap();
        let unchanged = UnchangedFile::new(file.try_clone().unwrap()).unwrap();
        let read = |offset, size| {
            let mut bytes = vec![9; size];
            unchanged.read(offset, &mut bytes).map(|()| bytes)
        };

        unchanged.write(4000, &[2; 5000]).unwrap();
        unchanged.write(9999, &[3; 2]).unwrap();

        assert_eq!(unchanged.len().unwrap(), 10_001);
        assert_eq!(read(3999, 2).unwrap(), [1, 2]);
        assert_eq!(read(8998, 4).unwrap(), [2, 2, 1, 1]);
        assert_eq!(read(9998, 3).unwrap(), [1, 3, 3]);
        assert!(read(9999, 3).is_err());
        unchanged.set_len(5000).unwrap();
        unchanged.set_len(20_000).unwrap();
        assert_eq!((read(4999, 2).unwrap(), read(9000, 1).unwrap()), (vec![2, 0], vec![0]));
        let mut bytes = vec![0; 10_000];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 1) && file.metadata().unwrap().len() == 10_000);
    }
}
