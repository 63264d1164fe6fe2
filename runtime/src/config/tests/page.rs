//! Tests that the documentation of the configuration matches what is read.

use super::*;
use std::path::PathBuf;

const PAGE: &str = include_str!("../../../docs/configuration.md");
const OPERATING: &str = include_str!("../../../docs/operating.md");
const UNIT: &str = include_str!("../../../systemd/portcullis.service");
const KEYS: [&str; 5] = [
    include_str!("../schema.rs"),
    include_str!("../route_schema.rs"),
    include_str!("../front_schema.rs"),
    include_str!("../schedule_schema.rs"),
    include_str!("../trace_schema.rs"),
];

fn examples(page: &str) -> Vec<&str> {
    page.split("```toml\n").skip(1).filter_map(|rest| rest.split_once("```")).map(|(text, _)| text).collect()
}

/// Uncomments settings: `# key = value` and `# [table]`. Prose comments have more spaces before them.
fn uncommented(text: &str) -> String {
    let setting =
        |line: &str| line.strip_prefix("# ").filter(|text| !text.starts_with(' ')).map(str::to_owned);
    text.lines().map(|line| setting(line).unwrap_or_else(|| line.to_owned()) + "\n").collect()
}

/// Parses a configuration in a directory that holds the module of the page.
fn read_beside_hello(text: &str) -> Result<Config, ConfigErrors> {
    let place = place();
    fs::create_dir(place.path().join("build")).unwrap();
    fs::write(place.path().join("build/hello.wasm"), b"").unwrap();
    parse(text, place.path(), "p.toml")
}

#[test]
fn what_the_page_shows_can_be_pasted_and_is_the_default() {
    let [daemon, store, database, handler, group, route, direct] = examples(PAGE)[..] else {
        panic!("seven examples")
    };
    assert!(read(group).is_ok());

    assert_eq!(read(daemon).unwrap(), read("").unwrap());
    assert_eq!(read_beside_hello(direct).unwrap().routes.len(), 4);
    let whole = read_beside_hello(&[daemon, store, database, handler, route].concat()).unwrap();
    let least = "[handler.hello]\nmodule = \"build/hello.wasm\"\n\
                 [[route]]\npath = \"/hello/{who}\"\nhandler = \"hello\"\n";
    let least = read_beside_hello(least).unwrap();
    let HandlerConfig { args, env, secrets, calls, schedule, mounts, limits, mapping, .. } =
        &least.handlers[0];
    let shown = &whole.handlers[0];
    assert_eq!((args, env, secrets, calls), (&shown.args, &shown.env, &shown.secrets, &shown.calls));
    assert_eq!((schedule, mounts, limits), (&shown.schedule, &shown.mounts, &shown.limits));
    assert_eq!((mapping, least.handlers[0].recording), (&shown.mapping, shown.recording));
    assert_eq!((&least.handlers[0].stores, whole.stores[0].options.quota), (&shown.stores, 256 << 20));
    let databases = &whole.databases[0].options;
    assert_eq!((databases.quota, databases.connections), (256 << 20, 8));
    assert_eq!((&least.handlers[0].outbound, &least.handlers[0].probe), (&shown.outbound, &shown.probe));
    assert_eq!(
        (&least.routes[0].methods, &least.routes[0].host),
        (&whole.routes[0].methods, &whole.routes[0].host)
    );
}

#[test]
fn the_defaults_fit_what_stops_the_daemon_and_what_stands_in_front_of_it() {
    /// What `docker stop` and Kubernetes (`terminationGracePeriodSeconds`) wait before SIGKILL.
    const UNTIL_KILLED: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(30)];
    /// How long AWS's load balancers and nginx's upstreams (`keepalive_timeout`) keep an idle connection.
    const KEPT_IN_FRONT: Duration = Duration::from_secs(60);
    /// What systemd has left for what remains.
    const REST: Duration = Duration::from_secs(15);
    let Config { grace, shutdown_delay, http, .. } = read("").unwrap();

    assert_eq!((grace, shutdown_delay), (Duration::from_secs(8), Duration::ZERO));
    assert_eq!(http.keep_alive, Duration::from_secs(75));
    assert!(UNTIL_KILLED.iter().all(|limit| shutdown_delay + grace < *limit));
    assert!(http.keep_alive > KEPT_IN_FRONT);
    let stop = UNIT.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap();
    assert!(Duration::from_secs(stop.parse().unwrap()) > shutdown_delay + grace + REST, "{stop}");
    for told in
        ["| `docker stop` (10 s, then SIGKILL) | `0s` | `8s`, the default |", "`keep_alive` is 75 s, "]
    {
        assert!(OPERATING.contains(told), "operating.md does not say {told:?}");
    }
}

#[test]
fn every_key_is_on_the_page() {
    let tables = KEYS.iter().flat_map(|keys| keys.split("table! {").skip(1));
    let tables = tables.filter_map(|rest| rest.split_once("\n}\n"));
    let fields = tables.flat_map(|(table, _)| table.lines()).filter(|line| !line.contains("///"));
    let keys: Vec<&str> = fields
        .filter_map(|line| line.trim().split_once(": "))
        .map(|(key, _)| key.trim_start_matches("r#"))
        .collect();
    assert!(keys.len() > 80, "{keys:?}");

    let is_in_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words: Vec<&str> = PAGE.split(|letter| !is_in_word(letter)).collect();

    let absent: Vec<&&str> = keys.iter().filter(|key| !words.contains(*key)).collect();

    assert!(absent.is_empty(), "not on the page: {absent:?}");
}

#[test]
fn no_example_has_a_key_that_is_not_known() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = pages.filter(|path| path.extension().is_some_and(|kind| kind == "md"));
    let pages: Vec<PathBuf> = pages.chain([root.join("../README.md")]).collect();

    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        // A Cargo.toml is an example as well.
        let ours = |text: &&str| {
            !["[package", "[profile", "[dependencies", "[dev-dependencies"]
                .iter()
                .any(|word| text.contains(word))
        };
        for example in examples(&text).into_iter().filter(ours) {
            let said = mistakes(&uncommented(example)).join("\n");
            assert!(!said.contains("unknown key") && !said.contains("TOML"), "{}: {said}", page.display());
        }
    }
}
