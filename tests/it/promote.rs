//! A trial that an operator ends for the version on trial.

use serde_json::Value;

use crate::harness::Setup;
use crate::swap::{run, swap, version};

#[test]
fn an_operator_promotes_a_version_on_trial() {
    let daemon = Setup::one("", &version("one")).prepend("admin = \"unix://admin.sock\"\n").start();
    let none = run(&daemon, "promote?a=one", "", b"");
    assert_eq!(none.status(), 400);
    assert!(none.text().contains("one: no version is on trial"), "{}", none.text());
    let trial = "Job-Env: CANARY=10%\r\nJob-Env: FOR=1h\r\nJob-Env: REQUESTS=1000000\r\n";
    let begun = swap(&daemon, "one", trial, &version("two"));
    assert_eq!(begun.status(), 200, "{}", begun.text());

    let promoted = run(&daemon, "promote?a=one", "", b"");

    assert_eq!(promoted.status(), 200, "{}", promoted.text());
    let told: Value = serde_json::from_slice(&promoted.body).unwrap();
    let begun: Value = serde_json::from_slice(&begun.body).unwrap();
    assert_eq!((&told["old"], &told["new"]), (&begun["old"], &begun["new"]));
    assert!((0..20).all(|_| daemon.get("/").text() == "two"));
    // The version before is kept, so a rollback leads to it.
    let back = run(&daemon, "rollback?a=one", "", b"");
    assert_eq!(back.status(), 200, "{}", back.text());
    assert_eq!(daemon.get("/").text(), "one");
    let unknown = run(&daemon, "promote?a=nobody", "", b"");
    assert!(unknown.text().contains("there is no handler"), "{}", unknown.text());
}
