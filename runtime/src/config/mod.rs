//! The configuration: `portcullis.toml`, read as it is written, then checked and filled with defaults.
//!
//! Floors, lowest first: `cargo`, `directories`, `memory_bound`, `nearest`, `real_path`, `shape`, `table`, `units`;
//! `report`; `authorities`, `reader`; `calls`, `store_names`, `values`; `coding`, `front_schema`, `schedule_schema`,
//! `trace_schema`; `route_schema`; `schema`; `asked_limits`, `compile`, `request_handling`, `cors`, `http`, `logging`,
//! `proxies`, `schedule`, `secret`, `target`, `websocket`; `store`; `acme`, `database`, `rate_limit`; `tls`,
//! `route_model`; `model`; `granted_stores`, `own_places`; `before`, `secrets_file`, `exposed_files`, `gates`,
//! `hardening`, `outbound`, `restart`, `routes`, `tmp`, `trace_options`; `limits`, `untrusted_paths`; `handler`,
//! `whole_check`; `static_files`; `response_rules`; `group`; `route`; `convert`.

mod acme;
mod asked_limits;
mod authorities;
mod before;
mod calls;
mod cargo;
mod coding;
mod compile;
mod convert;
mod cors;
mod database;
mod directories;
mod exposed_files;
mod front_schema;
mod gates;
mod granted_stores;
mod group;
mod handler;
mod hardening;
mod http;
mod limits;
mod logging;
mod memory_bound;
mod model;
mod nearest;
mod outbound;
mod own_places;
mod proxies;
mod rate_limit;
mod reader;
mod real_path;
mod report;
mod request_handling;
mod response_rules;
mod restart;
mod route;
mod route_model;
mod route_schema;
mod routes;
mod schedule;
mod schedule_schema;
mod schema;
mod secret;
pub mod secrets_file;
mod shape;
mod static_files;
mod store;
mod store_names;
mod table;
mod target;
mod tls;
mod tmp;
mod trace_options;
mod trace_schema;
mod units;
mod untrusted_paths;
mod values;
mod websocket;
mod whole_check;

use self::directories::Directories;
pub use self::http::HttpLimits;
pub use self::logging::Logging;
pub use asked_limits::AskedLimits;
pub use cargo::cargo_replacements;
pub use database::{DatabaseConfig, DatabaseGrantConfig};
pub use granted_stores::StoreFile;
pub use memory_bound::MemoryBound;
pub use model::{
    Ca, CacheDir, Config, HandlerConfig, Hardening, MountConfig, OutboundConfig, Probe, Recording,
    UnixOptions,
};
pub use nearest::nearest;
pub use own_places::credentials;
pub use rate_limit::RateLimitConfig;
pub use report::{ConfigError, ConfigErrors};
pub use route_model::{RouteConfig, TargetConfig};
pub use secret::{Secret, SecretSource};
pub use store::{StoreConfig, StoreGrantConfig};
pub use units::{Mode, Size, Span, UnitError};
pub use untrusted_paths::untrusted;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::confine::{Granting, Untrusted, Writable};
use crate::operator_file;

/// The largest configuration, in bytes. One with a thousand handlers takes a third of it.
pub const LARGEST: u64 = 1 << 20;

/// Reads a configuration file. Relative paths in it start at its directory.
///
/// # Errors
/// The file cannot be read, or has mistakes. All mistakes are returned, in the order of their lines.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    examine(path).map_err(|flawed| flawed.errors)
}

/// As [`load`], for a daemon that serves already: the directories of mounts, of static routes and of `hardening.reach`
/// are not looked up. The daemon holds them open, and its loader checks them.
///
/// # Errors
/// As [`load`].
pub fn load_again(path: &Path) -> Result<Config, ConfigErrors> {
    let file = path.display().to_string();
    match operator_file::text(path, LARGEST) {
        Ok(text) => parse_again(&text, &base(path), &file),
        Err(refusal) => Err(ConfigErrors::unreadable(file, &refusal)),
    }
}

/// A configuration with mistakes, and the valid part of it.
pub struct InvalidConfig {
    /// All mistakes.
    pub errors: ConfigErrors,
    /// The configuration with a default for each mistake, or `None` if the file is not TOML.
    pub rest: Option<Box<Config>>,
}

/// Reads a configuration file. If it has mistakes, the rest is returned as well, so callers can check that too.
///
/// # Errors
/// As [`load`].
pub fn examine(path: &Path) -> Result<Config, InvalidConfig> {
    let file = path.display().to_string();
    match operator_file::text(path, LARGEST) {
        Ok(text) => read(&text, &base(path), &file, Directories::Checked),
        Err(refusal) => Err(InvalidConfig { errors: ConfigErrors::unreadable(file, &refusal), rest: None }),
    }
}

/// Lists the modules, certificates, pages, files of gates and directories that a configuration file names, whether they
/// exist or not, and whatever else is wrong with the file. Files of secrets are left out. The list is empty if the file
/// is not TOML.
pub fn named_paths(path: &Path) -> Vec<PathBuf> {
    let Ok(text) = operator_file::text(path, LARGEST) else { return Vec::new() };
    let report = report::Diagnostics::new(&text, "", schema::SHAPE);
    if let Some(written) = schema::document(&text, &report) {
        drop(convert::config(&written, &base(path), Directories::Held, &report));
    }
    report.into_named()
}

/// Returns the path of the admin socket in a configuration file, whatever else is wrong with the file. Returns `None`
/// if the file or its `admin` key cannot be read.
pub fn admin_socket(path: &Path) -> Option<PathBuf> {
    let text = operator_file::text(path, LARGEST).ok()?;
    let written = schema::document(&text, &report::Diagnostics::new(&text, "", schema::SHAPE))?.admin?;
    convert::admin(&written.value, &base(path)).ok()
}

/// Lists the configuration files in a directory and in its ancestors.
pub fn around(dir: &Path) -> Vec<PathBuf> {
    dir.ancestors().map(|dir| dir.join("portcullis.toml")).filter(|file| file.exists()).collect()
}

/// Collects the directories that the handlers of configuration files may write to, whatever else is wrong with the
/// files.
///
/// # Errors
/// A file cannot be read, or is not TOML.
pub fn written_by_handlers(files: &[PathBuf]) -> anyhow::Result<Untrusted> {
    let mut dirs = Vec::new();
    for file in files {
        dirs.extend(writable(file)?);
    }
    Untrusted::of(dirs)
}

/// Lists the directories that the handlers of a configuration file may write to.
///
/// # Errors
/// Those of [`written_by_handlers`].
pub fn writable(path: &Path) -> anyhow::Result<Vec<Writable>> {
    let shown = path.display().to_string();
    let text = operator_file::text(path, LARGEST)
        .map_err(|refusal| ConfigErrors::unreadable(shown.clone(), &refusal))?;
    let report = report::Diagnostics::new(&text, "", schema::SHAPE);
    let Some(written) = schema::document(&text, &report) else {
        return Err(ConfigErrors { file: shown, errors: report.into_errors() }.into());
    };
    let base = base(path);
    let mut dirs = Vec::new();
    for (handler, at) in written.handler.iter().flat_map(|table| &table.value.0) {
        let mounts = at.value.mounts.iter().flat_map(|list| &list.value);
        let writable = mounts.filter(|mount| mount.value.write.as_ref().is_some_and(|write| write.value));
        let hosts = writable.filter_map(|mount| mount.value.host.as_ref());
        dirs.extend(hosts.map(|host| Writable {
            handler: handler.clone(),
            dir: base.join(&host.value),
            by: Granting::Wanted,
        }));
    }
    Ok(dirs)
}

/// Returns the directory at which relative paths of a configuration file start. It is absolute, because the paths are
/// compared with those of a process in another working directory.
fn base(file: &Path) -> PathBuf {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // In a working directory that was deleted, neither path finds a file.
    std::path::absolute(parent).unwrap_or_else(|_| parent.to_owned())
}

/// Reads the text of a configuration. `base` is the directory at which its relative paths start; `file` is its name
/// in errors. Modules and mounts must exist, but are not opened.
///
/// # Errors
/// The text has mistakes: all of them, in the order of their lines. A text that is not TOML is not checked further.
/// Never panics.
pub fn parse(text: &str, base: &Path, file: &str) -> Result<Config, ConfigErrors> {
    read(text, base, file, Directories::Checked).map_err(|flawed| flawed.errors)
}

/// As [`parse`], for a daemon that serves already; see [`load_again`].
///
/// # Errors
/// As [`parse`].
pub fn parse_again(text: &str, base: &Path, file: &str) -> Result<Config, ConfigErrors> {
    read(text, base, file, Directories::Held).map_err(|flawed| flawed.errors)
}

/// Checks that the text of a configuration is TOML, whatever it sets. `file` is its name in errors.
///
/// # Errors
/// The text is not TOML: every place, in the order of their lines.
pub fn check_syntax(text: &str, file: &str) -> Result<(), ConfigErrors> {
    let report = report::Diagnostics::new(text, file, schema::SHAPE);
    match schema::syntax(text, &report) {
        Some(_) => Ok(()),
        None => Err(ConfigErrors { file: file.to_owned(), errors: report.into_errors() }),
    }
}

fn read(text: &str, base: &Path, file: &str, directories: Directories) -> Result<Config, InvalidConfig> {
    let report = report::Diagnostics::new(text, file, schema::SHAPE);
    complete(text, &report);
    let config =
        schema::document(text, &report).map(|written| convert::config(&written, base, directories, &report));
    match (config, report.into_errors()) {
        (Some(config), errors) if errors.is_empty() => Ok(config),
        (rest, errors) => Err(InvalidConfig {
            errors: ConfigErrors { file: file.to_owned(), errors },
            rest: rest.map(Box::new),
        }),
    }
}

/// Reports a file that ends within a number. Any other truncation makes the file invalid TOML, but half of a number
/// is still a number.
fn complete(text: &str, report: &report::Diagnostics<'_>) {
    let last = text.lines().next_back().unwrap_or_default();
    let is_number = |value: &str| value.trim_end().ends_with(|letter: char| letter.is_ascii_digit());
    if !text.ends_with('\n') && last.rsplit_once('=').is_some_and(|(_, value)| is_number(value)) {
        let message = "the file ends within a number, so it may be truncated: end it with a line break";
        report.add(report.line(text.len()), "", message);
    }
}

/// Reads a duration in the notation of the configuration: `250ms`, `1m30s`. It is more than 0 and a year at most, so
/// no clock or timer overflows with it.
///
/// # Errors
/// The text is not such a duration. The message says what was wanted and what was found.
pub fn duration(text: &str) -> anyhow::Result<Duration> {
    values::deadline(&reader::Scalar::Text(text.to_owned())).map_err(anyhow::Error::msg)
}

#[cfg(test)]
mod linear_time;
#[cfg(test)]
mod tests;
