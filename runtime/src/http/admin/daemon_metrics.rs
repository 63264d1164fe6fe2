//! Prometheus metrics of the compile cache and of reloads.

use std::time::UNIX_EPOCH;

use super::exposition::{family, float, only};
use crate::observe::reloads::LastOutcomes;
use crate::wasm::cache::Figures;

/// Writes how the last reload ended, under the names that Prometheus uses for its own reloads.
pub(in crate::http) fn reloads(text: &mut String, last: &LastOutcomes) {
    let help = "Whether the last reload of the configuration succeeded.";
    let is_successful = u8::from(last.is_successful());
    family(text, "portcullis_config_last_reload_successful", "gauge", help, only(is_successful));
    let help = "Whether the secrets in force are those that their sources hold.";
    let are_current = u8::from(last.secrets_refused.is_none());
    family(text, "portcullis_secrets_last_reload_successful", "gauge", help, only(are_current));
    let help = "When the configuration in force was loaded, in seconds since 1970; 0 if none is yet.";
    let since = last.succeeded.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    let name = "portcullis_config_last_reload_success_timestamp_seconds";
    family(text, name, "gauge", help, only(since.as_secs_f64()));
}

/// Writes the metrics of the compile cache.
pub(in crate::http) fn cache(text: &mut String, figures: &Figures) {
    let families = [
        ("hits_total", "counter", "Modules whose code was in the cache.", figures.hits()),
        ("misses_total", "counter", "Modules whose code was not in the cache.", figures.misses()),
        (
            "evictions_total",
            "counter",
            "Entries evicted from the cache by this process.",
            figures.evictions(),
        ),
        ("entries", "gauge", "Entries in the cache.", figures.entries()),
        ("bytes", "gauge", "Bytes of all entries in the cache.", figures.bytes()),
        (
            "limit_bytes",
            "gauge",
            "Bytes beyond which entries that are not in use are evicted (cache_size).",
            figures.max(),
        ),
    ];
    for (name, kind, help, value) in families {
        let name = format!("portcullis_compile_cache_{name}");
        family(text, &name, kind, help, only(float(value)));
    }
}
