//! Reads `[store.NAME]` and `handler.NAME.stores`: the stores, and the handlers that may open them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::reader::{Keyed, NamedTable};
use super::real_path::real_path;
use super::report::Diagnostics;
use super::secret::SecretSource;
use super::store_names::{DEFAULT, SoundTables, WrittenStores};
use super::{schema, secret, store_names, values};
use crate::store::{Durability, StoreOptions, StoreUrl};

/// The default of `quota`.
const QUOTA: u64 = 256 << 20;

/// A store that a handler may open, under the handler's name for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreGrantConfig {
    /// The name that the handler uses.
    pub name: String,
    /// The store.
    pub store: StoreConfig,
}

/// A store as the configuration has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreConfig {
    /// How it is opened, but for the password.
    pub options: StoreOptions,
    /// The source of the password for its server.
    pub password: Option<SecretSource>,
}

/// The stores of a file.
pub(super) struct Stores<'f> {
    tables: SoundTables<'f, StoreConfig>,
    base: &'f Path,
}

impl<'f> Stores<'f> {
    /// Reads the tables. One with a mistake is reported and left out.
    pub(super) fn read(
        written: Option<&'f Keyed<NamedTable<schema::Store>>>,
        base: &'f Path,
        report: &Diagnostics<'_>,
    ) -> Stores<'f> {
        let written = written.map_or(&[][..], |table| &table.value.0);
        let mut tables = SoundTables::of("store", written);
        let mut files: HashMap<PathBuf, &str> = HashMap::new();
        for (name, at) in written {
            let Some(store) = store(name, at, base, report) else { continue };
            let file = store.options.file().map(real_path);
            if let Some(other) = file.as_ref().and_then(|file| files.get(file)) {
                let message = format!("{} is the file of store {other:?} already", store.options.url);
                report.add(at.line, &format!("{}.url", at.key), message);
                continue;
            }
            files.extend(file.map(|file| (file, name.as_str())));
            tables.add(name, store);
        }
        Stores { tables, base }
    }

    /// Returns the stores without mistakes.
    pub(super) fn into_sound(self) -> Vec<StoreConfig> {
        self.tables.into_sound()
    }

    /// Reads the stores of a handler. An entry with a mistake is reported and left out.
    pub(super) fn granted(
        &self,
        written: Option<&Keyed<WrittenStores>>,
        report: &Diagnostics<'_>,
    ) -> Vec<StoreGrantConfig> {
        let granted = store_names::granted(written, report, |name| self.find(name));
        granted.into_iter().map(|(name, store)| StoreGrantConfig { name, store }).collect()
    }

    /// Finds a store by its name; `default` exists without a table too.
    pub(super) fn find(&self, name: &str) -> Result<StoreConfig, String> {
        self.tables.find(name, || Ok(StoreConfig { options: embedded(self.base)?, password: None }))
    }
}

/// Reads a table. Returns `None` if it has a mistake, which is reported.
fn store(
    name: &str,
    Keyed { value: table, key, line }: &Keyed<schema::Store>,
    base: &Path,
    report: &Diagnostics<'_>,
) -> Option<StoreConfig> {
    let is_name = store_names::is_name(name, *line, key, report);
    if table.url.is_none() {
        report.missing(*line, key, "url", "write url = \"redb:data/default.redb\"");
    }
    let url = report.settle(table.url.as_ref(), None, |text| url(text, base).map(Some));
    let durability = report.settle(table.durability.as_ref(), Some(Durability::Sync), |word| {
        let durability = match word.as_str() {
            "sync" => Durability::Sync,
            "relaxed" => Durability::Relaxed,
            _ => return Err(format!("wanted \"sync\" or \"relaxed\", found {word:?}")),
        };
        match &url {
            Some(url) if !url.has_durability() => Err(format!(
                "is for redb: what a write to {url} survives is not decided here; leave the key out"
            )),
            _ => Ok(Some(durability)),
        }
    });
    let quota = values::size(64 << 10..=1 << 40);
    let quota = report.settle(table.quota.as_ref(), QUOTA, quota);
    let password = report.settle(table.password.as_ref(), None, |written| {
        let source = secret::source(written, base)?;
        match &url {
            Some(url) if !url.has_password() => {
                Err(format!("is for a server: there is none at {url}; leave the key out"))
            }
            Some(url) if url.holds_password() => {
                Err("there is a password in url already: leave one of them out".to_owned())
            }
            _ => Ok(Some(source)),
        }
    });
    is_name.then_some(())?;
    let options = StoreOptions { name: name.to_owned(), url: url?, quota, durability: durability? };
    Some(StoreConfig { options, password })
}

/// Reads a URL. A relative path starts at the directory of the file.
fn url(text: &str, base: &Path) -> Result<StoreUrl, String> {
    if text.contains('\0') {
        return Err("wanted a URL, found a NUL in it".to_owned());
    }
    match text.parse().map_err(|error| format!("{error}"))? {
        StoreUrl::Redb(path) => Ok(StoreUrl::Redb(base.join(path))),
        StoreUrl::Redis(_) if cfg!(not(feature = "redis")) => {
            Err("this daemon was built without redis: write redb:PATH, or build with --features redis"
                .to_owned())
        }
        StoreUrl::Nats(_) if cfg!(not(feature = "nats")) => {
            Err("this daemon was built without nats: write redb:PATH, or build with --features nats"
                .to_owned())
        }
        url => Ok(url),
    }
}

/// Returns the store `default` where the file has no table for it: a file in the state directory.
///
/// # Errors
/// There is no such directory, not even a home directory.
fn embedded(base: &Path) -> Result<StoreOptions, String> {
    let dir = state_dir(base, |name| std::env::var_os(name)).ok_or(
        "there is no place for this store: set HOME or STATE_DIRECTORY, or add [store.default] with a url",
    )?;
    let url = StoreUrl::Redb(dir.join("default.redb"));
    Ok(StoreOptions { name: DEFAULT.to_owned(), url, quota: QUOTA, durability: Durability::Sync })
}

/// Finds the directory for stores: the service manager's, or else a part of the user's that belongs to the directory of
/// this configuration, so that two projects do not share a store. `var` reads an environment variable.
///
/// Sources: systemd.exec(5), the XDG Base Directory Specification.
pub(super) fn state_dir(base: &Path, var: impl Fn(&str) -> Option<std::ffi::OsString>) -> Option<PathBuf> {
    state_part("stores", base, var)
}

/// Finds the directory for one kind of state, as [`state_dir`] does for stores.
pub(super) fn state_part(
    part: &str,
    base: &Path,
    var: impl Fn(&str) -> Option<std::ffi::OsString>,
) -> Option<PathBuf> {
    // Both specifications require absolute paths; others must be ignored.
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    let service = var("STATE_DIRECTORY").and_then(|paths| std::env::split_paths(&paths).next());
    if let Some(dir) = service.and_then(absolute) {
        return Some(dir.join(part));
    }
    let user = var("XDG_STATE_HOME").map(PathBuf::from).and_then(absolute);
    let home = || var("HOME").map(PathBuf::from).and_then(absolute).map(|home| home.join(".local/state"));
    let digest = Sha256::digest(base.as_os_str().as_encoded_bytes());
    let digest = HEXLOWER.encode(&digest[..6]);
    let project = base.file_name().unwrap_or_default().to_string_lossy();
    Some(user.or_else(home)?.join("portcullis").join(part).join(format!("{project}-{digest}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn read(stores: &str, grants: &str) -> Result<Vec<String>, String> {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("a.wasm"), "").unwrap();
        let text = format!("{stores}\n[handler.a]\nmodule = \"a.wasm\"\n{grants}\n");
        let config = parse(&text, place.path(), "p.toml").map_err(|errors| errors.to_string())?;
        let base = place.path().display().to_string();
        let shown = |grant: &StoreGrantConfig| {
            let StoreOptions { name, url, quota, durability } = &grant.store.options;
            format!("{} = {name} {url} {quota} {durability:?}", grant.name).replace(&base, "BASE")
        };
        Ok(config.handlers[0].stores.iter().map(shown).collect())
    }

    #[test]
    fn a_handler_has_the_stores_that_it_is_granted() {
        let stores = "[store.carts]\nurl = \"redb:data/carts.redb\"\nquota = \"1MiB\"\ndurability = \"relaxed\"\n\
                      [store.default]\nurl = \"memory:\"\n";

        assert_eq!(read(stores, "").unwrap(), [""; 0]);
        assert_eq!(
            read(stores, "stores = [\"carts\", \"default\"]").unwrap(),
            [
                "carts = carts redb:BASE/data/carts.redb 1048576 Relaxed",
                "default = default memory: 268435456 Sync"
            ]
        );
        assert_eq!(
            read(stores, "stores = { default = \"carts\" }").unwrap(),
            ["default = carts redb:BASE/data/carts.redb 1048576 Relaxed"]
        );
    }

    #[test]
    fn what_cannot_be_kept_to_is_refused() {
        for (stores, grants, wanted) in [
            ("[store.a]\nurl = \"x\"", "", "store.a.url: write memory:, redb:PATH"),
            ("[store.a]\n", "", "the key url is missing"),
            ("[store.a]\nurl = \"memory:\"\ndurability = \"sync\"", "", "store.a.durability: is for redb"),
            ("[store.a]\nurl = \"redb:x\"\ndurability = \"often\"", "", "wanted \"sync\" or \"relaxed\""),
            ("[store.a]\nurl = \"redb:x\"\nsize = 1", "", "unknown key"),
            ("[store.a]\nurl = \"memory:\"\npassword = \"p\"", "", "store.a.password: is for a server"),
            (
                "[store.a]\nurl = \"redis://x:s3cret@h\"\npassword = { env = \"P\" }",
                "",
                "there is a password in url already",
            ),
            ("[store.a]\nurl = \"redis://h\"\npassword = \"a/b\"", "", "wanted the name of a credential"),
            ("[store.a]\nurl = \"redis://h\"\npassword = {}", "", "wanted { file = "),
            ("[store.'a b']\nurl = \"memory:\"", "", "wanted a name of letters"),
            (
                "[store.a]\nurl = \"redb:x\"\n[store.b]\nurl = \"redb:x\"",
                "",
                "is the file of store \"a\" already",
            ),
            ("[store.carts]\nurl = \"memory:\"", "stores = [\"cart\"]", "did you mean \"carts\"?"),
            ("", "stores = [\"carts\"]", "add [store.carts] with a url"),
            ("", "stores = [\"defualt\"]", "did you mean \"default\"?"),
            ("[store.a]\nurl = \"memory:\"", "stores = [\"a\", \"a\"]", "is in this list already"),
            ("", "stores = true", "wanted a list of stores"),
        ] {
            let error = read(stores, grants).unwrap_err();
            assert!(error.contains(wanted) && error.contains("p.toml:"), "{error}");
        }
    }

    #[test]
    fn another_spelling_makes_no_second_store_of_a_file() {
        let place = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("a.redb", place.path().join("b.redb")).unwrap();
        std::fs::write(place.path().join("a.redb"), "").unwrap();
        for other in ["b.redb", "./a.redb"] {
            let text = format!("[store.a]\nurl = \"redb:a.redb\"\n[store.b]\nurl = \"redb:{other}\"\n");
            let refused = parse(&text, place.path(), "p.toml").unwrap_err().to_string();
            assert!(refused.contains("is the file of store \"a\" already"), "{other}: {refused}");
        }
    }

    #[test]
    fn the_file_of_a_store_lies_in_no_mount() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("a.wasm"), "").unwrap();
        std::fs::create_dir(place.path().join("data")).unwrap();
        for (file, is_refused) in [("data/a.redb", true), ("data/deep/a.redb", true), ("a.redb", false)] {
            let text = format!(
                "[store.a]\nurl = \"redb:{file}\"\n[handler.a]\nmodule = \"a.wasm\"\nstores = [\"a\"]\n\
                 [handler.b]\nmodule = \"a.wasm\"\nmounts = [{{ host = \"data\", guest = \"/data\" }}]\n"
            );
            let config = parse(&text, place.path(), "p.toml").unwrap();

            let checked = config.check_whole(&place.path().join("p.toml"));

            let refused = checked.err().map(|errors| errors.to_string()).unwrap_or_default();
            assert_eq!(refused.contains("which could read every entry"), is_refused, "{file}: {refused}");
        }
    }

    #[test]
    fn the_default_store_is_in_the_state_directory() {
        let place = |vars: &'static [(&str, &str)]| {
            let var =
                |name: &str| vars.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into());
            state_dir(Path::new("/srv/shop"), var).map(|dir| dir.display().to_string())
        };

        assert_eq!(
            place(&[("STATE_DIRECTORY", "/vl/p:/vl/q"), ("HOME", "/h")]).as_deref(),
            Some("/vl/p/stores")
        );
        let of_user = place(&[("XDG_STATE_HOME", "/s"), ("HOME", "/h")]).unwrap();
        assert!(of_user.starts_with("/s/portcullis/stores/shop-"), "{of_user}");
        let of_home = place(&[("HOME", "/h"), ("XDG_STATE_HOME", "s")]).unwrap();
        assert!(of_home.starts_with("/h/.local/state/portcullis/stores/shop-"), "{of_home}");
        assert_eq!(place(&[]), None);
    }
}
