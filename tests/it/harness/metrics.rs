//! The daemon's metrics, as Prometheus would scrape them.

use super::{Client, Daemon, until};

/// The page that lists the reasons of failures and refusals.
const REASONS: &str = include_str!("../../../runtime/docs/errors.md");

impl Daemon {
    /// Scrapes the metrics; the admin socket is `admin.sock` in the daemon's directory.
    pub(crate) fn metrics(&self) -> String {
        let mut client = Client::unix(&self.path("admin.sock"));
        client.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client.response().text().to_owned()
    }

    /// Returns the sum of the family's samples whose labels contain all of `labels`. Panics if there is no such family
    /// or no such sample. [`Daemon::so_far`] is for samples that appear with the first event.
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.metrics();
        sum(&text, name, labels).unwrap_or_else(|| panic!("no sample {name}{labels:?} in:\n{text}"))
    }

    /// Returns such a sum, or 0 if nothing has been counted so far. Panics if there is no such family, and if a label
    /// is neither in another sample nor a documented reason.
    pub(crate) fn so_far(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.metrics();
        for label in labels {
            let reason =
                label.strip_prefix("reason=").map(|reason| format!("`{}`", reason.trim_matches('"')));
            let is_known = text.contains(label) || reason.is_some_and(|reason| REASONS.contains(&reason));
            assert!(is_known, "nothing has a label {label} in:\n{text}");
        }
        sum(&text, name, labels).unwrap_or(0.0)
    }

    /// Waits until such a sum has this value. Panics if there is no such family.
    pub(crate) fn counted(&self, name: &str, labels: &[&str], value: f64) {
        until(&format!("{name}{labels:?} to be {value}"), || {
            (sum(&self.metrics(), name, labels) == Some(value)).then_some(())
        });
    }
}

/// Adds up the family's samples whose labels contain all of `labels`. `None` if there are none.
fn sum(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let suffixes = ["_count", "_sum", "_bucket"];
    let family = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
    let head = format!("# TYPE {family} ");
    assert!(text.lines().any(|line| line.starts_with(&head)), "no family {name} in:\n{text}");
    let is_it = |line: &&str| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    };
    let value = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
    text.lines().filter(is_it).map(value).fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

#[test]
fn samples_with_all_labels_are_added_up() {
    let text = "# TYPE a_total counter\na_total{x=\"1\",y=\"2\"} 3\na_total{x=\"1\",y=\"4\"} 0.5\n# TYPE a_total_b gauge\na_total_b 7\n";

    assert_eq!(sum(text, "a_total", &["x=\"1\""]), Some(3.5));
    assert_eq!(sum(text, "a_total", &["x=\"1\"", "y=\"4\""]), Some(0.5));
    assert_eq!(sum(text, "a_total_b", &[]), Some(7.0));
    assert_eq!(sum(text, "a_total", &["x=\"9\""]), None);
}

#[test]
#[should_panic(expected = "no family a_totl in:")]
fn an_unknown_family_panics() {
    sum("# TYPE a_total counter\na_total 0\n", "a_totl", &[]);
}
