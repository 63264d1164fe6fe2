//! Files of a directory, compared with Debian's nginx: the same answers, except where this table says why not.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::process::{Child, Command, Stdio};

use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::{Pid, Signal, kill_process};

use super::files::{serve, write};
use crate::harness::{Client, PATIENCE, Response, Setup, found, free_port, reaped, until};

/// Requests that both answer alike. `ETAG` and `DATE` stand for the validators that the server gave before.
const ALIKE: [(&str, &str, &str); 33] = [
    ("GET", "/f/a%20b.txt", ""),
    ("HEAD", "/f/a%20b.txt", ""),
    ("GET", "/f/", ""),
    ("GET", "/f/sub", ""),
    ("GET", "/f/sub?x=1", ""),
    ("GET", "/f/sub/", ""),
    ("GET", "/f/assets/app.js", ""),
    ("GET", "/f/none", ""),
    ("GET", "/f/none/", ""),
    ("GET", "/f/a%20b.txt/", ""),
    ("GET", "/f/fifo", ""),
    ("GET", "/f/a%00b", ""),
    ("GET", "/f/../../secret", ""),
    ("POST", "/f/a%20b.txt", ""),
    ("DELETE", "/f/a%20b.txt", ""),
    ("GET", "/f/a%20b.txt?query", ""),
    ("GET", "/f/%61%20b.txt", ""),
    ("GET", "/f/a%20b.txt", "Range: bytes=0-0"),
    ("GET", "/f/a%20b.txt", "Range: bytes=2-4"),
    ("GET", "/f/a%20b.txt", "Range: bytes=-3"),
    ("GET", "/f/a%20b.txt", "Range: bytes=7-"),
    ("GET", "/f/a%20b.txt", "Range: bytes=7-99"),
    ("GET", "/f/a%20b.txt", "Range: bytes=10-"),
    ("GET", "/f/a%20b.txt", "Range: bytes=0-1\r\nIf-Range: ETAG"),
    ("GET", "/f/a%20b.txt", "Range: bytes=0-1\r\nIf-Range: \"other\""),
    ("GET", "/f/a%20b.txt", "Range: bytes=0-1\r\nIf-Range: DATE"),
    ("GET", "/f/a%20b.txt", "If-None-Match: ETAG"),
    ("GET", "/f/a%20b.txt", "If-None-Match: \"x\", W/ETAG"),
    ("GET", "/f/a%20b.txt", "If-None-Match: \"x\"\r\nIf-Modified-Since: DATE"),
    ("GET", "/f/a%20b.txt", "If-Modified-Since: DATE"),
    ("GET", "/f/a%20b.txt", "If-Match: \"x\""),
    ("GET", "/f/a%20b.txt", "If-Unmodified-Since: Thu, 01 Jan 1998 00:00:00 GMT"),
    ("GET", "/f/assets/app.js", "Accept-Encoding: gzip"),
];

/// Requests that are answered differently: the status here, that of nginx, and the reason.
const DIFFERENT: [(&str, &str, &str, u16, u16, &str); 13] = [
    ("GET", "/f/assets/", "", 404, 403, "a directory without a page is not shown to exist"),
    ("GET", "/f/.env", "", 404, 200, "hidden files hold secrets"),
    ("GET", "/f/out", "", 404, 200, "links do not lead out"),
    ("GET", "/f//a%20b.txt", "", 404, 200, "a path has one spelling: empty segments are not merged"),
    ("GET", "/f/sub/../a%20b.txt", "", 400, 200, "a path with `..` is refused for every route"),
    ("OPTIONS", "/f/a%20b.txt", "", 204, 405, "OPTIONS is answered with Allow for every route"),
    ("GET", "/f/a%20b.txt", "Range: bytes=0-1,3-4", 200, 206, "several ranges are ignored (RFC 9110 §14.2)"),
    ("GET", "/f/a%20b.txt", "Range: bytes=0-1\r\nRange: bytes=3-4", 200, 206, "a repeated range is ignored"),
    ("GET", "/f/a%20b.txt", "Range: bytes=5-2", 200, 416, "an invalid range is ignored (RFC 9110 §14.1.1)"),
    ("GET", "/f/a%20b.txt", "Range: bytes=a-b", 200, 416, "an invalid range is ignored (RFC 9110 §14.1.1)"),
    ("HEAD", "/f/a%20b.txt", "Range: bytes=2-4", 200, 206, "a range is for GET (RFC 9110 §14.2)"),
    (
        "GET",
        "/f/a%20b.txt",
        "If-Modified-Since: Tue, 01 Jan 2999 00:00:00 GMT",
        304,
        200,
        "a later date is valid",
    ),
    (
        "GET",
        "/f/empty.txt",
        "Range: bytes=0-",
        416,
        200,
        "an empty file has no first byte (RFC 9110 §14.1.2)",
    ),
];

/// The fields that are compared.
const FIELDS: [&str; 8] = [
    "content-type",
    "content-length",
    "content-range",
    "content-encoding",
    "last-modified",
    "location",
    "vary",
    "cache-control",
];

/// An nginx that ends with the test.
struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM to the master, so that it stops its workers as well.
        let _ended = kill_process(Pid::from_child(&self.0), Signal::TERM);
        reaped(&mut self.0, PATIENCE);
    }
}

/// Starts an nginx that serves the same files, and returns it with its port.
fn nginx(setup: &Setup) -> (Nginx, u16) {
    let port = free_port();
    let dir = setup.path("nginx");
    fs::create_dir(&dir).unwrap();
    let configuration = format!(
        "daemon off; pid {0}/pid; error_log stderr; worker_processes 1; events {{}}
         http {{
           access_log off; client_body_temp_path {0}/b; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f;
           uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;
           types {{ text/html html; text/plain txt; text/javascript js; }}
           default_type application/octet-stream;
           charset utf-8; charset_types text/html text/plain text/javascript;
           absolute_redirect off;
           server {{
             listen 127.0.0.1:{port};
             location /f/ {{ alias {1}/; index index.html; gzip_static on; gzip_vary on; }}
           }}
         }}",
        dir.display(),
        setup.path("public").display()
    );
    fs::write(dir.join("nginx.conf"), configuration).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-p").arg(&dir).arg("-c").arg(dir.join("nginx.conf")).arg("-e").arg("stderr");
    let nginx = Nginx(command.stderr(Stdio::null()).spawn().unwrap());
    until("nginx listens", || TcpStream::connect(("127.0.0.1", port)).ok());
    (nginx, port)
}

/// Serves the files of these tests, with everything that is asked for.
fn site() -> Setup {
    let setup = serve(", precompressed = [\"gzip\"]");
    let public = setup.path("public");
    write(&setup.path("secret"), b"s3cret");
    write(&public.join(".env"), b"s3cret");
    write(&public.join("empty.txt"), b"");
    write(&public.join("assets/app.js.gz"), b"\x1f\x8bgzipped");
    symlink("../secret", public.join("out")).unwrap();
    mkfifoat(CWD, public.join("fifo"), Mode::RWXU).unwrap();
    // The workers of nginx run as another user.
    let _opened = Command::new("chmod").args(["-R", "a+rX"]).arg(setup.path("")).status();
    setup
}

/// A server, and the validators of the file that is asked for most.
struct Asked {
    port: u16,
    etag: String,
    date: String,
}

impl Asked {
    fn new(port: u16) -> Asked {
        let file = Client::tcp(port).get("/f/a%20b.txt");
        let field = |name: &str| file.field(name).unwrap_or_else(|| panic!("{}", file.head)).to_owned();
        Asked { port, etag: field("etag"), date: field("last-modified") }
    }

    fn ask(&self, method: &str, target: &str, fields: &str) -> Response {
        let fields = fields.replace("ETAG", &self.etag).replace("DATE", &self.date);
        let fields = if fields.is_empty() { fields } else { fields + "\r\n" };
        Client::tcp(self.port).ask(method, target, &fields)
    }
}

/// Returns what is compared: status and fields, and the body of a response with content.
fn essence(response: &Response) -> Vec<String> {
    let status = response.status();
    let mut told = vec![status.to_string()];
    if status < 400 {
        let text = String::from_utf8_lossy(&response.body);
        told.push(if status < 300 { format!("body: {text}") } else { String::new() });
        for name in FIELDS {
            // A page for people comes with a redirect of nginx; and a 304 need not repeat what does not change.
            let is_of_page = status >= 300 && ["content-type", "content-length", "vary"].contains(&name);
            if let Some(value) = response.field(name).filter(|_| !is_of_page) {
                told.push(format!("{name}: {value}"));
            }
        }
    } else {
        told.extend(response.field("content-range").map(|range| format!("content-range: {range}")));
    }
    told
}

#[test]
fn nginx_answers_alike_except_where_there_is_a_reason() {
    if !found(&["nginx"], "nginx-light") {
        return;
    }
    let setup = site();
    let (_nginx, port) = nginx(&setup);
    let daemon = setup.start();
    let (ours, theirs) = (Asked::new(daemon.port()), Asked::new(port));
    let mut wrong = Vec::new();

    for (method, target, fields) in ALIKE {
        let (here, there) = (ours.ask(method, target, fields), theirs.ask(method, target, fields));
        let vary = |mut told: Vec<String>| {
            // nginx names what varies only for types that may be compressed; here each file varies.
            told.retain(|line| !line.starts_with("vary"));
            told
        };
        if vary(essence(&here)) != vary(essence(&there)) {
            wrong.push(format!(
                "{method} {target} {fields:?}: {:?}, nginx {:?}",
                essence(&here),
                essence(&there)
            ));
        }
    }
    for (method, target, fields, here, there, reason) in DIFFERENT {
        let found = (ours.ask(method, target, fields).status(), theirs.ask(method, target, fields).status());
        if found != (here, there) {
            wrong.push(format!(
                "{method} {target} {fields:?} ({reason}): {found:?} instead of {:?}",
                (here, there)
            ));
        }
    }

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
