//! Client certificates: which clients are accepted, and what handlers learn of them.

use std::fs;
use std::time::{Duration, SystemTime};

use rcgen::{DnType, ExtendedKeyUsagePurpose, SanType, SerialNumber, date_time_ymd};
use rustix::process::Signal;

use super::site::{curl, environment, has, programs, s_client, secure, trusting};
use crate::harness::{Authority, Client, Daemon, Pair, Setup, until};
use crate::lifecycle::hello;

/// Serves only clients with a certificate of the usual authority.
fn guarded(settings: &str, module: &[u8]) -> Setup {
    secure(&format!("client_ca = \"ca.pem\"\n{settings}"), module)
}

/// Clients with bad certificates, each with its defect.
fn bad() -> Vec<(&'static str, Pair)> {
    let usual = Authority::usual();
    let client = |params: &mut rcgen::CertificateParams| {
        params.distinguished_name.push(DnType::CommonName, "mallory");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    };
    // The name of the trusted authority with another key.
    let twin = Authority::new("Test Authority");
    vec![
        (
            "expired",
            usual.issue(&[], |params| {
                client(params);
                params.not_after = date_time_ymd(2020, 1, 1);
            }),
        ),
        (
            "not valid yet",
            usual.issue(&[], |params| {
                client(params);
                params.not_before = date_time_ymd(2090, 1, 1);
                params.not_after = date_time_ymd(2091, 1, 1);
            }),
        ),
        ("of another authority", Authority::new("Other").client("mallory")),
        ("of an authority of the same name", twin.client("mallory")),
        ("self-signed", Pair::self_signed(&[], client)),
        ("a server's", usual.server(&["mallory.example"])),
    ]
}

#[test]
fn only_a_good_certificate_is_let_in() {
    if !programs() {
        return;
    }
    for demand in ["required", "optional"] {
        let daemon = guarded(&format!("client_auth = \"{demand}\""), &hello()).start();
        let mut clients = bad();
        clients.push(("good", Authority::usual().client("ada")));
        for (what, Pair { cert, key }) in clients {
            let [cert_file, key_file] = ["c.pem", "k.pem"].map(|name| daemon.path(name));
            fs::write(&cert_file, cert).unwrap();
            fs::write(&key_file, key).unwrap();
            let files = ["-cert", cert_file.to_str().unwrap(), "-key", key_file.to_str().unwrap()];
            for version in ["-tls1_2", "-tls1_3"] {
                let ended = s_client(&daemon, &[&files[..], &[version]].concat());
                let answered = String::from_utf8_lossy(&ended.stdout).contains("hello");
                assert_eq!(answered, what == "good", "{what} {version} {demand}: {}", ended.stderr);
                assert_eq!(ended.stderr.contains("alert"), what != "good", "{what}: {}", ended.stderr);
            }
        }
        for version in ["-tls1_2", "-tls1_3"] {
            let ended = s_client(&daemon, &[version]);
            let answered = String::from_utf8_lossy(&ended.stdout).contains("hello");
            assert_eq!(answered, demand == "optional", "{version} {demand}: {}", ended.stderr);
        }
    }
}

#[test]
fn a_certificate_that_was_taken_back_is_refused() {
    let authority = Authority::usual();
    let numbered = |number: u64| {
        authority.issue(&[], |params| {
            params.serial_number = Some(SerialNumber::from(number));
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        })
    };
    let (good, revoked) = (numbered(7), numbered(8));
    let list = authority.revoke(&[8], 2090);
    let daemon = guarded("client_crl = \"crl.pem\"", &hello()).file("crl.pem", list.as_bytes()).start();

    let mut let_in = Client::tls(daemon.port(), trusting(authority, Some(&good)), "127.0.0.1");
    let mut refused = Client::tls(daemon.port(), trusting(authority, Some(&revoked)), "127.0.0.1");

    assert_eq!(let_in.get("/").text(), "hello\n");
    assert!(refused.get_or_refused("/").is_none());
}

#[test]
fn a_handler_is_told_who_the_client_is() {
    if !programs() {
        return;
    }
    let pair = Authority::usual().issue(&["ada.example"], |params| {
        params.distinguished_name.push(DnType::OrganizationName, "Example, Inc.");
        params.distinguished_name.push(DnType::CommonName, "ada,O=Admins");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names.push(SanType::URI("spiffe://example/ada".try_into().unwrap()));
        params.subject_alt_names.push(SanType::Rfc822Name("ada@example.org".try_into().unwrap()));
        params.subject_alt_names.push(SanType::IpAddress("192.0.2.7".parse().unwrap()));
        params.serial_number = Some(SerialNumber::from(0x1f2e_u64));
        params.not_before = date_time_ymd(2020, 1, 2);
        params.not_after = date_time_ymd(2090, 3, 4);
    });
    let daemon = guarded("client_auth = \"optional\"", &environment()).start();
    let [cert, key] = ["c.pem", "k.pem"].map(|name| daemon.path(name).to_str().unwrap().to_owned());
    fs::write(&cert, &pair.cert).unwrap();
    fs::write(&key, &pair.key).unwrap();
    let mut openssl = std::process::Command::new("openssl");
    openssl.args(["x509", "-noout", "-fingerprint", "-sha256", "-in", &cert]);
    let fingerprint = String::from_utf8(openssl.output().unwrap().stdout).unwrap();
    let fingerprint = fingerprint.trim().split_once('=').unwrap().1.replace(':', "").to_lowercase();

    let ended = curl(&daemon, &["--http1.1", "--cert", &cert, "--key", &key]);
    let anonymous = curl(&daemon, &["--http1.1"]);

    let said = String::from_utf8(ended.stdout).unwrap();
    for variable in [
        "SSL_CLIENT_VERIFY=SUCCESS",
        "SSL_CLIENT_S_DN=CN=ada\\,O=Admins,O=Example\\, Inc.",
        "SSL_CLIENT_S_DN_CN=ada,O=Admins",
        "SSL_CLIENT_I_DN=CN=Test Authority",
        "SSL_CLIENT_M_SERIAL=1F2E",
        "SSL_CLIENT_V_START=Jan  2 00:00:00 2020 GMT",
        "SSL_CLIENT_V_END=Mar  4 00:00:00 2090 GMT",
        "SSL_CLIENT_SAN_DNS_0=ada.example",
        "SSL_CLIENT_SAN_URI_0=spiffe://example/ada",
        "SSL_CLIENT_SAN_Email_0=ada@example.org",
        "SSL_CLIENT_SAN_IP_0=192.0.2.7",
        &format!("SSL_CLIENT_FINGERPRINT={fingerprint}"),
    ] {
        assert!(has(&said, variable), "{variable} is not in:\n{said}{}", ended.stderr);
    }
    let said = String::from_utf8(anonymous.stdout).unwrap();
    assert!(has(&said, "SSL_CLIENT_VERIFY=NONE") && !said.contains("SSL_CLIENT_S_DN"), "{said}");
}

#[test]
fn a_session_is_resumed_and_its_client_still_known() {
    let daemon = guarded("", &environment()).start();
    let config = trusting(Authority::usual(), Some(&Authority::usual().client("ada")));

    let ask = || Client::tls(daemon.port(), config.clone(), "127.0.0.1").get("/").text().to_owned();

    let (first, second) = (ask(), ask());
    assert!(has(&first, "SSL_SESSION_RESUMED=Initial"), "{first}");
    for variable in ["SSL_SESSION_RESUMED=Resumed", "SSL_CLIENT_VERIFY=SUCCESS", "SSL_CLIENT_S_DN=CN=ada"] {
        assert!(has(&second, variable), "{variable} is not in:\n{second}");
    }
}

#[test]
fn a_session_is_not_resumed_under_another_configuration() {
    let daemon = secure("", &hello()).start();
    let anybody = trusting(Authority::usual(), None);
    let ask = || Client::tls(daemon.port(), anybody.clone(), "127.0.0.1").get_or_refused("/");
    assert!(ask().is_some());
    let text = fs::read_to_string(daemon.path("portcullis.toml")).unwrap();
    fs::write(daemon.path("portcullis.toml"), text + "client_ca = \"ca.pem\"\n").unwrap();

    daemon.signal(Signal::HUP);

    daemon.log.line("reloaded: generation 2");
    assert!(ask().is_none(), "a ticket of before is no certificate");
}

#[test]
fn a_session_outlives_no_certificate() {
    let daemon = guarded("", &environment()).start();
    // Two handshakes, on a busy machine.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let brief = Authority::usual().issue(&[], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_after = date_time_ymd(1970, 1, 1) + now + Duration::from_secs(8);
    });
    let config = trusting(Authority::usual(), Some(&brief));
    let ask = || Client::tls(daemon.port(), config.clone(), "127.0.0.1").get_or_refused("/");
    assert!(ask().is_some());
    let resumed = ask().unwrap();
    assert!(has(resumed.text(), "SSL_SESSION_RESUMED=Resumed"), "{}", resumed.text());

    until("the certificate has ended", || ask().is_none().then_some(()));
}

#[test]
fn a_gate_lets_pass_by_a_name_of_the_certificate_and_not_behind_a_proxy() {
    let pair = |name: &str| Authority::usual().client(name);
    let gated = |more: &str| {
        guarded("client_auth = \"optional\"", &environment())
            .prepend(more)
            .prepend("before = [\"admins\"]\n")
            .add("[gate.admins]\nkind = \"client_certificate\"\nnames = [\"ada.example\"]\n")
            .start()
    };
    let ask = |daemon: &Daemon, pair: Option<&Pair>| {
        let config = trusting(Authority::usual(), pair);
        Client::tls(daemon.port(), config, "localhost").get("/")
    };
    let daemon = gated("");

    let passed = ask(&daemon, Some(&pair("ada.example")));

    assert!(has(passed.text(), "REMOTE_USER=ada.example"), "{}", passed.text());
    assert!(has(passed.text(), "AUTH_TYPE=ClientCertificate"), "{}", passed.text());
    assert_eq!(ask(&daemon, Some(&pair("bob.example"))).status(), 403);
    assert_eq!(ask(&daemon, None).status(), 403);
    let behind = gated("trusted_proxies = [\"127.0.0.1\"]\n");
    assert_eq!(
        ask(&behind, Some(&pair("ada.example"))).status(),
        403,
        "the certificate is that of the proxy"
    );
}
