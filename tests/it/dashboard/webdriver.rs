//! Chromium, driven over the WebDriver protocol (W3C): HTTP with JSON.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Client, found, free_port, on_path, until};

/// The key of an element in a reply: WebDriver §12.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one page. Dropping it ends it.
pub(crate) struct Browser {
    driver: Child,
    port: u16,
    session: String,
    home: TempDir,
}

impl Browser {
    /// Starts a browser without a window. `None` if it is not installed.
    pub(crate) fn start() -> Option<Browser> {
        if !found(&["chromium", "chromedriver"], "chromium chromium-driver") {
            return None;
        }
        let home = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut driver = Command::new("chromedriver");
        driver.arg(format!("--port={port}")).env("HOME", home.path());
        let driver = driver.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut browser = Browser { driver, port, session: String::new(), home };
        until("the driver", || TcpStream::connect(("127.0.0.1", port)).ok());
        let profile = format!("--user-data-dir={}", browser.home.path().join("profile").display());
        let flags = [
            "--headless=new",
            // The tests may run as root, which has no sandbox; the page is our own.
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--no-proxy-server",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--hide-scrollbars",
            "--window-size=1360,900",
            profile.as_str(),
        ];
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "binary": on_path("chromium").unwrap(), "args": flags },
            "goog:loggingPrefs": { "browser": "ALL" },
        }}});
        let begun = browser.request("POST", "/session", Some(capabilities)).unwrap();
        browser.session = begun["sessionId"].as_str().unwrap().to_owned();
        Some(browser)
    }

    /// Sends a command of the protocol.
    fn request(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value, String> {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let mut client = Client::tcp(self.port);
        // The driver refuses other hosts.
        client.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.port,
            body.len()
        ));
        let response = client.response();
        let reply: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        let value = reply["value"].clone();
        if response.status() == 200 { Ok(value) } else { Err(format!("{path}: {value}")) }
    }

    fn command(&self, path: &str, body: Value) -> Result<Value, String> {
        self.request("POST", &format!("/session/{}{path}", self.session), Some(body))
    }

    /// Opens an address.
    pub(crate) fn open(&self, url: &str) {
        self.command("/url", json!({ "url": url })).unwrap();
    }

    /// Loads the page again.
    pub(super) fn reload(&self) {
        self.command("/refresh", json!({})).unwrap();
    }

    /// Runs the body of a function in the page, and returns what it returns or promises. The DevTools protocol compiles
    /// it, which the policy of the page does not forbid.
    pub(crate) fn run(&self, body: &str, args: &[&str]) -> Value {
        let call = format!("(function () {{\n{body}\n}}).apply(null, {})", json!(args));
        let params = json!({ "expression": call, "returnByValue": true, "awaitPromise": true });
        let reply = self.devtools("Runtime.evaluate", params);
        assert_eq!(reply["exceptionDetails"], Value::Null, "{body}");
        reply["result"]["value"].clone()
    }

    /// Returns the text of the first element that a selector finds; empty without one.
    pub(super) fn text(&self, selector: &str) -> String {
        let found = self.run("return document.querySelector(arguments[0])?.innerText ?? ''", &[selector]);
        found.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the text of an element contains a part, and returns the text.
    pub(super) fn shows(&self, selector: &str, part: &str) -> String {
        until(&format!("{part:?} in {selector}"), || {
            Some(self.text(selector)).filter(|text| text.contains(part))
        })
    }

    /// Clicks an element as a mouse does, once it is there and nothing covers it.
    pub(super) fn click(&self, selector: &str) {
        until(&format!("a click on {selector}"), || {
            let wanted = json!({ "using": "css selector", "value": selector });
            let element = self.command("/element", wanted).ok()?;
            let id = element[ELEMENT].as_str()?.to_owned();
            self.command(&format!("/element/{id}/click"), json!({})).ok()
        });
    }

    /// Presses a key. The special keys have private characters: WebDriver §17.4.2.
    pub(super) fn press(&self, key: &str) {
        let actions = json!([{ "type": "key", "id": "keys", "actions": [
            { "type": "keyDown", "value": key }, { "type": "keyUp", "value": key },
        ]}]);
        self.command("/actions", json!({ "actions": actions })).unwrap();
    }

    /// Runs a command of the DevTools protocol, and returns its result.
    pub(super) fn devtools(&self, command: &str, params: Value) -> Value {
        self.command("/goog/cdp/execute", json!({ "cmd": command, "params": params })).unwrap()
    }

    /// Returns what the console has shown as errors.
    pub(super) fn errors(&self) -> Vec<String> {
        let entries = self.command("/se/log", json!({ "type": "browser" })).unwrap();
        let entries = entries.as_array().cloned().unwrap_or_default();
        let severe = entries.into_iter().filter(|entry| entry["level"] == "SEVERE");
        severe.map(|entry| entry["message"].to_string()).collect()
    }

    /// Returns a picture of the page as PNG.
    pub(super) fn picture(&self) -> Vec<u8> {
        let taken = self.request("GET", &format!("/session/{}/screenshot", self.session), None).unwrap();
        data_encoding::BASE64.decode(taken.as_str().unwrap().as_bytes()).unwrap()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser; the driver alone would leave it.
        let _ended = TcpStream::connect(("127.0.0.1", self.port)).is_ok()
            && self.request("DELETE", &format!("/session/{}", self.session), None).is_ok();
        let _killed = self.driver.kill();
        let _reaped = self.driver.wait();
    }
}
