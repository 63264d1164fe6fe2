//! Restricts a thread to parts of the file system (Landlock).

use std::collections::HashMap;
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Error, Result};
use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, PathBeneath, Ruleset,
    RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetStatus,
};
use rustix::fs::{FileType, fstat};

use super::Untrusted;

/// The access to a path and everything below it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reach {
    /// Read files and list directories.
    Read,
    /// Read, and execute programs.
    Run,
    /// Read, and create, move, change and remove everything but devices.
    Write,
}

/// A file, or a directory with everything below it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PathGrant {
    /// The path.
    pub path: PathBuf,
    /// The access granted there.
    pub reach: Reach,
    /// Device and inode number of the file or directory at the path; `None` if there was nothing.
    node: Option<(u64, u64)>,
}

/// A Landlock ruleset. The kernel holds the places themselves, not their paths: a different directory put at the same
/// path is not included.
pub struct LandlockRules(RulesetCreated);

/// The error on a kernel without Landlock, for hosts that have to work without it. Any other error is a failure.
#[derive(Debug)]
pub struct NoLandlock;

impl LandlockRules {
    /// Makes a ruleset of places; all of them must exist. No link is followed below directories that handlers may
    /// write to.
    ///
    /// # Errors
    /// A place cannot be opened. [`NoLandlock`] if the kernel has no Landlock, or an early version that forbids moving
    /// files between directories.
    pub fn new(places: &[PathGrant], untrusted: &Untrusted) -> Result<LandlockRules> {
        let opened = places.iter().map(|PathGrant { path, reach, .. }| {
            let place = untrusted.open(path).with_context(|| path.display().to_string())?;
            Ok((place, *reach))
        });
        LandlockRules::of(opened.collect::<Result<Vec<(OwnedFd, Reach)>>>()?)
    }

    /// Makes a ruleset of open files and directories.
    ///
    /// # Errors
    /// The kernel's errors, as for [`new`](LandlockRules::new).
    pub fn of(places: impl IntoIterator<Item = (impl AsFd, Reach)>) -> Result<LandlockRules> {
        let ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(ABI::V2))
            // With this requirement the crate fails here exactly if Landlock is missing or older than ABI 2.
            .context(NoLandlock)?
            // Truncation and ioctls on devices are restricted only where the kernel supports it.
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(ABI::V5))?
            .create()
            .context("make a Landlock ruleset")?;
        let mut ground = ruleset.set_compatibility(CompatLevel::BestEffort);
        for (place, reach) in places {
            let is_dir = FileType::from_raw_mode(fstat(&place)?.st_mode) == FileType::Directory;
            ground = ground.add_rule(PathBeneath::new(place, reach.rights(is_dir)))?;
        }
        Ok(LandlockRules(ground))
    }

    /// Restricts the calling thread, and everything it starts, to these places, permanently. Open files stay open.
    ///
    /// # Errors
    /// The kernel refuses: a thread can be confined at most sixteen times. [`NoLandlock`] if the kernel enforces
    /// nothing.
    pub fn confine(&self) -> Result<()> {
        let status = self.0.try_clone()?.restrict_self().context(
            "confine a thread with Landlock (E2BIG: the limit of 16 nested rulesets is reached, and upgrades to \
             other versions or paths add to it: restart the daemon)",
        )?;
        if status.ruleset == RulesetStatus::NotEnforced {
            return Err(Error::msg(NoLandlock));
        }
        Ok(())
    }
}

impl fmt::Display for NoLandlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Landlock needs Linux 5.19, and to be among the kernel's lsm=")
    }
}

impl Reach {
    fn rights(self, is_dir: bool) -> BitFlags<AccessFs> {
        let all = AccessFs::from_all(ABI::V5);
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let other = AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev | AccessFs::Execute;
        let rights = match self {
            Reach::Read => read,
            Reach::Run => read | AccessFs::Execute,
            Reach::Write => all & !other,
        };
        if is_dir { rights } else { rights & AccessFs::from_file(ABI::V5) }
    }
}

impl Reach {
    /// Reports whether this access includes the other.
    fn covers(self, other: Reach) -> bool {
        self == other || other == Reach::Read
    }
}

impl PathGrant {
    /// Makes a place from the file or directory at a path now.
    pub fn new(path: impl AsRef<Path>, reach: Reach) -> PathGrant {
        let path = path.as_ref().to_owned();
        PathGrant { node: node(&path), path, reach }
    }

    /// Reports whether the path still leads to the file or directory that was there when the place was made.
    fn stands(&self) -> bool {
        self.node == node(&self.path)
    }
}

/// `/srv/data (write)`.
impl fmt::Display for PathGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reach = match self.reach {
            Reach::Read => "read",
            Reach::Run => "run",
            Reach::Write => "write",
        };
        write!(f, "{} ({reach})", self.path.display())
    }
}

fn node(path: &Path) -> Option<(u64, u64)> {
    path.metadata().ok().map(|found| (found.dev(), found.ino()))
}

/// Lists, by name, the needed places that a process confined to `granted` cannot reach. A directory that has replaced
/// a granted one is out of reach, because the kernel holds directories, not names.
pub fn places_beyond(granted: &[PathGrant], needed: &[(String, PathGrant)]) -> Vec<String> {
    let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    // A map, because a thousand handlers have thousands of places on both sides.
    let mut reaches: HashMap<PathBuf, Vec<Reach>> = HashMap::new();
    for place in granted.iter().filter(|place| place.stands()) {
        let of_path = reaches.entry(whole(&place.path)).or_default();
        if !of_path.contains(&place.reach) {
            of_path.push(place.reach);
        }
    }
    let within = |needed: &PathGrant| {
        let path = whole(&needed.path);
        let mut above = path.ancestors().filter_map(|above| reaches.get(above)).flatten();
        above.any(|reach| reach.covers(needed.reach))
    };
    let beyond = needed.iter().filter(|(_, place)| !within(place));
    beyond.map(|(key, place)| format!("{key}: {place}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::{ErrorKind, Result as IoResult, Write as _};
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    /// The outcome of a closure in a thread confined to `places`. `None` if the kernel has no Landlock, which no
    /// package installs: the test is skipped with a message.
    fn confined<T: Send>(
        places: &[PathGrant],
        attempt: impl FnOnce() -> IoResult<T> + Send,
    ) -> Option<IoResult<T>> {
        if let Err(refusal) = LandlockRules::new(&[], &Untrusted::default()) {
            let advice = format!("{refusal:#}: run this on a kernel that has it");
            // Written to the terminal directly, because the output of a passing test is not shown.
            let _told = writeln!(std::io::stderr(), "skipped: {advice}");
            return None;
        }
        let ground = LandlockRules::new(places, &Untrusted::default()).unwrap();
        let attempted = std::thread::scope(|scope| {
            let confined = scope.spawn(move || {
                ground.confine().unwrap();
                attempt()
            });
            confined.join().unwrap()
        });
        Some(attempted)
    }

    fn refused<T>(outcome: Option<IoResult<T>>) {
        let Some(outcome) = outcome else { return };
        assert_eq!(outcome.map(drop).unwrap_err().kind(), ErrorKind::PermissionDenied);
    }

    fn granted<T>(outcome: Option<IoResult<T>>) {
        outcome.map(|outcome| outcome.map(drop).unwrap()).unwrap_or_default();
    }

    #[test]
    fn what_lies_outside_is_out_of_reach_and_so_is_what_leads_there() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("in"), dir.path().join("out"));
        fs::create_dir(&inside).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(inside.join("file"), "mine").unwrap();
        fs::write(outside.join("secret"), "yours").unwrap();
        symlink("../out/secret", inside.join("link")).unwrap();
        let places = [PathGrant::new(&inside, Reach::Write)];

        granted(confined(&places, || fs::read(inside.join("file"))));
        granted(confined(&places, || fs::write(inside.join("new"), "x")));
        refused(confined(&places, || fs::read(outside.join("secret"))));
        refused(confined(&places, || fs::read(inside.join("link"))));
        refused(confined(&places, || fs::read_dir("/etc")));
        refused(confined(&places, || fs::write(outside.join("new"), "x")));
    }

    #[test]
    fn a_place_to_read_cannot_be_written_and_one_to_write_may_have_sockets() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "mine").unwrap();
        let read = [PathGrant::new(dir.path(), Reach::Read)];
        let write = [PathGrant::new(dir.path(), Reach::Write)];

        granted(confined(&read, || fs::read(dir.path().join("file"))));
        refused(confined(&read, || fs::write(dir.path().join("file"), "x")));
        refused(confined(&read, || fs::remove_file(dir.path().join("file"))));
        granted(confined(&write, || UnixListener::bind(dir.path().join("socket"))));
    }

    #[test]
    fn what_lies_beyond_is_told_with_what_needs_it() {
        let granted = [PathGrant::new("/srv/a", Reach::Read), PathGrant::new("/srv/b", Reach::Write)];
        let need = |path: &str, reach| ("key".to_owned(), PathGrant::new(path, reach));
        let needed = [
            need("/srv/a/x", Reach::Read),
            need("/srv/b", Reach::Read),
            need("/srv/b/y", Reach::Write),
            need("/srv/a", Reach::Write),
            need("/srv/ab", Reach::Read),
        ];

        assert_eq!(places_beyond(&granted, &needed), ["key: /srv/a (write)", "key: /srv/ab (read)"]);
    }

    #[test]
    fn what_has_taken_the_place_of_a_granted_directory_lies_beyond() {
        let dir = tempfile::tempdir().unwrap();
        let (at, old) = (dir.path().join("data"), dir.path().join("old"));
        fs::create_dir(&at).unwrap();
        let granted = [PathGrant::new(&at, Reach::Write)];
        let needed = || [("key".to_owned(), PathGrant::new(&at, Reach::Write))];
        assert!(places_beyond(&granted, &needed()).is_empty());

        fs::rename(&at, old).unwrap();
        fs::create_dir(&at).unwrap();

        assert_eq!(places_beyond(&granted, &needed()), [format!("key: {} (write)", at.display())]);
    }

    #[test]
    fn a_place_that_is_not_there_is_named() {
        let places = [PathGrant::new("/nowhere/at/all", Reach::Read)];
        let refusal = LandlockRules::new(&places, &Untrusted::default()).map(drop).unwrap_err();

        assert!(
            format!("{refusal:#}").contains("/nowhere/at/all") || format!("{refusal:#}").contains("Landlock")
        );
    }
}
