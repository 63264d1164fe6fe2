//! Tests of the cache, with attackers and other daemons in its directory.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::wasm::engine::sealed::Sealed;

/// A cache in a directory of its own.
struct Home {
    home: TempDir,
    cache: Cache,
}

impl Home {
    fn new() -> Home {
        let home = tempfile::tempdir().unwrap();
        let cache = Home::open(&home).unwrap();
        Home { home, cache }
    }

    fn open(home: &TempDir) -> Result<Cache> {
        Cache::open(
            &CacheLocation { dir: home.path().join("code"), key: home.path().join("state/cache.key") },
            Cache::SIZE,
        )
    }

    fn entry(&self, identity: &CodeIdentity) -> PathBuf {
        self.home.path().join("code").join(identity.name(&self.cache.key))
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.home.path().join("code")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

/// Makes an artifact of arbitrary bytes. It is never run.
fn code(bytes: &[u8]) -> Artifact {
    // SAFETY: these tests deserialize nothing, so it does not matter what the bytes are.
    unsafe { Artifact::trust(Sealed::of(bytes).unwrap()) }
}

fn identity(number: u8) -> CodeIdentity {
    CodeIdentity::new(&[number; 32], &[0; 32])
}

fn found(cache: &Cache, identity: &CodeIdentity) -> Option<Vec<u8>> {
    cache.get(identity).map(|code| code.sealed().bytes().unwrap())
}

#[test]
fn what_was_kept_is_found_also_by_the_next_process() {
    let Home { home, cache } = Home::new();
    let long = vec![7; 1 << 20];

    cache.put(&identity(1), &code(b"one"));
    cache.put(&identity(2), &code(&long));
    cache.put(&identity(1), &code(b"one anew"));

    let next = Home::open(&home).unwrap();
    assert_eq!(found(&next, &identity(1)).as_deref(), Some(&b"one anew"[..]));
    assert_eq!(found(&next, &identity(2)), Some(long));
    assert!(found(&next, &identity(3)).is_none());
    assert!(found(&next, &CodeIdentity::new(&[1; 32], &[1; 32])).is_none(), "other settings, other code");
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed_and_deleted() {
    let home = Home::new();
    let identity = identity(1);
    home.cache.put(&identity, &code(&[42; 250]));
    let path = home.entry(&identity);
    let whole = fs::read(&path).unwrap();
    let spoils = |spoilt: &[u8]| {
        fs::write(&path, spoilt).unwrap();
        assert!(found(&home.cache, &identity).is_none());
        assert!(!path.exists(), "it is deleted");
    };

    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        spoils(&flipped);
    }
    for length in 0..whole.len() {
        spoils(&whole[..length]);
    }
    spoils(&[whole.as_slice(), b"\0"].concat());
    spoils(b"\x7fELF\x02\x01\x01");

    fs::write(&path, &whole).unwrap();
    assert!(found(&home.cache, &identity).is_some(), "the entry itself is good");
}

#[test]
fn an_entry_under_the_name_of_another_is_refused() {
    let home = Home::new();
    home.cache.put(&identity(1), &code(b"one"));

    fs::copy(home.entry(&identity(1)), home.entry(&identity(2))).unwrap();

    assert!(found(&home.cache, &identity(2)).is_none());
    assert!(found(&home.cache, &identity(1)).is_some());
}

#[test]
fn an_entry_of_another_installation_is_neither_found_nor_harmed() {
    let home = Home::new();
    home.cache.put(&identity(1), &code(b"one"));
    let place =
        CacheLocation { dir: home.home.path().join("code"), key: home.home.path().join("other/cache.key") };
    let other = Cache::open(&place, Cache::SIZE).unwrap();

    assert!(found(&other, &identity(1)).is_none());
    fs::copy(home.entry(&identity(1)), place.dir.join(identity(1).name(&other.key))).unwrap();
    assert!(found(&other, &identity(1)).is_none());

    assert!(found(&home.cache, &identity(1)).is_some());
}

#[test]
fn links_directories_and_fifos_in_place_of_an_entry_are_removed() {
    let home = Home::new();
    let identity = identity(1);
    let path = home.entry(&identity);
    let elsewhere = home.home.path().join("elsewhere");
    home.cache.put(&identity, &code(b"one"));
    fs::rename(&path, &elsewhere).unwrap();

    symlink(&elsewhere, &path).unwrap();
    assert!(found(&home.cache, &identity).is_none());
    assert!(elsewhere.exists() && path.symlink_metadata().is_err());

    fs::create_dir(&path).unwrap();
    assert!(found(&home.cache, &identity).is_none());
    assert!(path.symlink_metadata().is_err());

    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
        .unwrap();
    assert!(found(&home.cache, &identity).is_none());
    assert!(path.symlink_metadata().is_err());
}

#[test]
fn a_cache_that_others_can_write_or_that_holds_its_key_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("code");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();

    assert!(Home::open(&home).map(drop).unwrap_err().to_string().contains("others may use"));
    let place = CacheLocation { key: dir.join("cache.key"), dir };
    assert!(Cache::open(&place, Cache::SIZE).map(drop).unwrap_err().to_string().contains("own key"));
}

#[test]
fn what_cannot_be_written_leaves_nothing_behind() {
    let home = Home::new();
    let identity = identity(1);
    // A directory that is not empty cannot be replaced by the new entry.
    fs::create_dir_all(home.entry(&identity).join("full")).unwrap();

    home.cache.put(&identity, &code(b"one"));

    assert_eq!(home.names(), [identity.name(&home.cache.key)]);
}

#[test]
fn the_oldest_entries_and_stale_drafts_go_and_strange_files_stay() {
    let home = Home::new();
    let dir = home.home.path().join("code");
    for number in 0..6 {
        home.cache.put(&identity(number), &code(&[number; 100]));
        let used = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1000 + u64::from(number));
        let file = fs::File::options().write(true).open(home.entry(&identity(number))).unwrap();
        file.set_modified(used).unwrap();
    }
    let long_ago = std::time::UNIX_EPOCH;
    fs::write(dir.join(".draft-old"), b"half").unwrap();
    fs::File::options().write(true).open(dir.join(".draft-old")).unwrap().set_modified(long_ago).unwrap();
    fs::write(dir.join(".draft-new"), b"half").unwrap();
    fs::write(dir.join("README"), b"mine").unwrap();
    // Finding an entry marks it as used.
    assert!(found(&home.cache, &identity(0)).is_some());

    let kept = |max, in_use: &[u8]| {
        let in_use = in_use.iter().map(|number| identity(*number).name(&home.cache.key)).collect();
        evict::evict(&home.cache.dir, max, &in_use).unwrap();
        (0..6).filter(|number| home.entry(&identity(*number)).exists()).collect::<Vec<_>>()
    };

    assert_eq!(kept(1 << 20, &[]), [0, 1, 2, 3, 4, 5]);
    assert_eq!(kept(800, &[]), [0, 2, 3, 4, 5]);
    assert_eq!(kept(500, &[2]), [0, 2, 5], "the oldest that is not in use goes");
    assert_eq!(kept(0, &[2]), [2]);
    let mut names = home.names();
    names.retain(|name| name.len() < 64);
    names.sort();
    assert_eq!(names, [".draft-new", "README"]);
}

#[test]
fn what_is_in_use_is_not_evicted_by_this_process_or_another() {
    let Home { home, cache } = Home::new();
    let other = Home::open(&home).unwrap();
    let there = |cache: &Cache| {
        (0..200).filter(|number| found(cache, &identity(*number)).is_some()).collect::<Vec<_>>()
    };
    (0..150).for_each(|number| cache.put(&identity(number), &code(&[number; 100])));
    cache.resize(0);
    other.resize(0);

    // In use, these exceed the limit, and none is evicted.
    cache.tidy((0..150).map(identity));
    other.put(&identity(170), &code(b"theirs"));
    other.tidy([170].map(identity).into_iter());
    cache.tidy((0..150).map(identity));
    assert_eq!(there(&cache), (0..150).chain([170]).collect::<Vec<_>>());
    assert_eq!((other.figures().evictions(), cache.figures().entries()), (0, 151));

    // Entries that are no longer in use are evicted, by the first process that tidies.
    cache.tidy((0..3).map(identity));
    assert_eq!(there(&cache), [0, 1, 2, 170]);
    assert_eq!(cache.figures().evictions(), 147);
    drop(cache);
    other.tidy([170].map(identity).into_iter());
    assert_eq!(there(&other), [170]);
}

#[test]
fn the_lease_of_a_process_that_was_killed_holds_nothing() {
    let home = Home::new();
    home.cache.put(&identity(1), &code(b"one"));
    let leases = || fs::read_dir(home.home.path().join("state")).unwrap().count() - 1;
    home.cache.tidy([1].map(identity).into_iter());
    // Simulates the end of a process: the file stays, but the kernel releases the lock.
    drop(home.cache.lease.lock().unwrap().take());
    assert_eq!(leases(), 1);

    let next = Home::open(&home.home).unwrap();
    next.resize(0);
    next.tidy(std::iter::empty());

    assert_eq!((home.names(), leases()), (Vec::new(), 0));
}

#[test]
fn daemons_that_share_a_directory_do_not_disturb_each_other() {
    let Home { home, cache } = Home::new();
    let other = Home::open(&home).unwrap();
    let bytes = vec![3; 300_000];

    std::thread::scope(|scope| {
        for cache in [&cache, &other, &cache, &other] {
            scope.spawn(|| {
                for _ in 0..20 {
                    cache.put(&identity(1), &code(&bytes));
                    assert_eq!(found(cache, &identity(1)).as_ref(), Some(&bytes));
                }
            });
        }
    });
}

proptest! {
    #[test]
    fn no_bytes_are_taken_for_an_entry(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let home = Home::new();
        fs::write(home.entry(&identity(1)), bytes).unwrap();
        prop_assert!(found(&home.cache, &identity(1)).is_none());
    }
}
