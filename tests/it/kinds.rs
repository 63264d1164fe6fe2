//! Every limit, exceeded by every kind of handler: client, log and metrics name it by the same word.

use std::fs;

use crate::harness::{Daemon, Setup, guests};

/// A kind of handler: a guest that does what its path says. A program gets the path as an argument; a component
/// reads it itself.
#[derive(Debug)]
struct Kind {
    module: &'static str,
    /// Extra settings for the files of a program, which an HTTP component does not need.
    mounts: &'static str,
}

const MOUNTS: &str = "mounts = [{ host = \"granted\", guest = \"/data\" }]";

const CORE: Kind = Kind { module: "greedy", mounts: MOUNTS };
const COMMAND: Kind = Kind { module: "greedy-wasip2", mounts: MOUNTS };
const PROXY: Kind = Kind { module: "proxy", mounts: "" };
const SERVICE: Kind = Kind { module: "service", mounts: "" };

const KINDS: [Kind; 4] = [CORE, COMMAND, PROXY, SERVICE];

impl Kind {
    /// Starts a daemon with a handler "p" of this kind and these limits.
    fn within(&self, limits: &str) -> Daemon {
        let setup = Setup::new(&format!(
            "wasi_http_03 = true\nadmin = \"unix://admin.sock\"\nreason_header = true\n\
             [handler.p]\nmodule = \"p.wasm\"\nlimits = {{ {limits} }}\n{}\n\
             [[route]]\npath = \"/{{verb}}\"\nhandler = \"p\"\n",
            self.mounts
        ));
        fs::create_dir(setup.path("granted")).unwrap();
        fs::write(setup.path("granted/mine"), "mine").unwrap();
        setup.file("p.wasm", &fs::read(guests().join(format!("{}.wasm", self.module))).unwrap()).start()
    }
}

/// Waits for the metric and the log to name the limit that ended a job.
fn named(daemon: &Daemon, reason: &str, times: u32) {
    let labels = ["handler=\"p\"".to_owned(), format!("reason=\"{reason}\"")];
    let labels = labels.each_ref().map(String::as_str);
    daemon.counted("portcullis_failures_total", &labels, f64::from(times));
    daemon.log.next(&format!("({reason})"));
}

#[test]
fn a_limit_that_ends_a_job_before_its_answer_has_its_word_everywhere() {
    for kind in KINDS {
        // Half a second of a processor may take many by the clock.
        let bounded = kind.within("memory = \"16MiB\", time = \"60s\", cpu = \"500ms\", body = 10");
        let timed = kind.within("time = \"1s\"");

        for (daemon, target, body, status, reason) in [
            (&bounded, "/grow", "", 502, "memory_limit"),
            (&bounded, "/spin", "", 504, "cpu_limit"),
            (&timed, "/never", "", 504, "time_limit"),
            (&bounded, "/echo", "12345678901", 413, "body_limit"),
        ] {
            let response = daemon.client().submit("POST", target, "", body.as_bytes());

            let told = (response.status(), response.field("x-portcullis-reason"));
            assert_eq!(told, (status, Some(reason)), "{kind:?} {target}: {}", response.text());
            named(daemon, reason, 1);
        }
    }
}

#[test]
fn a_limit_that_ends_a_job_within_its_answer_has_its_word_in_the_log_and_the_metrics() {
    for kind in KINDS {
        let daemon = kind.within("output = \"512KiB\"");
        let mut client = daemon.client();

        client.send("GET /pour HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");

        assert!(!client.rest().ends_with(b"0\r\n\r\n"), "{kind:?}");
        named(&daemon, "output_limit", 1);
    }
}

#[test]
fn handles_that_run_out_are_an_error_where_there_is_one_and_named_where_there_is_none() {
    for kind in [CORE, COMMAND] {
        let daemon = kind.within("handles = 64");

        let response = daemon.get("/hoard");

        assert_eq!(response.status(), 200, "{kind:?}: {}", response.text());
        let held: usize = response.text().split(' ').next().unwrap().parse().unwrap();
        assert!((32..64).contains(&held), "{kind:?}: {}", response.text());
    }
    for (kind, targets) in [(PROXY, &["/hoard"][..]), (SERVICE, &["/hoard", "/streams"])] {
        let daemon = kind.within("handles = 64");

        for (turn, target) in (1..).zip(targets) {
            let response = daemon.get(target);

            let told = (response.status(), response.field("x-portcullis-reason"));
            assert_eq!(told, (502, Some("handles_limit")), "{kind:?} {target}: {}", response.text());
            named(&daemon, "handles_limit", turn);
        }
    }
}

#[test]
fn a_line_that_is_full_has_its_word_whoever_stands_in_it() {
    for kind in KINDS {
        let daemon = kind.within("concurrency = 1, queue = 0");
        let mut holder = daemon.client();
        holder.send("GET /never HTTP/1.1\r\nHost: test\r\n\r\n");
        daemon.counted("portcullis_jobs_running", &["handler=\"p\""], 1.0);

        let response = daemon.get("/say");

        let told = (response.status(), response.field("x-portcullis-reason"));
        assert_eq!(told, (503, Some("queue_limit")), "{kind:?}: {}", response.text());
        named(&daemon, "queue_limit", 1);
    }
}

#[test]
fn lines_beyond_the_limit_of_stderr_are_counted_and_end_nothing() {
    for kind in KINDS {
        let daemon = kind.within("stderr = 10");

        assert_eq!(daemon.get("/say").status(), 200, "{kind:?}");

        daemon.counted("portcullis_stderr_dropped_lines_total", &["handler=\"p\""], 1.0);
        daemon.log.line("p: 1 lines on stderr were left out here (limits.stderr)");
    }
}
