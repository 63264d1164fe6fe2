//! `up`: rebuilds what has changed, whichever file that is, and continues after a build that fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::harness::{Daemon, Setup, never, within};

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
