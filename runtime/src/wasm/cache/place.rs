//! Finds the directories of a cache and its key.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

use super::key::Key;

/// The two paths of a cache. They are separate: a process that may write to the code directory cannot also make the
/// key that authenticates the code.
#[derive(PartialEq, Eq, Debug)]
pub struct CacheLocation {
    /// The directory of the code.
    pub dir: PathBuf,
    /// The file of the key.
    pub key: PathBuf,
}

impl CacheLocation {
    /// Finds both paths in the directories of the service manager, or else of the user's environment. `var` reads an
    /// environment variable.
    ///
    /// Sources: systemd.exec(5), the XDG Base Directory Specification.
    ///
    /// # Errors
    /// There is no such directory, not even a home directory.
    pub fn standard(var: impl Fn(&str) -> Option<OsString>) -> Result<CacheLocation> {
        let dir = directory(&var, "CACHE_DIRECTORY", "XDG_CACHE_HOME", ".cache")
            // A subdirectory, since the service manager's directory may be open to others (mode 0755).
            .map(|dir| dir.join("code"))
            .context(
                "there is no place for it: set HOME or CACHE_DIRECTORY, or name one with the key `cache`",
            )?;
        let key = CacheLocation::state(&var)
            .context("there is no place for its key: set HOME or STATE_DIRECTORY")?;
        Ok(CacheLocation { dir, key })
    }

    /// Finds a directory for temporary files, beside the standard directory of the cache.
    ///
    /// # Errors
    /// There is no such directory, not even a home directory.
    pub fn scratch(var: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
        directory(&var, "CACHE_DIRECTORY", "XDG_CACHE_HOME", ".cache").map(|dir| dir.join("scratch")).context(
            "there is no place for it: set HOME or CACHE_DIRECTORY, or name one with the key `scratch`",
        )
    }

    /// Finds the path of the key for a cache directory of the user's choice. It is the standard path, or a
    /// subdirectory of the cache if the standard path is not writable, as with a read-only root.
    pub fn at(dir: PathBuf, var: impl Fn(&str) -> Option<OsString>) -> CacheLocation {
        let standard = CacheLocation::state(&var).filter(|key| Key::examine(key).is_ok());
        let key = standard.unwrap_or_else(|| dir.join("key/cache.key"));
        CacheLocation { dir, key }
    }

    /// Returns the standard path of the key.
    fn state(var: &impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
        directory(var, "STATE_DIRECTORY", "XDG_STATE_HOME", ".local/state").map(|dir| dir.join("cache.key"))
    }

    /// Checks that the key is not in the code directory.
    pub(super) fn check(&self) -> Result<()> {
        let dir = &self.dir;
        ensure!(
            self.key.parent() != Some(dir),
            "{} may not hold its own key: name another directory",
            dir.display()
        );
        Ok(())
    }
}

/// Finds a directory: the service manager's, else one in the user's, else one in the home directory.
fn directory(
    var: &impl Fn(&str) -> Option<OsString>,
    service: &str,
    user: &str,
    home: &str,
) -> Option<PathBuf> {
    // Both specifications require absolute paths; others must be ignored.
    let path = |path: PathBuf| path.is_absolute().then_some(path);
    let first = |paths: OsString| std::env::split_paths(&paths).next().and_then(path);
    let of_service = var(service).and_then(first);
    let of_user = || var(user).map(PathBuf::from).and_then(path).map(|dir| dir.join("portcullis"));
    let of_home =
        || var("HOME").map(PathBuf::from).and_then(path).map(|dir| dir.join(home).join("portcullis"));
    of_service.or_else(of_user).or_else(of_home)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn place(vars: &[(&str, &str)]) -> Result<(String, String)> {
        let var = |name: &str| {
            vars.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        };
        let CacheLocation { dir, key } = CacheLocation::standard(var)?;
        Ok((dir.display().to_string(), key.display().to_string()))
    }

    #[test]
    fn the_service_managers_places_come_first_then_the_users_then_the_homes() {
        let home = ("HOME", "/home/a");
        let user = [home, ("XDG_CACHE_HOME", "/c"), ("XDG_STATE_HOME", "/s")];
        let service =
            [user.as_slice(), &[("CACHE_DIRECTORY", "/vc/p:/vc/q"), ("STATE_DIRECTORY", "/vl/p")]].concat();

        let of = |vars: &[_]| place(vars).unwrap();

        let pair = |dir: &str, key: &str| (dir.to_owned(), key.to_owned());
        assert_eq!(
            of(&[home]),
            pair("/home/a/.cache/portcullis/code", "/home/a/.local/state/portcullis/cache.key")
        );
        assert_eq!(of(&user), pair("/c/portcullis/code", "/s/portcullis/cache.key"));
        assert_eq!(of(&service), pair("/vc/p/code", "/vl/p/cache.key"));
    }

    #[test]
    fn where_nothing_else_can_be_written_the_key_lies_in_the_directory_that_is_named() {
        let place = tempfile::tempdir().unwrap();
        let named = place.path().join("cache");
        let key = |home: &Path| {
            let home = home.as_os_str().to_owned();
            CacheLocation::at(named.clone(), |name| (name == "HOME").then(|| home.clone())).key
        };

        // Not even root can make a directory there.
        assert_eq!(key(Path::new("/proc/self")), named.join("key/cache.key"));
        assert_eq!(key(Path::new("")), named.join("key/cache.key"));
        assert_eq!(key(place.path()), place.path().join(".local/state/portcullis/cache.key"));
    }

    #[test]
    fn without_a_home_there_is_none_and_relative_paths_are_none() {
        for vars in [&[][..], &[("HOME", "")], &[("HOME", "a")], &[("CACHE_DIRECTORY", "/vc/p")]] {
            assert!(place(vars).is_err(), "{vars:?}");
        }
    }
}
