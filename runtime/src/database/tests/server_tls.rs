//! Tests of TLS to a PostgreSQL server: an authority issues its certificate, which is always checked.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use super::server::{postgres, postgres_over_tls};
use super::*;

/// An authority and the certificate that it has issued for a name, in PEM.
struct Issued {
    ca: String,
    cert: String,
    key: String,
}

fn issued(authority: &str, name: &str) -> Issued {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, authority);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap().pem();
    Issued { ca, cert, key: key.serialize_pem() }
}

#[tokio::test]
async fn a_connection_to_a_server_with_tls_is_encrypted_and_its_certificate_checked() {
    let Issued { ca, cert, key } = issued("Authority", "127.0.0.1");
    let Some(server) = postgres_over_tls(&cert, &key, &ca).await else { return };

    // Neither a statement nor the stopping of one goes without TLS.
    let database = server.open("postgres", 1);
    let encrypted = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    assert_eq!(run(&database, encrypted).await.unwrap().rows, [[SqlValue::Integer(1)]]);
    postgres::stopped(&database).await;

    let place = tempfile::tempdir().unwrap();
    let other = place.path().join("other.pem");
    std::fs::write(&other, issued("Another Authority", "127.0.0.1").ca).unwrap();
    let port = server.port;
    let with_tls = format!("127.0.0.1:{port}/postgres?sslmode=require");
    for (address, ca, wanted) in [
        (with_tls.as_str(), Some(other.as_path()), "UnknownIssuer"),
        (&with_tls, None, "UnknownIssuer"),
        (&with_tls, Some(Path::new("/none.pem")), "the file `ca`: holds no certificate"),
        (
            &format!("localhost:{port}/postgres?hostaddr=127.0.0.1&sslmode=require"),
            server.ca.as_deref(),
            "not valid for name \"localhost\"",
        ),
        (&format!("127.0.0.1:{port}/postgres?sslmode=disable"), server.ca.as_deref(), "pg_hba.conf"),
    ] {
        let database = server.at(address, ca.map(Path::to_owned), 1);

        let error = run(&database, "select 1").await.unwrap_err();

        assert!(error.code() == "unavailable" && error.to_string().contains(wanted), "{address}: {error}");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_wanted() {
    let Some(server) = postgres().await else { return };
    let database = server.at(&format!("127.0.0.1:{}/postgres?sslmode=require", server.port), None, 1);

    let error = run(&database, "select 1").await.unwrap_err();

    assert!(error.code() == "unavailable" && error.to_string().contains("TLS"), "{error}");
}
