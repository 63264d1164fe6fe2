//! Finds the guest SDK for a new handler: nearby, or unpacked from this program.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};

/// The name of the SDK's directory.
const DIRECTORY: &str = "guest-sdk";

/// The source files of the SDK, which is in no registry, and the headers for C: the path below its directory, and the
/// text.
const FILES: &[(&str, &str)] = &[
    ("portcullis_sql.h", include_str!("../../../../guest-sdk/portcullis_sql.h")),
    ("portcullis_store.h", include_str!("../../../../guest-sdk/portcullis_store.h")),
    ("src/body.rs", include_str!("../../../../guest-sdk/src/body.rs")),
    ("src/code_error.rs", include_str!("../../../../guest-sdk/src/code_error.rs")),
    ("src/cookie.rs", include_str!("../../../../guest-sdk/src/cookie.rs")),
    ("src/document.rs", include_str!("../../../../guest-sdk/src/document.rs")),
    ("src/error.rs", include_str!("../../../../guest-sdk/src/error.rs")),
    ("src/fetch/mod.rs", include_str!("../../../../guest-sdk/src/fetch/mod.rs")),
    ("src/fetch/unsupported.rs", include_str!("../../../../guest-sdk/src/fetch/unsupported.rs")),
    ("src/fetch/wire.rs", include_str!("../../../../guest-sdk/src/fetch/wire.rs")),
    ("src/job/error.rs", include_str!("../../../../guest-sdk/src/job/error.rs")),
    ("src/job/mod.rs", include_str!("../../../../guest-sdk/src/job/mod.rs")),
    ("src/job/running.rs", include_str!("../../../../guest-sdk/src/job/running.rs")),
    ("src/job/status.rs", include_str!("../../../../guest-sdk/src/job/status.rs")),
    ("src/job/sys/component.rs", include_str!("../../../../guest-sdk/src/job/sys/component.rs")),
    ("src/job/sys/core.rs", include_str!("../../../../guest-sdk/src/job/sys/core.rs")),
    ("src/job/sys/mod.rs", include_str!("../../../../guest-sdk/src/job/sys/mod.rs")),
    ("src/job/sys/nowhere.rs", include_str!("../../../../guest-sdk/src/job/sys/nowhere.rs")),
    ("src/lib.rs", include_str!("../../../../guest-sdk/src/lib.rs")),
    ("src/multipart/mod.rs", include_str!("../../../../guest-sdk/src/multipart/mod.rs")),
    ("src/multipart/tests.rs", include_str!("../../../../guest-sdk/src/multipart/tests.rs")),
    ("src/pairs.rs", include_str!("../../../../guest-sdk/src/pairs.rs")),
    ("src/query.rs", include_str!("../../../../guest-sdk/src/query.rs")),
    ("src/request/mod.rs", include_str!("../../../../guest-sdk/src/request/mod.rs")),
    ("src/request/route.rs", include_str!("../../../../guest-sdk/src/request/route.rs")),
    ("src/request/test.rs", include_str!("../../../../guest-sdk/src/request/test.rs")),
    ("src/request/tests.rs", include_str!("../../../../guest-sdk/src/request/tests.rs")),
    ("src/response.rs", include_str!("../../../../guest-sdk/src/response.rs")),
    ("src/sql/error.rs", include_str!("../../../../guest-sdk/src/sql/error.rs")),
    ("src/sql/mod.rs", include_str!("../../../../guest-sdk/src/sql/mod.rs")),
    ("src/sql/row.rs", include_str!("../../../../guest-sdk/src/sql/row.rs")),
    ("src/sql/sys/core.rs", include_str!("../../../../guest-sdk/src/sql/sys/core.rs")),
    ("src/sql/sys/memory.rs", include_str!("../../../../guest-sdk/src/sql/sys/memory.rs")),
    ("src/sql/sys/mod.rs", include_str!("../../../../guest-sdk/src/sql/sys/mod.rs")),
    ("src/sql/sys/nowhere.rs", include_str!("../../../../guest-sdk/src/sql/sys/nowhere.rs")),
    ("src/sql/tests.rs", include_str!("../../../../guest-sdk/src/sql/tests.rs")),
    ("src/sql/value.rs", include_str!("../../../../guest-sdk/src/sql/value.rs")),
    ("src/sse.rs", include_str!("../../../../guest-sdk/src/sse.rs")),
    ("src/stdout.rs", include_str!("../../../../guest-sdk/src/stdout.rs")),
    ("src/store/error.rs", include_str!("../../../../guest-sdk/src/store/error.rs")),
    ("src/store/mod.rs", include_str!("../../../../guest-sdk/src/store/mod.rs")),
    ("src/store/sys/core.rs", include_str!("../../../../guest-sdk/src/store/sys/core.rs")),
    ("src/store/sys/memory.rs", include_str!("../../../../guest-sdk/src/store/sys/memory.rs")),
    ("src/store/sys/mod.rs", include_str!("../../../../guest-sdk/src/store/sys/mod.rs")),
    ("src/store/sys/nowhere.rs", include_str!("../../../../guest-sdk/src/store/sys/nowhere.rs")),
    ("src/vars.rs", include_str!("../../../../guest-sdk/src/vars.rs")),
    ("src/websocket.rs", include_str!("../../../../guest-sdk/src/websocket.rs")),
    ("wit/http/handler.wit", include_str!("../../../../guest-sdk/wit/http/handler.wit")),
    ("wit/job.wit", include_str!("../../../../guest-sdk/wit/job.wit")),
];

/// The manifest of the SDK. The one in the repository inherits half of its fields from the workspace.
const MANIFEST: &str = include_str!("template/sdk.toml.txt");

/// The SDK to depend on.
pub(super) struct Located {
    pub(super) dir: PathBuf,
    /// The relative path to it from a crate in `parent`.
    pub(super) from_crate: String,
    /// Whether it was unpacked by this call.
    pub(super) unpacked: bool,
}

/// Finds the SDK in `parent` or above it, or unpacks it in `parent`.
pub(super) fn locate(parent: &Path) -> Result<Located> {
    let mut from_crate = format!("../{DIRECTORY}");
    for above in parent.ancestors() {
        let dir = above.join(DIRECTORY);
        if is_sdk(&dir) {
            return Ok(Located { dir, from_crate, unpacked: false });
        }
        from_crate.insert_str(0, "../");
    }
    let dir = parent.join(DIRECTORY);
    ensure!(
        !dir.exists(),
        "{}: is not the guest SDK, which would be unpacked there: move it away",
        dir.display()
    );
    unpack(&dir).with_context(|| format!("{}: cannot be written", dir.display()))?;
    Ok(Located { dir, from_crate: format!("../{DIRECTORY}"), unpacked: true })
}

fn is_sdk(dir: &Path) -> bool {
    let manifest = fs::read_to_string(dir.join("Cargo.toml")).unwrap_or_default();
    manifest.lines().any(|line| line.trim() == "name = \"portcullis-guest\"")
}

fn unpack(dir: &Path) -> std::io::Result<()> {
    for (path, text) in FILES {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap_or(dir))?;
        fs::write(path, text)?;
    }
    // The manifest comes last, because it marks the directory as an SDK.
    fs::write(dir.join("Cargo.toml"), MANIFEST.replace("{version}", env!("CARGO_PKG_VERSION")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../guest-sdk");

    fn files(dir: &Path) -> Vec<PathBuf> {
        let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
    }

    #[test]
    fn every_source_of_the_sdk_is_in_this_program() {
        // The manifest is another one: see below.
        let mut there: Vec<PathBuf> = files(Path::new(SOURCE));
        there.retain(|path| !path.ends_with("Cargo.toml"));
        there.sort();

        let mut here: Vec<PathBuf> = FILES.iter().map(|(path, _)| Path::new(SOURCE).join(path)).collect();
        here.sort();

        assert_eq!(here, there);
    }

    #[test]
    fn the_unpacked_manifest_asks_for_what_the_sdk_asks_for() {
        let section = |text: &str, name: &str| {
            let lines = text.lines().skip_while(|line| *line != name).skip(1);
            lines.take_while(|line| !line.starts_with('[')).collect::<Vec<_>>().join("\n").trim().to_owned()
        };
        let source = fs::read_to_string(Path::new(SOURCE).join("Cargo.toml")).unwrap();

        let p2 = "[target.'cfg(all(target_os = \"wasi\", target_env = \"p2\"))'.dependencies]";
        let native = "[target.'cfg(not(target_os = \"wasi\"))'.dependencies]";
        for name in ["[features]", "[dependencies]", native, p2] {
            assert_eq!(section(MANIFEST, name), section(&source, name), "{name}");
        }
    }
}
