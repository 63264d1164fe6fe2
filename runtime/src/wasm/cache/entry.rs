//! The format of a cache entry: a header that authenticates the code after it.

use std::fs::File;
use std::io::{self, Read as _, Write};

use anyhow::{Context as _, Result, bail, ensure};
use data_encoding::HEXLOWER;
use hmac::Mac as _;
use sha2::{Digest as _, Sha256};

use super::key::Key;
use crate::wasm::engine::artifact::Artifact;
use crate::wasm::engine::sealed::SealedDraft;

/// The start of every entry. The last byte is the version of this format.
const MAGIC: [u8; 16] = *b"portcullis code\x01";

/// The length of an HMAC-SHA256 in bytes.
const MAC: usize = 32;

/// Bytes before the code: the magic, the length of the code, the MAC.
const HEADER: usize = MAGIC.len() + 8 + MAC;

/// The identity of compiled code: a hash of the module and of everything else the code depends on.
pub(in crate::wasm) struct CodeIdentity([u8; 32]);

impl CodeIdentity {
    pub(in crate::wasm) fn new(module: &[u8; 32], fingerprint: &[u8; 32]) -> CodeIdentity {
        CodeIdentity(Sha256::new().chain_update(module).chain_update(fingerprint).finalize().into())
    }

    /// Returns the name of the entry. The name depends on the key: installations that share a
    /// directory have different names, since they cannot read each other's entries.
    pub(super) fn name(&self, key: &Key) -> String {
        let name = key.mac().chain_update(b"name").chain_update(self.0).finalize().into_bytes();
        HEXLOWER.encode(&name)
    }
}

/// Writes an entry.
pub(super) fn write(
    key: &Key,
    identity: &CodeIdentity,
    code: &Artifact,
    mut to: impl Write,
) -> io::Result<()> {
    let code = code.sealed();
    to.write_all(&MAGIC)?;
    to.write_all(&code.len().to_le_bytes())?;
    let mut mac = start(key, identity, code.len());
    code.each(|chunk| mac.update(chunk))?;
    to.write_all(&mac.finalize().into_bytes())?;
    let mut written = Ok(());
    code.each(|chunk| {
        if written.is_ok() {
            written = to.write_all(chunk);
        }
    })?;
    written
}

/// Reads an entry and verifies that this installation wrote it for this identity.
///
/// # Errors
/// The entry is damaged, or was written or changed by someone else.
pub(super) fn read(key: &Key, identity: &CodeIdentity, mut file: &File) -> Result<Artifact> {
    let mut header = [0; HEADER];
    file.read_exact(&mut header).context("it is too short")?;
    let (magic, rest) = header.split_at(MAGIC.len());
    ensure!(*magic == MAGIC, "it is not a cache entry of portcullis");
    let (length, written) = rest.split_at(8);
    let length = u64::from_le_bytes(length.try_into().context("eight bytes")?);
    let size = file.metadata()?.len();
    ensure!(size.checked_sub(HEADER as u64) == Some(length), "it is truncated or has extra bytes");
    let mut draft = SealedDraft::new()?;
    let copied = draft.copy(file, length)?;
    ensure!(copied == length, "it became shorter while it was read");
    let code = draft.seal()?;
    // The MAC is computed over the sealed copy, so the code that is verified is the code that runs,
    // even if the file changes later.
    let mut mac = start(key, identity, code.len());
    code.each(|chunk| mac.update(chunk))?;
    if mac.verify_slice(written).is_err() {
        bail!("another program has written or changed it");
    }
    // SAFETY: only `write` computes MACs under this key, and only over an artifact, whose bytes
    // come from a compiler. The sealed bytes are the same, as was just verified. `Key::open`
    // ensures that no other user has the key.
    Ok(unsafe { Artifact::trust(code) })
}

/// Starts the MAC of an entry, which binds its identity and length to its content.
fn start(key: &Key, identity: &CodeIdentity, length: u64) -> super::key::Mac {
    key.mac().chain_update(MAGIC).chain_update(identity.0).chain_update(length.to_le_bytes())
}
