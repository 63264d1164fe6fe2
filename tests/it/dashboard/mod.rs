//! The dashboard: its files, who reaches it and how, what it may ask for, and the page in a browser.
//!
//! Floors, lowest first: the helpers in this file, `webdriver`; `browser`, `files`, `forwarding`, `operators`.

mod browser;
mod files;
mod forwarding;
mod operators;
pub(crate) mod webdriver;

use std::process::{Child, Stdio};

use crate::harness::{Client, Daemon, Log, Response, portcullis};

/// A running `portcullis dashboard`. Dropping it ends it.
struct Dashboard {
    child: Child,
    out: Log,
    port: u16,
}

impl Dashboard {
    /// Starts the dashboard of a daemon, and waits for its first link.
    fn of(daemon: &Daemon) -> Dashboard {
        let mut command = portcullis();
        command.arg("dashboard").arg("--socket").arg(daemon.path("admin.sock"));
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let out = Log::of(child.stdout.take().unwrap());
        let link = out.line("http://127.0.0.1:");
        let port = link.strip_prefix("http://127.0.0.1:").unwrap().split('/').next().unwrap();
        let port = port.parse().unwrap();
        Dashboard { child, out, port }
    }

    /// Returns the next link that is printed.
    fn link(&self) -> String {
        self.out.next("/dashboard/#token=")
    }

    /// Sends a request as the page does. `fields` are whole lines.
    fn ask(&self, method: &str, target: &str, fields: &str) -> Response {
        self.ask_as(&format!("127.0.0.1:{}", self.port), method, target, fields)
    }

    /// Sends a request to another name of the host.
    fn ask_as(&self, host: &str, method: &str, target: &str, fields: &str) -> Response {
        let mut client = Client::tcp(self.port);
        client.send(format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"));
        client.response()
    }

    /// Exchanges the token of a link.
    fn open(&self, link: &str) -> Response {
        let token = link.split_once("#token=").unwrap().1;
        self.ask("POST", "/dashboard/open", &bearer(token))
    }

    /// Begins a session, and returns the field that bears its token.
    fn session(&self) -> String {
        let opened = self.open(&self.link());
        assert_eq!(opened.status(), 200, "{}", opened.text());
        let opened: serde_json::Value = serde_json::from_slice(&opened.body).unwrap();
        bearer(opened["token"].as_str().unwrap())
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        // A process that has ended cannot be killed; that is no error.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}
