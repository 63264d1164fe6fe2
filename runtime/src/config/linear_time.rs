//! Tests that the time to read a list grows in proportion to its length.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use super::parse;
use crate::observe::threads::thread_time;

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

/// Another address for each number.
fn address(number: usize) -> String {
    format!("\"10.{}.{}.{}\"", number >> 16, (number >> 8) & 255, number & 255)
}

fn tables(table: &str, number: usize, line: &str) -> String {
    lines(number, |at| format!("[{table}.t{at}]\n{}", line.replace('#', &at.to_string())))
}

fn granted(key: &str, number: usize) -> String {
    format!("{HANDLER}{key} = [{}]\n", list(number, |at| format!("\"t{at}\"")))
}

fn tcp(number: usize, from: usize) -> String {
    list(number, |at| format!("\"tcp://127.0.0.1:{}\"", from + at))
}

const ROUTES: [(&str, Lists); 14] = [
    ("routes", |number| routes(number, |at| format!("path = \"/some/path/{at}\""))),
    ("routes of captures", |number| routes(number, |at| format!("path = \"/{{c{at}}}/{at}\""))),
    ("routes of texts before captures", |number| routes(number, |at| format!("path = \"/{at}-{{name}}\""))),
    ("routes of texts behind captures", |number| routes(number, |at| format!("path = \"/{{name}}.{at}\""))),
    ("routes of hosts", |number| routes(number, |at| format!("path = \"/\"\nhost = \"h{at}.test\""))),
    ("routes of methods", |number| routes(number, |at| format!("path = \"/\"\nmethods = [\"M{at}\"]"))),
    ("routes that clash", |number| routes(number, |_| "path = \"/\"".to_owned())),
    ("paths that clash", |number| {
        routes(number, |at| format!("path = \"/p{at}/{}\"", ["{*rest}", "a{x}b{{"][at % 2]))
    }),
    ("routes to nowhere", |number| {
        lines(number, |at| format!("[[route]]\npath = \"/{at}\"\nhandler = \"h{at}\"")) + HANDLER
    }),
    ("routes of groups", |number| {
        let route =
            |at| format!("[group.g{at}]\nprefix = \"/g{at}\"\n[[route]]\npath = \"/\"\ngroup = \"g{at}\"");
        lines(number, |at| route(at) + "\nrespond = {}")
    }),
    ("routes of versions", |number| {
        lines(number, |at| {
            format!(
                "[group.g{at}]\nprefix = \"/v{at}-{{version}}\"\n[[route]]\npath = \"/{at}\"\ngroup = \"g{at}\"\nrespond = {{}}"
            )
        })
    }),
    ("routes of groups that are not there", |number| {
        tables("group", number, "prefix = \"/g#\"")
            + &routes(number, |at| format!("path = \"/{at}\"\ngroup = \"h{at}\""))
    }),
    ("captures", |number| {
        let path: String = (0..number).map(|at| format!("/{{c{at}}}")).collect();
        routes(1, |_| format!("path = \"{path}\""))
    }),
    ("methods", |number| {
        let methods = list(number, |at| format!("\"M{at}\""));
        routes(1, |_| format!("path = \"/\"\nmethods = [{methods}]"))
    }),
];

const HANDLERS: [(&str, Lists); 12] = [
    ("unknown keys", |number| lines(number, |at| format!("key{at} = 1"))),
    ("unknown keys of a handler", |number| HANDLER.to_owned() + &lines(number, |at| format!("key{at} = 1"))),
    ("handlers", |number| lines(number, |at| format!("[handler.h{at}]\nmodule = \"one.wasm\""))),
    ("schedules", |number| {
        lines(number, |at| format!("[handler.h{at}]\nmodule = \"one.wasm\"\nschedule = \"* * * * *\""))
    }),
    ("arguments", |number| format!("{HANDLER}args = [{}]", list(number, |at| format!("\"a{at}\"")))),
    ("variables", |number| format!("{HANDLER}env = {{{}}}", list(number, |at| format!("V{at} = \"x\"")))),
    ("secrets", |number| {
        format!("{HANDLER}secrets = {{{}}}", list(number, |at| format!("S{at} = \"s{at}\"")))
    }),
    ("mounts", |number| {
        let mount = |at| format!("{{ host = \"h{at}\", guest = \"/g{at}\" }}");
        format!("{HANDLER}mounts = [{}]", list(number, mount))
    }),
    ("calls", |number| format!("{HANDLER}calls = [{}]", list(number, |at| format!("\"h{at}\"")))),
    ("origins of calls", |number| {
        format!("{HANDLER}allow = [{}]", list(number, |at| format!("\"https://h{at}.test\"")))
    }),
    ("addresses of calls", |number| {
        let addresses = list(number, address);
        format!("{HANDLER}allow_addresses = [{addresses}]\nallow = [\"http://10.0.0.1\"]")
    }),
    ("directories in reach", |number| {
        format!("hardening.reach = [{}]", list(number, |at| format!("\"d{at}\"")))
    }),
];

const STORES: [(&str, Lists); 6] = [
    ("stores", |number| tables("store", number, "url = \"redb:s#.redb\"")),
    ("stores of a handler", |number| {
        tables("store", number, "url = \"memory:\"") + &granted("stores", number)
    }),
    ("stores that are not there", |number| {
        tables("store", number, "url = \"\"") + &granted("stores", number)
    }),
    ("databases", |number| tables("database", number, "url = \"sqlite:d#.sqlite\"")),
    ("databases of a handler", |number| {
        tables("database", number, "url = \"sqlite:d#.sqlite\"") + &granted("databases", number)
    }),
    ("databases that are not there", |number| granted("databases", number)),
];

const FRONT: [(&str, Lists); 10] = [
    ("endpoints", |number| {
        let listen = tcp(number, 1);
        format!(
            "listen = [{listen}]\nproxy_protocol = [{listen}]\ntrusted_proxies = [\"10.0.0.1\"]\nobserve = [{}]\n\
             [tls]\ncert = \"c\"\nkey = \"k\"\nplain = [{listen}]",
            tcp(number, 20_000)
        )
    }),
    ("networks", |number| format!("trusted_proxies = [{}]", list(number, |at| address(2 * at)))),
    ("certificates", |number| {
        "[tls]\n".to_owned()
            + &lines(number, |at| format!("[[tls.certificate]]\ncert = \"c{at}\"\nkey = \"k{at}\""))
    }),
    ("origins", |number| {
        format!("cors.origins = [{}]", list(number, |at| format!("\"https://h{at}.test\"")))
    }),
    ("fields of CORS", |number| {
        format!("[cors]\norigins = [\"*\"]\nheaders = [{}]", list(number, |at| format!("\"x-{at}\"")))
    }),
    ("gates", |number| {
        let gates = tables("gate", number, "kind = \"addresses\"\nallow = [\"10.0.0.1\"]");
        let before = list(number, |at| format!("\"t{at}\""));
        format!("before = [{before}]\n{gates}") + &routes(1, |_| format!("path = \"/\"\nbefore = [{before}]"))
    }),
    ("gates that are not there", |number| {
        format!("before = [{}]\n{HANDLER}", list(number, |at| format!("\"t{at}\"")))
    }),
    ("users", |number| {
        let users = list(number, |at| format!("u{at} = \"no hash\""));
        format!("[gate.staff]\nkind = \"basic\"\nusers = {{{users}}}")
    }),
    ("names of certificates", |number| {
        let names = list(number, |at| format!("\"h{at}.test\""));
        format!("[gate.staff]\nkind = \"client_certificate\"\nnames = [{names}]")
    }),
    ("protocols and origins of a WebSocket", |number| {
        let protocols = list(number, |at| format!("\"p{at}\""));
        let origins = list(number, |at| format!("\"https://h{at}.test\""));
        routes(1, |_| {
            format!(
                "path = \"/\"\nupgrade = \"websocket\"\nwebsocket = {{ protocols = [{protocols}], origins = [{origins}] }}"
            )
        })
    }),
];

fn cost(text: &str) -> Duration {
    let start = thread_time();
    let _outcome = parse(text, Path::new("/nowhere"), "portcullis.toml");
    thread_time() - start
}

/// Reads each list with `little` elements and with ten times as many.
fn grow(lists: &[(&str, Lists)], little: usize) {
    for (what, lists) in lists {
        let (few, many) = (lists(little), lists(10 * little));
        // Quadratic growth would be 100. Other processes take the processor's caches, so a slow attempt is repeated.
        let mut growths = Vec::new();
        let is_linear = (0..5).any(|_| {
            let growth = cost(&many).as_secs_f64() / cost(&few).as_secs_f64();
            growths.push(growth);
            growth < 40.0
        });
        assert!(is_linear, "{what}: ten times as many take {growths:.1?} times as long");
    }
}

#[test]
fn ten_thousand_routes_take_ten_times_as_long_as_a_thousand() {
    grow(&ROUTES, 1000);
}

#[test]
fn ten_thousand_handlers_and_settings_of_one_take_ten_times_as_long_as_a_thousand() {
    grow(&HANDLERS, 1000);
}

#[test]
fn ten_thousand_stores_and_databases_take_ten_times_as_long_as_a_thousand() {
    grow(&STORES, 1000);
}

#[test]
fn ten_thousand_clients_and_endpoints_take_ten_times_as_long_as_a_thousand() {
    grow(&FRONT, 1000);
}

#[test]
fn a_hundred_thousand_elements_of_a_list_take_ten_times_as_long_as_ten_thousand() {
    let is_long = |what: &str| matches!(what, "arguments" | "variables" | "methods" | "networks");
    let all = [&ROUTES[..], &HANDLERS, &FRONT].concat();
    let long: Vec<_> = all.into_iter().filter(|(what, _)| is_long(what)).collect();
    assert_eq!(long.len(), 4);
    grow(&long, 10_000);
}
