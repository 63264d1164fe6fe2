//! Files of a directory: the walls around it, conditional requests, and parts of files.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, Mode, mkfifoat};

use crate::harness::{Daemon, Setup, until};

/// Serves `public` at `/f/` with these options.
pub(super) fn serve(options: &str) -> Setup {
    let setup = Setup::new(&format!(
        "admin = \"unix://admin.sock\"\naccess_log = true\n[[route]]\npath = \"/f/{{*path}}\"\nstatic = {{ dir = \"public\"{options} }}\n"
    ));
    fs::create_dir_all(setup.path("public/sub")).unwrap();
    fs::create_dir_all(setup.path("public/assets")).unwrap();
    for (name, content) in [
        ("index.html", "<p>home"),
        ("a b.txt", "0123456789"),
        ("sub/index.html", "<p>sub"),
        ("assets/app.js", "1;"),
    ] {
        write(&setup.path(&format!("public/{name}")), content.as_bytes());
    }
    setup
}

/// Writes a file that was changed an hour ago.
pub(super) fn write(path: &std::path::Path, content: &[u8]) {
    fs::write(path, content).unwrap();
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    fs::File::options().write(true).open(path).unwrap().set_modified(hour_ago).unwrap();
}

fn status(daemon: &Daemon, target: &str) -> u16 {
    daemon.get(target).status()
}

#[test]
fn a_file_comes_with_its_type_and_its_validators() {
    let daemon = serve("").start();

    let file = daemon.get("/f/a%20b.txt");

    assert_eq!((file.status(), file.text()), (200, "0123456789"));
    assert_eq!(file.field("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!((file.field("content-length"), file.field("accept-ranges")), (Some("10"), Some("bytes")));
    assert!(
        file.field("etag").unwrap().starts_with('"') && file.field("last-modified").is_some(),
        "{}",
        file.head
    );
    assert_eq!((file.field("cache-control"), file.field("vary")), (None, None));
    let head = daemon.client().ask("HEAD", "/f/a%20b.txt", "");
    assert_eq!(head.undated(), file.undated());
    daemon.log.line("GET /f/a%20b.txt -> 200 10 bytes");
    daemon.counted("portcullis_direct_requests_total", &["target=\"static\""], 2.0);
}

#[test]
fn a_directory_has_its_index_behind_a_slash() {
    let daemon = serve("").start();

    assert_eq!(daemon.get("/f/").text(), "<p>home");
    assert_eq!(daemon.get("/f/sub/").text(), "<p>sub");
    let bare = daemon.get("/f/sub?x=1");
    assert_eq!((bare.status(), bare.field("location")), (301, Some("/f/sub/?x=1")));
    assert_eq!(status(&daemon, "/f/assets/"), 404);
    assert_eq!(status(&daemon, "/f/assets"), 404, "a directory without a page looks like a missing file");
    assert_eq!(status(&daemon, "/f/a%20b.txt/"), 404);
    let refused = daemon.client().ask("POST", "/f/", "");
    assert_eq!((refused.status(), refused.field("allow")), (405, Some("GET, HEAD, OPTIONS")));
}

#[test]
fn nothing_outside_the_directory_is_served_and_nothing_hidden() {
    let setup = serve("");
    let public = setup.path("public");
    write(&setup.path("secret"), b"s3cret");
    write(&public.join(".env"), b"s3cret");
    fs::create_dir(public.join(".git")).unwrap();
    write(&public.join(".git/config"), b"s3cret");
    symlink("../secret", public.join("relative")).unwrap();
    symlink(setup.path("secret"), public.join("absolute")).unwrap();
    symlink("..", public.join("up")).unwrap();
    symlink("a b.txt", public.join("within")).unwrap();
    symlink("/proc/self/environ", public.join("proc")).unwrap();
    mkfifoat(CWD, public.join("fifo"), Mode::RWXU).unwrap();
    let _listening = std::os::unix::net::UnixListener::bind(public.join("socket")).unwrap();
    let daemon = setup.start();

    for absent in [
        "relative",
        "absolute",
        "up/secret",
        "proc",
        "fifo",
        "socket",
        ".env",
        ".git/config",
        "/a%20b.txt",
        "sub//index.html",
        "%5c..%5csecret",
    ] {
        assert_eq!(status(&daemon, &format!("/f/{absent}")), 404, "{absent}");
    }
    for malformed in
        ["../secret", "%2e%2e/secret", "sub/../../secret", "..%2fsecret", "a%00.txt", "%0a", "%zz", "."]
    {
        assert_eq!(status(&daemon, &format!("/f/{malformed}")), 400, "{malformed}");
    }
    assert_eq!(daemon.get("/f/within").text(), "0123456789");
}

#[test]
fn a_client_that_has_the_file_gets_no_body() {
    let daemon = serve(", immutable = \"assets/*\"").start();
    let mut client = daemon.client();
    let file = client.get("/f/a%20b.txt");
    let (etag, date) = (file.field("etag").unwrap(), file.field("last-modified").unwrap());

    let same = client.ask("GET", "/f/a%20b.txt", &format!("If-None-Match: {etag}\r\n"));
    assert_eq!((same.status(), same.field("etag"), same.field("content-type")), (304, Some(etag), None));
    assert_eq!(same.field("cache-control"), Some("no-cache"));
    let same = client.ask("GET", "/f/a%20b.txt", &format!("If-Modified-Since: {date}\r\n"));
    assert_eq!(same.status(), 304);
    let other = client.ask("GET", "/f/a%20b.txt", "If-Match: \"x\"\r\n");
    assert_eq!(
        (other.status(), other.text()),
        (412, "the file is in another state than the request requires\n")
    );
    let asset = client.get("/f/assets/app.js");
    assert_eq!(asset.field("cache-control"), Some("public, max-age=31536000, immutable"));
}

#[test]
fn a_part_of_a_file_is_sent() {
    let daemon = serve("").start();
    let mut client = daemon.client();
    let etag = client.get("/f/a%20b.txt").field("etag").unwrap().to_owned();
    let mut part = |fields: &str| {
        let part = client.ask("GET", "/f/a%20b.txt", fields);
        let range = part.field("content-range").map(str::to_owned);
        (part.status(), range, part.text().to_owned())
    };
    let within = |range: &str, text: &str| (206, Some(format!("bytes {range}/10")), text.to_owned());
    let whole = (200, None, "0123456789".to_owned());

    assert_eq!(part("Range: bytes=2-4\r\n"), within("2-4", "234"));
    assert_eq!(part("Range: bytes=-3\r\n"), within("7-9", "789"));
    assert_eq!(part("Range: bytes=8-\r\n"), within("8-9", "89"));
    assert_eq!(part(&format!("Range: bytes=0-0\r\nIf-Range: {etag}\r\n")), within("0-0", "0"));
    assert_eq!(part("Range: bytes=0-0\r\nIf-Range: \"other\"\r\n"), whole);
    assert_eq!(part("Range: bytes=0-1,3-4\r\n"), whole);
    assert_eq!(part("Range: bytes=0-1\r\nRange: bytes=3-4\r\n"), whole);
    let (status, range, text) = part("Range: bytes=10-\r\n");
    assert_eq!((status, range.as_deref()), (416, Some("bytes */10")));
    assert_eq!(text, "the range is beyond the end of the file, which has 10 bytes\n");
    let head = client.ask("HEAD", "/f/a%20b.txt", "Range: bytes=2-4\r\n");
    assert_eq!((head.status(), head.field("content-length")), (200, Some("10")));
}

#[test]
fn a_large_file_comes_whole_and_breaks_off_if_it_is_changed() {
    let setup = serve("");
    let content: Vec<u8> = (0..20_000_000_u32).map(|number| (number % 251) as u8).collect();
    write(&setup.path("public/large"), &content);
    let daemon = setup.start();

    let whole = daemon.get("/f/large");
    assert!(whole.body == content, "{}", whole.body.len());
    let range = daemon.client().ask("GET", "/f/large", "Range: bytes=1000000-18999999\r\n");
    assert!(range.status() == 206 && range.body == content[1_000_000..19_000_000]);

    let mut client = daemon.client();
    client.send("GET /f/large HTTP/1.1\r\nHost: test\r\n\r\n");
    client.head();
    client.take(100_000);
    fs::write(daemon.path("public/large"), vec![0; content.len()]).unwrap();
    let left = client.rest().len();
    assert!(left < content.len() - 100_000, "{left}");
    daemon.log.line("it was changed while it was sent");
}

#[test]
fn a_small_file_that_is_replaced_is_served_anew_at_once() {
    let daemon = serve("").start();
    let path = daemon.path("public/a b.txt");
    let first = daemon.get("/f/a%20b.txt");

    fs::write(path.with_extension("new"), "other").unwrap();
    fs::rename(path.with_extension("new"), &path).unwrap();

    let second = daemon.get("/f/a%20b.txt");
    assert_eq!((second.status(), second.text()), (200, "other"));
    assert_ne!(first.field("etag"), second.field("etag"));
    assert!(second.field("etag").unwrap().starts_with("W/\""), "it may still change: {}", second.head);
}

#[test]
fn a_small_file_in_use_is_served_anew_once_its_path_leads_to_another_state() {
    let setup = serve("");
    let public = setup.path("public");
    let names = ["edited", "replaced", "removed", "linked", "other", "moved/a", "swapped/a", "next/a"];
    for name in names {
        fs::create_dir_all(public.join(name).parent().unwrap()).unwrap();
        write(&public.join(name), format!("{name} 1").as_bytes());
    }
    symlink("linked", public.join("link")).unwrap();
    let daemon = setup.start();
    let asked = |name: &str| {
        let response = daemon.get(&format!("/f/{name}"));
        (response.status(), response.text().to_owned())
    };
    // A file that was changed less than 2 s ago is not kept in memory.
    until("the files have settled", || {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let changed = names.map(|name| fs::metadata(public.join(name)).unwrap().ctime().cast_unsigned());
        changed.iter().all(|changed| changed + 3 < now).then_some(())
    });
    for name in ["edited", "replaced", "removed", "link", "moved/a", "swapped/a"] {
        let first = daemon.get(&format!("/f/{name}"));
        for _ in 0..4 {
            let next = daemon.get(&format!("/f/{name}"));
            assert_eq!((next.undated(), next.text()), (first.undated(), first.text()));
        }
    }

    let edited = fs::metadata(public.join("edited")).unwrap().modified().unwrap();
    fs::write(public.join("edited"), "edited 2").unwrap();
    fs::File::options().write(true).open(public.join("edited")).unwrap().set_modified(edited).unwrap();
    fs::rename(public.join("other"), public.join("replaced")).unwrap();
    fs::remove_file(public.join("removed")).unwrap();
    fs::remove_file(public.join("link")).unwrap();
    symlink("../portcullis.toml", public.join("link")).unwrap();
    let outside = daemon.path("outside");
    fs::rename(public.join("moved"), &outside).unwrap();
    symlink(&outside, public.join("moved")).unwrap();
    fs::rename(public.join("swapped"), public.join("former")).unwrap();
    fs::rename(public.join("next"), public.join("swapped")).unwrap();

    assert_eq!(asked("edited"), (200, "edited 2".to_owned()));
    assert_eq!(asked("replaced"), (200, "other 1".to_owned()));
    assert_eq!((asked("removed").0, asked("link").0, asked("moved/a").0), (404, 404, 404));
    assert_eq!(asked("swapped/a"), (200, "next/a 1".to_owned()));
    fs::remove_file(public.join("link")).unwrap();
    symlink("linked", public.join("link")).unwrap();
    assert_eq!(asked("link"), (200, "linked 1".to_owned()));
}

#[test]
fn a_compressed_file_beside_it_is_sent_to_clients_that_take_it() {
    let setup = serve(", precompressed = [\"br\", \"gzip\"]");
    write(&setup.path("public/assets/app.js.br"), b"brotli");
    write(&setup.path("public/assets/app.js.gz"), b"gzipped");
    let daemon = setup.start();
    let sent = |accept: &str| {
        let sent = daemon.client().ask("GET", "/f/assets/app.js", &format!("Accept-Encoding: {accept}\r\n"));
        assert_eq!(sent.field("vary"), Some("Accept-Encoding"));
        assert_eq!(sent.field("content-type"), Some("text/javascript; charset=utf-8"));
        (
            sent.field("content-encoding").map(str::to_owned),
            sent.text().to_owned(),
            sent.field("etag").unwrap().to_owned(),
        )
    };

    let (coding, text, etag) = sent("gzip, br");
    assert_eq!((coding.as_deref(), text.as_str()), (Some("br"), "brotli"));
    let (coding, text, other) = sent("gzip");
    assert_eq!((coding.as_deref(), text.as_str()), (Some("gzip"), "gzipped"));
    assert_ne!(etag, other);
    assert_eq!(sent("br;q=0, identity").0, None);
    assert_eq!(sent("zstd").1, "1;");
}

#[test]
fn an_application_of_one_page_answers_for_paths_without_a_dot() {
    let daemon = serve(", spa = \"index.html\"").start();

    let page = daemon.get("/f/users/7");

    assert_eq!((page.status(), page.text()), (200, "<p>home"));
    assert_eq!(page.field("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(status(&daemon, "/f/assets/app-old.js"), 404);
    assert_eq!(status(&daemon, "/f/.git"), 404);
}

#[test]
fn a_directory_is_listed_where_that_is_allowed() {
    let setup = serve(", listing = true, index = \"\"");
    write(&setup.path("public/<i>.txt"), b"x");
    write(&setup.path("public/.hidden"), b"x");
    let daemon = setup.start();

    let page = daemon.get("/f/");

    assert_eq!(page.field("content-type"), Some("text/html; charset=utf-8"));
    let text = page.text();
    assert!(text.contains("<title>Index of /f/</title>") && text.contains("href=\"./sub/\""), "{text}");
    assert!(text.contains("&lt;i&gt;.txt") && !text.contains("hidden") && !text.contains("../"), "{text}");
    assert_eq!(daemon.get("/f/sub").status(), 301);
}

#[test]
fn a_rewritten_path_is_not_shown_and_ends_with_one_slash() {
    let setup = serve(", listing = true");
    let routes = "[[route]]\npath = \"/docs/{*rest}\"\nrewrite = \"/f/{rest}\"\n\
                  [[route]]\npath = \"/fixed/{*rest}\"\nrewrite = \"/f/sub\"\n";
    let daemon = setup.add(routes).start();

    let moved = daemon.get("/docs/sub?x=1");
    assert_eq!((moved.status(), moved.field("location")), (301, Some("/docs/sub/?x=1")));
    assert_eq!(daemon.get("/docs/sub/").text(), "<p>sub");
    let listed = daemon.get("/docs/assets/");
    assert!(listed.text().contains("<title>Index of /docs/assets/</title>"), "{}", listed.text());
    let fixed = daemon.get("/fixed/x");
    assert_eq!((fixed.status(), fixed.field("location")), (301, Some("/fixed/x/")));
    assert_eq!(daemon.get("/fixed/x/").text(), "<p>sub", "and not another slash");
}

#[test]
fn a_reload_serves_another_directory_and_a_missing_one_is_refused() {
    let daemon = serve("").start();
    fs::create_dir(daemon.path("other")).unwrap();
    write(&daemon.path("other/index.html"), b"other");
    let config = daemon.path("portcullis.toml");
    let text = fs::read_to_string(&config).unwrap();

    fs::write(&config, text.replace("\"public\"", "\"gone\"")).unwrap();
    daemon.signal(rustix::process::Signal::HUP);
    daemon.log.line("there is no directory at");
    assert_eq!(daemon.get("/f/").text(), "<p>home");
    fs::write(&config, text.replace("\"public\"", "\"other\"")).unwrap();
    daemon.signal(rustix::process::Signal::HUP);
    until("the other directory", || (daemon.get("/f/").text() == "other").then_some(()));
}

#[test]
fn a_directory_with_the_daemons_own_files_is_refused() {
    let setup = Setup::new("[[route]]\npath = \"/f/{*path}\"\nstatic = { dir = \".\" }\n");

    let ended = setup.fail();

    assert!(
        ended.stderr.contains("portcullis.toml is in it, where every client could read it"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_directory_with_the_access_log_is_refused() {
    let setup = Setup::new(
        "access_log = true\naccess_log_file = \"public/access.log\"\n\
         [[route]]\npath = \"/f/{*path}\"\nstatic = { dir = \"public\" }\n",
    );
    fs::create_dir(setup.path("public")).unwrap();

    let ended = setup.fail();

    assert!(
        ended.stderr.contains("public/access.log is in it, where every client could read it"),
        "{}",
        ended.stderr
    );
}
