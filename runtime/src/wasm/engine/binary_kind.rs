//! Recognises a core module or a component by the first bytes of a file.

use std::fmt;

use wasmtime::{Result, bail};

/// The two kinds of modules.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BinaryKind {
    /// A core module.
    Core,
    /// A component.
    Component,
}

impl fmt::Display for BinaryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BinaryKind::Core => "module",
            BinaryKind::Component => "component",
        })
    }
}

impl BinaryKind {
    /// Tells a core module from a component by its preamble.
    ///
    /// Source: the preambles of the core specification §5.5.16 and of the component model's Binary.md.
    ///
    /// # Errors
    /// The bytes are neither. The message names what they look like: an ELF program, WebAssembly text,
    /// an empty file.
    pub fn of(bytes: &[u8]) -> Result<BinaryKind> {
        match bytes {
            [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => Ok(BinaryKind::Core),
            [0, b'a', b's', b'm', _, 0, 1, 0, ..] => Ok(BinaryKind::Component),
            [0, b'a', b's', b'm', ..] => {
                bail!("a WebAssembly binary of an unknown version: rebuild it with current tools")
            }
            [] => bail!("the file is empty: wanted a WebAssembly module, built with --target wasm32-wasip1"),
            [0x7f, b'E', b'L', b'F', ..] => {
                bail!(
                    "a native program (ELF), not a WebAssembly module: build it with --target wasm32-wasip1"
                )
            }
            text if text.trim_ascii_start().starts_with(b"(") => {
                bail!("WebAssembly text, not a module: `portcullis build` assembles .wat files")
            }
            other => bail!(
                "not a WebAssembly module: it starts with \"{}\"; build one with --target wasm32-wasip1",
                other[..other.len().min(16)].escape_ascii()
            ),
        }
    }
}
