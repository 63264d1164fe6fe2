//! Reads `route.static`: a directory whose files are served.

use std::path::Path;

use http::Method;

use super::coding::codings;
use super::directories::Directories;
use super::handler::{directory, directory_path};
use super::reader::Keyed;
use super::report::Diagnostics;
use super::route_schema::Route;
use crate::catalog::{StaticOptions, Wildcard};

/// The default of `index`.
const INDEX: &str = "index.html";

/// Reads the directory of a route. Returns `None` if there is none, or if it is invalid; the error is reported.
pub(super) fn read(
    route: &Route,
    (base, directories): (&Path, Directories),
    report: &Diagnostics<'_>,
) -> Option<StaticOptions> {
    let Keyed { value: written, key, line } = route.r#static.as_ref()?;
    if let Some(path) =
        route.path.as_ref().filter(|path| !path.value.ends_with('}') || !path.value.contains("{*"))
    {
        report.add(path.line, &path.key, "static needs a path with a tail, such as \"/files/{*path}\"");
    }
    let reads =
        |at: &Keyed<String>| [Method::GET, Method::HEAD].iter().any(|method| *method == at.value.as_str());
    let methods = route.methods.as_ref().map_or(&[][..], |list| &list.value);
    for at in methods.iter().filter(|at| !reads(at) && !report.blames(&at.key)) {
        report.add(at.line, &at.key, "a static route takes GET and HEAD: leave `methods` out");
    }
    if written.dir.is_none() {
        report.missing(*line, key, "dir", "write static = { dir = \"public\" }");
    }
    let dir = report.settle(written.dir.as_ref(), None, |path| {
        let path = directory_path(path, base)?;
        report.depends_on(&path);
        directory(path, directories).map(Some)
    });
    let options = StaticOptions {
        dir: dir?,
        index: report.settle(written.index.as_ref(), Some(INDEX.to_owned()), |name| match name.as_str() {
            "" => Ok(None),
            name => file(name).map(Some),
        }),
        spa: report.settle(written.spa.as_ref(), None, |name| file(name).map(Some)),
        immutable: report.settle(written.immutable.as_ref(), None, |text| pattern(text).map(Some)),
        precompressed: codings(written.precompressed.as_ref(), report).unwrap_or_default(),
        listing: written.listing.as_ref().is_some_and(|at| at.value),
    };
    Some(options)
}

/// Reads the path of a file below the directory.
fn file(name: &str) -> Result<String, String> {
    let is_sound =
        |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains(char::is_control);
    if name.split('/').all(is_sound) {
        return Ok(name.to_owned());
    }
    Err(format!("wanted a file in the directory, such as \"index.html\", found {name:?}"))
}

fn pattern(text: &str) -> Result<Wildcard, String> {
    match text {
        "" => Err("wanted a pattern such as \"assets/*\", found \"\"".to_owned()),
        rooted if rooted.starts_with('/') => Err(format!(
            "wanted a path below the directory such as \"assets/*\", found {rooted:?}: leave out the first /"
        )),
        pattern => Ok(Wildcard::new(pattern)),
    }
}
