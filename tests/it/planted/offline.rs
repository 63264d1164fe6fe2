//! Directories that handlers may write to, in verbs without a daemon: `replay` and `build`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::{exposed, guest, mounts};
use crate::harness::{Ended, Landlock, PATIENCE, Program, Setup, finish, portcullis};
use crate::replay::only;

#[test]
fn a_replay_follows_no_link_that_another_handler_has_planted_since() {
    for landlock in Landlock::BOTH {
        let inner = "record = \"failures\"\nmounts = [{ host = \"data/mid/public\", guest = \"/public\" }]";
        let setup = Setup::new("")
            .handler("up", &mounts("{ host = \"data\", guest = \"/data\", write = true }"), &guest("files"))
            .handler("victim", inner, &Program::new().code("unreachable").wasm())
            .prepend("record_dir = \"failures\"\n");
        fs::create_dir_all(setup.path("data/mid/public")).unwrap();
        fs::create_dir_all(setup.path("outside")).unwrap();
        let daemon = landlock.start(setup);
        assert_eq!(daemon.get("/victim").status(), 502);
        let (file, _) = only(&daemon);
        let replay = || -> Ended {
            let mut replay = portcullis();
            replay.current_dir("/").arg("replay").arg(&file);
            landlock.around(|| finish(&mut replay, b"", PATIENCE))
        };
        let honest = replay();
        assert_eq!(honest.code, Some(0), "{}", honest.stderr);

        fs::rename(daemon.path("data/mid"), daemon.path("data/gone")).unwrap();
        fs::create_dir_all(daemon.path("elsewhere/public")).unwrap();
        symlink("../elsewhere", daemon.path("data/mid")).unwrap();

        // By the configuration around the module.
        let by_file = replay();
        // By the record.
        fs::rename(daemon.path("portcullis.toml"), daemon.path("away.toml")).unwrap();
        let by_record = replay();
        for ended in [by_file, by_record] {
            let refused = ended.stderr.contains("symbolic link \"mid\" within ");
            assert!(ended.code == Some(1) && refused, "{:?}: {}", ended.code, ended.stderr);
            assert!(ended.stderr.contains("handler \"up\" may write to"), "{}", ended.stderr);
        }
    }
}

fn make_crate(dir: &Path, manifest: &str) {
    fs::create_dir_all(dir.join("src")).unwrap();
    fs::write(dir.join("Cargo.toml"), format!("[package]\nversion = \"0.1.0\"\n{manifest}")).unwrap();
    fs::write(dir.join("src/main.rs"), "fn main() {}").unwrap();
    fs::write(dir.join("build.rs"), "fn main() { std::fs::write(\"built\", \"\").unwrap() }").unwrap();
}

#[test]
fn a_build_below_the_directory_of_a_configuration_knows_what_its_handlers_may_write_to() {
    let setup = exposed("");
    make_crate(&setup.path("data/planted"), "name = \"planted\"\n");
    make_crate(&setup.path("data/dependency"), "name = \"dependency\"\n[workspace]\n");
    fs::write(setup.path("data/dependency/src/lib.rs"), "").unwrap();
    make_crate(
        &setup.path("work/between"),
        "name = \"between\"\n[workspace]\n[dependencies]\ndependency = { path = \"../../data/dependency\" }\n",
    );
    fs::write(setup.path("work/between/src/lib.rs"), "").unwrap();
    make_crate(
        &setup.path("work/ours"),
        "name = \"ours\"\n[workspace]\n[dependencies]\nbetween = { path = \"../between\" }\n",
    );
    let build = |dir: &str| finish(portcullis().arg("build").arg(setup.path(dir)), b"", PATIENCE);

    // Whether it is named itself or lies in a named directory.
    for dir in ["data/planted", "data"] {
        let refused = build(dir);
        let why =
            refused.stderr.contains("nothing is built here") && refused.stderr.contains(" may write to");
        assert!(refused.code == Some(1) && why, "{dir}: {:?} {}", refused.code, refused.stderr);
    }
    // A crate elsewhere that depends on it, directly or indirectly.
    let ended = build("work");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    for name in ["between", "ours"] {
        let line = said.lines().find(|line| line.contains(&format!("{name}/Cargo.toml is not built: ")));
        let line = line.unwrap_or_else(|| panic!("{name}: {said}"));
        assert!(line.contains("data/dependency, which lies in ") && line.contains(" may write to"), "{line}");
    }
    for dir in ["data/planted", "data/dependency", "work/between", "work/ours"] {
        assert!(!setup.path(dir).join("built").exists(), "{dir}");
    }
}

#[test]
fn a_mount_that_shows_the_memory_and_environment_of_the_daemon_is_refused() {
    for host in ["/proc", "/proc/self", "/", "/proc/sys"] {
        let mount = mounts(&format!("{{ host = \"{host}\", guest = \"/data\" }}"));
        let setup = Setup::new("").handler("up", &mount, &guest("files"));
        let file = setup.path("portcullis.toml");
        let wanted = format!("{host} shows the processes of this host (/proc");

        let checked = finish(portcullis().arg("check").arg("-c").arg(&file), b"", PATIENCE);
        let line = checked.stderr.lines().find(|line| line.contains("handler.up.mounts: "));
        assert!(
            checked.code == Some(1) && line.is_some_and(|line| line.contains(&wanted)),
            "{}",
            checked.stderr
        );
        let mut run = portcullis();
        run.arg("run").arg("--mount").arg(format!("{host}::/data")).arg(setup.path("files.wasm"));
        fs::write(setup.path("files.wasm"), guest("files")).unwrap();
        let ran = finish(&mut run, b"read /data/self/environ\nread /data/environ\n", PATIENCE);
        assert!(ran.code == Some(1) && ran.stderr.contains(&wanted), "{:?} {}", ran.stdout, ran.stderr);
        let refused = setup.fail();
        assert!(refused.code == Some(1) && refused.stderr.contains(&wanted), "{}", refused.stderr);
    }
}

#[test]
fn a_crate_that_has_cargo_run_what_a_handler_could_have_written_is_not_built() {
    let patched = "[dependencies]\nother = \"1\"\n[patch.crates-io]\nother = { path = \"../data/other\" }\n";
    for (more, needed) in [
        ("build = \"../data/build.rs\"\n", "data/build.rs"),
        ("[[bin]]\nname = \"app\"\npath = \"../data/main.rs\"\n", "data/main.rs"),
        (patched, "data/other,"),
    ] {
        let setup = exposed("");
        fs::create_dir_all(setup.path("data/other/src")).unwrap();
        fs::create_dir_all(setup.path("app/src")).unwrap();
        let manifest = format!("[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n{more}");
        fs::write(setup.path("app/Cargo.toml"), manifest).unwrap();
        fs::write(setup.path("data/other/Cargo.toml"), "[package]\nname = \"other\"\nversion = \"1.0.0\"\n")
            .unwrap();
        for file in ["app/src/main.rs", "data/main.rs", "data/build.rs", "data/other/src/lib.rs"] {
            fs::write(setup.path(file), "fn main() { panic!(\"it ran\") }").unwrap();
        }

        let ended = finish(portcullis().arg("build").arg(setup.path("")), b"", PATIENCE);

        let said = String::from_utf8_lossy(&ended.stdout).into_owned();
        assert_eq!(ended.code, Some(0), "{needed}: {}", ended.stderr);
        assert!(said.contains("is not built: it needs ") && said.contains(needed), "{needed}: {said}");
    }
}
