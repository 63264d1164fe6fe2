//! TLS to other servers: which certificates are trusted and which are refused.

use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;

use super::{ask, asker};
use crate::harness::{Daemon, Origin};

/// An authority of this test.
struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Authority { certificate, issuer: Issuer::new(params, key) }
    }

    /// Makes the settings of a server named `name`, valid until the end of `year`.
    fn server(&self, name: &str, year: i32) -> ServerConfig {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 12, 31);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        builder.unwrap().with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap()
    }
}

/// Starts a daemon whose component trusts `authority` and may call these hosts.
fn trusting(authority: &Authority, allow: &[String]) -> Daemon {
    asker(&format!("allow = {allow:?}\nallow_addresses = [\"127.0.0.0/8\", \"::1\"]"))
        .add("\n[outbound]\nca = \"ca.pem\"\n")
        .file("ca.pem", authority.certificate.pem().as_bytes())
        .start()
}

#[test]
fn a_server_is_believed_if_an_added_authority_vouches_for_its_name() {
    let authority = Authority::new();
    let named = Origin::tls("127.0.0.1", authority.server("localhost", 4000), "by name");
    let numbered = Origin::tls("127.0.0.1", authority.server("127.0.0.1", 4000), "by address");
    let urls =
        [format!("https://localhost:{}", named.port()), format!("https://127.0.0.1:{}", numbered.port())];
    let daemon = trusting(&authority, &urls);

    let said = ask(&daemon, &urls.each_ref().map(|url| format!("GET {url}/")));

    assert_eq!(said, ["200 by name", "200 by address"]);
    assert!(
        named.heads()[0].contains(&format!("host: localhost:{}\r\n", named.port())),
        "{:?}",
        named.heads()
    );
}

#[test]
fn certificates_of_others_old_ones_and_unknown_ones_are_refused_before_the_request() {
    let authority = Authority::new();
    let origins = [
        Origin::tls("127.0.0.1", authority.server("other.test", 4000), "never"),
        Origin::tls("127.0.0.1", authority.server("localhost", 2021), "never"),
        Origin::tls("127.0.0.1", Authority::new().server("localhost", 4000), "never"),
    ];
    let urls: Vec<String> =
        origins.iter().map(|origin| format!("https://localhost:{}", origin.port())).collect();
    let daemon = trusting(&authority, &urls);

    let calls: Vec<String> = urls.iter().map(|url| format!("GET {url}/")).collect();
    let said = ask(&daemon, &calls);

    for (said, origin) in said.iter().zip(&origins) {
        assert!(said.contains("TLS certificate error"), "{said}");
        assert!(origin.hits() > 0 && origin.heads().is_empty(), "the request was sent");
    }
    daemon.log.lines(3, "the certificate is refused");
}

#[test]
fn a_server_in_clear_is_no_server_over_tls() {
    let origin = Origin::text("127.0.0.1", "never");
    let url = format!("https://127.0.0.1:{}", origin.port());
    let daemon = trusting(&Authority::new(), std::slice::from_ref(&url));

    let said = ask(&daemon, &[&format!("GET {url}/")]);

    assert!(said[0].starts_with("cannot be reached: "), "{said:?}");
}

#[test]
fn an_authority_that_is_none_is_refused_at_the_start() {
    for (file, wanted) in [
        ("", "holds no certificate"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "not a usable certificate"),
    ] {
        let ended = asker("allow = [\"https://api.example.org\"]")
            .add("\n[outbound]\nca = \"ca.pem\"\n")
            .file("ca.pem", file.as_bytes())
            .fail();

        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains("outbound.ca") && ended.stderr.contains(wanted), "{}", ended.stderr);
    }
}
