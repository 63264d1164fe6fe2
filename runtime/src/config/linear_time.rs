//! Tests that the time to read a list grows in proportion to its length.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::parse;

/// Makes a configuration with `number` elements.
type Lists = fn(usize) -> String;

const HANDLER: &str = "[handler.one]\nmodule = \"one.wasm\"\n";

fn lines(number: usize, line: impl Fn(usize) -> String) -> String {
    (0..number).fold(String::new(), |mut text, at| {
        let _infallible = writeln!(text, "{}", line(at));
        text
    })
}

fn list(number: usize, element: impl Fn(usize) -> String) -> String {
    (0..number).map(element).collect::<Vec<_>>().join(",")
}

fn routes(number: usize, route: impl Fn(usize) -> String) -> String {
    HANDLER.to_owned() + &lines(number, |at| format!("[[route]]\nhandler = \"one\"\n{}", route(at)))
}

const LISTS: [(&str, Lists); 17] = [
    ("unknown keys", |number| lines(number, |at| format!("key{at} = 1"))),
    ("unknown keys of a handler", |number| HANDLER.to_owned() + &lines(number, |at| format!("key{at} = 1"))),
    ("handlers", |number| lines(number, |at| format!("[handler.h{at}]\nmodule = \"one.wasm\""))),
    ("schedules", |number| {
        lines(number, |at| format!("[handler.h{at}]\nmodule = \"one.wasm\"\nschedule = \"* * * * *\""))
    }),
    ("routes", |number| routes(number, |at| format!("path = \"/some/path/{at}\""))),
    ("routes of captures", |number| routes(number, |at| format!("path = \"/{{c{at}}}/{at}\""))),
    ("routes of hosts", |number| routes(number, |at| format!("path = \"/\"\nhost = \"h{at}.test\""))),
    ("routes of methods", |number| routes(number, |at| format!("path = \"/\"\nmethods = [\"M{at}\"]"))),
    ("routes that clash", |number| routes(number, |_| "path = \"/\"".to_owned())),
    ("paths that clash", |number| {
        routes(number, |at| format!("path = \"/p{at}/{}\"", ["{*rest}", "a{x}b{{"][at % 2]))
    }),
    ("routes to nowhere", |number| {
        lines(number, |at| format!("[[route]]\npath = \"/{at}\"\nhandler = \"h{at}\"")) + HANDLER
    }),
    ("methods", |number| {
        let methods = list(number, |at| format!("\"M{at}\""));
        routes(1, |_| format!("path = \"/\"\nmethods = [{methods}]"))
    }),
    ("variables", |number| format!("{HANDLER}env = {{{}}}", list(number, |at| format!("V{at} = \"x\"")))),
    ("secrets", |number| {
        format!("{HANDLER}secrets = {{{}}}", list(number, |at| format!("S{at} = \"s{at}\"")))
    }),
    ("databases", |number| lines(number, |at| format!("[database.d{at}]\nurl = \"sqlite:d{at}.sqlite\""))),
    ("mounts", |number| {
        let mount = |at| format!("{{ host = \"h{at}\", guest = \"/g{at}\" }}");
        format!("{HANDLER}mounts = [{}]", list(number, mount))
    }),
    ("calls", |number| format!("{HANDLER}calls = [{}]", list(number, |at| format!("\"h{at}\"")))),
];

fn time(text: &str) -> Duration {
    let start = Instant::now();
    let _outcome = parse(text, Path::new("/nowhere"), "portcullis.toml");
    start.elapsed()
}

#[test]
fn eight_times_as_long_a_list_takes_about_eight_times_as_long() {
    const LITTLE: usize = 500;
    for (what, lists) in LISTS {
        let (little, much) = (lists(LITTLE), lists(8 * LITTLE));
        // The least of several runs, since other processes take time as well. Quadratic growth
        // would be 64.
        let growth = (0..5).map(|_| time(&much).as_secs_f64() / time(&little).as_secs_f64());
        let growth = growth.fold(f64::INFINITY, f64::min);

        assert!(growth < 24.0, "{what}: {growth:.1} times as long");
    }
}
