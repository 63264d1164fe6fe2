//! What Prometheus scrapes of what the daemon stands on: the cache of compiled modules.

use super::metrics::{float, head, line};
use crate::wasm::cache::Figures;

/// Writes how the cache of compiled modules fares.
pub(super) fn cache(text: &mut String, figures: &Figures) {
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
            figures.most(),
        ),
    ];
    for (name, kind, help, value) in families {
        let name = format!("portcullis_compile_cache_{name}");
        head(text, &name, kind, help);
        line(text, &name, "", float(value));
    }
}
