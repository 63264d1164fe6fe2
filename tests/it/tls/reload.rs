//! Reloads of certificates while the daemon serves.

use std::fs;
use std::os::unix::fs::symlink;

use rustix::process::Signal;

use super::site::{client, programs, secure, trusting};
use crate::harness::{Authority, Client, Daemon, PATIENCE, Pair, finish, until};
use crate::lifecycle::hello;

/// Replaces the first certificate.
fn replace(daemon: &Daemon, Pair { cert, key }: &Pair) {
    for (name, text) in [("key.pem", key), ("cert.pem", cert)] {
        fs::write(daemon.path("new"), text).unwrap();
        fs::rename(daemon.path("new"), daemon.path(name)).unwrap();
    }
}

#[test]
fn new_connections_get_the_new_certificate_and_old_ones_go_on() {
    let daemon = secure("", &hello()).start();
    let mut old = client(&daemon);
    assert_eq!(old.get("/").text(), "hello\n");
    replace(&daemon, &Authority::usual().server(&["127.0.0.1"]));

    daemon.signal(Signal::HUP);

    daemon.log.line("reloaded: generation 2");
    assert_eq!(old.get("/").text(), "hello\n", "on the same connection");
    let mut new = client(&daemon);
    assert_eq!(new.get("/").text(), "hello\n");
    assert_ne!(old.shown_certificate(), new.shown_certificate());
}

#[test]
fn a_bad_certificate_is_refused_whole_and_the_old_one_goes_on() {
    let daemon = secure("", &hello()).start();
    let before = client(&daemon).handshaken().shown_certificate();
    let other = Authority::usual().server(&["127.0.0.1"]).key;
    fs::write(daemon.path("key.pem"), other).unwrap();

    daemon.signal(Signal::HUP);

    daemon.log.line("reload failed, the previous generation stays in force");
    daemon.log.line("key.pem: the key does not belong to the certificate");
    assert_eq!(client(&daemon).handshaken().shown_certificate(), before);
}

#[test]
fn what_is_watched_includes_certificates() {
    let daemon = secure("", &hello()).prepend("watch = true\n").start();
    let before = client(&daemon).handshaken().shown_certificate();

    replace(&daemon, &Authority::usual().server(&["127.0.0.1"]));

    let changed = || client(&daemon).handshaken().shown_certificate() != before;
    until("the new certificate is shown", || changed().then_some(()));
}

#[test]
fn a_plan_says_which_file_has_changed() {
    let daemon = secure("", &hello()).prepend("admin = \"unix://admin.sock\"\n").start();
    let ask = |verb: &[&str]| {
        let ended = daemon.verb(verb);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        String::from_utf8(ended.stdout).unwrap()
    };
    let config = daemon.path("portcullis.toml");
    let plan = ["plan", "-c", config.to_str().unwrap()];
    assert!(!ask(&plan).contains("tls"));
    replace(&daemon, &Authority::usual().server(&["127.0.0.1"]));

    let (planned, done) = (ask(&plan), ask(&["reload"]));

    for told in [&planned, &done] {
        assert!(told.contains("~ tls\n    file changed: "), "{told}");
        assert!(told.contains("cert.pem\n"), "{told}");
    }
    assert!(!ask(&plan).contains("tls"));
}

#[test]
fn up_prints_lines_that_work() {
    if !programs() {
        return;
    }
    let own = Pair::self_signed(&["localhost"], |params| {
        params.distinguished_name.push(rcgen::DnType::CommonName, "localhost");
    });
    let daemon =
        secure("", &hello()).file("cert.pem", own.cert.as_bytes()).file("key.pem", own.key.as_bytes());
    let mut daemon = daemon.up().spawn();
    daemon.ready();
    let served = daemon.out.line("serving tcp://127.0.0.1:");
    assert!(served.ends_with(" over TLS"), "{served}");
    let line = daemon.out.line("curl --cacert ");

    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", line.split('#').next().unwrap()]);
    let ended = finish(&mut shell, b"", PATIENCE);

    assert_eq!(String::from_utf8_lossy(&ended.stdout), "hello\n", "{line}: {}", ended.stderr);
}

#[test]
fn docker_s_flags_go_before_the_configuration() {
    let client_authority = Authority::new("Of The Flags");
    let other = Authority::usual().server(&["localhost"]);
    let setup = secure("", &hello())
        .file("flag.pem", other.cert.as_bytes())
        .file("flag.key", other.key.as_bytes())
        .file("flag-ca.pem", client_authority.cert.as_bytes());
    let [cert, key, ca] = ["flag.pem", "flag.key", "flag-ca.pem"].map(|name| setup.path(name));
    let daemon = setup
        .flag("--tls")
        .flag("--tlsverify")
        .flag("--tlscert")
        .flag(cert)
        .flag("--tlskey")
        .flag(key)
        .flag("--tlscacert")
        .flag(ca)
        .start();
    let ask = |identity: Option<&Pair>| {
        let config = trusting(Authority::usual(), identity);
        Client::tls(daemon.port(), config, "localhost").get_or_refused("/")
    };

    assert!(ask(None).is_none());
    assert!(ask(Some(&Authority::usual().client("ada"))).is_none());
    assert_eq!(ask(Some(&client_authority.client("ada"))).unwrap().text(), "hello\n");
}

#[test]
fn a_directory_that_is_exchanged_by_one_link_is_noticed() {
    let setup = secure("", &hello()).prepend("watch = true\n");
    let version = |name: &str, Pair { cert, key }: &Pair| {
        fs::create_dir(setup.path(name)).unwrap();
        fs::write(setup.path(name).join("cert.pem"), cert).unwrap();
        fs::write(setup.path(name).join("key.pem"), key).unwrap();
    };
    // The layout of Kubernetes: each file is a link through `..data`, and only that link is switched.
    version("..1", &Authority::usual().server(&["127.0.0.1"]));
    version("..2", &Authority::usual().server(&["127.0.0.1"]));
    symlink("..1", setup.path("..data")).unwrap();
    for name in ["cert.pem", "key.pem"] {
        fs::remove_file(setup.path(name)).unwrap();
        symlink(format!("..data/{name}"), setup.path(name)).unwrap();
    }
    let daemon = setup.start();
    let before = client(&daemon).handshaken().shown_certificate();

    symlink("..2", daemon.path("..data_tmp")).unwrap();
    fs::rename(daemon.path("..data_tmp"), daemon.path("..data")).unwrap();

    let changed = || client(&daemon).handshaken().shown_certificate() != before;
    until("the new certificate is shown", || changed().then_some(()));
}
