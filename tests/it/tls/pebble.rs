//! Debian's Pebble, an ACME server that validates hosts on ports of its configuration, and a name server for it.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::harness::{Authority, PATIENCE, finish, found, free_port, until, within};

/// An ACME server. It forgets its accounts, and makes another root, when it is stopped.
pub(super) struct Pebble {
    /// Where it validates by TLS.
    pub(super) tls_port: u16,
    /// Where it validates by HTTP.
    pub(super) http_port: u16,
    api_port: u16,
    root_port: u16,
    /// The address of the name server.
    dns: String,
    server: Option<Child>,
    /// The name server, which leads every name to 127.0.0.1.
    names: Child,
    dir: TempDir,
}

impl Pebble {
    /// Starts the server. Its certificates are valid for so many seconds. `None` if it is not installed.
    pub(super) fn start_new(validity: u32) -> Option<Pebble> {
        if !found(&["pebble", "pebble-challtestsrv"], "pebble") || !found(&["curl"], "curl") {
            return None;
        }
        let [tls_port, http_port, api_port, root_port, dns_port, manage_port] = [(); 6].map(|()| free_port());
        let dir = tempfile::tempdir().unwrap();
        let own = Authority::usual().server(&["127.0.0.1"]);
        std::fs::write(dir.path().join("cert.pem"), own.cert).unwrap();
        std::fs::write(dir.path().join("key.pem"), own.key).unwrap();
        let config = serde_json::json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{api_port}"),
            "managementListenAddress": format!("127.0.0.1:{root_port}"),
            "certificate": dir.path().join("cert.pem"),
            "privateKey": dir.path().join("key.pem"),
            "httpPort": http_port,
            "tlsPort": tls_port,
            "certificateValidityPeriod": validity,
        }});
        std::fs::write(dir.path().join("pebble.json"), config.to_string()).unwrap();
        let dns = format!("127.0.0.1:{dns_port}");
        let mut names = Command::new("pebble-challtestsrv");
        names.args(["-dns01", &dns, "-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", ""]);
        names.arg("-management").arg(format!("127.0.0.1:{manage_port}"));
        let names = names.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut pebble = Pebble { tls_port, http_port, api_port, root_port, dns, server: None, names, dir };
        within(PATIENCE, "the name server", || TcpStream::connect(&pebble.dns).ok());
        pebble.start();
        Some(pebble)
    }

    /// Returns the URL of its directory.
    pub(super) fn directory(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.api_port)
    }

    /// Starts the process, and waits until it accepts connections.
    pub(super) fn start(&mut self) {
        let mut command = Command::new("pebble");
        command.arg("-config").arg(self.dir.path().join("pebble.json"));
        command.arg("-dnsserver").arg(&self.dns);
        // Otherwise it waits at random, refuses good nonces, and leaves validations out.
        command
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_WFE_NONCEREJECT", "0")
            .env("PEBBLE_AUTHZREUSE", "0");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        self.server = Some(child);
        within(PATIENCE, "the server", || TcpStream::connect(("127.0.0.1", self.api_port)).ok());
    }

    /// Kills the process.
    pub(super) fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    /// Returns the root of the certificates that it issues, in PEM.
    pub(super) fn root(&self) -> String {
        let ca = self.dir.path().join("ca.pem");
        std::fs::write(&ca, &Authority::usual().cert).unwrap();
        until("the root", || {
            let mut curl = Command::new("curl");
            curl.args(["-sS", "--fail", "--cacert"]).arg(&ca);
            curl.arg(format!("https://127.0.0.1:{}/roots/0", self.root_port));
            let ended = finish(&mut curl, b"", PATIENCE);
            (ended.code == Some(0)).then(|| String::from_utf8(ended.stdout).unwrap())
        })
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.stop();
        // A process that has ended cannot be killed; that is no error.
        let _ended = self.names.kill();
        let _reaped = self.names.wait();
    }
}
