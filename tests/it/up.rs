//! `up`: takes up what has changed, whichever file that is, and continues after a mistake.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::harness::{Authority, Daemon, Setup, never, until, within};

/// How long a build may take on a slow machine.
const BUILD: Duration = Duration::from_secs(300);

const BUILDING: &str = "a source has changed: building";

/// A program in WebAssembly text that answers with `says`.
fn text(says: &str) -> String {
    let answer = format!("Content-Type: text/plain\\0a\\0a{says}");
    let length = "Content-Type: text/plain\n\n".len() + says.len();
    format!(
        r#"(module (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1) (data (i32.const 16) "{answer}")
        (func (export "_start")
          (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const {length}))
          (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#
    )
}

fn becomes(daemon: &Daemon, target: &str, text: &str) {
    within(BUILD, text, || (daemon.get(target).text() == text).then_some(()));
}

fn config(names: &[&str]) -> String {
    let handler = |name: &&str| {
        format!(
            "[handler.{name}]\nmodule = \"build/{name}.wasm\"\n[[route]]\npath = \"/{name}\"\nhandler = \"{name}\"\n"
        )
    };
    names.iter().map(handler).collect()
}

#[test]
fn a_first_build_that_fails_is_told_and_the_next_one_serves() {
    let setup = Setup::new(&config(&["one"])).file("one.wat", b"(module (nonsense))").up();

    let mut daemon = setup.spawn();

    let line = daemon.log.line("not built, so not served yet");
    assert!(line.contains("one.wat: does not assemble"), "{line}");
    fs::write(daemon.path("one.wat"), text("mended")).unwrap();
    daemon.ready();
    assert_eq!(daemon.get("/one").text(), "mended");
    fs::write(daemon.path("one.wat"), "(module").unwrap();
    daemon.log.line("not built, the old generation goes on");
    assert_eq!(daemon.get("/one").text(), "mended");
}

#[test]
fn a_configuration_with_a_mistake_is_told_at_the_start_and_the_mended_one_serves() {
    let setup = Setup::new(&config(&["one"])).prepend("errors = { 404 = \"404.html\" }\n");
    let mut daemon = setup.file("one.wat", text("served").as_bytes()).up().spawn();
    daemon.log.line("the configuration is refused, so not served yet");
    daemon.log.line("errors.404: there is no page at ");

    fs::write(daemon.path("404.html"), "not here").unwrap();

    daemon.ready();
    assert_eq!(daemon.get("/one").text(), "served");
    assert_eq!(daemon.get("/nowhere").text(), "not here");
}

#[test]
fn a_certificate_that_is_missing_at_the_start_is_waited_for() {
    let setup = Setup::new(&config(&["one"])).add("[tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n");
    let mut daemon = setup.file("one.wat", text("served").as_bytes()).up().spawn();
    daemon.log.line("tls.cert: ");

    let pair = Authority::usual().server(&["127.0.0.1"]);
    fs::write(daemon.path("key.pem"), &pair.key).unwrap();
    fs::write(daemon.path("cert.pem"), &pair.cert).unwrap();

    daemon.ready();
}

#[test]
fn a_secret_that_is_missing_at_the_start_is_waited_for() {
    let secret = "[handler.one]\nsecrets = { KEY = { file = \"key\" } }\n";
    let setup = Setup::new(&config(&["one"]).replace("[handler.one]\n", secret));
    let mut daemon = setup.file("one.wat", text("served").as_bytes()).up().spawn();
    daemon.log.line("secrets.KEY: there is no file ");

    fs::write(daemon.path("key"), "f1rst").unwrap();

    daemon.ready();
    assert_eq!(daemon.get("/one").text(), "served");
}

#[test]
fn a_page_that_changes_and_a_directory_that_appears_are_taken_up_without_another_change() {
    let setup = Setup::new(&config(&["one"])).prepend("errors = { 404 = \"404.html\" }\n");
    let setup = setup.file("one.wat", text("served").as_bytes()).file("404.html", b"first");
    let daemon = setup.up().start();
    assert_eq!(daemon.get("/nowhere").text(), "first");
    fs::write(daemon.path("404.html"), "second").unwrap();
    becomes(&daemon, "/nowhere", "second");

    let file = daemon.path("portcullis.toml");
    let written = fs::read_to_string(&file).unwrap();
    let route = "[[route]]\npath = \"/late/{*path}\"\nstatic = { dir = \"late\" }\n";
    fs::write(&file, format!("{written}{route}")).unwrap();
    daemon.log.line("reload failed");
    fs::create_dir(daemon.path("late")).unwrap();
    fs::write(daemon.path("late/a.txt"), "there").unwrap();

    becomes(&daemon, "/late/a.txt", "there");
}

#[test]
fn the_key_of_a_gate_that_a_refused_configuration_names_is_waited_for() {
    let daemon = Setup::new(&config(&["one"])).file("one.wat", text("served").as_bytes()).up().start();
    let gate =
        "before = [\"staff\"]\n[gate.staff]\nkind = \"jwt\"\nalgorithms = [\"HS256\"]\nsecret = \"key\"\n";
    fs::write(daemon.path("portcullis.toml"), gate.to_owned() + &config(&["one"])).unwrap();
    daemon.log.line("reload failed");
    assert_eq!(daemon.get("/one").text(), "served");

    fs::write(daemon.path("key"), "k".repeat(64)).unwrap();

    until("the gate is there", || (daemon.get("/one").status() == 401).then_some(()));
}

#[test]
fn a_route_that_is_added_gets_its_curl_line_and_the_others_no_second_one() {
    let daemon = Setup::new(&config(&["one"])).file("one.wat", text("served").as_bytes()).up().start();
    let port = daemon.port();
    daemon.out.line(&format!("curl http://127.0.0.1:{port}/one  # "));

    fs::write(daemon.path("two.wat"), text("new")).unwrap();
    fs::write(daemon.path("portcullis.toml"), config(&["one", "two"])).unwrap();

    daemon.out.line(&format!("curl http://127.0.0.1:{port}/two  # "));
    assert_eq!(daemon.out.count("/one  # "), 1, "{}", daemon.out.text());
    assert_eq!(daemon.out.count("serving "), 1, "{}", daemon.out.text());
}

#[test]
fn a_built_module_that_is_removed_is_built_again() {
    let daemon = Setup::new(&config(&["one"])).file("one.wat", text("served").as_bytes()).up().start();
    let module = daemon.path("build/one.wasm");
    let bytes = fs::read(&module).unwrap();
    let is_back = || fs::read(&module).is_ok_and(|found| found == bytes).then_some(());

    fs::remove_file(&module).unwrap();
    daemon.log.line("build/one.wasm has been removed: building");
    until("the module is there again", is_back);
    daemon.log.line("reloaded: generation ");
    // At once: a file that is built again meanwhile would keep the directory.
    fs::rename(daemon.path("build"), daemon.path("gone")).unwrap();

    until("the directory is there again", is_back);
    daemon.log.lines(2, "reloaded: generation ");
    assert_eq!(daemon.get("/one").text(), "served");
    assert_eq!(daemon.log.count("ERROR"), 0, "{}", daemon.log.text());
}

#[test]
fn a_module_whose_source_is_gone_stays_with_a_warning_and_is_missed_when_it_is_removed_too() {
    let setup = Setup::new(&config(&["one", "two"])).file("one.wat", text("first").as_bytes());
    let daemon = setup.file("two.wat", text("other").as_bytes()).up().start();

    fs::rename(daemon.path("one.wat"), daemon.path("uno.wat")).unwrap();
    daemon.log.line("build/one.wasm: its source is gone");
    assert_eq!(daemon.get("/one").text(), "first");
    fs::remove_file(daemon.path("build/one.wasm")).unwrap();
    daemon.log.line("reload failed");
    assert_eq!(daemon.get("/one").text(), "first", "the old generation stays");

    fs::rename(daemon.path("uno.wat"), daemon.path("one.wat")).unwrap();
    within(BUILD, "the module is there again", || daemon.path("build/one.wasm").is_file().then_some(()));
    fs::write(daemon.path("one.wat"), text("second")).unwrap();
    becomes(&daemon, "/one", "second");
}

/// Writes a crate that depends on the library `common`, and prints the contents of a template elsewhere.
fn write_crate(dir: &Path, name: &str) {
    fs::create_dir_all(dir.join(name).join("src")).unwrap();
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\ncommon = {{ path = \"../../common\" }}\n[workspace]\n"
    );
    fs::write(dir.join(name).join("Cargo.toml"), manifest).unwrap();
    let main = format!(
        "fn main() {{ print!(\"Content-Type: text/plain\\n\\n{{}} {name} {{}}\", common::WORD, include_str!(\"../../../templates/t.txt\").trim()); }}\n"
    );
    fs::write(dir.join(name).join("src/main.rs"), main).unwrap();
}

#[test]
fn what_a_handler_is_built_of_elsewhere_is_followed_and_a_first_build_is_no_change() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path().canonicalize().unwrap();
    let (site, common) = (place.join("site"), place.join("common"));
    fs::create_dir_all(&site).unwrap();
    fs::create_dir_all(common.join("src")).unwrap();
    fs::create_dir_all(place.join("templates")).unwrap();
    fs::write(place.join("templates/t.txt"), "first\n").unwrap();
    let manifest = "[package]\nname = \"common\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n";
    fs::write(common.join("Cargo.toml"), manifest).unwrap();
    fs::write(common.join("src/lib.rs"), "pub const WORD: &str = \"said\";\n").unwrap();
    write_crate(&site, "one");
    fs::write(site.join("portcullis.toml"), config(&["one"])).unwrap();
    let mut daemon = Setup::new("").up_in(&site).env("CARGO_TARGET_DIR", place.join("target")).spawn();
    daemon.ready_within(BUILD);
    assert_eq!(daemon.get("/one").text(), "said one first");
    // Neither the Cargo.lock that cargo has written nor the new modules start another build.
    never(Duration::from_secs(1), "it builds once more", || daemon.log.count(BUILDING) > 0);

    fs::write(place.join("templates/t.txt"), "second").unwrap();
    becomes(&daemon, "/one", "said one second");
    fs::write(common.join("src/lib.rs"), "pub const WORD: &str = \"told\";\n").unwrap();
    becomes(&daemon, "/one", "told one second");

    // A handler that is added while `up` runs, laid out as by `new`.
    write_crate(&site, "two");
    fs::write(site.join("portcullis.toml"), config(&["one", "two"])).unwrap();
    becomes(&daemon, "/two", "told two second");
    let main: PathBuf = site.join("two/src/main.rs");
    fs::write(&main, fs::read_to_string(&main).unwrap().replace(" two ", " zwei ")).unwrap();
    becomes(&daemon, "/two", "told zwei second");
    assert_eq!(daemon.log.count("ERROR"), 0, "{}", daemon.log.text());
}
