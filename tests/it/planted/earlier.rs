//! Grants of an earlier configuration: jobs that still use them, and rollbacks.

use std::fs;
use std::os::unix::fs::symlink;

use rustix::process::Signal;

use super::{CANARY, KINDS, guest, mounts, operate, refused_reload, untouched};
use crate::harness::{Daemon, Ended, Landlock, PATIENCE, Program, Setup, finish, portcullis, until};
use crate::upgrade::{Successors, successor};

const MOUNT: &str = "{ host = \"data\", guest = \"/data\", write = true }";

#[test]
fn a_reload_that_drops_write_follows_no_planted_link() {
    // All at once, because each waits for idle threads to end.
    std::thread::scope(|scope| {
        Landlock::each(KINDS)
            .for_each(|(kind, landlock)| drop(scope.spawn(move || drop_write(kind, landlock))));
    });
}

/// Plants a link, drops the grant by which it was planted, and reloads.
fn drop_write(kind: &str, landlock: Landlock) {
    let setup = Setup::new("").handler("up", &mounts(MOUNT), &guest(kind)).handler(
        "files",
        &mounts("{ host = \"data/site/public\", guest = \"/public\" }"),
        &guest(kind),
    );
    for dir in ["data/site/public", "outside/public"] {
        fs::create_dir_all(setup.path(dir)).unwrap();
    }
    fs::write(setup.path("data/site/public/file"), "mine").unwrap();
    for place in ["outside/file", "outside/public/file"] {
        fs::write(setup.path(place), CANARY).unwrap();
    }
    fs::copy(setup.path("up.wasm"), setup.path("data/m.wasm")).unwrap();
    let daemon = landlock.start(setup.prepend("admin = \"unix://admin.sock\"\n"));
    let config = daemon.path("portcullis.toml");
    let text = fs::read_to_string(&config).unwrap();
    let without = text.replace(", write = true", "");
    assert_ne!(text, without);

    // The link leads out only after its directory is moved.
    let planted = operate(
        &daemon,
        "/up",
        "mkdir /data/x\nmkdir /data/x/y\nsymlink ../../outside/public /data/x/y/public\nrename /data/site /data/gone\nrename /data/x/y /data/site",
    );
    assert!(planted.iter().all(|outcome| outcome == "ok "), "{planted:?}");
    fs::write(&config, &without).unwrap();
    // The next process of an upgrade refuses as well: it would look while jobs of this process write.
    let upgraded = operator(&daemon, &["upgrade"], "admin.sock");
    assert!(upgraded.code == Some(1) && upgraded.stderr.contains("symbolic link"), "{}", upgraded.stderr);
    assert!(upgraded.stderr.contains("under the previous configuration"), "{}", upgraded.stderr);
    assert_eq!(operate(&daemon, "/files", "read /public/file"), ["ok mine"]);
    untouched(&daemon);

    // A reload keeps the directory that is held, now and when nobody may write there any more.
    for generation in 2..5 {
        daemon.signal(Signal::HUP);
        daemon.log.line(&format!("reloaded: generation {generation}"));
        let warned = daemon.log.lines(generation - 1, "WARN handler \"files\": the mount ");
        assert!(generation > 2 || warned[0].contains("symbolic link \"public\" within "), "{warned:?}");
        assert_eq!(operate(&daemon, "/files", "read /public/file"), ["ok mine"]);
        untouched(&daemon);
    }

    // With the links removed the path leads there again, and a module may lie there.
    fs::remove_dir_all(daemon.path("data/site")).unwrap();
    fs::rename(daemon.path("data/gone"), daemon.path("data/site")).unwrap();
    let module = without.clone() + "\n[handler.two]\nmodule = \"data/m.wasm\"\n";
    fs::write(&config, &module).unwrap();
    // The threads of the old version of the handler end by themselves.
    until("nothing holds the mount for writing", || {
        (operator(&daemon, &["reload"], "admin.sock").code == Some(0)).then_some(())
    });
}

/// Starts a handler that may write to `data`, behind an admin socket.
fn writer(landlock: Landlock) -> Daemon {
    let setup = Setup::new("").handler("up", &mounts(MOUNT), &guest("files"));
    fs::create_dir(setup.path("data")).unwrap();
    landlock.start(setup.prepend("admin = \"unix://admin.sock\"\n"))
}

#[test]
fn a_configuration_that_jobs_of_the_one_before_could_rewrite_is_refused() {
    for landlock in Landlock::BOTH {
        let daemon = writer(landlock);
        let config = daemon.path("portcullis.toml");
        let next = fs::read_to_string(&config).unwrap().replace(MOUNT, "");
        fs::write(daemon.path("data/next.toml"), next).unwrap();
        fs::remove_file(&config).unwrap();
        symlink("data/next.toml", &config).unwrap();

        let why = refused_reload(&daemon);
        let upgraded = operator(&daemon, &["upgrade"], "admin.sock");

        let told = ["portcullis.toml is looked up in ", "under the previous configuration"];
        assert!(told.iter().all(|part| why.contains(part)), "{why}");
        assert_eq!(upgraded.code, Some(1));
        assert!(told.iter().all(|part| upgraded.stderr.contains(part)), "{}", upgraded.stderr);
    }
}

fn operator(daemon: &Daemon, verb: &[&str], socket: &str) -> Ended {
    let mut asked = portcullis();
    asked.args(verb).arg("--socket").arg(daemon.path(socket));
    finish(&mut asked, b"", PATIENCE)
}

#[test]
fn an_upgrade_to_a_mount_that_is_out_of_reach_is_refused_as_a_reload_is() {
    let setup = Setup::new("")
        .handler("up", &mounts(MOUNT), &guest("files"))
        .prepend("admin = \"unix://run/admin.sock\"\nhardening.files = true\n");
    // Everything beside the socket is reachable.
    ["data", "run"].iter().for_each(|dir| fs::create_dir(setup.path(dir)).unwrap());
    let daemon = setup.start();
    if !daemon.log.text().contains("(Landlock)") {
        crate::harness::figure("skipped: needs a kernel with Landlock");
        return;
    }
    fs::rename(daemon.path("data"), daemon.path("old")).unwrap();
    fs::create_dir(daemon.path("data")).unwrap();

    let upgraded = operator(&daemon, &["upgrade"], "run/admin.sock");

    assert!(upgraded.code == Some(1) && upgraded.stderr.contains("needs restart: "), "{}", upgraded.stderr);
    assert_eq!(operate(&daemon, "/up", "write /data/x y\nread /data/x"), ["ok ", "ok y"]);
}

#[test]
fn a_rollback_grants_no_mount_that_the_configuration_no_longer_has() {
    for landlock in Landlock::BOTH {
        let daemon = writer(landlock);
        assert_eq!(operate(&daemon, "/up", "write /data/old x"), ["ok "]);
        let config = daemon.path("portcullis.toml");
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, text.replace(MOUNT, "")).unwrap();
        fs::write(daemon.path("up.wasm"), guest("files-wasip2")).unwrap();
        daemon.signal(Signal::HUP);
        daemon.log.line("reloaded: generation 2");

        let rolled_back = operator(&daemon, &["rollback", "up"], "admin.sock");

        assert_eq!(rolled_back.code, Some(0), "{}", rolled_back.stderr);
        let outcomes = operate(&daemon, "/up", "write /data/new x\nread /data/old");
        assert!(outcomes.iter().all(|outcome| outcome.starts_with("failed")), "{outcomes:?}");
        assert!(!daemon.path("data/new").exists());
    }
}

#[test]
fn what_jobs_of_the_process_before_may_write_to_counts_until_it_has_ended() {
    for landlock in Landlock::BOTH {
        let settings =
            "mounts = [{ host = \"data\", guest = \"/data\", write = true }]\nlimits.time = \"none\"";
        let setup = Setup::new("")
            .handler("slow", settings, &Program::text().say("begun\n").sleep_for_ever().wasm())
            .prepend("admin = \"unix://admin.sock\"\ngrace = \"60s\"\n");
        fs::create_dir(setup.path("data")).unwrap();
        let daemon = landlock.start(setup);
        let mut client = daemon.client();
        client.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
        client.head();
        assert_eq!(client.chunk(), b"begun\n");
        let upgraded = operator(&daemon, &["upgrade"], "admin.sock");
        assert_eq!(upgraded.code, Some(0), "{}", upgraded.stderr);
        let _successors = Successors(vec![successor(&daemon, 1)]);
        let config = daemon.path("portcullis.toml");
        let text = fs::read_to_string(&config).unwrap().replace(", write = true", "");
        fs::write(&config, &text).unwrap();
        let reloaded = operator(&daemon, &["reload"], "admin.sock");
        assert_eq!(reloaded.code, Some(0), "{}", reloaded.stderr);

        fs::copy(daemon.path("slow.wasm"), daemon.path("data/m.wasm")).unwrap();
        fs::write(&config, text + "\n[handler.two]\nmodule = \"data/m.wasm\"\n").unwrap();
        let refused = operator(&daemon, &["reload"], "admin.sock");

        let why = ["handler.two.module: ", "handler \"slow\" may write to until its jobs are over"];
        let told = why.iter().all(|part| refused.stderr.contains(part));
        assert!(refused.code == Some(1) && told, "{:?} {}", refused.code, refused.stderr);
        // Its last job ends, and the process with it.
        drop(client);
        until("the process before has ended", || {
            (operator(&daemon, &["reload"], "admin.sock").code == Some(0)).then_some(())
        });
    }
}
