//! CORS: pages of other sites can read every refusal, and their scripts learn its reason.

use std::fs;
use std::process::Command;

use crate::harness::{PATIENCE, Program, Response, Setup, finish, found};

/// The origin that is granted, as a request field.
const ORIGIN: &str = "Origin: https://a.example\r\n";

/// Makes routes for every kind of refusal.
fn setup() -> Setup {
    let setup = Setup::new(
        "admin = \"unix://admin.sock\"\n[cors]\norigins = [\"https://a.example\"]\n\
         [http]\nbody_idle = \"300ms\"\ntarget_size = \"1KiB\"\nfields = 20\n\
         [gate.staff]\nkind = \"basic\"\nusers_file = \"users\"\n\
         [gate.office]\nkind = \"addresses\"\nallow = [\"192.0.2.1\"]\n\
         [[route]]\npath = \"/staff\"\nrespond = { body = \"x\" }\nbefore = [\"staff\"]\n\
         [[route]]\npath = \"/office\"\nrespond = { body = \"x\" }\nbefore = [\"office\"]\n\
         [[route]]\npath = \"/once\"\nrespond = { body = \"x\" }\nlimit = { rate = \"1/h\" }\n\
         [[route]]\npath = \"/old\"\nredirect = \"/once\"\n\
         [[route]]\npath = \"/gone\"\nrespond = { status = 410 }\n\
         [[route]]\npath = \"/files/{*path}\"\nstatic = { dir = \"public\" }\n\
         [[route]]\npath = \"/loop\"\nrewrite = \"/back\"\n[[route]]\npath = \"/back\"\nrewrite = \"/loop\"\n\
         [[route]]\npath = \"/tunnel\"\nhandler = \"traps\"\nupgrade = \"tcp\"\n\
         [[route]]\npath = \"/get\"\nmethods = [\"GET\"]\nhandler = \"traps\"\n",
    )
    .handler("reads", "limits.body = \"10B\"", &crate::pace::read().wasm())
    .handler("traps", "", &Program::new().trap().wasm())
    .handler("late", "limits.time = \"200ms\"", &Program::new().sleep_for_ever().wasm())
    .handler("full", "limits = { concurrency = 1, queue = 0 }", &Program::new().sleep_for_ever().wasm())
    .file("users", format!("ada:{}\n", bcrypt::hash("lovelace", 4).unwrap()).as_bytes());
    fs::create_dir(setup.path("public")).unwrap();
    setup.file("public/a.txt", b"a")
}

fn granted(response: &Response) -> Option<&str> {
    response.field("access-control-allow-origin")
}

#[test]
fn a_page_of_another_site_reads_every_refusal_and_a_page_of_a_third_site_none() {
    let daemon = setup().start();
    assert_eq!(daemon.client().ask("GET", "/once", ORIGIN).status(), 200);
    let mut held = daemon.client();
    held.send("GET /full HTTP/1.1\r\nHost: test\r\n\r\n");
    daemon.counted("portcullis_jobs_running", &["handler=\"full\""], 1.0);

    for (method, path, fields, status) in [
        ("GET", "/nowhere", "", 404),
        ("DELETE", "/get", "", 405),
        ("POST", "/reads", "Content-Length: 11\r\n", 413),
        ("POST", "/reads", "Content-Length: 10\r\n", 408),
        ("GET", "/traps", "", 502),
        ("GET", "/full", "", 503),
        ("GET", "/late", "", 504),
        ("GET", "/once", "", 429),
        ("GET", "/staff", "", 401),
        ("GET", "/office", "", 403),
        ("GET", "/tunnel", "", 426),
        ("GET", "/loop", "", 508),
        ("GET", "/old", "", 302),
        ("GET", "/gone", "", 410),
        ("GET", "/files/none", "", 404),
        ("GET", "/files/a.txt", "If-Match: \"other\"\r\n", 412),
        ("GET", "/files/a.txt", "Range: bytes=9-\r\n", 416),
    ] {
        let told = daemon.client().ask(method, path, &format!("{ORIGIN}{fields}"));
        assert_eq!(told.status(), status, "{method} {path}: {}", told.text());
        assert_eq!(granted(&told), Some("https://a.example"), "{method} {path}: {}", told.head);
        assert!(told.head.to_lowercase().contains("vary: origin\r\n"), "{method} {path}: {}", told.head);
    }
    let other = daemon.client().ask("GET", "/nowhere", "Origin: https://b.example\r\n");
    assert_eq!((other.status(), granted(&other)), (404, None));
}

#[test]
fn a_page_of_another_site_reads_over_http2_that_its_head_is_too_large() {
    if !found(&["curl"], "curl") {
        return;
    }
    let daemon = setup().start();
    let long = "x".repeat(2000);
    let many: Vec<String> = (0..30).flat_map(|number| ["-H".to_owned(), format!("x-{number}: y")]).collect();
    for (path, more, status) in [(long.as_str(), &[][..], 414), ("get", &many[..], 431)] {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-o", "/dev/null", "-D", "-", "--http2-prior-knowledge", "-H", ORIGIN.trim()]);
        curl.args(more).arg(format!("http://127.0.0.1:{}/{path}", daemon.port()));

        let ended = finish(&mut curl, b"", PATIENCE);

        let head = String::from_utf8(ended.stdout).unwrap();
        assert!(head.starts_with(&format!("HTTP/2 {status}")), "{head}{}", ended.stderr);
        assert!(head.contains("access-control-allow-origin: https://a.example\r\n"), "{head}");
    }
}
