//! Paths through directories that a handler may write to.

use super::*;
use std::fs;
use std::os::unix::fs::symlink;

/// A directory with `data`, which the handler `up` may write to, and `outside`.
fn place() -> (tempfile::TempDir, Untrusted) {
    let place = tempfile::tempdir().unwrap();
    for dir in ["data/public/deep", "outside/public"] {
        fs::create_dir_all(place.path().join(dir)).unwrap();
    }
    let untrusted = of(place.path(), &["data"]);
    (place, untrusted)
}

fn of(place: &Path, dirs: &[&str]) -> Untrusted {
    let writable =
        |dir: &&str| Writable { handler: "up".to_owned(), dir: place.join(dir), by: Granting::Wanted };
    Untrusted::of(dirs.iter().map(writable)).unwrap()
}

fn same(fd: &OwnedFd, path: &Path) -> bool {
    let (found, wanted) = (fstat(fd).unwrap(), rustix::fs::stat(path).unwrap());
    (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino)
}

#[test]
fn links_are_followed_outside_and_refused_below_what_is_writable() {
    let (place, untrusted) = place();
    let at = |name: &str| place.path().join(name);
    symlink("outside", at("alias")).unwrap();
    symlink("data", at("entry")).unwrap();
    symlink("../outside/public", at("data/door")).unwrap();
    symlink("public", at("data/inside")).unwrap();

    assert!(same(&untrusted.open(&at("alias/public")).unwrap(), &at("outside/public")));
    assert!(same(&untrusted.open(&at("data/public/deep")).unwrap(), &at("data/public/deep")));
    assert!(same(&untrusted.open(&at("entry/public")).unwrap(), &at("data/public")));
    assert!(same(&untrusted.open(&at("data")).unwrap(), &at("data")));
    for path in ["data/door", "data/inside", "entry/door", "data/door/x", "data/public/../../outside"] {
        let refusal = untrusted.open(&at(path)).map(drop).unwrap_err().to_string();
        let wanted = format!("within {}, which handler \"up\" may write to", at("data").display());
        assert!(refusal.contains(&wanted), "{path}: {refusal}");
    }
    assert!(untrusted.open(&at("data/nothing")).is_err());
}

#[test]
fn a_name_is_found_that_leads_through_what_is_writable_and_out_again() {
    let (place, untrusted) = place();
    let at = |name: &str| place.path().join(name);
    symlink("../outside", at("data/door")).unwrap();
    symlink("data/door/key", at("key")).unwrap();
    symlink("outside", at("safe")).unwrap();

    for path in ["data", "data/x", "data/public/deep/x", "data/door/key", "key", "outside/../data/x"] {
        assert!(untrusted.find(&at(path)).unwrap().is_some(), "{path}");
    }
    for path in ["", "outside", "outside/public", "safe/key", "nothing/x", "database"] {
        assert!(untrusted.find(&at(path)).unwrap().is_none(), "{path}");
    }
    assert!(Untrusted::default().find(&at("data/x")).unwrap().is_none());
}

#[test]
fn a_file_with_a_second_name_in_what_is_writable_is_found() {
    let (place, untrusted) = place();
    let at = |name: &str| place.path().join(name);
    for file in ["outside/alone", "outside/shared", "outside/twice"] {
        fs::write(at(file), "x").unwrap();
    }
    fs::hard_link(at("outside/shared"), at("data/public/deep/.hidden")).unwrap();
    fs::hard_link(at("outside/twice"), at("outside/public/twice")).unwrap();

    let found = |path: &str| untrusted.find(&at(path)).unwrap().map(|writable| writable.dir.clone());

    assert_eq!(found("outside/shared"), Some(at("data")));
    assert_eq!((found("outside/alone"), found("outside/twice")), (None, None));
}

#[test]
fn a_writable_directory_that_a_handler_has_made_a_link_is_refused() {
    let (place, _) = place();
    let at = |name: &str| place.path().join(name);
    fs::rename(at("data/public"), at("data/gone")).unwrap();
    symlink("../outside", at("data/public")).unwrap();
    let untrusted = of(place.path(), &["data/public", "data"]);

    assert!(untrusted.open(&at("data/public")).is_err());
    assert!(untrusted.open(&at("data/public/deep")).is_err());
}

#[test]
fn a_directory_that_is_held_counts_where_it_lies_now() {
    let (place, _) = place();
    let at = |name: &str| place.path().join(name);
    let held = openat(CWD, at("data"), PLACE | OFlags::DIRECTORY, Mode::empty()).unwrap();
    fs::rename(at("data"), at("moved")).unwrap();
    let mut untrusted = Untrusted::default();
    let up = Writable { handler: "up".to_owned(), dir: at("data"), by: Granting::Before };

    untrusted.add([(up, &held)]).unwrap();

    let found = untrusted.find(&at("moved/public")).unwrap().map(ToString::to_string).unwrap_or_default();
    assert!(found.contains("until its jobs are over"), "{found}");
    assert!(untrusted.find(&at("data/public")).unwrap().is_none());
}

#[test]
fn all_of_a_file_system_counts_that_the_kernel_does_not_place() {
    let (place, _) = place();
    // In no mount of this process, like a directory after `umount -l`.
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let [held, other] = ["held", "other"].map(|name| rustix::fs::memfd_create(name, flags).unwrap());
    let mut untrusted = Untrusted::default();
    let up = Writable { handler: "up".to_owned(), dir: "/srv/data".into(), by: Granting::Before };

    untrusted.add([(up.clone(), &held)]).unwrap();

    assert!(!untrusted.is_empty());
    assert_eq!(untrusted.writable(&other).unwrap(), Some(&up));
    assert_eq!(untrusted.find(place.path()).unwrap(), None);
}

#[test]
fn a_loop_of_links_ends() {
    let (place, untrusted) = place();
    symlink("loop", place.path().join("loop")).unwrap();

    let refusal = untrusted.open(&place.path().join("loop")).map(drop).unwrap_err();

    assert_eq!(refusal.downcast_ref(), Some(&Errno::LOOP));
}
