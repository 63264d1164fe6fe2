//! Prometheus scrapes a daemon: what it makes of classic and of native histograms.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::harness::{Client, Daemon, PATIENCE, finish, found, free_port, until};
use crate::metrics::{monitoring, sleeping};

/// A daemon whose requests take 30 ms, and that Prometheus can scrape.
struct Scraped {
    daemon: Daemon,
    /// The port of its handlers.
    port: u16,
    /// The port of its `observe` address.
    observed: u16,
}

impl Scraped {
    fn start() -> Scraped {
        let observed = free_port();
        let setup = sleeping(Duration::from_millis(30), "");
        let file = setup.path("portcullis.toml");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace("unix://look.sock", &format!("tcp://127.0.0.1:{observed}"))).unwrap();
        let daemon = setup.start();
        let listening = daemon.log.lines(2, "listening on tcp://");
        let ports = listening.iter().map(|line| line.rsplit_once(':').unwrap().1.parse::<u16>().unwrap());
        let port = ports.into_iter().find(|port| *port != observed).unwrap();
        Scraped { daemon, port, observed }
    }
}

/// A Prometheus that scrapes a daemon. Dropping it ends it.
struct Prometheus {
    port: u16,
    child: Child,
}

impl Prometheus {
    fn of(Scraped { daemon, observed, .. }: &Scraped, features: &str) -> Prometheus {
        let port = free_port();
        let file = daemon.path("prometheus.yml");
        let configuration = format!(
            "global:\n  scrape_interval: 200ms\nrule_files: [{:?}]\nscrape_configs:\n  - job_name: portcullis\n    \
             static_configs:\n      - targets: [\"127.0.0.1:{observed}\"]\n",
            monitoring("alerts.yml")
        );
        fs::write(&file, configuration).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", daemon.path("tsdb").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg(format!("--enable-feature={features}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Prometheus { port, child: child.unwrap() }
    }

    /// Asks the API. Returns `null` while it does not answer.
    fn ask(&self, path: &str) -> serde_json::Value {
        let url = format!("http://127.0.0.1:{}/api/v1/{path}", self.port);
        let ended = finish(Command::new("curl").args(["-sS", "-g", "--max-time", "20", &url]), b"", PATIENCE);
        serde_json::from_slice(&ended.stdout).unwrap_or_default()
    }

    /// Asks for the value of an expression. `None` while there is none.
    fn value(&self, expression: &str) -> Option<f64> {
        let answer = self.ask(&format!("query?query={expression}"));
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }

    /// Returns the `job_id` of an exemplar of a series.
    fn exemplar(&self, series: &str) -> String {
        let exemplars = self.ask(&format!(
            "query_exemplars?query={series}&start=2020-01-01T00:00:00Z&end=2099-01-01T00:00:00Z"
        ));
        let job = &exemplars["data"][0]["exemplars"][0]["labels"]["job_id"];
        job.as_str().unwrap_or_else(|| panic!("no job_id in {exemplars}")).to_owned()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[test]
fn prometheus_scrapes_a_daemon_and_answers_for_its_slowest_requests() {
    if !found(&["prometheus"], "prometheus") || !found(&["curl"], "curl") {
        return;
    }
    let scraped = Scraped::start();
    let prometheus = Prometheus::of(&scraped, "exemplar-storage");
    let query = "histogram_quantile(0.99,sum+by(le,route)(rate(\
                 portcullis_http_request_duration_seconds_bucket{handler=\"one\"}[10s])))";

    let slowest = until("a p99 of more than 30 ms", || {
        Client::tcp(scraped.port).get("/");
        prometheus.value(query).filter(|seconds| *seconds >= 0.03)
    });

    assert!(slowest < 60.0, "{slowest}");
    assert_eq!(prometheus.exemplar("portcullis_http_request_duration_seconds_bucket").len(), 16);
    let rules = prometheus.ask("rules");
    let health = rules["data"]["groups"][0]["rules"].as_array().unwrap();
    assert!(health.iter().all(|rule| rule["health"] != "err"), "{rules}");
}

#[test]
fn prometheus_takes_native_histograms_and_answers_from_them() {
    if !found(&["prometheus"], "prometheus") || !found(&["curl"], "curl") {
        return;
    }
    let scraped = Scraped::start();
    let prometheus = Prometheus::of(&scraped, "exemplar-storage,native-histograms");
    let series = "portcullis_http_request_duration_seconds{handler=\"one\"}";

    let slowest = until("a p99 of the native histogram", || {
        Client::tcp(scraped.port).get("/");
        let query = format!("histogram_quantile(0.99,sum+by(route)(rate({series}[10s])))");
        // NaN until two scrapes have met observations.
        prometheus.value(&query).filter(|seconds| seconds.is_finite())
    });

    // 30 ms lie in the bucket that begins at 2^(-21/4) s.
    assert!((0.026..60.0).contains(&slowest), "{slowest}");
    until("all requests in the native histogram", || {
        let counted =
            scraped.daemon.metric("portcullis_http_request_duration_seconds_count", &["route=\"/\""]);
        (prometheus.value(&format!("histogram_count({series})")) == Some(counted)).then_some(())
    });
    assert_eq!(prometheus.exemplar("portcullis_http_request_duration_seconds").len(), 16);
    assert_eq!(prometheus.value("count(portcullis_http_request_duration_seconds_bucket)"), None);
    // A scrape that takes longer than the interval fails, and leaves no value until the next one.
    for gauge in ["portcullis_gate{state=\"open\"}", "up"] {
        until(gauge, || prometheus.value(gauge).filter(|value| *value == 1.0));
    }
}
