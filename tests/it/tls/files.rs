//! Unusable files and contradicting settings: each is refused with a line that says what to do.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rcgen::date_time_ymd;

use super::site::secure;
use crate::harness::{Authority, Ended, PATIENCE, Pair, Setup, finish, portcullis};
use crate::lifecycle::hello;

/// Checks a site that verifies client certificates, after a change of its directory.
fn check(change: impl FnOnce(&Path)) -> Ended {
    checked(secure("client_ca = \"ca.pem\"\nclient_crl = \"crl.pem\"", &hello()), change)
}

fn checked(setup: Setup, change: impl FnOnce(&Path)) -> Ended {
    let setup = setup.file("crl.pem", Authority::usual().revoke(&[], 2090).as_bytes());
    fs::set_permissions(setup.path("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    change(&setup.path(""));
    let mut command = portcullis();
    command.arg("check").arg("-c").arg(setup.path("portcullis.toml"));
    finish(&mut command, b"", PATIENCE)
}

/// Asserts that a change of one file is refused, in one line with its name.
fn refused(file: &str, bytes: impl AsRef<[u8]>, wanted: &str) {
    let ended = check(|dir| fs::write(dir.join(file), bytes).unwrap());

    let line = ended.stderr.trim_end();
    assert_eq!((ended.code, line.lines().count()), (Some(1), 1), "{line}");
    let said = line.split_once(&format!("/{file}: ")).unwrap_or_else(|| panic!("no {file} in {line}"));
    let key = match file {
        "ca.pem" => "client_ca",
        "crl.pem" => "client_crl",
        other => other.trim_end_matches(".pem"),
    };
    let named = |line: usize| format!("/portcullis.toml:{line}: tls.{key}: ");
    assert!((1..20).any(|line| said.0.contains(&named(line))) && said.1.starts_with(wanted), "{line}");
}

#[test]
fn a_site_that_is_in_order_is_not_complained_of() {
    let ended = check(|_| {});

    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
}

#[test]
fn every_wrong_file_is_named_with_what_to_do() {
    let usual = Authority::usual();
    let pair = usual.server(&["localhost"]);
    let aged = |from: i32, until: i32| {
        usual.issue(&["localhost"], |params| {
            params.not_before = date_time_ymd(from, 1, 1);
            params.not_after = date_time_ymd(until, 1, 1);
        })
    };
    refused("cert.pem", "", "the file is empty");
    refused("cert.pem", "hello", "this is not PEM: if it is DER, convert it with `openssl x509 -inform der ");
    refused("cert.pem", &pair.key, "there is no certificate in it, but \"PRIVATE KEY\": name another file");
    refused("cert.pem", &pair.cert[..100], "the file is truncated");
    refused(
        "cert.pem",
        aged(2000, 2001).cert,
        "the certificate has expired on Jan  1 00:00:00 2001 GMT: renew it",
    );
    refused(
        "cert.pem",
        aged(2090, 2091).cert,
        "the certificate is not valid before Jan  1 00:00:00 2090 GMT: wait",
    );
    refused("key.pem", &pair.cert, "there is no private key in it, but \"CERTIFICATE\": name another file");
    refused("key.pem", &pair.key, "the key does not belong to the certificate, the first one in ");
    refused("key.pem", SMALL_KEY, "a key of this kind cannot be used: make one of RSA with 2048");
    refused("ca.pem", "", "the file is empty");
    refused("ca.pem", &pair.key, "there is no certificate in it");
    refused(
        "ca.pem",
        expired_authority(),
        "no authority in it is valid: it has expired on Jan  1 00:00:00 2001 GMT",
    );
    refused(
        "crl.pem",
        &pair.cert,
        "there is no revocation list in it, but \"CERTIFICATE\": name another file",
    );
    refused(
        "crl.pem",
        usual.revoke(&[], 2021),
        "the list has been out of date since Jan  1 00:00:00 2021 GMT",
    );
}

#[test]
fn an_encrypted_key_is_refused_with_the_command_that_decrypts_it() {
    if !super::site::programs() {
        return;
    }
    let ended = check(|dir| {
        let mut openssl = std::process::Command::new("openssl");
        openssl.args(["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout", "pass:x", "-in"]);
        openssl.arg(dir.join("key.pem")).arg("-out").arg(dir.join("new.pem"));
        assert!(openssl.status().unwrap().success());
        fs::rename(dir.join("new.pem"), dir.join("key.pem")).unwrap();
    });

    let wanted =
        "key.pem: the key is encrypted: write it without its passphrase, `openssl pkey -in FILE -out NEW`";
    assert!(ended.stderr.contains(wanted), "{}", ended.stderr);
}

#[test]
fn a_file_that_is_missing_or_none_is_named() {
    let missing = check(|dir| fs::remove_file(dir.join("cert.pem")).unwrap());
    let directory = check(|dir| {
        fs::remove_file(dir.join("key.pem")).unwrap();
        fs::create_dir(dir.join("key.pem")).unwrap();
    });
    let fifo = check(|dir| {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        fs::remove_file(dir.join("cert.pem")).unwrap();
        mknodat(CWD, dir.join("cert.pem"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    });

    assert!(missing.stderr.contains("/cert.pem: there is no such file"), "{}", missing.stderr);
    assert!(directory.stderr.contains("/key.pem: wanted a file, found a directory"), "{}", directory.stderr);
    assert!(fifo.stderr.contains("/cert.pem: wanted a file, found a FIFO, "), "{}", fifo.stderr);
}

#[test]
fn every_bad_file_is_reported_and_so_is_a_bad_module() {
    let ended = check(|dir| {
        for name in ["cert.pem", "key.pem", "ca.pem", "crl.pem", "one.wasm"] {
            fs::write(dir.join(name), "x").unwrap();
        }
    });

    for name in ["/cert.pem: ", "/key.pem: ", "/ca.pem: ", "/crl.pem: ", "handler \"one\": "] {
        assert_eq!(ended.stderr.matches(name).count(), 1, "{name} in {}", ended.stderr);
    }
}

#[test]
fn what_is_not_wrong_yet_is_warned_of() {
    let soon = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let ended = check(|dir| {
        fs::set_permissions(dir.join("key.pem"), fs::Permissions::from_mode(0o644)).unwrap();
        let pair = Authority::usual().issue(&[], |params| {
            params.not_after = date_time_ymd(1970, 1, 1) + soon + std::time::Duration::from_secs(86400);
        });
        fs::write(dir.join("cert.pem"), pair.cert).unwrap();
        fs::write(dir.join("key.pem"), pair.key).unwrap();
        let both = expired_authority() + &Authority::usual().cert;
        fs::write(dir.join("ca.pem"), both).unwrap();
    });

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for wanted in [
        "key.pem: every user may read the key: `chmod o= FILE`",
        "cert.pem: the certificate ends on ",
        "cert.pem: the certificate names no host (subjectAltName): most clients refuse it",
        "ca.pem: authority 1 in it has expired on Jan  1 00:00:00 2001 GMT",
    ] {
        assert!(ended.stderr.contains(wanted), "{wanted} is not in {}", ended.stderr);
    }
}

#[test]
fn the_daemon_does_not_start_with_a_bad_certificate() {
    let (ended, left) = secure("", &hello()).host("unix://p.sock").file("cert.pem", b"x").fail_leaving();

    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("cert.pem: this is not PEM"), "{}", ended.stderr);
    assert!(!left.iter().any(|name| name == "p.sock"), "{left:?}");
}

#[test]
fn settings_that_do_not_go_together_are_refused() {
    for (table, wanted) in [
        ("[tls]\n", "tls: the key cert is missing"),
        ("[tls]\ncert = \"c\"\n", "tls: the key key is missing"),
        ("[[tls.certificate]]\nkey = \"k\"\n", "tls.certificate[0]: the key cert is missing"),
        ("[tls]\nclient_auth = \"optional\"\n", "tls.client_auth: needs client_ca"),
        (
            "[tls]\nclient_ca = \"a\"\nclient_auth = \"maybe\"\n",
            "wanted \"required\" or \"optional\", found \"maybe\"",
        ),
        ("[tls]\nplain = [\"tcp://127.0.0.1:1\"]\n", "is not in listen: write it as it is written there"),
        ("[tls]\nplain = [\"unix:///s\"]\n", "Unix sockets never use TLS: leave it out"),
    ] {
        let said = mistakes(table);

        assert!(said.contains(wanted), "{wanted} is not in {said}");
    }
}

fn mistakes(table: &str) -> String {
    let setup = Setup::new(table);
    let mut command = portcullis();
    command.arg("check").arg("-c").arg(setup.path("portcullis.toml"));
    finish(&mut command, b"", PATIENCE).stderr
}

#[test]
fn flags_that_lack_a_file_are_refused() {
    for (flags, wanted) in [
        (&["--tls"][..], "--tls: there is no certificate: give --tlscert and --tlskey, or write [tls]"),
        (
            &["--tlsverify", "--tlscert", "c", "--tlskey", "k"],
            "--tlsverify: there is no authority: give --tlscacert",
        ),
        (&["--tlscert", "c"], "--tlskey <FILE>"),
        (&["--tlscacert", "c"], "--tlsverify"),
    ] {
        let setup = flags.iter().fold(Setup::one("", &hello()), |setup, flag| setup.flag(flag));

        let ended = setup.fail();

        assert!(
            ended.code.is_some_and(|code| code != 0) && ended.stderr.contains(wanted),
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn what_is_reachable_in_clear_is_warned_of_and_what_is_encrypted_is_not() {
    let clear = Setup::one("", &hello()).host("tcp://0.0.0.0:0").start();
    let encrypted = secure("", &hello()).host("tcp://0.0.0.0:0").start();

    assert_eq!(clear.log.lines(1, "anyone on the path can read and change the traffic").len(), 1);
    assert_eq!(encrypted.log.count("anyone on the path"), 0);
}

fn expired_authority() -> String {
    Pair::self_signed(&[], |params| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2001, 1, 1);
    })
    .cert
}

/// An RSA key of 1024 bits, made for this test.
const SMALL_KEY: &str = include_str!("small_key.pem");
