//! The names of the program's own functions, from the symbol table of its file (elf(5)).

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use rustc_demangle::demangle;

/// The program's file, whatever has become of its path.
const PROGRAM: &str = "/proc/self/exe";

/// The largest table that is read, in bytes: that of an unoptimised build has some ten MiB.
const LARGEST: u64 = 256 << 20;

/// Functions by their addresses. Without a symbol table, addresses stand for names.
#[derive(Default)]
pub(super) struct Symbols {
    /// The start and the end of each function in the file, and where its name begins.
    functions: Vec<(u64, u64, usize)>,
    /// The names, each ended by a zero byte.
    names: Vec<u8>,
    /// By how much the kernel has moved the program.
    moved: u64,
}

/// A section of the file.
struct ElfSection {
    kind: u32,
    offset: u64,
    size: u64,
    /// The section of the names.
    link: u32,
}

impl Symbols {
    /// Reads the table of this program. Blocks.
    pub(super) fn of_program() -> Symbols {
        File::open(PROGRAM).ok().and_then(|file| Symbols::read(&file)).unwrap_or_default()
    }

    fn read(file: &File) -> Option<Symbols> {
        /// ELF, 64 bits, little-endian, of the current version.
        const MAGIC: &[u8] = b"\x7fELF\x02\x01\x01";
        const SYMTAB: u32 = 2;
        const DYNAMIC: u16 = 3;
        let header = bytes(file, 0, 64)?;
        let (at, each, count) = (u64_at(&header, 40)?, u16_at(&header, 58)?, u16_at(&header, 60)?);
        if !header.starts_with(MAGIC) || each == 0 {
            return None;
        }
        let table = bytes(file, at, u64::from(each) * u64::from(count))?;
        let sections = table.chunks_exact(usize::from(each)).map(ElfSection::read);
        let sections = sections.collect::<Option<Vec<ElfSection>>>()?;
        let symbols = sections.iter().find(|section| section.kind == SYMTAB)?;
        let names = sections.get(usize::try_from(symbols.link).ok()?)?;
        let symbols = bytes(file, symbols.offset, symbols.size)?;
        let mut functions: Vec<_> = symbols.chunks_exact(24).filter_map(function).collect();
        functions.sort_unstable();
        let moved = if u16_at(&header, 16)? == DYNAMIC { first_mapping()? } else { 0 };
        Some(Symbols { functions, names: bytes(file, names.offset, names.size)?, moved })
    }

    /// Returns the name of the function that a return address lies in, or the address itself.
    pub(super) fn name(&self, return_address: usize) -> String {
        // The call lies before it, which may be the last instruction of its function.
        let address = (return_address as u64).wrapping_sub(self.moved).wrapping_sub(1);
        let behind = self.functions.partition_point(|(start, ..)| *start <= address);
        let found = behind.checked_sub(1).map(|last| self.functions[last]);
        match found.filter(|(_, end, _)| address < *end).and_then(|(.., name)| self.names.get(name..)) {
            Some(name) => {
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                // Without the hash at its end, and in one piece: stacks are joined by semicolons.
                format!("{:#}", demangle(&String::from_utf8_lossy(name))).replace(';', ":")
            }
            None => format!("{return_address:#x}"),
        }
    }
}

impl ElfSection {
    fn read(header: &[u8]) -> Option<ElfSection> {
        Some(ElfSection {
            kind: u32_at(header, 4)?,
            offset: u64_at(header, 24)?,
            size: u64_at(header, 32)?,
            link: u32_at(header, 40)?,
        })
    }
}

/// Reads an entry of the symbol table, if it is a function.
fn function(symbol: &[u8]) -> Option<(u64, u64, usize)> {
    const FUNCTION: u8 = 2;
    let (name, start, size) = (u32_at(symbol, 0)?, u64_at(symbol, 8)?, u64_at(symbol, 16)?);
    let is_function = symbol.get(4)? & 0xf == FUNCTION && size > 0;
    Some((start, start.checked_add(size)?, usize::try_from(name).ok()?)).filter(|_| is_function)
}

/// Returns where the program begins in memory: its file is the first that is mapped.
fn first_mapping() -> Option<u64> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let program = fs::read_link(PROGRAM).ok()?;
    let program = program.to_str()?;
    let first = maps.lines().find(|line| line.ends_with(program))?;
    u64::from_str_radix(first.split('-').next()?, 16).ok()
}

fn bytes(file: &File, offset: u64, size: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(size).ok().filter(|_| size <= LARGEST)?];
    file.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::heap::stack::capture;

    #[test]
    fn a_function_of_this_program_has_its_name_and_no_other_address_has_one() {
        let symbols = Symbols::of_program();
        let mut names = Vec::new();

        capture(|stack| names.extend(stack.iter().map(|address| symbols.name(*address))));

        let own = "a_function_of_this_program_has_its_name_and_no_other_address_has_one";
        assert!(names.iter().any(|name| name.contains(own)), "{names:?}");
        assert_eq!(symbols.name(0x10), "0x10");
        assert_eq!(Symbols::default().name(0x1234), "0x1234");
    }
}
