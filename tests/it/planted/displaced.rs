//! Mounts that another handler moves, removes or replaces: a reload keeps the directories that are held.

use std::fs;
use std::os::unix::fs::symlink;

use super::{CANARY, KINDS, guest, mounts, nested, operate, untouched};
use crate::harness::{Landlock, Setup};

#[test]
fn no_handler_keeps_an_operator_from_a_reload() {
    KINDS.into_iter().for_each(|kind| displace(kind, Landlock::Native));
}

#[test]
fn no_handler_keeps_an_operator_from_a_reload_without_landlock_as_well() {
    KINDS.into_iter().for_each(|kind| displace(kind, Landlock::Missing));
}

/// Lets a handler displace the mount of another one in every way. An operator reloads after each.
fn displace(kind: &str, landlock: Landlock) {
    // Steps of the guest `up` on the mount of `files`, and the messages about them.
    let ways = [
        ("rename /data/mid/public /data/gone", "there is no directory at "),
        ("rename /data/mid/public /data/gone\nwrite /data/mid/public x", "it is not a directory"),
        ("rename /data/mid /data/gone", "there is no directory at "),
        // To where the modules lie: a link that leads out once its directory is moved.
        (
            "mkdir /data/x\nmkdir /data/x/y\nsymlink ../.. /data/x/y/mid\nrename /data/mid /data/gone\n\
             rename /data/x/y/mid /data/mid",
            "",
        ),
    ];
    for (steps, why) in ways {
        let setup = nested(kind, false)
            .prepend("admin = \"unix://admin.sock\"\nhardening.reach = [\"data/mid/public\"]\n");
        let daemon = landlock.start(setup);
        let outcomes = operate(&daemon, "/up", steps);
        if why.is_empty() {
            // The last step is refused, because the link would lead out; the host does it instead.
            assert_eq!(outcomes.last().unwrap(), "failed PermissionDenied", "{outcomes:?}");
            symlink("..", daemon.path("data/mid")).unwrap();
        } else {
            assert!(outcomes.iter().all(|outcome| outcome == "ok "), "{outcomes:?}");
        }

        let file = daemon.path("portcullis.toml");
        let planned = daemon.verb(&["plan", "-c", file.to_str().unwrap()]);
        for generation in 2..4 {
            let reloaded = daemon.verb(&["reload"]);
            assert_eq!(reloaded.code, Some(0), "{steps}: {}", reloaded.stderr);
            let told = String::from_utf8(reloaded.stdout).unwrap();
            assert!(told.contains(&format!("generation {generation}: ")), "{told}");
            assert!(told.contains("! handler \"files\": the mount ") && told.contains(why), "{told}");
        }
        let said = String::from_utf8(planned.stdout).unwrap();
        assert!(planned.code == Some(0) && said.contains("! handler \"files\": the mount "), "{said}");

        assert_eq!(operate(&daemon, "/files", "read /public/file"), ["ok mine"], "{steps}");
        // A changed handler and a new one with the same mount.
        let text = fs::read_to_string(&file).unwrap();
        let another = text.replace("guest = \"/public\"", "guest = \"/moved\"")
            + "\n[handler.new]\nmodule = \"new.wasm\"\noutput = \"raw\"\n\
               mounts = [{ host = \"data/mid/public\", guest = \"/public\" }]\n\
               [[route]]\npath = \"/new\"\nhandler = \"new\"\n";
        fs::write(daemon.path("new.wasm"), guest(kind)).unwrap();
        fs::write(&file, another).unwrap();
        let reloaded = daemon.verb(&["reload"]);
        assert_eq!(reloaded.code, Some(0), "{steps}: {}", reloaded.stderr);
        assert_eq!(operate(&daemon, "/files", "read /moved/file"), ["ok mine"], "{steps}");
        assert_eq!(operate(&daemon, "/new", "read /public/file"), ["ok mine"], "{steps}");
        untouched(&daemon);
    }
}

#[test]
fn a_directory_that_a_route_serves_is_held_whatever_a_handler_puts_in_its_place() {
    const MOUNT: &str = "{ host = \"data\", guest = \"/data\", write = true }";
    for (kind, landlock) in Landlock::each(KINDS) {
        let route = |path: &str| {
            format!("[[route]]\npath = \"{path}/{{*path}}\"\nstatic = {{ dir = \"data/mid/site\" }}\n")
        };
        let setup =
            Setup::new(&(route("/site") + &route("/also"))).handler("up", &mounts(MOUNT), &guest(kind));
        for (dir, content) in [("data/mid/site", "mine"), ("outside", CANARY)] {
            fs::create_dir_all(setup.path(dir)).unwrap();
            fs::write(setup.path(dir).join("file"), content).unwrap();
        }
        let daemon = landlock.start(setup.prepend("admin = \"unix://admin.sock\"\n"));

        // The link leads out once its directory is in the place of the served directory.
        let steps = "mkdir /data/x\nmkdir /data/x/mid\nsymlink ../../outside /data/x/mid/site\n\
            rename /data/mid /data/gone\nrename /data/x/mid /data/mid";
        assert_eq!(operate(&daemon, "/up", steps), ["ok "; 5], "{kind}");

        assert_eq!(daemon.get("/site/file").text(), "mine", "{kind}");
        let config = daemon.path("portcullis.toml");
        let text = fs::read_to_string(&config).unwrap();
        // As it is, and without the mount.
        for text in [text.clone(), text.replace(MOUNT, "")] {
            fs::write(&config, text).unwrap();
            let reloaded = daemon.verb(&["reload"]);
            assert_eq!(reloaded.code, Some(0), "{kind}: {}", reloaded.stderr);
            let told = String::from_utf8(reloaded.stdout).unwrap();
            // One line for both routes.
            assert_eq!(told.matches("! route.static.dir: ").count(), 1, "{told}");
            assert!(told.contains(" keeps the directory "), "{told}");
            for path in ["/site/file", "/also/file"] {
                assert_eq!(daemon.get(path).text(), "mine", "{kind} {path}");
            }
        }
    }
}
