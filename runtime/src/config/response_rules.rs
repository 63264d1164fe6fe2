//! Reads `errors`, `fields` and `compress`: what happens to the responses of a route.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode};

use super::coding::codings;
use super::reader::Keyed;
use super::report::Diagnostics;
use super::route_schema::{Fields, Group, Route, WrittenErrors};
use super::schema::File;
use super::target;
use crate::catalog::{ErrorPage, ErrorPages, FieldChanges, ResponseRules};
use crate::files::content_type;
use crate::operator_file::{self, ReadFile};

/// The largest page, in bytes: it is kept in memory.
const LARGEST_PAGE: u64 = 256 << 10;

/// Reads the rules of every route, at the top of the file.
pub(super) fn of_all(file: &File, base: &Path, report: &Diagnostics<'_>) -> ResponseRules {
    ResponseRules {
        errors: errors(file.errors.as_ref(), base, report).unwrap_or_default(),
        fields: FieldChanges::default(),
        compress: codings(file.compress.as_ref(), report).unwrap_or_default(),
    }
}

/// Reads the rules of a group. Its own keys replace those of all routes.
pub(super) fn of_group(
    group: &Group,
    of_all: &ResponseRules,
    base: &Path,
    report: &Diagnostics<'_>,
) -> ResponseRules {
    ResponseRules {
        errors: errors(group.errors.as_ref(), base, report).unwrap_or_else(|| of_all.errors.clone()),
        fields: group.fields.as_ref().map(|at| fields(&at.value, report)).unwrap_or_default(),
        compress: codings(group.compress.as_ref(), report).unwrap_or_else(|| of_all.compress.clone()),
    }
}

/// Reads the rules of a route; `of_all` are those of its group, or of all routes. Its own keys replace them, and its
/// changes to fields are added.
pub(super) fn of_route(
    route: &Route,
    of_all: &ResponseRules,
    base: &Path,
    report: &Diagnostics<'_>,
) -> ResponseRules {
    let changes = route.fields.as_ref().map(|at| fields(&at.value, report)).unwrap_or_default();
    ResponseRules {
        errors: errors(route.errors.as_ref(), base, report).unwrap_or_else(|| of_all.errors.clone()),
        fields: of_all.fields.clone().and(changes),
        compress: codings(route.compress.as_ref(), report).unwrap_or_else(|| of_all.compress.clone()),
    }
}

/// Reads the changes to the fields of responses.
fn fields(written: &Fields, report: &Diagnostics<'_>) -> FieldChanges {
    let names = written.remove.as_ref().map_or(&[][..], |list| &list.value);
    let names = target::bounded(names, |at| at, report);
    let name = |at: &Keyed<String>| report.settle(Some(at), None, |name| target::field_name(name).map(Some));
    let remove: Vec<HeaderName> = names.iter().filter_map(name).collect();
    let set = written.set.as_ref().map(|at| target::fields(&at.value, report)).unwrap_or_default();
    let add = written.add.as_ref().map(|at| target::fields(&at.value, report)).unwrap_or_default();
    FieldChanges { remove, set, add }
}

/// Reads the form of error responses. Returns `None` if it is not set.
fn errors(
    written: Option<&Keyed<WrittenErrors>>,
    base: &Path,
    report: &Diagnostics<'_>,
) -> Option<ErrorPages> {
    let at = written?;
    let pages = match &at.value {
        WrittenErrors::Word(word) => {
            return Some(report.settle(Some(at), ErrorPages::Negotiated, |_| match word.as_str() {
                "json" => Ok(ErrorPages::Json),
                "message" => Ok(ErrorPages::Message),
                _ => Err(format!(
                    "wanted \"json\", \"message\", or pages such as {{ 404 = \"404.html\" }}, found {word:?}"
                )),
            }));
        }
        WrittenErrors::Pages(pages) => pages,
    };
    let mut read = BTreeMap::new();
    for (status, at) in &pages.0 {
        let page = report.settle(Some(at), None, |path| {
            let path = base.join(path);
            report.depends_on(&path);
            Ok(Some((status_of(status)?, page(&path)?)))
        });
        read.extend(page);
    }
    Some(ErrorPages::Pages(Arc::new(read)))
}

/// Reads the status of a page.
fn status_of(text: &str) -> Result<StatusCode, String> {
    let status = text.parse().ok().and_then(|status: u16| StatusCode::from_u16(status).ok());
    let status = status.filter(|status| status.is_client_error() || status.is_server_error());
    status
        .filter(|_| text.len() == 3)
        .ok_or_else(|| format!("wanted a status from 400 to 599, found {text:?}"))
}

fn page(path: &Path) -> Result<ErrorPage, String> {
    let ReadFile { bytes, .. } = operator_file::read(path, LARGEST_PAGE)
        .map_err(|refusal| format!("there is no page at {}: {refusal}", path.display()))?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    Ok(ErrorPage {
        content_type: HeaderValue::from_static(content_type::of(name)),
        body: bytes.into(),
        path: path.to_owned(),
    })
}
