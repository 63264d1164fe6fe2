//! Counts the notes and logs their number: run by a schedule.
#![allow(clippy::print_stdout, reason = "what a scheduled job prints is in the log")]

use std::io;
use std::path::Path;

fn main() -> io::Result<()> {
    println!("{} notes", notes(Path::new("/data"))?);
    Ok(())
}

/// Counts the directories with a number for a name: one for each note.
fn notes(root: &Path) -> io::Result<usize> {
    let mut notes = 0;
    for entry in std::fs::read_dir(root)? {
        let name = entry?.file_name();
        notes += usize::from(name.to_str().is_some_and(|name| name.parse::<u64>().is_ok()));
    }
    Ok(notes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_is_not_there_is_an_error() {
        assert!(notes(Path::new("/nowhere/at/all")).is_err());
    }
}
