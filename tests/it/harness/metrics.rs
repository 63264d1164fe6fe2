//! The daemon's metrics, as Prometheus would scrape them.

use super::{Client, Daemon, until};

impl Daemon {
    /// Scrapes the metrics; the admin socket is `admin.sock` in the daemon's directory.
    pub(crate) fn metrics(&self) -> String {
        let mut client = Client::unix(&self.path("admin.sock"));
        client.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client.response().text().to_owned()
    }

    /// Returns the first sample of this name whose labels contain all of `labels`, or 0 if there is none.
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.metrics();
        let is_it = |line: &&str| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        };
        text.lines().find(is_it).map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    /// Waits until a sample has this value.
    pub(crate) fn counted(&self, name: &str, labels: &[&str], value: f64) {
        until(&format!("{name}{labels:?} to be {value}"), || {
            (self.metric(name, labels) == value).then_some(())
        });
    }
}
