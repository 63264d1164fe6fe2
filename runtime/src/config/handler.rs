//! Reads `[handler.NAME]`: the handlers and what their jobs get.

use std::collections::HashSet;
use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use http::uri::PathAndQuery;
use http::{HeaderValue, StatusCode};

use super::asked_limits::AskedLimits;
use super::database::Databases;
use super::directories::Directories;
use super::limits::{self, LimitBounds};
use super::model::{Ca, HandlerConfig, MountConfig, Probe, Recording};
use super::nearest::Names;
use super::reader::{Keyed, NamedTable, Scalar};
use super::report::Diagnostics;
use super::store::Stores;
use super::values::{self, args};
use super::{calls, outbound, rate_limit, request_handling, schedule, schema, secret, tmp};
use crate::job::{BUILTIN, Captures, Env, Limits, OutputFormat};
use crate::wasm::Scripts;

/// The most requests that one instance may answer: memory that it leaks must be freed at some time.
const MOST_REUSE: usize = 1_000_000;

/// The default of `content_type` for raw output.
const RAW: &str = "text/plain; charset=utf-8";

/// The defaults and the context for reading a handler.
#[derive(Clone, Copy)]
pub(super) struct HandlerContext<'a> {
    /// The names of all handlers, valid or not.
    pub(super) names: &'a Names<'a>,
    pub(super) limits: &'a Limits,
    pub(super) asked: AskedLimits,
    pub(super) bounds: LimitBounds,
    /// The directory at which relative paths start.
    pub(super) base: &'a Path,
    /// Certificates that the handlers trust besides the system's.
    pub(super) ca: Option<&'a Ca>,
    pub(super) stores: &'a Stores<'a>,
    pub(super) directories: Directories,
    pub(super) databases: &'a Databases<'a>,
}

/// Reads a handler. Returns `None` if its name is invalid or it has no module; the error is reported.
pub(super) fn read(
    (name, written): &(String, Keyed<schema::Handler>),
    HandlerContext { names, limits: defaults, asked, bounds, base, ca, stores, databases, directories }: HandlerContext<'_>,
    report: &Diagnostics<'_>,
) -> Option<HandlerConfig> {
    let Keyed { value: handler, key, line } = written;
    let sound =
        name.parse().map_err(|error| format!("{error}")).and_then(|sound| match BUILTIN.contains(&&**name) {
            true => Err("this is the name of a built-in job: choose another".to_owned()),
            false => Ok(sound),
        });
    let name = sound.map_err(|error| report.add(*line, key, error)).ok();
    if handler.module.is_none() {
        report.missing(*line, key, "module", "write module = \"PATH/TO.wasm\"");
    }
    let module = report.settle(handler.module.as_ref(), None, |path| {
        let path = base.join(path);
        report.depends_on(&path);
        module(&path).map(Some)
    });
    let args = handler.args.as_ref().map(|list| args(&list.value, report)).unwrap_or_default();
    let mut env = handler.env.as_ref().map(|env| variables(&env.value, report)).unwrap_or_default();
    let secrets = handler.secrets.as_ref().map(|names| secret::read(&names.value, &env, base, report));
    let calls = handler.calls.as_ref().map(|list| calls::read(list, names, report)).unwrap_or_default();
    let schedule = handler.schedule.as_ref().and_then(|at| schedule::read(at, report));
    let mounts = handler.mounts.as_ref().map(|list| mounts(&list.value, (base, directories), report));
    let mounts = mounts.unwrap_or_default();
    let scripts = report.settle(handler.scripts.as_ref(), None, |root| scripts(root, &mounts).map(Some));
    let tmp = tmp::read(handler, &mounts, report);
    if tmp.is_some() {
        tmp::name(&mut env);
    }
    let limits = limits::read(handler.limits.as_ref(), defaults, bounds, report);
    limits::own_only(handler.limits.as_ref(), report);
    let mapping = mapping(handler, report);
    let mut conduct = request_handling::read(handler, report);
    if scripts.is_some() {
        conduct.captures = Captures::Nothing;
    }
    let reuse = report.settle(handler.reuse.as_ref(), None, reuse);
    let recording = recording(handler, report);
    let probe = handler.probe.as_ref().and_then(|written| probe(written, report));
    let outbound = outbound::read(handler, ca, report);
    let limit = rate_limit::read(handler.limit.as_ref(), stores, report);
    let stores = stores.granted(handler.stores.as_ref(), report);
    let databases = databases.granted(handler.databases.as_ref(), report);
    Some(HandlerConfig {
        name: name?,
        module: module?,
        args,
        env,
        secrets: secrets.unwrap_or_default(),
        calls,
        schedule,
        mounts,
        scripts,
        tmp,
        limits,
        asked: asked.with(handler.limits.as_ref()),
        mapping,
        conduct,
        reuse,
        recording,
        probe,
        outbound,
        stores,
        databases,
        limit,
        line: *line,
    })
}

/// Finds the innermost mount that holds the directory of scripts.
fn scripts(root: &str, mounts: &[MountConfig]) -> Result<Scripts, String> {
    let below = |guest: &str| {
        let rest = root.strip_prefix(guest.trim_end_matches('/'))?;
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    };
    let within = mounts.iter().enumerate().filter_map(|(number, mount)| Some((number, below(&mount.guest)?)));
    let (mount, rest) = within.min_by_key(|(_, rest)| rest.len()).ok_or_else(|| {
        format!(
            "{root:?} is in no mount of this handler: add mounts = [{{ host = \"app\", guest = {root:?} }}]"
        )
    })?;
    let below: Vec<String> = rest.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if below.iter().any(|name| name.starts_with('.')) {
        return Err(format!("wanted a directory that is not hidden, found {root:?}"));
    }
    Ok(Scripts { root: root.to_owned(), mount, below })
}

/// Reads a probe. Returns `None` if its path is missing or invalid; the error is reported.
fn probe(
    Keyed { value: probe, key, line }: &Keyed<schema::Probe>,
    report: &Diagnostics<'_>,
) -> Option<Probe> {
    if probe.path.is_none() {
        report.missing(*line, key, "path", "write path = \"/hello/probe\"");
    }
    let path = |path: &String| match path.starts_with('/') && path.parse::<PathAndQuery>().is_ok() {
        true if path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') => Ok(Some(path.clone())),
        _ => {
            let found = path.chars().take(48).collect::<String>();
            Err(format!("wanted a path and query as a client sends it, found {found:?}"))
        }
    };
    let status = |scalar: &_| {
        let status = values::count(200..=599)(scalar)?;
        StatusCode::from_u16(u16::try_from(status).unwrap_or_default()).map_err(|error| error.to_string())
    };
    Some(Probe {
        path: report.settle(probe.path.as_ref(), None, path)?,
        status: report.settle(probe.status.as_ref(), StatusCode::OK, status),
    })
}

/// Checks that the file of a module exists. Its content is checked later, by the compiler.
fn module(path: &Path) -> Result<PathBuf, String> {
    match path.metadata() {
        Ok(found) if found.is_file() => Ok(path.to_owned()),
        Ok(_) => Err(format!("wanted a module, found something that is not a file: {}", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(format!("{}; `portcullis build` makes it from its source", absent("module", path, &error)))
        }
        Err(error) => Err(absent("module", path, &error)),
    }
}

fn variables(written: &NamedTable<String>, report: &Diagnostics<'_>) -> Env {
    let mut env = Env::with_capacity(written.0.len());
    for (name, at) in &written.0 {
        report.settle(Some(at), (), |value| {
            env.set(name.clone(), literal(value)?).map_err(|error| error.to_string())
        });
    }
    env
}

/// Returns a value with `$${` unescaped. No variables are replaced, so text that looks like one is refused.
fn literal(value: &str) -> Result<String, String> {
    let mut rest = value;
    while let Some((before, behind)) = rest.split_once("${") {
        // The name ends also at a default or an alternative, as in a shell.
        let name = behind
            .find(['}', ':', '-', '+', '?', '='])
            .map(|end| &behind[..end])
            .filter(|name| is_variable(name));
        if let Some(name) = name.filter(|_| !before.ends_with('$')) {
            return Err(format!(
                "`${{{name}}}` is not replaced here: take the variable out of env and write secrets = {{ VARIABLE = \
                 {{ env = \"{name}\" }} }}, or $${{{name}}} for the text itself"
            ));
        }
        rest = behind;
    }
    Ok(value.replace("$${", "${"))
}

fn is_variable(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.bytes().all(allowed) && !name.starts_with(|first: char| first.is_ascii_digit())
}

fn mounts(
    written: &[Keyed<schema::Mount>],
    place: (&Path, Directories),
    report: &Diagnostics<'_>,
) -> Vec<MountConfig> {
    let (mut mounts, mut guests) = (Vec::new(), HashSet::new());
    for at in written {
        let Some(mount) = mount(at, place, report) else { continue };
        if !guests.insert(mount.guest.clone()) {
            report.add(at.line, &at.key, format!("the guest path {:?} is mounted already", mount.guest));
        }
        mounts.push(mount);
    }
    mounts
}

fn mount(
    written: &Keyed<schema::Mount>,
    (base, directories): (&Path, Directories),
    report: &Diagnostics<'_>,
) -> Option<MountConfig> {
    let Keyed { value: mount, key, line } = written;
    let advice = "write { host = \"data\", guest = \"/data\" }";
    if mount.host.is_none() {
        report.missing(*line, key, "host", advice);
    }
    if mount.guest.is_none() {
        report.missing(*line, key, "guest", advice);
    }
    let host = report.settle(mount.host.as_ref(), None, |path| {
        let path = directory_path(path, base)?;
        // The daemon holds a directory that exists: a reload of its own accord would not replace it.
        if !path.is_dir() {
            report.depends_on(&path);
        }
        directory(path, directories).map(Some)
    });
    let guest = report.settle(mount.guest.as_ref(), None, |path| guest_path(path).map(Some));
    Some(MountConfig { host: host?, guest: guest?, write: mount.write.as_ref().is_some_and(|at| at.value) })
}

/// Reads the path of a directory. A relative path starts at the directory of the file.
pub(super) fn directory_path(text: &str, base: &Path) -> Result<PathBuf, String> {
    match text {
        "" => Err("wanted a directory, found \"\": write \".\" for the one of this file".to_owned()),
        path => Ok(base.join(path)),
    }
}

/// Checks that a directory exists, unless the daemon holds it open.
pub(super) fn directory(path: PathBuf, directories: Directories) -> Result<PathBuf, String> {
    if directories == Directories::Held {
        return Ok(path);
    }
    match path.metadata() {
        Ok(found) if found.is_dir() => Ok(path),
        Ok(_) => Err(format!("wanted a directory, found something else: {}", path.display())),
        Err(error) => Err(absent("directory", &path, &error)),
    }
}

fn guest_path(text: &str) -> Result<String, String> {
    let whole = if text == "/" { text } else { text.strip_suffix('/').unwrap_or(text) };
    let sound = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
    match whole.strip_prefix('/') {
        Some(inner) if inner.is_empty() || inner.split('/').all(sound) => Ok(whole.to_owned()),
        _ => Err(format!(
            "wanted an absolute path such as \"/data\", without `.`, `..` and `//`, found {text:?}"
        )),
    }
}

/// Reads which of its failed jobs are recorded, and whether with the request body.
fn recording(handler: &schema::Handler, report: &Diagnostics<'_>) -> Recording {
    let recording = report.settle(handler.record.as_ref(), Recording::Nothing, |word| match word.as_str() {
        "failures" => Ok(Recording::Failures),
        "nothing" => Ok(Recording::Nothing),
        _ => Err(format!("wanted \"failures\" or \"nothing\", found {word:?}")),
    });
    report.settle(handler.record_body.as_ref(), recording, |kept| match (recording, kept) {
        (Recording::Nothing, _) => {
            Err("nothing is recorded: set record = \"failures\", or leave the key out".to_owned())
        }
        (_, true) => Ok(Recording::Failures),
        (_, false) => Ok(Recording::FailuresWithoutBodies),
    })
}

/// Reads how many requests an instance answers. Returns `None` for 1, the default: a new instance for each
/// request.
fn reuse(scalar: &Scalar) -> Result<Option<NonZeroU32>, String> {
    let requests = values::count(1..=MOST_REUSE)(scalar)?;
    Ok(u32::try_from(requests).ok().filter(|requests| *requests > 1).and_then(NonZeroU32::new))
}

fn mapping(handler: &schema::Handler, report: &Diagnostics<'_>) -> OutputFormat {
    let is_raw = report.settle(handler.output.as_ref(), false, |word| match word.as_str() {
        "cgi" => Ok(false),
        "raw" => Ok(true),
        _ => Err(format!("wanted \"cgi\" or \"raw\", found {word:?}")),
    });
    let raw_type = report.settle(handler.content_type.as_ref(), RAW.to_owned(), |text| {
        let sound = HeaderValue::from_str(text).is_ok() && text.contains('/');
        if sound {
            Ok(text.clone())
        } else {
            Err(format!("wanted a type such as \"text/html\", found {text:?}"))
        }
    });
    // A wrong `output` may have been meant as raw: one mistake gives one error.
    let says_cgi = handler.output.as_ref().is_none_or(|at| at.value == "cgi");
    if let Some(at) = handler.content_type.as_ref().filter(|_| says_cgi) {
        let advice = "needs output = \"raw\"; a CGI response has its own Content-Type";
        report.add(at.line, &at.key, advice);
    }
    if is_raw { OutputFormat::Raw(raw_type) } else { OutputFormat::Cgi }
}

fn absent(what: &str, path: &Path, error: &io::Error) -> String {
    format!("there is no {what} at {}: {error}", path.display())
}
