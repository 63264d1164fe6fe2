//! The site of the TLS tests, and the clients that request it.

use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::harness::{Authority, Client, Daemon, Ended, PATIENCE, Pair, Program, Setup, finish, found};

/// Serves one module at `/` over TLS, with a certificate for 127.0.0.1 and `settings` below `[tls]`.
pub(crate) fn secure(settings: &str, module: &[u8]) -> Setup {
    let pair = Authority::usual().server(&["127.0.0.1", "localhost"]);
    Setup::one("", module)
        .add(&format!("[tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n{settings}\n"))
        .file("cert.pem", pair.cert.as_bytes())
        .file("key.pem", pair.key.as_bytes())
        .file("ca.pem", Authority::usual().cert.as_bytes())
}

/// A guest that answers with its environment.
pub(super) fn environment() -> Vec<u8> {
    Program::text().environment().wasm()
}

/// Returns `true` if the response of [`environment`] contains this variable.
pub(super) fn has(answer: &str, variable: &str) -> bool {
    answer.split('\0').any(|found| found == variable || found.ends_with(&format!("\n{variable}")))
}

/// Returns `true` if the programs that these tests run are installed.
pub(super) fn programs() -> bool {
    found(&["curl"], "curl") && found(&["openssl"], "openssl")
}

/// Requests `/` with curl.
pub(super) fn curl(daemon: &Daemon, arguments: &[&str]) -> Ended {
    let mut command = Command::new("curl");
    command.args(["-sS", "--fail", "--max-time", "30", "--cacert"]).arg(daemon.path("ca.pem"));
    command.args(arguments);
    if !arguments.iter().any(|argument| argument.starts_with("https://")) {
        command.arg(format!("https://127.0.0.1:{}/", daemon.port()));
    }
    finish(&mut command, b"", PATIENCE)
}

/// Requests `/` with openssl, by the oldest form of a request.
pub(super) fn s_client(daemon: &Daemon, arguments: &[&str]) -> Ended {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-quiet", "-verify_return_error", "-connect"]);
    command.arg(format!("127.0.0.1:{}", daemon.port()));
    command.arg("-CAfile").arg(daemon.path("ca.pem")).args(arguments);
    finish(&mut command, b"GET / HTTP/1.0\r\n\r\n", PATIENCE)
}

/// Makes a client that trusts an authority, and presents a certificate if one is given.
pub(super) fn trusting(authority: &Authority, identity: Option<&Pair>) -> Arc<ClientConfig> {
    trusting_roots(&authority.cert, identity)
}

/// As [`trusting`], with the certificate of the authority in PEM.
pub(super) fn trusting_roots(root: &str, identity: Option<&Pair>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    Arc::new(match identity {
        None => builder.with_no_client_auth(),
        Some(Pair { cert, key }) => {
            let chain = CertificateDer::pem_slice_iter(cert.as_bytes()).collect::<Result<_, _>>().unwrap();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    })
}

/// Makes a client that trusts the usual authority and offers these protocols (ALPN, RFC 7301).
pub(crate) fn offering(protocols: &[&str]) -> Arc<ClientConfig> {
    let mut config = (*trusting(Authority::usual(), None)).clone();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// Connects over TLS, trusting the usual authority.
pub(super) fn client(daemon: &Daemon) -> Client {
    Client::tls(daemon.port(), trusting(Authority::usual(), None), "127.0.0.1")
}
