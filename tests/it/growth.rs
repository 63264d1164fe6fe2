//! The CPU time of `portcullis check` grows in proportion to the lists of a configuration. A check reads them, looks up
//! what they name, and makes the catalog.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::harness::{Authority, PATIENCE, Program, Setup, attempted, cpu_time, portcullis, reaped, within};

/// Makes a configuration with `number` elements.
type Lists = fn(usize) -> String;

const HANDLER: &str = "[handler.one]\nmodule = \"one.wasm\"\n";

/// Shorter times are the noise of a start.
const LEAST: Duration = Duration::from_millis(30);

fn lines(number: usize, line: impl Fn(usize) -> String) -> String {
    (0..number).fold(String::new(), |mut text, at| {
        let _infallible = writeln!(text, "{}", line(at));
        text
    })
}

/// Returns the elements of a list in TOML.
pub(crate) fn list(number: usize, element: impl Fn(usize) -> String) -> String {
    (0..number).map(element).collect::<Vec<_>>().join(",")
}

/// Returns the CPU time of a check that finds nothing wrong.
fn cost(dir: &Path, config: &str) -> Duration {
    let (file, said) = (dir.join("portcullis.toml"), dir.join("said"));
    fs::write(&file, config).unwrap();
    let mut check = portcullis();
    check.arg("check").arg("-c").arg(&file).env("HOME", dir).env_remove("XDG_CACHE_HOME");
    check.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&said).unwrap());
    let mut child = check.spawn().unwrap();
    let process = Pid::from_child(&child);
    // The kernel keeps the times of an ended process until it is reaped.
    let unreaped = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    within(3 * PATIENCE, "the check ends", || waitid(WaitId::Pid(process), unreaped).unwrap());
    let time = cpu_time(child.id());
    assert!(reaped(&mut child, PATIENCE).success(), "{}", fs::read_to_string(&said).unwrap());
    time
}

/// Checks each list with `little` elements and with ten times as many.
fn grow(lists: &[(&str, Lists)], little: usize) {
    let pair = Authority::usual().server(&["localhost"]);
    let setup = Setup::new("")
        .file("one.wasm", &Program::text().wasm())
        .file("cert.pem", pair.cert.as_bytes())
        .file("key.pem", pair.key.as_bytes());
    let dir = setup.path("");
    // The first check compiles the module.
    cost(&dir, HANDLER);
    for (what, lists) in lists {
        let (few, many) = (lists(little), lists(10 * little));
        // Quadratic growth would be 100.
        attempted(|| {
            let start = cost(&dir, HANDLER);
            let [few, many] = [&few, &many].map(|config| cost(&dir, config).saturating_sub(start).max(LEAST));
            (many < 40 * few)
                .then_some(())
                .ok_or_else(|| format!("{what}: {few:?}, ten times as many {many:?}"))
        });
    }
}

#[test]
fn ten_times_as_many_routes_take_a_check_ten_times_as_long() {
    let routes: [(&str, Lists); 4] = [
        ("paths", |number| {
            HANDLER.to_owned()
                + &lines(number, |at| format!("[[route]]\nhandler = \"one\"\npath = \"/some/path/{at}\""))
        }),
        ("hosts", |number| {
            HANDLER.to_owned()
                + &lines(number, |at| {
                    format!("[[route]]\nhandler = \"one\"\npath = \"/\"\nhost = \"h{at}.test\"")
                })
        }),
        ("captures", |number| {
            HANDLER.to_owned()
                + &lines(number, |at| format!("[[route]]\nhandler = \"one\"\npath = \"/p{at}/{{c}}/d\""))
        }),
        ("groups", |number| {
            HANDLER.to_owned()
                + &lines(number, |at| {
                    format!(
                        "[group.g{at}]\nprefix = \"/g{at}\"\n[[route]]\npath = \"/\"\ngroup = \"g{at}\"\nhandler = \"one\""
                    )
                })
        }),
    ];
    grow(&routes, 1000);
}

#[test]
fn ten_times_as_many_handlers_and_gates_take_a_check_ten_times_as_long() {
    let tables: [(&str, Lists); 2] = [
        ("handlers", |number| {
            lines(number, |at| {
                format!(
                    "[handler.h{at}]\nmodule = \"one.wasm\"\n[[route]]\npath = \"/{at}\"\nhandler = \"h{at}\""
                )
            })
        }),
        ("gates", |number| {
            let gates =
                lines(number, |at| format!("[gate.t{at}]\nkind = \"addresses\"\nallow = [\"10.0.0.1\"]"));
            let before = list(number, |at| format!("\"t{at}\""));
            format!(
                "before = [{before}]\n{HANDLER}{gates}[[route]]\npath = \"/\"\nhandler = \"one\"\nbefore = [{before}]\n"
            )
        }),
    ];
    grow(&tables, 500);
}

#[test]
fn ten_times_as_long_settings_take_a_check_ten_times_as_long() {
    let settings: [(&str, Lists); 6] = [
        ("arguments", |number| format!("{HANDLER}args = [{}]\n", list(number, |at| format!("\"a{at}\"")))),
        ("variables", |number| {
            format!("{HANDLER}env = {{{}}}\n", list(number, |at| format!("V{at} = \"x\"")))
        }),
        ("secrets", |number| {
            let secrets = list(number, |at| format!("S{at} = {{ env = \"HOME\" }}"));
            format!("{HANDLER}secrets = {{{secrets}}}\n")
        }),
        ("networks", |number| {
            let networks = list(number, |at| format!("\"10.{}.{}.1\"", at >> 8, at & 255));
            format!("trusted_proxies = [{networks}]\n{HANDLER}")
        }),
        ("origins", |number| {
            let origins = list(number, |at| format!("\"https://h{at}.test\""));
            format!("cors.origins = [{origins}]\n{HANDLER}")
        }),
        ("endpoints", |number| {
            let ports = |from: usize| list(number, |at| format!("\"tcp://127.0.0.1:{}\"", from + at));
            format!("listen = [{}]\nobserve = [{}]\n{HANDLER}", ports(1), ports(20_000))
        }),
    ];
    grow(&settings, 1000);
}

#[test]
fn ten_times_as_many_stores_databases_and_certificates_take_a_check_ten_times_as_long() {
    let files: [(&str, Lists); 3] = [
        ("stores", |number| {
            let granted = list(number, |at| format!("\"t{at}\""));
            let stores = lines(number, |at| format!("[store.t{at}]\nurl = \"redb:t{at}.redb\""));
            format!("{HANDLER}stores = [{granted}]\n{stores}")
        }),
        ("databases", |number| {
            let granted = list(number, |at| format!("\"t{at}\""));
            let databases = lines(number, |at| format!("[database.t{at}]\nurl = \"sqlite:t{at}.sqlite\""));
            format!("{HANDLER}databases = [{granted}]\n{databases}")
        }),
        ("certificates", |number| {
            let pair = |_| "[[tls.certificate]]\ncert = \"cert.pem\"\nkey = \"key.pem\"".to_owned();
            format!("{HANDLER}[tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n{}", lines(number, pair))
        }),
    ];
    grow(&files, 200);
}
