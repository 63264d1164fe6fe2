//! Converts the file as written into a checked [`Config`].

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::asked_limits::AskedLimits;
use super::before::GateNames;
use super::database::Databases;
use super::directories::Directories;
use super::group::Groups;
use super::handler::HandlerContext;
use super::limits::{self, LimitBounds};
use super::model::{ADMIN_MODE, CacheDir, Config, UnixOptions};
use super::nearest::Names;
use super::reader::Keyed;
use super::real_path::in_real_directory;
use super::report::Diagnostics;
use super::route::RouteContext;
use super::schema::{self, File};
use super::store::Stores;
use super::{
    compile, cors, gates, handler, hardening, http, logging, outbound, proxies, response_rules, route, tls,
    trace_options, values,
};
use crate::access::OperatorRights;
use crate::catalog::{ReasonHeader, VersionHeader, VersionRange};
use crate::job::Limits;
use crate::net::Endpoint;
use crate::observe::latency::Histograms;
use crate::wasm::cache::Cache;

/// The default of `listen`.
const LISTEN: &str = "tcp://127.0.0.1:8080";

/// The default of `jobs`: jobs at once over all handlers.
const JOBS: usize = 256;

/// The default of `grace`: how long jobs may run after a shutdown began. Together with what comes before and
/// after, it fits into the 10 s of `docker stop` and the 30 s of Kubernetes.
const DEFAULT_GRACE: Duration = Duration::from_secs(8);

/// The default of `history`: some thousand jobs.
const HISTORY: usize = 4 << 20;

/// The default of `upgrade_grace`: how long the old process may run after an upgrade.
const UPGRADE_GRACE: Duration = Duration::from_secs(60 * 60);

/// Converts a file. An error is reported, and a default replaces the value.
pub(super) fn config(file: &File, base: &Path, directories: Directories, report: &Diagnostics<'_>) -> Config {
    let jobs = report.settle(file.jobs.as_ref(), JOBS, values::count(1..=limits::MOST_JOBS));
    let bounds = LimitBounds { jobs };
    let limits = limits::read(file.limits.as_ref(), &Limits::default(), bounds, report);
    let written = file.handler.as_ref().map_or(&[][..], |table| &table.value.0);
    let names = Names::new(written.iter().map(|(name, _)| name.as_str()));
    let ca = outbound::ca(file.outbound.as_ref(), base, report);
    let stores = Stores::read(file.store.as_ref(), base, report);
    let databases = Databases::read(file.database.as_ref(), base, report);
    let given = HandlerContext {
        names: &names,
        limits: &limits,
        asked: AskedLimits::default().with(file.limits.as_ref()),
        bounds,
        base,
        ca: ca.as_ref(),
        stores: &stores,
        directories,
        databases: &databases,
    };
    let handlers: Vec<_> = written.iter().filter_map(|one| handler::read(one, given, report)).collect();
    let version_prefix = file.version_prefix.as_ref().is_some_and(|at| at.value);
    let gates = gates::read(file.gate.as_ref(), base, &names, ca.as_ref(), report);
    let places = GateNames::new(&gates, file.gate.as_ref(), &handlers, file.before.as_ref(), report);
    let routes = file.route.as_ref().map_or(&[][..], |list| &list.value);
    let listen = listen(file.listen.as_ref(), base, report);
    let admin_path = report.settle(file.admin.as_ref(), None, |text| {
        let path = admin(text, base)?;
        let real = in_real_directory(&path);
        let is_same =
            |endpoint: &Endpoint| matches!(endpoint, Endpoint::Unix(other) if in_real_directory(other) == real);
        match listen.iter().any(is_same) {
            true => Err(format!("\"unix://{}\" is used by listen already: choose another", path.display())),
            false => Ok(Some(path)),
        }
    });
    let response_rules = response_rules::of_all(file, base, report);
    let groups = Groups::read(file, &response_rules, &places, base, report);
    let rules = &response_rules;
    // As if every route without versions were in a group with the prefix `/v{version}`.
    let versions = version_prefix.then(|| Arc::new(VersionRange::any("/v")));
    let context = RouteContext {
        handlers: &names,
        base,
        directories,
        versions: versions.as_ref(),
        groups: &groups,
        gates: &places,
        rules,
        stores: &stores,
    };
    let routes = route::read(routes, context, report);
    places.check_limits(&routes, &handlers, report);
    let trusted_proxies = proxies::trusted(file.trusted_proxies.as_ref(), report);
    Config {
        routes,
        groups: file.group.iter().flat_map(|table| &table.value.0).map(|(name, _)| name.clone()).collect(),
        tls: file.tls.as_ref().map(|written| tls::read(written, &listen, base, report)),
        observe: observe(file.observe.as_ref(), &listen, admin_path.as_deref(), base, report),
        proxy_protocol: proxies::endpoints(file, &trusted_proxies, (&listen, base), report),
        trusted_proxies,
        listen,
        admin: admin_path,
        admin_access: UnixOptions {
            group: report.settle(file.admin_group.as_ref(), None, values::group),
            mode: report.settle(file.admin_mode.as_ref(), ADMIN_MODE, values::mode),
        },
        admin_group_access: report.settle(file.admin_group_access.as_ref(), OperatorRights::All, |text| {
            values::operator_rights(text)
        }),
        grace: report.settle(file.grace.as_ref(), DEFAULT_GRACE, values::duration),
        shutdown_delay: report.settle(file.shutdown_delay.as_ref(), Duration::ZERO, values::duration),
        upgrade_grace: report.settle(file.upgrade_grace.as_ref(), UPGRADE_GRACE, values::duration),
        idle_exit: report.settle(file.idle_exit.as_ref(), None, values::deadline_or_none),
        jobs,
        total_memory: limits::total_memory(file.limits.as_ref(), report),
        logging: logging::read(file, base, report),
        traces: trace_options::read(file.traces.as_ref(), ca.as_ref(), report),
        version_prefix,
        version_header: match file.version_header {
            Some(Keyed { value: true, .. }) => VersionHeader::Present,
            Some(Keyed { value: false, .. }) | None => VersionHeader::Absent,
        },
        reason_header: match file.reason_header {
            Some(Keyed { value: true, .. }) => ReasonHeader::Present,
            Some(Keyed { value: false, .. }) | None => ReasonHeader::Absent,
        },
        https_redirect: tls::redirects(file.https.as_ref(), file.tls.as_ref(), report),
        debug: file.debug.as_ref().is_some_and(|at| at.value),
        profiler: file.debug.as_ref().is_some_and(|at| at.value),
        record_dir: record_dir(file, base, report),
        history: report.settle(file.history.as_ref(), HISTORY, values::history),
        histograms: match file.histograms {
            Some(Keyed { value: false, .. }) => Histograms::Off,
            Some(Keyed { value: true, .. }) | None => Histograms::On,
        },
        watch: file.watch.as_ref().is_some_and(|at| at.value),
        source_lines: file.source_lines.as_ref().is_some_and(|at| at.value),
        wasi_http_03: file.wasi_http_03.as_ref().is_some_and(|at| at.value),
        cache: report.settle(file.cache.as_ref(), CacheDir::Standard, |text| cache(text, base)),
        cache_size: cache_size(file, report),
        scratch: report.settle(file.scratch.as_ref(), None, |text| scratch(text, base).map(Some)),
        compile: compile::read(file.compile.as_ref(), report),
        hardening: hardening::read(file.hardening.as_ref(), (base, directories), report),
        unix: unix(file.unix.as_ref(), report),
        http: http::read(file.http.as_ref(), report),
        cors: file.cors.as_ref().map(|written| cors::read(written, report)),
        stores: stores.into_sound(),
        databases: databases.into_sound(),
        outbound_ca: ca,
        handlers,
        gates,
        response_rules,
    }
}

/// Reads the endpoints. A relative socket path starts at the directory of the file, not at the working
/// directory.
fn listen(
    written: Option<&Keyed<Vec<Keyed<String>>>>,
    base: &Path,
    report: &Diagnostics<'_>,
) -> Vec<Endpoint> {
    match written {
        Some(list) => endpoints(list, base, report),
        None => vec![LISTEN.parse().expect("the default is an endpoint")],
    }
}

/// Reads the endpoints for metrics and probes. An endpoint that is also `listen` or `admin` is reported.
fn observe(
    written: Option<&Keyed<Vec<Keyed<String>>>>,
    listen: &[Endpoint],
    admin: Option<&Path>,
    base: &Path,
    report: &Diagnostics<'_>,
) -> Vec<Endpoint> {
    let Some(list) = written else { return Vec::new() };
    let endpoints = endpoints(list, base, report);
    let listened: HashSet<Endpoint> = listen.iter().map(socket).collect();
    for endpoint in &endpoints {
        let same = |path: &Path, other: &Path| in_real_directory(path) == in_real_directory(other);
        let is_admin =
            matches!(endpoint, Endpoint::Unix(path) if admin.is_some_and(|admin| same(path, admin)));
        let is_chosen = matches!(endpoint, Endpoint::Tcp(_)) && endpoint.to_string().ends_with(":0");
        if matches!(endpoint, Endpoint::Fd(_)) {
            report.add(
                list.line,
                &list.key,
                format!("wanted tcp://HOST:PORT or unix://PATH, found \"{endpoint}\""),
            );
        } else if is_admin || listened.contains(&socket(endpoint)) && !is_chosen {
            let other = if is_admin { "admin" } else { "listen" };
            report.add(
                list.line,
                &list.key,
                format!("\"{endpoint}\" is used by {other} already: choose another"),
            );
        }
    }
    endpoints
}

/// Reads a list of endpoints. Endpoints with an error are reported and left out, so they are not reported twice.
fn endpoints(list: &Keyed<Vec<Keyed<String>>>, base: &Path, report: &Diagnostics<'_>) -> Vec<Endpoint> {
    if list.value.is_empty() && !report.blames(&list.key) {
        report.add(list.line, &list.key, "an empty list: name an endpoint, or leave the key out");
    }
    let mut known = HashSet::new();
    let mut endpoints = Vec::new();
    for at in &list.value {
        let read = |text: &String| text.parse::<Endpoint>().map(Some).map_err(|error| error.to_string());
        let endpoint = report.settle(Some(at), None, read).map(|endpoint| match endpoint {
            Endpoint::Unix(path) => Endpoint::Unix(base.join(path)),
            other @ (Endpoint::Tcp(_) | Endpoint::Fd(_)) => other,
        });
        let Some(endpoint) = endpoint else { continue };
        if let Err(message) = endpoint.check() {
            report.add(at.line, &at.key, message);
        } else if !known.insert(socket(&endpoint)) {
            report.add(at.line, &at.key, format!("{:?} is in this list already", at.value));
        } else {
            endpoints.push(endpoint);
        }
    }
    endpoints
}

/// Returns the canonical form of an endpoint: two spellings of one socket compare equal.
fn socket(endpoint: &Endpoint) -> Endpoint {
    match endpoint {
        Endpoint::Unix(path) => Endpoint::Unix(in_real_directory(path)),
        other @ (Endpoint::Tcp(_) | Endpoint::Fd(_)) => other.clone(),
    }
}

/// Reads where compiled modules are kept. A relative directory starts at the directory of the file.
fn cache(text: &str, base: &Path) -> Result<CacheDir, String> {
    match text {
        "" => Err("wanted a directory, or \"none\", found \"\"".to_owned()),
        "none" => Ok(CacheDir::Off),
        path if path.contains('\0') => Err("wanted a directory, found a NUL in it".to_owned()),
        path => Ok(CacheDir::At(base.join(path))),
    }
}

/// Reads the size of the cache of compiled modules, in bytes.
fn cache_size(file: &File, report: &Diagnostics<'_>) -> u64 {
    let is_off = file.cache.as_ref().is_some_and(|at| at.value == "none");
    if let Some(at) = file.cache_size.as_ref().filter(|_| is_off) {
        report.add(at.line, &at.key, "nothing is kept with cache = \"none\": leave one of the keys out");
    }
    report.settle(file.cache_size.as_ref(), Cache::SIZE, values::size(1 << 20..=1 << 40))
}

/// Reads where large bodies are kept. A relative directory starts at the directory of the file.
fn scratch(text: &str, base: &Path) -> Result<PathBuf, String> {
    match text {
        "" => Err("wanted a directory, found \"\"".to_owned()),
        path if path.contains('\0') => Err("wanted a directory, found a NUL in it".to_owned()),
        path => Ok(base.join(path)),
    }
}

/// Reads where failed jobs are recorded. A relative directory starts at the directory of the file. A handler
/// with `record = "failures"` is reported if there is no such directory.
fn record_dir(file: &File, base: &Path, report: &Diagnostics<'_>) -> Option<PathBuf> {
    let handlers = file.handler.as_ref().map_or(&[][..], |table| &table.value.0);
    if file.record_dir.is_none() {
        let wanted = handlers.iter().filter_map(|(_, handler)| handler.value.record.as_ref());
        for at in wanted.filter(|at| at.value == "failures") {
            report.add(
                at.line,
                &at.key,
                "there is nowhere to keep them: set record_dir = \"DIR\" at the top",
            );
        }
    }
    report.settle(file.record_dir.as_ref(), None, |path| match path.as_str() {
        "" => Err("wanted a directory, found \"\"".to_owned()),
        path if path.contains('\0') => Err("wanted a directory, found a NUL in it".to_owned()),
        path => Ok(Some(base.join(path))),
    })
}

/// Reads the path of the admin socket. A relative path starts at the directory of the file.
///
/// # Errors
/// The endpoint is not a Unix socket. A client of the admin socket can replace handlers, and the kernel
/// identifies the peer of a Unix socket only.
pub(super) fn admin(text: &str, base: &Path) -> Result<PathBuf, String> {
    match text.parse::<Endpoint>().map_err(|error| error.to_string())? {
        Endpoint::Unix(path) => {
            let path = base.join(path);
            Endpoint::Unix(path.clone()).check().map(|()| path)
        }
        Endpoint::Tcp(_) => Err(format!(
            "wanted unix:///PATH/TO.sock, found {text:?}: every client of this socket controls the daemon, and \
             tcp does not say who that is; from afar, forward the socket with `ssh -L`"
        )),
        Endpoint::Fd(_) => Err(format!(
            "wanted unix:///PATH/TO.sock, found {text:?}: a socket that is passed in is for requests only"
        )),
    }
}

fn unix(written: Option<&Keyed<schema::Unix>>, report: &Diagnostics<'_>) -> UnixOptions {
    let defaults = UnixOptions::default();
    let Some(Keyed { value: unix, .. }) = written else { return defaults };
    UnixOptions {
        group: report.settle(unix.group.as_ref(), defaults.group, values::group),
        mode: report.settle(unix.mode.as_ref(), defaults.mode, values::mode),
    }
}
