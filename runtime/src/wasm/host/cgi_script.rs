//! Finds an interpreter's script in a mount from the path of a request, as CGI defines it.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;

use crate::job::{Env, Fault, Job};

/// Placeholder for the script's path in the arguments of an interpreter.
const ARGUMENT: &str = "{script}";

/// Index files of a directory; the first that exists is the script.
const INDEX: [&str; 7] =
    ["index.php", "index.py", "index.cgi", "index.pl", "index.rb", "index.lua", "index.js"];

/// Where the scripts of a handler are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scripts {
    /// The directory, as the guest names it.
    pub root: String,
    /// Index of the mount that contains it.
    pub mount: usize,
    /// The names on the way from the mount to the directory.
    pub below: Vec<String>,
}

/// A script, and the rest of the request path after it.
#[derive(PartialEq, Eq, Debug)]
struct FoundScript {
    /// The path below the directory of scripts, with a leading slash.
    script: String,
    /// Empty, or with a leading slash.
    rest: String,
}

impl Scripts {
    /// Finds the script for a job's path. `dir` is the mount. Blocks as the file system does.
    ///
    /// # Errors
    /// No such script exists, or the directory cannot be searched.
    pub(in crate::wasm) fn direct(
        &self,
        dir: &OwnedFd,
        env: &Env,
        args: &[String],
    ) -> Result<Directed, Fault> {
        let path = env.get("PATH_INFO").unwrap_or_default().to_owned();
        let missing = || Fault::NoScript(path.clone());
        // First the configured names down to the root, then the names of the client's path.
        let found = match self.open_root(dir).and_then(|root| match root {
            Some(root) => find(root, &path),
            None => Ok(None),
        }) {
            Ok(found) => found.ok_or_else(missing)?,
            Err(error) => {
                return Err(Fault::Host(anyhow::anyhow!("look for a script below {}: {error}", self.root)));
            }
        };
        let name = env.get("SCRIPT_NAME").unwrap_or_default().trim_end_matches('/').to_owned();
        let root = self.root.trim_end_matches('/');
        let file = format!("{root}{}", found.script);
        let mut set = vec![
            ("SCRIPT_NAME", name + &found.script),
            ("SCRIPT_FILENAME", file.clone()),
            ("DOCUMENT_ROOT", self.root.clone()),
            // PHP refuses to answer without it, unless configured otherwise. It says that the server chose the script.
            ("REDIRECT_STATUS", "200".to_owned()),
        ];
        if !found.rest.is_empty() {
            // RFC 3875 §4.1.6.
            set.push(("PATH_TRANSLATED", format!("{root}{}", found.rest)));
        }
        set.push(("PATH_INFO", found.rest));
        let args = args.iter().map(|arg| if arg == ARGUMENT { file.clone() } else { arg.clone() });
        Ok(Directed { variables: set, args: args.collect() })
    }

    /// Opens the directory of scripts. Returns `None` if it does not exist.
    fn open_root(&self, dir: &OwnedFd) -> Result<Option<OwnedFd>, Errno> {
        let mut at = dir.try_clone().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        for name in &self.below {
            match step(&at, name)? {
                Some((FileType::Directory, next)) => at = next,
                Some(_) | None => return Ok(None),
            }
        }
        Ok(Some(at))
    }
}

/// The variables and arguments that a job gets for its script.
pub(in crate::wasm) struct Directed {
    variables: Vec<(&'static str, String)>,
    args: Vec<String>,
}

impl Directed {
    pub(in crate::wasm) fn tell(self, job: &mut Job) {
        for (name, value) in self.variables {
            // Cannot fail: the values come from a path and the configuration, which contain no NUL.
            let _set = job.env.set(name, value);
        }
        job.args = self.args;
    }
}

/// Finds the script below a directory: the first file on the path, or the index file of the directory that the path
/// ends in. Follows no links, so none leads out. Names that begin with a dot do not exist.
///
/// Holds two descriptors at most, because a job is given [`super::handles::TRANSIENT`] for that.
fn find(root: OwnedFd, path: &str) -> Result<Option<FoundScript>, Errno> {
    let mut at = root;
    let mut end = 0;
    while let Some((name, behind)) = next(path, end) {
        let Some((kind, file)) = step(&at, name)? else { return Ok(None) };
        end = behind;
        match kind {
            FileType::Directory => at = file,
            FileType::RegularFile => {
                let (script, rest) = path.split_at(end);
                return Ok(Some(FoundScript { script: script.to_owned(), rest: rest.to_owned() }));
            }
            _ => return Ok(None),
        }
    }
    for name in INDEX {
        if let Some((FileType::RegularFile, _)) = step(&at, name)? {
            let script = format!("{}/{name}", path[..end].trim_end_matches('/'));
            return Ok(Some(FoundScript { script, rest: String::new() }));
        }
    }
    Ok(None)
}

/// Returns the first name of a path at or after `from`, and where it ends.
fn next(path: &str, from: usize) -> Option<(&str, usize)> {
    let rest = &path[from..];
    let begin = from + rest.find(|letter| letter != '/')?;
    let end = path[begin..].find('/').map_or(path.len(), |length| begin + length);
    Some((&path[begin..end], end))
}

/// Opens a name in a directory, only for lookups. Returns `None` if there is nothing that a client may name.
fn step(dir: impl AsFd, name: &str) -> Result<Option<(FileType, OwnedFd)>, Errno> {
    if name.starts_with('.') {
        return Ok(None);
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(dir, name, flags, Mode::empty()) {
        Ok(file) => {
            let kind = FileType::from_raw_mode(fstat(&file)?.st_mode);
            Ok(Some((kind, file)))
        }
        Err(
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG | Errno::ACCESS | Errno::INVAL,
        ) => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// Makes a directory of scripts beside files that no client may reach.
    fn place() -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::create_dir_all(at("app/blog/empty")).unwrap();
        for file in ["app/a.php", "app/index.py", "app/blog/index.php", "app/.env", "app/-x", "secret"] {
            fs::write(at(file), file).unwrap();
        }
        symlink("../secret", at("app/out.php")).unwrap();
        symlink("a.php", at("app/in.php")).unwrap();
        symlink("..", at("app/up")).unwrap();
        place
    }

    fn found(path: &str) -> Option<(String, String)> {
        let place = place();
        let root = fs::File::open(place.path().join("app")).unwrap();
        find(root.into(), path).unwrap().map(|found| (found.script, found.rest))
    }

    fn pair(script: &str, rest: &str) -> Option<(String, String)> {
        Some((script.to_owned(), rest.to_owned()))
    }

    #[test]
    fn the_first_file_on_the_way_is_the_script_and_the_rest_its_path() {
        assert_eq!(found("/a.php"), pair("/a.php", ""));
        assert_eq!(found("/a.php/"), pair("/a.php", "/"));
        assert_eq!(found("/a.php/b//c"), pair("/a.php", "/b//c"));
        assert_eq!(found("/blog/index.php/x"), pair("/blog/index.php", "/x"));
        assert_eq!(found("/-x"), pair("/-x", ""));
    }

    #[test]
    fn a_directory_has_an_index_or_nothing() {
        assert_eq!(found(""), pair("/index.py", ""));
        assert_eq!(found("/"), pair("/index.py", ""));
        assert_eq!(found("/blog"), pair("/blog/index.php", ""));
        assert_eq!(found("//blog//"), pair("//blog/index.php", ""));
        assert_eq!(found("/blog/empty/"), None);
        assert_eq!(found("/blog/post"), None);
    }

    #[test]
    fn no_path_leads_out_or_to_what_is_hidden_and_no_link_is_followed() {
        for path in ["/../secret", "/up/secret", "/out.php", "/in.php", "/.env", "/blog/../a.php", "/./a.php"]
        {
            assert_eq!(found(path), None, "{path}");
        }
        assert_eq!(found(&format!("/{}", "x".repeat(5000))), None);
    }
}
