//! Bytes in a sealed memory file, which no process can change, not even this one.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write};
use std::os::unix::fs::FileExt as _;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;

/// A memory file under the kernel's seals. What was verified is what runs: the bytes cannot change in between.
pub(in crate::wasm) struct Sealed {
    file: File,
    len: u64,
}

/// A memory file that is not sealed yet.
pub(in crate::wasm) struct SealedDraft(File);

impl Sealed {
    /// Copies bytes and seals the copy.
    pub(in crate::wasm) fn of(bytes: &[u8]) -> io::Result<Sealed> {
        let mut draft = SealedDraft::new()?;
        draft.write_all(bytes)?;
        draft.seal()
    }

    pub(in crate::wasm) fn len(&self) -> u64 {
        self.len
    }

    /// Returns a handle of the file. Its cursor is at the start, and is shared by all such handles.
    pub(in crate::wasm) fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Copies the bytes out.
    pub(in crate::wasm) fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.each(|chunk| bytes.extend_from_slice(chunk))?;
        Ok(bytes)
    }

    /// Passes the bytes to `see` in chunks, first to last.
    pub(in crate::wasm) fn each(&self, mut see: impl FnMut(&[u8])) -> io::Result<()> {
        // Fits the second-level cache: a digest reads bytes that the copy has just written there.
        let mut buffer = vec![0; 128 << 10];
        let mut at = 0;
        while at < self.len {
            match self.file.read_at(&mut buffer, at)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => {
                    see(&buffer[..read]);
                    at += read as u64;
                }
            }
        }
        Ok(())
    }
}

impl SealedDraft {
    /// Makes an empty file.
    pub(in crate::wasm) fn new() -> io::Result<SealedDraft> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let create = |flags| memfd_create("portcullis-code", flags);
        // Hosts with vm.memfd_noexec=2 require NOEXEC_SEAL; before Linux 6.3 the kernel does not
        // know it. It forbids execve(2), not mmap(2).
        let file = match create(flags | MemfdFlags::NOEXEC_SEAL) {
            Err(Errno::INVAL) => create(flags),
            created => created,
        };
        Ok(SealedDraft(File::from(file?)))
    }

    /// Copies at most `max` bytes of a file, starting at its cursor.
    pub(in crate::wasm) fn copy(&mut self, from: &File, max: u64) -> io::Result<u64> {
        // From file to file, so the kernel copies and nothing passes through our memory.
        io::copy(&mut from.take(max), &mut self.0)
    }

    /// Seals the file; it can never be written again.
    pub(in crate::wasm) fn seal(mut self) -> io::Result<Sealed> {
        self.0.rewind()?;
        fcntl_add_seals(&self.0, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
        let len = self.0.metadata()?.len();
        Ok(Sealed { file: self.0, len })
    }
}

impl Write for SealedDraft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_cannot_be_changed() {
        let sealed = Sealed::of(b"code").unwrap();
        let mut file = sealed.file().unwrap();

        assert!(file.write_all(b"evil").is_err());
        assert!(file.set_len(2).is_err());
        assert!(file.set_len(8).is_err());
        assert_eq!((sealed.len(), sealed.bytes().unwrap()), (4, b"code".to_vec()));
    }
}
