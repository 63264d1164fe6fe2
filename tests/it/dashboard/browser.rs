//! The page in Chromium: what an operator sees, does and reads on it, and whether everybody can.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::Dashboard;
use super::webdriver::Browser;
use crate::foreign::tools::npm;
use crate::harness::{Crowd, Daemon, Program, Setup, until};
use crate::swap::{swap, version};

/// Returns the problems of the part of the page that is shown.
const ACCESSIBLE: &str = include_str!("accessible.js");

/// If it is set, the pictures of the documentation are made anew.
const PICTURES: &str = "PORTCULLIS_PICTURES";

/// The views by the names in their addresses.
const VIEWS: [&str; 8] = ["handlers", "routes", "jobs", "history", "requests", "logs", "profile", "system"];

/// The options of a trial that goes on until an operator ends it.
const TRIAL: &str = "Job-Env: CANARY=10%\r\nJob-Env: FOR=1h\r\nJob-Env: REQUESTS=1000000\r\n";

/// The key Enter.
const ENTER: &str = "\u{e007}";

fn daemon() -> Daemon {
    let spins = r#"(module (memory (export "memory") 1)
        (func $inner (loop $spin (br $spin))) (func $outer (call $inner))
        (func $start (export "_start") (call $outer)))"#;
    Setup::one("", &version("one"))
        .handler("slow", "limits.time = \"none\"", &Program::new().sleep_for_ever().wasm())
        .handler("bad", "record = \"failures\"", &Program::new().complain("why it failed\n").trap().wasm())
        .handler("spins", "limits.cpu = \"3s\"", &wat::parse_str(spins).unwrap())
        .prepend("admin = \"unix://admin.sock\"\nrecord_dir = \"failures\"\ndebug = true\n")
        .add("\n[traces]\nendpoint = \"http://127.0.0.1:1\"\nratio = 0.0\n")
        .start()
}

/// Goes to a view as an operator does.
fn visit(browser: &Browser, view: &str) {
    browser.click(&format!("nav a[href='#{view}']"));
    until("the view", || {
        let shown =
            browser.run("return !document.getElementById(arguments[0]).hidden", &[&format!("view-{view}")]);
        (shown == true).then_some(())
    });
}

/// Keeps a picture, in the documentation if that is wanted.
fn keep(browser: &Browser, name: &str) {
    let picture = browser.picture();
    assert!(picture.starts_with(b"\x89PNG"), "{name}");
    let beside = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard");
    fs::create_dir_all(&beside).unwrap();
    fs::write(beside.join(format!("{name}.png")), &picture).unwrap();
    if std::env::var_os(PICTURES).is_some() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
        fs::write(docs.join(format!("dashboard-{name}.png")), &picture).unwrap();
    }
}

/// Fails if somebody cannot use what is shown, or if a value is missing in it.
fn is_accessible(browser: &Browser, what: &str) {
    let text = browser.text("body");
    assert!(!text.contains("undefined") && !text.contains("NaN"), "{what}: {text}");
    let problems = browser.run(ACCESSIBLE, &[]);
    assert_eq!(problems, json!([]), "{what}");
}

fn scheme(browser: &Browser, scheme: &str) {
    let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
    browser.devtools("Emulation.setEmulatedMedia", json!({ "features": features }));
}

#[test]
fn an_operator_sees_a_swap_kills_a_job_and_replays_a_failure() {
    let Some(browser) = Browser::start() else { return };
    let daemon = daemon();
    let dashboard = Dashboard::of(&daemon);
    let _crowd = Crowd::on(daemon.port(), "/", 2);
    browser.open(&dashboard.link());
    browser.shows("#connection", "live");
    let address = browser.run("return location.href", &[]);
    assert!(!address.to_string().contains("token"), "{address}");

    let swapped = swap(&daemon, "one", "", &version("two"));
    let swapped: Value = serde_json::from_slice(&swapped.body).unwrap();
    let table = browser.shows("#handlers-table", swapped["new"].as_str().unwrap());
    assert!(!table.contains(swapped["old"].as_str().unwrap()), "{table}");
    until("the rate", || (!matches!(browser.text("#fact-rate").as_str(), "" | "0" | "–")).then_some(()));

    let mut waiting = daemon.client();
    waiting.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    visit(&browser, "jobs");
    browser.click("#jobs-table button[aria-label$='of slow']");
    browser.shows("#confirm-question", "of slow will be ended");
    is_accessible(&browser, "the question");
    browser.click("#confirm-yes");
    browser.shows("#said", "killed ");
    assert_eq!(waiting.response().status(), 503);

    assert_eq!(daemon.get("/bad").status(), 502);
    visit(&browser, "history");
    browser.shows("#history-table", "trapped");
    // By the keyboard alone.
    browser.run("[...document.querySelectorAll('#history-table tbody tr')].find((row) => row.innerText.includes('bad')).querySelector('a').focus()", &[]);
    browser.press(ENTER);
    browser.shows("#job-stderr", "why it failed");
    assert!(browser.text("#title-job").starts_with("Job "));
    assert!(browser.text("#job-facts").contains("Trace"), "{}", browser.text("#job-facts"));
    let timeline = browser.text("#job-timeline");
    for event in ["accepted", "waited for its slot", "the guest ran", "its run ended", "end of the response"]
    {
        assert!(timeline.contains(event), "{event}: {timeline}");
    }
    browser.click("#job-replay");
    browser.shows("#job-replayed", "the outcome is the same");
    is_accessible(&browser, "a job");

    assert_eq!(browser.errors(), Vec::<String>::new());
}

#[test]
fn an_operator_promotes_a_trial_rolls_back_and_sees_how_trials_end() {
    let Some(browser) = Browser::start() else { return };
    let daemon = daemon();
    let dashboard = Dashboard::of(&daemon);
    assert_eq!(swap(&daemon, "one", TRIAL, &version("two")).status(), 200);
    browser.open(&dashboard.link());
    browser.shows("#handlers-table", "on trial, 10 %");
    let generation = browser.text("#fact-generation");

    browser.click("#handlers-table button[aria-label='Promote the trial of one']");
    browser.shows("#confirm-question", "will serve all requests at once");
    browser.click("#confirm-yes");

    browser.shows("#said", "serves instead of");
    browser.shows("#handlers-table", "trial over, promoted");
    assert_eq!(daemon.get("/").text(), "two");
    until("the next generation", || (browser.text("#fact-generation") != generation).then_some(()));
    is_accessible(&browser, "a trial that is over");
    browser.click("#handlers-table button[aria-label='Roll back one']");
    browser.click("#confirm-yes");
    until("the version before", || (daemon.get("/").text() == "one").then_some(()));
    assert_eq!(swap(&daemon, "one", TRIAL, &version("three")).status(), 200);
    browser.shows("#handlers-table", "on trial, 10 %");
    browser.click("#handlers-table button[aria-label='End trial of one']");
    browser.click("#confirm-yes");
    browser.shows("#handlers-table", "trial over, not promoted");
    visit(&browser, "system");
    browser.shows("#system-facts", "published ");
    // Both are brought up to date every few seconds.
    until("one generation in both places", || {
        browser.text("#system-facts").contains(&browser.text("#fact-generation")).then_some(())
    });
    assert_eq!(browser.errors(), Vec::<String>::new());
}

#[test]
fn live_requests_logs_and_a_flame_graph_are_shown() {
    let Some(browser) = Browser::start() else { return };
    let daemon = daemon();
    let dashboard = Dashboard::of(&daemon);
    browser.open(&dashboard.link());
    browser.shows("#connection", "live");

    visit(&browser, "requests");
    until("the listener", || (daemon.running("tap") == 1).then_some(()));
    daemon.get("/nowhere");
    browser.shows("#requests-table", "no_route");
    visit(&browser, "logs");
    until("the follower", || (daemon.running("logs") == 1).then_some(()));
    daemon.get("/bad");
    browser.shows("#logs-lines", "why it failed");
    let crowd = Crowd::on(daemon.port(), "/spins", 1);
    visit(&browser, "profile");
    browser.run("document.getElementById('profile-seconds').value = '1'", &[]);
    browser.click("#profile-take");
    browser.shows("#profile-table", "inner");
    let frames = browser.text("#profile-flames");
    assert!(frames.contains("outer") && frames.contains("spins"), "{frames}");
    is_accessible(&browser, "a profile");
    drop(crowd);

    // Another tab has no session, and says what to do. The refusal is the only error.
    assert_eq!(browser.errors(), Vec::<String>::new());
    browser.run("sessionStorage.clear()", &[]);
    browser.reload();
    browser.shows("#notice", "open the last link that `portcullis dashboard` printed");
    assert!(browser.errors().iter().all(|error| error.contains("401")));
}

#[test]
fn every_view_is_for_everybody_in_light_in_dark_and_on_a_phone() {
    let Some(browser) = Browser::start() else { return };
    let daemon = daemon();
    let dashboard = Dashboard::of(&daemon);
    assert_eq!(swap(&daemon, "one", TRIAL, &version("two")).status(), 200);
    let _crowd = Crowd::on(daemon.port(), "/", 2);
    assert_eq!(daemon.get("/bad").status(), 502);
    browser.open(&dashboard.link());
    browser.shows("#handlers-table", "Promote");

    for name in ["light", "dark"] {
        scheme(&browser, name);
        for view in VIEWS {
            visit(&browser, view);
            is_accessible(&browser, &format!("{view}, {name}"));
        }
        visit(&browser, "handlers");
        until("figures", || browser.text("#handlers-table").contains(" ms").then_some(()));
        keep(&browser, name);
    }

    scheme(&browser, "light");
    let phone = json!({ "width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": true });
    browser.devtools("Emulation.setDeviceMetricsOverride", phone);
    for view in VIEWS {
        visit(&browser, view);
        let overflow = browser.run("return document.documentElement.scrollWidth - innerWidth", &[]);
        assert!(overflow.as_f64().is_some_and(|pixels| pixels <= 0.0), "{view}: {overflow}");
        is_accessible(&browser, &format!("{view} on a phone"));
    }
    visit(&browser, "handlers");
    keep(&browser, "narrow");
    assert_eq!(browser.errors(), Vec::<String>::new());
    audited_by_axe(&browser);
}

#[test]
fn the_figures_of_the_page_are_those_of_top() {
    let Some(browser) = Browser::start() else { return };
    let daemon = daemon();
    let dashboard = Dashboard::of(&daemon);
    browser.open(&dashboard.link());
    browser.shows("#connection", "live");
    let of_module = |module: &str, what: &str| {
        browser.run(&format!("return import('/dashboard/{module}').then((module) => {what});"), &[])
    };

    // The cases of `cli::top::figures`.
    let between = |before: &str, now: &str| {
        of_module(
            "figures.js",
            &format!(
                "((counts) => {{
                   const found = module.durations(counts({before}), counts({now}));
                   return found && [found.p50, found.p99, String(found.max)];
                 }})((counts) => counts.map((count, place) => ({{ up_to_ms: [1, 10, 100, null][place], count }})))"
            ),
        )
    };
    assert_eq!(between("[5, 5, 5, 5]", "[5, 5, 5, 5]"), Value::Null);
    let even = between("[9, 0, 0, 0]", "[9, 100, 0, 0]");
    assert_eq!((&even[0], &even[2]), (&json!(5.5), &json!("10")));
    assert_eq!(between("[0, 0, 0, 0]", "[98, 0, 2, 0]")[1], 55);
    assert_eq!(between("[0, 0, 0, 0]", "[0, 0, 0, 3]"), json!([100, 100, "Infinity"]));

    let shown = "[0.126, 12.34, 3200].map(module.ms).join() + [0.5, 12, 15300].map(module.rate).join()
        + [512, 65536, 3 << 20].map(module.size).join() + [900, 61000, 90061000].map(module.span).join()";
    assert_eq!(
        of_module("format.js", shown),
        "0.13 ms,12.3 ms,3.20 s0.5,12,15.3k512 B,64.0 KiB,3.0 MiB0 s,1 min 1 s,1 d 1 h"
    );
    let certificate = of_module("system.js", "module.certificate('/etc/a b.pem until 2027-01-31 (68 days)')");
    let wanted = json!({ "file": "/etc/a b.pem", "until": "2027-01-31", "left": "68 days", "days": 68 });
    assert_eq!(certificate, wanted);
    let hosts = "[{ domain: 'a.test', days_left: 68, error: null }, { domain: 'b.test', days_left: null, error: 'refused' }]
        .map(module.obtained).map(({ file, left, days }) => [file, left, days])";
    assert_eq!(
        of_module("system.js", hosts),
        json!([["a.test", "68 days", 68], ["b.test", "none yet; refused", -1]])
    );
    let tree =
        "((root) => [root.count, [...root.callees.values()][0].count, [...root.callees.values()][0].own])(
        module.tree('a;f;g 3\\na;f 2\\nb;f 9\\nnot a line\\n', 'a'))";
    assert_eq!(of_module("profile.js", tree), json!([5, 5, 2]));
}

/// Lets axe-core look at every view, if the registry of npm is within reach.
fn audited_by_axe(browser: &Browser) {
    let Some(npm) = npm() else { return };
    let axe = fs::read_to_string(npm.place.join("node_modules/axe-core/axe.min.js")).unwrap();
    // The policy of the page would refuse what axe-core puts into it.
    browser.devtools("Page.setBypassCSP", json!({ "enabled": true }));
    browser.reload();
    browser.shows("#connection", "live");
    browser.run(&axe, &[]);
    for view in VIEWS {
        visit(browser, view);
        let found = browser.run(
            "const worst = ({ impact }) => impact === 'serious' || impact === 'critical';
             const shown = ({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 200)).join(' | ')}`;
             return axe.run().then(({ violations }) => violations.filter(worst).map(shown));",
            &[],
        );
        assert_eq!(found, json!([]), "{view}");
    }
}
