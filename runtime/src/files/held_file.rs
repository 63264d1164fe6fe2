//! A file that is held open. Its own state shows most changes of its path, so the path is seldom looked up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::opened::{FileVersion, OpenedFile};
use crate::budget::Portion;

/// How long the state of the file is enough after a lookup of its path, by the coarse clock. What the state does not show
/// takes effect within this time: a mount on the path, and a directory that is closed to the daemon.
const BETWEEN_LOOKUPS: Duration = Duration::from_millis(10);

/// File systems in which the state of a file shows that its path leads elsewhere: to remove, rename or replace it changes
/// its `ctime`. Their numbers in statfs(2): ext4, Btrfs and tmpfs. In XFS, two files that are exchanged (renameat2(2),
/// `RENAME_EXCHANGE`) do not change. In overlayfs, a file of a lower layer never changes.
const TELLING: [u64; 3] = [0xef53, 0x9123_683e, 0x0102_1994];

/// A file directly in the served directory.
///
/// It is closed after a time even if nobody asks for it again. A file that was removed meanwhile takes room on the disk
/// until then, and its file system cannot be made read-only.
#[derive(Debug)]
pub(super) struct HeldFile {
    file: Weak<OpenedFile>,
    /// When its path was looked up, in milliseconds of the coarse clock.
    looked_up: AtomicU64,
    /// The task that holds the file, its place and its descriptor.
    holding: JoinHandle<()>,
}

impl HeldFile {
    /// Reports whether the state of a file shows what happens to its name, in a file system by its number in statfs(2).
    pub(super) fn is_telling(file_system: u64) -> bool {
        TELLING.contains(&file_system)
    }

    /// Holds a file for a time. `place` is its place among those that are held in the directory, and `descriptor` is its
    /// part of the budget of the process. Its path is looked up next.
    pub(super) fn new(
        file: Arc<OpenedFile>,
        place: OwnedSemaphorePermit,
        descriptor: Portion,
        time: Duration,
    ) -> HeldFile {
        let weak = Arc::downgrade(&file);
        let holding = tokio::spawn(async move {
            sleep(time).await;
            drop((file, place, descriptor));
        });
        HeldFile { file: weak, looked_up: 0.into(), holding }
    }

    /// Notes that a lookup of its path that began at `now`, by the coarse clock, led to it.
    pub(super) fn looked_up(&self, now: Duration) {
        let millis = u64::try_from(now.as_millis()).unwrap_or_default();
        self.looked_up.store(millis, Ordering::Relaxed);
    }

    /// Reports whether its path leads to it in this state. `false` if the path has to be looked up: the state has changed,
    /// the last lookup is too old, or the file is no longer held.
    pub(super) fn tells(&self, version: &FileVersion, now: Duration) -> bool {
        let looked_up = Duration::from_millis(self.looked_up.load(Ordering::Relaxed));
        now.saturating_sub(looked_up) <= BETWEEN_LOOKUPS
            && self.file.upgrade().is_some_and(|file| file.is_in(version))
    }
}

impl Drop for HeldFile {
    fn drop(&mut self) {
        self.holding.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::{Budget, Holder};
    use crate::files::opened::FileDistance;
    use rustix::fs::{CWD, RenameFlags, fstat, renameat_with, stat, statfs};
    use std::fs::{self, File, Permissions};
    use std::io;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use std::time::Instant;
    use tokio::sync::Semaphore;

    const NOW: Duration = Duration::from_secs(100);

    /// Holds a file whose path was looked up at `NOW`, and returns its state.
    fn held(path: &Path) -> (HeldFile, FileVersion) {
        let file = File::open(path).unwrap();
        let stat = fstat(&file).unwrap();
        let file = Arc::new(OpenedFile::new(file.into(), &stat, FileDistance::Near));
        let version = file.version;
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let descriptor = Budget::boundless().try_take(&Arc::<Holder>::default(), 1).unwrap();
        let held = HeldFile::new(file, place, descriptor, Duration::from_secs(100));
        held.looked_up(NOW);
        (held, version)
    }

    /// Waits until the clock of the file system has gone on since a file was changed.
    fn wait_for_tick(place: &Path, changed: &FileVersion) {
        let deadline = Instant::now() + Duration::from_secs(10);
        let probe = place.join("probe");
        let time = || {
            fs::write(&probe, "").unwrap();
            FileVersion::of(&stat(&probe).unwrap()).state.changed
        };
        while time() <= changed.state.changed {
            assert!(Instant::now() < deadline, "the clock of the file system stands still");
        }
    }

    #[tokio::test]
    async fn a_file_tells_whatever_happens_to_it_or_to_its_name() {
        type Happens = fn(&Path, &Path) -> io::Result<()>;
        let all: [(&str, Happens); 7] = [
            ("edited", |path, _| fs::write(path, "other")),
            ("closed", |path, _| fs::set_permissions(path, Permissions::from_mode(0o0))),
            ("removed", |path, _| fs::remove_file(path)),
            ("moved", |path, other| fs::rename(path, other.with_extension("new"))),
            ("replaced", |path, other| fs::rename(other, path)),
            ("linked", |path, other| fs::hard_link(path, other.with_extension("new"))),
            ("exchanged", |path, other| Ok(renameat_with(CWD, path, CWD, other, RenameFlags::EXCHANGE)?)),
        ];
        let places = [tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap()];
        let is_telling =
            |place: &Path| HeldFile::is_telling(u64::try_from(statfs(place).unwrap().f_type).unwrap());
        assert!(is_telling(places[1].path()), "tmpfs");
        for place in places.iter().map(|place| place.path()).filter(|place| is_telling(place)) {
            for (name, happens) in all {
                let [path, other, untouched] =
                    ["path", "other", "untouched"].map(|kind| place.join(name).with_extension(kind));
                [&path, &other, &untouched].iter().for_each(|path| fs::write(path, "first").unwrap());
                let [(file, version), (untouched, same)] = [&path, &untouched].map(|path| held(path));
                wait_for_tick(place, &version);

                happens(&path, &other).unwrap();

                assert!(!file.tells(&version, NOW), "{name} in {}", place.display());
                assert!(untouched.tells(&same, NOW), "{name} in {}", place.display());
            }
        }
    }

    #[test]
    fn a_file_in_xfs_or_overlayfs_does_not_tell_all() {
        let [xfs, overlayfs] = [0x5846_5342, 0x794c_7630];

        assert!(!HeldFile::is_telling(xfs) && !HeldFile::is_telling(overlayfs));
    }

    #[tokio::test]
    async fn a_path_is_looked_up_again_after_a_moment() {
        let place = tempfile::NamedTempFile::new().unwrap();
        let (held, version) = held(place.path());

        assert!(held.tells(&version, NOW + BETWEEN_LOOKUPS));
        assert!(!held.tells(&version, NOW + BETWEEN_LOOKUPS + Duration::from_nanos(1)));
    }
}
