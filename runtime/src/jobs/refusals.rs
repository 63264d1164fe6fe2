//! Why a reload refuses a configuration that is sound in itself.

use anyhow::{Error, anyhow};

use super::standing::Standing;
use crate::catalog::Catalog;
use crate::config::Config;
use crate::confine::{Place, places_beyond};

/// Lists all that keeps the daemon from going on from `base` with another configuration. Opens nothing.
pub(super) fn refusals(
    standing: &Standing,
    granted: Option<&[Place]>,
    config: &Config,
    base: &Catalog,
) -> Vec<Error> {
    let mut refusals = Vec::new();
    let fixed = standing.config.load().needs_restart(config);
    if !fixed.is_empty() {
        refusals.push(anyhow!("needs restart: {}: a running daemon cannot change this", fixed.join(", ")));
    }
    if config.routes.is_empty() && !base.routes.is_empty() {
        refusals.push(anyhow!(
            "it has no [[route]], and the daemon serves some: a file that is cut off looks like this; \
             to serve none, restart"
        ));
    }
    let beyond = granted.map(|granted| places_beyond(granted, &config.places())).unwrap_or_default();
    if !beyond.is_empty() {
        refusals.push(anyhow!(
            "needs restart: {}: out of reach since the start (hardening.files); hardening.reach names directories for later",
            beyond.join(", ")
        ));
    }
    refusals
}
