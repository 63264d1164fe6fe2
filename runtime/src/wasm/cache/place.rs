//! Where a cache and its key lie.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

use super::key::Key;

/// The two places of a cache. Apart, so that who may write where code is kept cannot also make what
/// vouches for it.
#[derive(PartialEq, Eq, Debug)]
pub struct Place {
    /// The directory of the code.
    pub dir: PathBuf,
    /// The file of the key.
    pub key: PathBuf,
}

impl Place {
    /// Finds both where the service manager, or else the user's environment, keeps such things;
    /// `var` reads a variable of that environment.
    ///
    /// Sources: systemd.exec(5), the XDG Base Directory Specification.
    ///
    /// # Errors
    /// There is no such place: no home directory either.
    pub fn standard(var: impl Fn(&str) -> Option<OsString>) -> Result<Place> {
        let dir = directory(&var, "CACHE_DIRECTORY", "XDG_CACHE_HOME", ".cache")
            // A directory of our own: the service manager's may be open to others, as 0755 is.
            .map(|dir| dir.join("code"))
            .context(
                "there is no place for it: set HOME or CACHE_DIRECTORY, or name one with the key `cache`",
            )?;
        let key = Place::state(&var).context("there is no place for its key: set HOME or STATE_DIRECTORY")?;
        Ok(Place { dir, key })
    }

    /// Finds, beside the standard place of the cache, one for files that do not last.
    ///
    /// # Errors
    /// There is no such place: no home directory either.
    pub fn scratch(var: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
        directory(&var, "CACHE_DIRECTORY", "XDG_CACHE_HOME", ".cache").map(|dir| dir.join("scratch")).context(
            "there is no place for it: set HOME or CACHE_DIRECTORY, or name one with the key `scratch`",
        )
    }

    /// Finds the key's place for a directory of the user's choice: the standard one, or a directory of its own in that one
    /// where nothing else can be written, as on a root that is read-only.
    pub fn at(dir: PathBuf, var: impl Fn(&str) -> Option<OsString>) -> Place {
        let standard = Place::state(&var).filter(|key| Key::examine(key).is_ok());
        let key = standard.unwrap_or_else(|| dir.join("key/cache.key"));
        Place { dir, key }
    }

    /// Returns the standard place of the key.
    fn state(var: &impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
        directory(var, "STATE_DIRECTORY", "XDG_STATE_HOME", ".local/state").map(|dir| dir.join("cache.key"))
    }

    /// Insists that the two are apart.
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

/// Finds a directory for us: the service manager's, or one in the user's, or one in the home.
fn directory(
    var: &impl Fn(&str) -> Option<OsString>,
    service: &str,
    user: &str,
    home: &str,
) -> Option<PathBuf> {
    // Both specifications want absolute paths; others are to be ignored.
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
        let Place { dir, key } = Place::standard(var)?;
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
            Place::at(named.clone(), |name| (name == "HOME").then(|| home.clone())).key
        };

        // Nobody makes a directory there, root neither.
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
