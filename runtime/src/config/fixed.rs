//! What a reload cannot change.

use super::{Config, HttpLimits, UnixOptions};

impl Config {
    /// Lists the keys in which `next` differs and which take effect only at a start: the pool of
    /// sandboxes and the permits of connections are made once, and a bound socket keeps its owner.
    pub fn needs_restart(&self, next: &Config) -> Vec<&'static str> {
        // Every key is named here, so that a new one cannot be forgotten.
        let Config {
            listen: _,
            admin,
            observe,
            admin_access: UnixOptions { group: admin_group, mode: admin_mode },
            grace: _,
            shutdown_delay: _,
            upgrade_grace: _,
            idle_exit: _,
            jobs,
            total_memory,
            access_log: _,
            version_prefix: _,
            version_header: _,
            reason_header: _,
            debug: _,
            profiler: _,
            record_dir,
            watch: _,
            source_lines,
            wasi_http_03,
            cache,
            scratch,
            compile: _,
            hardening,
            unix: UnixOptions { group, mode },
            http:
                HttpLimits {
                    first_byte: _,
                    handshake: _,
                    handshakes: _,
                    head: _,
                    body_idle: _,
                    write_idle: _,
                    min_rate: _,
                    rate_window: _,
                    keep_alive: _,
                    head_size: _,
                    target_size: _,
                    fields: _,
                    connections,
                    connections_per_peer,
                },
            tls: _,
            cors: _,
            handlers: _,
            routes: _,
        } = self;
        let differs = [
            ("admin", *admin != next.admin),
            ("observe", *observe != next.observe),
            ("admin_group", *admin_group != next.admin_access.group),
            ("admin_mode", *admin_mode != next.admin_access.mode),
            ("cache", *cache != next.cache),
            ("scratch", *scratch != next.scratch),
            ("hardening", *hardening != next.hardening),
            ("record_dir", *record_dir != next.record_dir),
            ("jobs", *jobs != next.jobs),
            ("limits.total_memory", *total_memory != next.total_memory),
            ("source_lines", *source_lines != next.source_lines),
            ("wasi_http_03", *wasi_http_03 != next.wasi_http_03),
            ("unix.group", *group != next.unix.group),
            ("unix.mode", *mode != next.unix.mode),
            ("http.connections", *connections != next.http.connections),
            ("http.connections_per_peer", *connections_per_peer != next.http.connections_per_peer),
        ];
        differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, parse};
    use std::path::Path;

    fn read(text: &str) -> Config {
        parse(text, Path::new("/nowhere"), "p.toml").unwrap()
    }

    #[test]
    fn what_needs_a_restart_is_listed_whole() {
        let before = read("");
        let after = "jobs = 9\nwasi_http_03 = true\nunix.mode = \"0600\"\ngrace = \"1s\"\n\
            http.connections = 5\nhttp.connections_per_peer = 4\n";

        assert_eq!(
            before.needs_restart(&read(after)),
            ["jobs", "wasi_http_03", "unix.mode", "http.connections", "http.connections_per_peer"]
        );
        assert!(before.needs_restart(&read("access_log = true\nhttp.head = \"1s\"\n")).is_empty());
    }
}
