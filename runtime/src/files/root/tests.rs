//! Tests of a directory whose files are served.

use super::*;
use rustix::fs::mkfifoat;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::time::Instant;
use tokio::task::yield_now;

fn root(dir: &Path) -> Arc<FileRoot> {
    Arc::new(FileRoot::open_path(dir).unwrap())
}

#[tokio::test]
async fn a_file_is_read_and_links_do_not_lead_out() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    fs::create_dir_all(at("public/sub")).unwrap();
    fs::write(at("secret"), "s3cret").unwrap();
    fs::write(at("public/sub/a.txt"), "content").unwrap();
    symlink("sub/a.txt", at("public/in")).unwrap();
    symlink("../secret", at("public/out")).unwrap();
    symlink(at("secret"), at("public/absolute")).unwrap();
    symlink("/proc/self/root/etc/passwd", at("public/magic")).unwrap();
    mkfifoat(CWD, at("public/fifo"), Mode::RUSR).unwrap();
    std::os::unix::net::UnixListener::bind(at("public/socket")).unwrap();
    let root = root(&at("public"));

    for name in ["sub/a.txt", "in"] {
        let FoundEntry::File(file) = root.open(name).await.unwrap() else { panic!("{name} is a file") };
        assert_eq!(root.read(Arc::new(file), 3, 100).await.unwrap(), "tent", "{name}");
    }
    assert!(matches!(root.open("sub").await, Ok(FoundEntry::Directory(_))));
    for name in ["out", "absolute", "magic", "../secret", "/etc/passwd", "fifo", "socket", "none", "in/x", ""]
    {
        assert!(matches!(root.open(name).await, Err(OpenError::Absent)), "{name:?}");
    }
}

#[tokio::test]
async fn a_change_of_the_content_is_noticed_and_the_end_is_no_content() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("a");
    fs::write(&path, "12345").unwrap();
    let root = root(place.path());
    let FoundEntry::File(file) = root.open("a").await.unwrap() else { panic!("a file") };
    let file = Arc::new(file);
    assert!(!file.has_changed());

    fs::write(&path, "123").unwrap();

    assert!(file.has_changed());
    let past = root.read(file.clone(), 4, 10).await;
    assert!(matches!(past, Err(OpenError::Failed(Errno::NODATA))), "{past:?}");
}

/// Keeps a file in memory as if it had not been changed lately.
async fn keep(root: &Arc<FileRoot>, path: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while root.kept(path).is_none() {
        assert!(Instant::now() < deadline, "{path} is not found in the cache of the kernel");
        let FoundEntry::File(file) = root.open(path).await.unwrap() else { panic!("{path} is a file") };
        let version = file.version;
        let file = Arc::new(file);
        let content = root.read(file.clone(), 0, 100).await.unwrap();
        let held = root.hold(path, &file, &Budget::boundless());
        let direct = DirectPath::of(&root.dir, path, &version, held);
        root.kept.keep(path, KeptFile::new(version, direct, content, HeaderMap::new()));
    }
}

/// Returns the content that is in memory for a path. A mount anywhere on the machine lets a lookup in the kernel's cache
/// fail.
fn content(root: &Arc<FileRoot>, path: &str) -> Option<Bytes> {
    (0..100).find_map(|_| root.kept(path)).map(|kept| kept.content.clone())
}

/// Makes a change again until the clock of the file system has gone on since the last one.
fn change(path: &Path, make: impl Fn()) {
    let time = || fs::metadata(path).map(|found| (found.ctime(), found.ctime_nsec())).ok();
    let before = time();
    make();
    while time() == before {
        make();
    }
}

#[tokio::test]
async fn a_file_is_taken_from_memory_until_its_path_leads_to_another_state() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let names = ["edited", "replaced", "removed", "closed", "linked", "directory", "untouched"];
    for name in names {
        fs::write(at(name), "first").unwrap();
    }
    symlink("linked", at("link")).unwrap();
    let root = root(place.path());
    for name in names.into_iter().chain(["link"]) {
        keep(&root, name).await;
        assert_eq!(root.kept.find(name).unwrap().direct.is_some(), name != "link", "{name}");
    }

    let edited = fs::metadata(at("edited")).unwrap().modified().unwrap();
    change(&at("edited"), || {
        fs::write(at("edited"), "other").unwrap();
        fs::File::options().write(true).open(at("edited")).unwrap().set_modified(edited).unwrap();
    });
    fs::write(at("new"), "other").unwrap();
    fs::rename(at("new"), at("replaced")).unwrap();
    fs::remove_file(at("removed")).unwrap();
    change(&at("closed"), || fs::set_permissions(at("closed"), Permissions::from_mode(0o0)).unwrap());
    fs::remove_file(at("link")).unwrap();
    symlink("untouched", at("link")).unwrap();
    fs::remove_file(at("directory")).unwrap();
    fs::create_dir(at("directory")).unwrap();

    for name in ["edited", "replaced", "removed", "closed", "link", "directory"] {
        assert!(root.kept(name).is_none(), "{name}");
    }
    for name in ["linked", "untouched"] {
        assert_eq!(content(&root, name).unwrap(), "first", "{name}");
    }
}

#[tokio::test]
async fn a_file_in_memory_is_not_sent_once_a_directory_on_its_path_is_another_one() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    for release in ["a", "b"] {
        fs::create_dir(at(release)).unwrap();
        fs::write(at(release).join("x"), release).unwrap();
    }
    symlink("a", at("current")).unwrap();
    let root = root(place.path());
    keep(&root, "a/x").await;
    keep(&root, "current/x").await;

    symlink("b", at("next")).unwrap();
    fs::rename(at("next"), at("current")).unwrap();

    assert!(root.kept("current/x").is_none());
    assert_eq!(content(&root, "a/x").unwrap(), "a");
    fs::rename(at("a"), at("old")).unwrap();
    fs::rename(at("b"), at("a")).unwrap();
    assert!(root.kept("a/x").is_none());
}

#[tokio::test]
async fn a_file_in_memory_is_not_sent_once_a_directory_above_it_lies_outside_behind_a_link() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let paths = ["one/x", "top/two/x"];
    for path in paths {
        let path = at("public").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "content").unwrap();
    }
    let root = root(&at("public"));
    for path in paths {
        keep(&root, path).await;
        assert_eq!(root.kept.find(path).unwrap().direct.is_some(), path == "one/x", "{path}");
    }

    for dir in ["one", "top"] {
        fs::rename(at("public").join(dir), at(dir)).unwrap();
        symlink(at(dir), at("public").join(dir)).unwrap();
    }

    for path in paths {
        assert_eq!(fs::read(at("public").join(path)).unwrap(), b"content");
        assert!(root.kept(path).is_none(), "{path}");
    }
}

#[tokio::test]
async fn a_file_in_memory_is_sent_while_its_directory_is_open_to_the_daemon_whatever_else_changes_there() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    for dir in ["a", "a/b", "c"] {
        fs::create_dir(at(dir)).unwrap();
        fs::write(at(dir).join("x"), "content").unwrap();
    }
    let root = root(place.path());
    for path in ["a/x", "a/b/x", "c/x"] {
        keep(&root, path).await;
    }

    fs::write(at("a/new"), "").unwrap();
    fs::create_dir(at("a/b/new")).unwrap();
    fs::set_permissions(at("c"), Permissions::from_mode(0o600)).unwrap();

    // A process with all privileges may search any directory.
    let is_open = fs::File::open(at("c/x")).is_ok();
    let is_sent = root.kept("c/x").is_some();
    fs::set_permissions(at("c"), Permissions::from_mode(0o700)).unwrap();
    assert_eq!(is_sent, is_open);
    for path in ["a/x", "a/b/x"] {
        assert_eq!(content(&root, path).unwrap(), "content", "{path}");
    }
    fs::remove_file(at("a/b/x")).unwrap();
    fs::write(at("a/b/x"), "other").unwrap();
    assert!(root.kept("a/b/x").is_none());
}

#[tokio::test]
async fn a_file_that_was_changed_just_now_is_not_kept() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("a"), "first").unwrap();
    let root = root(place.path());
    let FoundEntry::File(file) = root.open("a").await.unwrap() else { panic!("a file") };
    let file = Arc::new(file);

    for _ in 0..3 {
        let read = WholeFile { path: "a", file: &file, content: &Bytes::from_static(b"first") };
        root.keep(read, HeaderMap::new, &Budget::boundless());
    }

    assert!(root.kept("a").is_none());
}

#[tokio::test]
async fn no_more_files_are_held_open_than_places_and_descriptors_are_left() {
    let place = tempfile::tempdir_in("/dev/shm").unwrap();
    fs::create_dir(place.path().join("dir")).unwrap();
    fs::write(place.path().join("a"), "").unwrap();
    fs::write(place.path().join("dir/a"), "").unwrap();
    let root = root(place.path());
    let FoundEntry::File(file) = root.open("a").await.unwrap() else { panic!("a file") };
    let (file, descriptors) = (Arc::new(file), Budget::new(100));

    let held: Vec<_> = std::iter::from_fn(|| root.hold("a", &file, &descriptors)).collect();

    assert_eq!((held.len(), descriptors.used()), (HELD, HELD));
    drop(held);
    let returned = async {
        while descriptors.used() > 0 {
            yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), returned).await.expect("the descriptors are given back");
    assert!(root.hold("dir/a", &file, &descriptors).is_none());
    assert!(root.hold("a", &file, &Budget::new(0)).is_none());
}

#[tokio::test]
async fn files_that_are_held_open_leave_half_of_the_descriptors_to_others() {
    let place = tempfile::tempdir_in("/dev/shm").unwrap();
    fs::write(place.path().join("a"), "").unwrap();
    let (roots, descriptors) = ([(); 3].map(|()| root(place.path())), Budget::new(64));
    let mut held = Vec::new();

    for root in &roots {
        let FoundEntry::File(file) = root.open("a").await.unwrap() else { panic!("a file") };
        let file = Arc::new(file);
        held.extend(std::iter::from_fn(|| root.hold("a", &file, &descriptors)));
    }

    assert_eq!((held.len(), descriptors.used()), (32, 32));
}

#[tokio::test]
async fn a_removed_file_that_nobody_asks_for_is_held_open_no_longer_than_it_is_taken_from_memory() {
    let place = tempfile::tempdir_in("/dev/shm").unwrap();
    fs::write(place.path().join("a"), "").unwrap();
    let root = root(place.path());
    let FoundEntry::File(file) = root.open("a").await.unwrap() else { panic!("a file") };
    let (file, descriptors) = (Arc::new(file), Budget::new(100));
    let is_open = Arc::downgrade(&file);
    let held = root.hold("a", &file, &descriptors);
    drop(file);
    fs::remove_file(place.path().join("a")).unwrap();
    assert!(held.is_some() && is_open.upgrade().is_some());

    tokio::time::pause();
    tokio::time::sleep(2 * kept_files::FRESH).await;

    assert!(is_open.upgrade().is_none());
    assert_eq!((descriptors.used(), root.held.available_permits()), (0, HELD));
}

/// Lists the root of a directory: `a`, `d/`, and `...` if it is cut.
async fn listed(root: &Arc<FileRoot>) -> Vec<String> {
    let FoundEntry::Directory(dir) = root.open(".").await.unwrap() else { panic!("a directory") };
    let listing = root.list(".", dir).await.unwrap();
    let slash = |entry: &crate::files::ListedEntry| if entry.is_dir { "/" } else { "" };
    let names = listing.entries.iter().map(|entry| format!("{}{}", entry.name, slash(entry)));
    names.chain(listing.is_cut.then(|| "...".to_owned())).collect()
}

#[tokio::test]
async fn a_listing_is_sorted_and_leaves_out_what_is_not_served() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    fs::create_dir_all(at("public/d")).unwrap();
    for name in ["b", "a", ".hidden", "back\\slash", "two\nlines"] {
        fs::write(at("public").join(name), "").unwrap();
    }
    for (to, name) in [("a", "in"), ("d", "to"), ("../secret", "out"), ("/etc/passwd", "absolute")] {
        symlink(to, at("public").join(name)).unwrap();
    }
    symlink("none", at("public/broken")).unwrap();
    mkfifoat(CWD, at("public/fifo"), Mode::RUSR).unwrap();
    symlink("fifo", at("public/to-fifo")).unwrap();

    assert_eq!(listed(&root(&at("public"))).await, ["a", "b", "d/", "in", "to/"]);
}

#[tokio::test]
async fn a_long_listing_is_cut_behind_the_first_names() {
    let place = tempfile::tempdir().unwrap();
    let name = |number: usize| format!("{number:05}");
    (0..1005).rev().for_each(|number| fs::write(place.path().join(name(number)), "").unwrap());

    let listed = listed(&root(place.path())).await;

    let wanted: Vec<_> = (0..1000).map(name).chain(["...".to_owned()]).collect();
    assert_eq!(listed, wanted);
}
