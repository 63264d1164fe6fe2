//! Symbolic links by guests: no link that leads out of a mount can be made, moved or followed.

use std::fs;
use std::os::unix::fs::symlink;

use crate::harness::{Daemon, Landlock, Setup, guests};

/// The content of a file outside, which must never be seen or changed.
const CANARY: &str = "canary-of-the-host";

/// The two kinds of modules that have files.
const KINDS: [&str; 2] = ["files", "files-wasip2"];

/// A handler that may write to `granted` as /data. Files beside it are not granted.
fn daemon(kind: &str, landlock: Landlock) -> Daemon {
    let module = fs::read(guests().join(format!("{kind}.wasm"))).unwrap();
    let settings = "output = \"raw\"\nmounts = [{ host = \"granted\", guest = \"/data\", write = true }]";
    let setup = Setup::new("").handler("files", settings, &module);
    for dir in ["granted/a/b", "outside/empty"] {
        fs::create_dir_all(setup.path(dir)).unwrap();
    }
    fs::write(setup.path("granted/mine"), "mine").unwrap();
    fs::write(setup.path("outside/secret"), CANARY).unwrap();
    landlock.start(setup)
}

/// Makes the guest perform these operations, and checks the outcome of each.
fn insist(kind: &str, daemon: &Daemon, steps: &[(&str, &str)]) {
    let operations: String = steps.iter().map(|(step, _)| format!("{step}\n")).collect();
    let response = daemon.client().submit("POST", "/files", "", operations.as_bytes());
    assert_eq!(response.status(), 200, "{}", response.text());
    let found: Vec<&str> = response.text().lines().collect();
    assert_eq!(found.len(), steps.len(), "{kind}: {found:?}");
    for ((step, wanted), found) in steps.iter().zip(found) {
        assert_eq!(found, *wanted, "{kind}: {step}");
    }
}

const REFUSED: &str = "failed PermissionDenied";
const DONE: &str = "ok ";

#[test]
fn a_link_that_leads_out_from_where_it_would_stand_is_not_made() {
    for (kind, landlock) in Landlock::each(KINDS) {
        let daemon = daemon(kind, landlock);

        insist(
            kind,
            &daemon,
            &[
                ("symlink /etc/passwd /data/absolute", REFUSED),
                ("symlink /data/mine /data/absolute", REFUSED),
                ("symlink .. /data/up", REFUSED),
                ("symlink ../ /data/up", REFUSED),
                ("symlink ./.. /data/up", REFUSED),
                ("symlink ../outside/secret /data/up", REFUSED),
                ("symlink ../granted/mine /data/up", REFUSED),
                ("symlink ../../../../etc /data/up", REFUSED),
                ("symlink ../../../outside /data/a/b/up", REFUSED),
                ("symlink ../../../outside /data/a/b/../b/up", REFUSED),
                ("symlink ../../../outside /data/./a//b/up", REFUSED),
                // Through another link, which only seems to lead down.
                ("symlink .. /data/a/b/parent", DONE),
                ("symlink a/b/parent/../../outside /data/up", REFUSED),
                ("symlink mine/../../outside /data/up", REFUSED),
                ("look /data/up", "failed NotFound"),
                ("look /data/a/b/up", "failed NotFound"),
                // A link that stays inside is made, even if its target does not exist.
                ("symlink mine /data/inner", DONE),
                ("read /data/inner", "ok mine"),
                ("symlink ../../mine /data/a/b/inner", DONE),
                ("read /data/a/b/inner", "ok mine"),
                ("symlink ../.. /data/a/b/root", DONE),
                ("read /data/a/b/root/mine", "ok mine"),
                ("symlink ../nothing /data/a/dangling", DONE),
                ("symlink ..mine /data/dots", DONE),
                // After a link, `..` starts from where the link leads.
                ("symlink a/b /data/deep", DONE),
                ("symlink ../../mine /data/deep/other", DONE),
                ("read /data/a/b/other", "ok mine"),
                ("symlink ../../../outside /data/deep/up", REFUSED),
            ],
        );
    }
}

#[test]
fn a_link_is_not_moved_or_linked_to_where_it_would_lead_out() {
    for (kind, landlock) in Landlock::each(KINDS) {
        let daemon = daemon(kind, landlock);
        symlink("../outside/secret", daemon.path("granted/planted")).unwrap();
        symlink("/etc/passwd", daemon.path("granted/absolute")).unwrap();

        insist(
            kind,
            &daemon,
            &[
                ("symlink ../../mine /data/a/b/link", DONE),
                ("rename /data/a/b/link /data/a/link", REFUSED),
                ("rename /data/a/b/link /data/link", REFUSED),
                ("link /data/a/b/link /data/a/link", REFUSED),
                ("link /data/a/b/link /data/link", REFUSED),
                ("look /data/link", "failed NotFound"),
                ("look /data/a/link", "failed NotFound"),
                ("rename /data/a/b/link /data/a/b/moved", DONE),
                ("link /data/a/b/moved /data/a/b/link", DONE),
                ("read /data/a/b/link", "ok mine"),
                ("mkdir /data/a/b/c", DONE),
                ("rename /data/a/b/link /data/a/b/c/link", DONE),
                // Links that others made cannot be made again elsewhere, but can be removed.
                ("rename /data/planted /data/again", REFUSED),
                ("link /data/planted /data/again", REFUSED),
                ("link /data/absolute /data/a/again", REFUSED),
                ("rename /data/planted /data/a/inside", DONE),
                ("remove /data/absolute", DONE),
                // Files and directories can be moved freely.
                ("rename /data/mine /data/a/mine", DONE),
                ("link /data/a/mine /data/mine", DONE),
                ("rename /data/a/b /data/b", DONE),
            ],
        );
    }
}

#[test]
fn a_link_that_came_to_lead_out_with_its_directory_is_followed_by_no_function() {
    for (kind, landlock) in Landlock::each(KINDS) {
        let daemon = daemon(kind, landlock);
        let before = fs::metadata(daemon.path("outside/secret")).unwrap().modified().unwrap();

        insist(
            kind,
            &daemon,
            &[
                ("symlink ../../outside /data/a/b/door", DONE),
                ("symlink ../../outside/secret /data/a/b/key", DONE),
                ("symlink ../../outside/new /data/a/b/new", DONE),
                ("rename /data/a/b /data/b", DONE),
                // Each path function, on the link itself and through it.
                ("read /data/b/key", REFUSED),
                ("read /data/b/door/secret", REFUSED),
                ("write /data/b/key x", REFUSED),
                ("write /data/b/new x", REFUSED),
                ("write /data/b/door/secret x", REFUSED),
                ("make /data/b/door/new", REFUSED),
                ("append /data/b/key x", REFUSED),
                ("cut /data/b/key", REFUSED),
                ("list /data/b/door", REFUSED),
                ("stat /data/b/key", REFUSED),
                ("stat /data/b/door/secret", REFUSED),
                ("look /data/b/door/secret", REFUSED),
                ("touch /data/b/key", REFUSED),
                ("touch /data/b/door/secret", REFUSED),
                ("follow /data/b/door/secret", REFUSED),
                ("remove /data/b/door/secret", REFUSED),
                ("mkdir /data/b/door/made", REFUSED),
                ("rmdir /data/b/door/empty", REFUSED),
                ("rename /data/b/door/secret /data/stolen", REFUSED),
                ("rename /data/mine /data/b/door/mine", REFUSED),
                ("link /data/b/door/secret /data/stolen", REFUSED),
                ("link /data/mine /data/b/door/mine", REFUSED),
                ("symlink x /data/b/door/made", REFUSED),
                ("symlink ../x /data/b/door/made", REFUSED),
                // The links themselves belong to the guest.
                ("look /data/b/key", "ok true"),
                ("follow /data/b/key", "ok ../../outside/secret"),
                ("remove /data/b/key", DONE),
                ("touch /data/mine", DONE),
            ],
        );

        let outside = daemon.path("outside");
        let mut names: Vec<_> =
            fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["empty", "secret"], "{kind}");
        assert_eq!(fs::read_to_string(outside.join("secret")).unwrap(), CANARY, "{kind}");
        assert_eq!(fs::metadata(outside.join("secret")).unwrap().modified().unwrap(), before, "{kind}");
    }
}
