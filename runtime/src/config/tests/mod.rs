//! Tests of reading a configuration.
//!
//! Floors, lowest first: the helpers in this file; `any_text`, `compile`, `gates`, `page`, `refusals`, which do not use one another.

mod any_text;
mod compile;
mod gates;
mod page;
mod refusals;

use super::*;
use crate::access::RateLimits;
use crate::catalog::ReasonHeader;
use crate::job::{Limits, Name, OutputFormat, Overlap};
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;
use tempfile::TempDir;

/// An example of the features together.
const EXAMPLE: &str = r#"
listen = ["unix:///run/portcullis/portcullis.sock", "tcp://127.0.0.1:8080", "fd://"]
grace  = "30s"
[unix]                       # for unix:// endpoints
group = "docker"             # name or gid
mode  = "0660"

[limits]                     # every handler, unless it says otherwise; a setting we cannot enforce does not exist
memory = "128MiB"            # summed over all of a job's memories
time = "30s"                 # wall
cpu = "1s"                   # while the guest runs, not while it waits
body = "16MiB"
output = "1GiB"
concurrency = 64             # jobs at once; then
queue = 128                  # wait here; then 503 + Retry-After

[handler.hello]
module = "hello.wasm"        # relative to this file
args = ["--greeting", "hi"]
env = { GREETING = "hi" }
mounts = [{ host = "data", guest = "/data", write = true }]
limits.memory = "16MiB"

[[route]]
path = "/hello/{who}"        # matchit syntax; {*rest} for a tail
methods = ["GET"]
host = "api.example.org"     # optional
handler = "hello"
"#;

/// Every key except those of `[compile]`, each with a value that is not the default.
const EVERYTHING: &str = r#"
listen = ["unix://run.sock", "tcp://127.0.0.1:8081", "fd://"]
grace = "1m30s"
shutdown_delay = "5s"
upgrade_grace = "10m"
idle_exit = "5m"
jobs = 32
log = "json"
access_log = "combined"
access_log_file = "access.log"
mask_query = ["token"]
admin = "unix://admin.sock"
observe = ["unix://look.sock"]
admin_mode = "0660"
admin_group = "wheel"
version_prefix = true
reason_header = true
debug = true
record_dir = "failures"
cache = "code"
[unix]
group = "docker"
mode = "0600"
[http]
first_byte = "1s"
handshake = "6s"
handshakes = 99
head = "2s"
body_idle = "3s"
write_idle = "4s"
min_rate = "1KiB"
rate_window = "8s"
keep_alive = "5s"
head_size = "16KiB"
target_size = "4KiB"
fields = 50
connections = 1000
connections_per_peer = 100
client_memory = "9MiB"
[cors]
origins = ["https://a.example", "http://localhost:3000"]
methods = ["GET", "PATCH"]
headers = ["Content-Type"]
max_age = "10m"
credentials = true

[limits]
memory = "256MiB"
time = "none"
cpu = "2s"
body = "1MB"
output = 4096
concurrency = 8
queue = 0
queue_time = "3s"
stderr = "2MiB"
stderr_rate = 7
handles = 99

[handler.hello]
module = "hello.wasm"
args = ["--greeting", "hi"]
env = { ZULU = "1", ALPHA = "2" }
secrets = { API_KEY = "api-key" }
calls = ["raw", "hello"]
schedule = { cron = "*/5 * * * *", args = ["--all"], stdin = "text", overlap = true }
record = "failures"
mounts = [{ host = "data", guest = "/data/", write = true }, { host = "data", guest = "/" }]
limits.memory = "64KiB"
limits.cpu = "none"

[handler.raw]
module = "hello.wasm"
output = "raw"
content_type = "text/html"

[[route]]
path = "/hello/{who}"
methods = ["GET", "POST"]
host = "api.example.org"
handler = "hello"

[[route]]
path = "/{*rest}"
handler = "raw"
"#;

fn place() -> TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("hello.wasm"), b"").unwrap();
    fs::create_dir(place.path().join("data")).unwrap();
    place
}

fn read(text: &str) -> Result<Config, Vec<String>> {
    let place = place();
    parse(text, place.path(), "p.toml")
        .map_err(|errors| errors.to_string().lines().map(|line| line.to_owned()).collect())
}

fn mistakes(text: &str) -> Vec<String> {
    read(text).err().unwrap_or_default()
}

#[test]
fn every_key_is_read_as_it_is_meant() {
    let place = place();
    let file = place.path().join("portcullis.toml");
    fs::write(&file, EVERYTHING).unwrap();

    let config = load(&file).unwrap();

    let listen: Vec<_> = config.listen.iter().map(ToString::to_string).collect();
    let socket = format!("unix://{}", place.path().join("run.sock").display());
    assert_eq!(listen, [socket.as_str(), "tcp://127.0.0.1:8081", "fd://"]);
    assert_eq!((config.grace, config.jobs), (Duration::from_secs(90), 32));
    assert_eq!(config.idle_exit, Some(Duration::from_secs(300)));
    let secret = Secret { variable: "API_KEY".into(), source: SecretSource::Credential("api-key".into()) };
    assert_eq!(config.handlers[0].secrets, [secret]);
    assert_eq!(config.logging.access_log_file, Some(place.path().join("access.log")));
    assert_eq!(config.reason_header, ReasonHeader::Present);
    assert!(config.debug && config.version_prefix);
    assert_eq!(config.record_dir, Some(place.path().join("failures")));
    assert_eq!(config.handlers[0].recording, Recording::Failures);
    assert_eq!(config.cache, CacheDir::At(place.path().join("code")));
    assert_eq!(config.admin, Some(place.path().join("admin.sock")));
    assert_eq!(admin_socket(&file), config.admin);
    assert_eq!(config.admin_access, UnixOptions { group: Some("wheel".to_owned()), mode: 0o660 });
    assert_eq!(config.unix, UnixOptions { group: Some("docker".to_owned()), mode: 0o600 });
    let http = HttpLimits {
        first_byte: Duration::from_secs(1),
        handshake: Duration::from_secs(6),
        handshakes: 99,
        head: Duration::from_secs(2),
        body_idle: Duration::from_secs(3),
        write_idle: Duration::from_secs(4),
        min_rate: 1 << 10,
        rate_window: Duration::from_secs(8),
        keep_alive: Duration::from_secs(5),
        head_size: 16 << 10,
        target_size: 4 << 10,
        fields: 50,
        connections: Some(1000),
        connections_per_peer: Some(100),
        client_memory: MemoryBound::Bytes(9 << 20),
    };
    assert_eq!(config.http, http);
    let cors = config.cors.unwrap();
    let origins: Vec<_> = cors.origins.iter().collect();
    assert_eq!(origins, ["http://localhost:3000", "https://a.example"]);
    assert_eq!(
        (&cors.methods, &cors.headers),
        (&"GET, PATCH".parse().unwrap(), &"Content-Type".parse().unwrap())
    );
    assert_eq!((cors.max_age, cors.credentials), (Some("600".parse().unwrap()), true));
    let [route, tail] = &config.routes[..] else { panic!("{:?}", config.routes) };
    assert_eq!((route.path.as_str(), route.host.as_deref()), ("/hello/{who}", Some("api.example.org")));
    assert_eq!((route.methods.len(), route.handler().unwrap().as_str()), (2, "hello"));
    assert_eq!((tail.methods.len(), tail.handler().unwrap().as_str()), (0, "raw"));
    let starts = (1..).zip(EVERYTHING.lines()).filter(|(_, line)| *line == "[[route]]");
    let starts: Vec<usize> = starts.map(|(number, _)| number).collect();
    assert_eq!([route.line, tail.line], starts[..]);
}

#[test]
fn a_handler_overrides_the_limits_of_all() {
    let place = place();

    let config = parse(EVERYTHING, place.path(), "p.toml").unwrap();

    let shared = Limits {
        memory: 256 << 20,
        time: None,
        cpu: Some(Duration::from_secs(2)),
        body: 1_000_000,
        output: 4096,
        concurrency: 8,
        queue: 0,
        queue_time: Duration::from_secs(3),
        stderr: 2 << 20,
        stderr_rate: 7,
        handles: 99,
        ..Limits::default()
    };
    let [hello, raw] = &config.handlers[..] else { panic!("{:?}", config.handlers) };
    assert_eq!(raw.limits, shared);
    assert_eq!(hello.limits, Limits { memory: 64 << 10, cpu: None, ..shared });
    let html = OutputFormat::Raw("text/html".to_owned());
    assert_eq!((&hello.mapping, &raw.mapping), (&OutputFormat::Cgi, &html));
    assert_eq!(hello.module, place.path().join("hello.wasm"));
    assert_eq!(hello.args, ["--greeting", "hi"]);
    assert_eq!(hello.env.iter().collect::<Vec<_>>(), [("ZULU", "1"), ("ALPHA", "2")]);
    assert_eq!(hello.calls.iter().map(Name::as_str).collect::<Vec<_>>(), ["raw", "hello"]);
    let schedule = hello.schedule.as_ref().unwrap();
    assert_eq!((schedule.to_string().as_str(), schedule.overlap), ("*/5 * * * *", Overlap::Allowed));
    assert_eq!((schedule.args.as_slice(), schedule.stdin.as_str()), (&["--all".to_owned()][..], "text"));
    let data = place.path().join("data");
    let mount = |guest: &str, write| MountConfig { host: data.clone(), guest: guest.to_owned(), write };
    assert_eq!(hello.mounts, [mount("/data", true), mount("/", false)]);
}

#[test]
fn compiled_modules_are_kept_unless_the_file_says_none() {
    assert_eq!(read("").unwrap().cache, CacheDir::Standard);
    assert_eq!(read("cache = \"none\"").unwrap().cache, CacheDir::Off);
    assert_eq!(read("cache = \"/var/cache/p\"").unwrap().cache, CacheDir::At("/var/cache/p".into()));
}

#[test]
fn the_example_of_the_design_says_the_defaults() {
    let config = read(EXAMPLE).unwrap();

    assert_eq!(config.handlers[0].limits, Limits { memory: 16 << 20, ..Limits::default() });
    assert_eq!(config.unix.mode, UnixOptions::default().mode);
    assert_eq!(config.routes.len(), 1);
}

#[test]
fn a_route_without_its_handler_is_no_table() {
    let config = read(EXAMPLE).unwrap();

    let errors = config.routes(
        &BTreeMap::new(),
        RateLimits::default(),
        |_| unreachable!("no static route"),
        |_| unreachable!("no shared limit"),
    );
    let errors = errors.err().unwrap();
    assert_eq!(errors[0].message, r#"route "/hello/{who}": there is no handler "hello""#);
}

#[test]
fn an_empty_file_is_a_configuration() {
    let config = read("").unwrap();

    assert_eq!(config.listen, ["tcp://127.0.0.1:8080".parse().unwrap()]);
    assert_eq!((config.jobs, config.grace), (256, Duration::from_secs(8)));
    assert_eq!((config.logging, config.version_prefix), (Logging::default(), false));
    assert_eq!((config.unix, config.http), (UnixOptions::default(), HttpLimits::default()));
    assert!(config.cors.is_none() && config.handlers.is_empty() && config.routes.is_empty());
}

#[test]
fn five_mistakes_are_five_errors() {
    let text = r#"listen = ["tcp:8080"]
grace = 30
[handler.hello]
module = "hello.wasm"
limits.memroy = "16MiB"
[[route]]
path = "/a/{x}"
handler = "helo"
[[route]]
path = "/a/{x"
handler = "hello"
"#;
    assert_eq!(
        mistakes(text),
        [
            r#"p.toml:1: listen[0]: "tcp:8080": write tcp://ADDR:PORT"#,
            r#"p.toml:2: grace: wanted a unit: write "30s" for seconds, "30ms" for milliseconds, found 30"#,
            r#"p.toml:5: handler.hello.limits.memroy: unknown key; did you mean "memory"?"#,
            r#"p.toml:8: route[0].handler: there is no handler "helo"; did you mean "hello"?"#,
            r#"p.toml:9: route[1]: route "/a/{x" (handler "hello"): an unmatched brace: write `{{` or `}}` for a brace"#,
        ]
    );
}

#[test]
fn routes_that_conflict_are_reported_at_the_second() {
    let text = r#"[handler.one]
module = "hello.wasm"
[handler.two]
module = "hello.wasm"
[[route]]
path = "/a/{y}"
handler = "two"
[[route]]
path = "/a/{x}"
handler = "one"
"#;
    let expected =
        r#"p.toml:8: route[1]: route "/a/{x}" (handler "one") conflicts with "/a/{y}" (handler "two")"#;
    assert_eq!(mistakes(text), [expected]);
}

#[test]
fn a_mistake_is_not_followed_by_what_comes_of_it() {
    let text = "[handler.x]\nmodule = 1\n[[route]]\npath = \"/\"\nmethods = [\"GET\"]\nhandler = \"x\"\n\
                [[route]]\npath = \"/\"\nmethods = [\"post\"]\nhandler = \"x\"\n";
    assert_eq!(
        mistakes(text),
        [
            "p.toml:2: handler.x.module: wanted a string, found the integer 1",
            "p.toml:9: route[1].methods[0]: wanted a method in capitals such as \"GET\", found \"post\"",
        ]
    );
}

#[test]
fn a_file_that_is_not_there_is_one_error() {
    let error = load(Path::new("/nowhere/portcullis.toml")).unwrap_err();

    let text = anyhow::Error::from(error).to_string();
    assert!(
        text.starts_with("/nowhere/portcullis.toml: the configuration cannot be read: No such file")
            && text.ends_with("; `portcullis new NAME` creates one"),
        "{text}"
    );
}

#[test]
fn every_default_can_be_written_out() {
    let limits = Limits::default();
    let text = format!(
        "[limits]\nmemory = \"{}\"\ntime = \"{}\"\nbody = \"{}\"\noutput = \"{}\"\n[unix]\nmode = \"{}\"\n",
        Size(limits.memory as u64),
        Span(limits.time.unwrap()),
        Size(limits.body),
        Size(limits.output),
        Mode(UnixOptions::default().mode),
    );
    assert_eq!(read(&text), read(""));
}

#[test]
fn a_file_cut_off_anywhere_is_refused_or_read() {
    let place = place();
    for end in (0..EVERYTHING.len()).filter(|end| EVERYTHING.is_char_boundary(*end)) {
        let _either = parse(&EVERYTHING[..end], place.path(), "p.toml");
    }
}
