//! Tells the settings that a reload applies from those that need a restart.

use super::{Config, HttpLimits, Logging, UnixOptions};

impl Config {
    /// Lists the keys that differ in `next` and take effect only at a start. The pool of sandboxes and the
    /// connection permits are made once, and a bound socket keeps its owner.
    pub fn needs_restart(&self, next: &Config) -> Vec<&'static str> {
        self.differences(next, TakesEffect::AtStart)
    }

    /// Lists the keys that differ in `next` and take effect at a reload. Sockets, certificates, `cors`,
    /// handlers and routes are left out: they are described by their content.
    pub fn settings_changed(&self, next: &Config) -> Vec<&'static str> {
        self.differences(next, TakesEffect::AtReload)
    }

    fn differences(&self, next: &Config, when: TakesEffect) -> Vec<&'static str> {
        use TakesEffect::{AtReload, AtStart};
        // Every key is named here, so a new key cannot be forgotten.
        let Config {
            listen: _,
            admin,
            observe,
            trusted_proxies,
            proxy_protocol,
            admin_group_access,
            admin_access: UnixOptions { group: admin_group, mode: admin_mode },
            grace,
            shutdown_delay,
            upgrade_grace,
            idle_exit,
            jobs,
            total_memory,
            logging: Logging { format, access_log, access_log_file, mask_query },
            traces,
            version_prefix,
            version_header,
            reason_header,
            https_redirect,
            response_rules,
            debug,
            // Follows `debug` or a command-line flag.
            profiler: _,
            record_dir,
            history,
            histograms,
            watch,
            source_lines,
            wasi_http_03,
            cache,
            cache_size,
            scratch,
            compile,
            hardening,
            unix: UnixOptions { group, mode },
            http,
            tls: _,
            cors: _,
            gates,
            // Described by the handlers that are granted them.
            stores: _,
            databases: _,
            outbound_ca: _,
            handlers: _,
            groups: _,
            routes: _,
        } = self;
        let HttpLimits {
            first_byte,
            handshake,
            handshakes,
            head,
            body_idle,
            write_idle,
            min_rate,
            rate_window,
            keep_alive,
            head_size,
            target_size,
            fields,
            connections,
            connections_per_peer,
            client_memory,
        } = http;
        let differs = [
            (AtStart, "admin", *admin != next.admin),
            (AtStart, "observe", *observe != next.observe),
            (AtReload, "trusted_proxies", *trusted_proxies != next.trusted_proxies),
            (AtReload, "proxy_protocol", *proxy_protocol != next.proxy_protocol),
            (AtReload, "gate", *gates != next.gates),
            (AtStart, "admin_group", *admin_group != next.admin_access.group),
            (AtStart, "admin_mode", *admin_mode != next.admin_access.mode),
            (AtReload, "admin_group_access", *admin_group_access != next.admin_group_access),
            (AtReload, "grace", *grace != next.grace),
            (AtReload, "shutdown_delay", *shutdown_delay != next.shutdown_delay),
            (AtReload, "upgrade_grace", *upgrade_grace != next.upgrade_grace),
            (AtReload, "idle_exit", *idle_exit != next.idle_exit),
            (AtReload, "log", *format != next.logging.format),
            (AtReload, "access_log", *access_log != next.logging.access_log),
            (AtStart, "access_log_file", *access_log_file != next.logging.access_log_file),
            (AtReload, "mask_query", *mask_query != next.logging.mask_query),
            (AtReload, "traces", *traces != next.traces),
            (AtReload, "version_prefix", *version_prefix != next.version_prefix),
            (AtReload, "version_header", *version_header != next.version_header),
            (AtReload, "reason_header", *reason_header != next.reason_header),
            (AtReload, "https", *https_redirect != next.https_redirect),
            (AtReload, "errors", response_rules.errors != next.response_rules.errors),
            (AtReload, "compress", response_rules.compress != next.response_rules.compress),
            (AtReload, "debug", *debug != next.debug),
            (AtReload, "history", *history != next.history),
            (AtReload, "histograms", *histograms != next.histograms),
            (AtReload, "watch", *watch != next.watch),
            (AtReload, "compile", *compile != next.compile),
            (AtStart, "cache", *cache != next.cache),
            (AtReload, "cache_size", *cache_size != next.cache_size),
            (AtStart, "scratch", *scratch != next.scratch),
            (AtStart, "hardening", *hardening != next.hardening),
            (AtStart, "record_dir", *record_dir != next.record_dir),
            (AtStart, "jobs", *jobs != next.jobs),
            (AtStart, "limits.total_memory", *total_memory != next.total_memory),
            (AtStart, "source_lines", *source_lines != next.source_lines),
            (AtStart, "wasi_http_03", *wasi_http_03 != next.wasi_http_03),
            (AtStart, "unix.group", *group != next.unix.group),
            (AtStart, "unix.mode", *mode != next.unix.mode),
            (AtReload, "http.first_byte", *first_byte != next.http.first_byte),
            (AtReload, "http.handshake", *handshake != next.http.handshake),
            (AtReload, "http.handshakes", *handshakes != next.http.handshakes),
            (AtReload, "http.head", *head != next.http.head),
            (AtReload, "http.body_idle", *body_idle != next.http.body_idle),
            (AtReload, "http.write_idle", *write_idle != next.http.write_idle),
            (AtReload, "http.min_rate", *min_rate != next.http.min_rate),
            (AtReload, "http.rate_window", *rate_window != next.http.rate_window),
            (AtReload, "http.keep_alive", *keep_alive != next.http.keep_alive),
            (AtReload, "http.head_size", *head_size != next.http.head_size),
            (AtReload, "http.target_size", *target_size != next.http.target_size),
            (AtReload, "http.fields", *fields != next.http.fields),
            (AtStart, "http.connections", *connections != next.http.connections),
            (AtStart, "http.connections_per_peer", *connections_per_peer != next.http.connections_per_peer),
            (AtStart, "http.client_memory", *client_memory != next.http.client_memory),
        ];
        differs
            .into_iter()
            .filter(|(at, _, differs)| *at == when && *differs)
            .map(|(_, key, _)| key)
            .collect()
    }
}

/// When a key takes effect.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TakesEffect {
    AtStart,
    AtReload,
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
            http.connections = 5\nhttp.connections_per_peer = 4\nhttp.client_memory = \"9MiB\"\n";

        assert_eq!(
            before.needs_restart(&read(after)),
            [
                "jobs",
                "wasi_http_03",
                "unix.mode",
                "http.connections",
                "http.connections_per_peer",
                "http.client_memory"
            ]
        );
        assert!(before.needs_restart(&read("access_log = true\nhttp.head = \"1s\"\n")).is_empty());
    }

    #[test]
    fn what_a_reload_takes_up_is_listed_by_key() {
        let after = "cache_size = \"2GiB\"\ngrace = \"1s\"\nshutdown_delay = \"2s\"\nhttp.keep_alive = \"9s\"\n[compile]\nmodule = \"1MiB\"\n";

        assert_eq!(
            read("").settings_changed(&read(after)),
            ["grace", "shutdown_delay", "compile", "cache_size", "http.keep_alive"]
        );
        assert!(read(after).settings_changed(&read(after)).is_empty());
    }
}
