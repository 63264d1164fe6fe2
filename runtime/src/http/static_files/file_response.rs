//! The response to a request for a file.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    LAST_MODIFIED, RANGE, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use rustix::io::Errno;
use tracing::error;

use super::condition::{Precondition, Validators};
use super::file_body::{CHUNK, FileBody};
use super::file_path::FilePath;
use super::listing;
use super::range::{self, RequestedRange};
use crate::budget::Budget;
use crate::catalog::{Coding, StaticFiles, Template};
use crate::cgi::path;
use crate::files::{FoundEntry, OpenError, OpenedFile, content_type};
use crate::http::refusal::Refusal;
use crate::http::request::direct_response;
use crate::http::request::response_body::Body;

/// A year in seconds: as long as a cache may keep a file that never changes (RFC 8246).
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// The same for a file behind gates. `public` would let a shared cache give the answer to one user to all (RFC 9111
/// §3.5).
const IMMUTABLE_GATED: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");

/// A request for a file.
#[derive(Clone, Copy)]
pub(in crate::http) struct FileRequest<'a> {
    /// The directory.
    pub(in crate::http) files: &'a StaticFiles,
    /// The head of a GET or HEAD.
    pub(in crate::http) head: &'a Parts,
    /// The head as the client sent it, before a rewrite.
    pub(in crate::http) sent: &'a Parts,
    /// The part of the path below the directory.
    pub(in crate::http) tail: &'a str,
    /// Whether the route has gates.
    pub(in crate::http) is_gated: bool,
    /// The file descriptors that are left for responses and jobs.
    pub(in crate::http) descriptors: &'a Arc<Budget>,
}

/// The file that answers, and its path below the directory.
struct SelectedFile {
    path: String,
    file: OpenedFile,
}

/// What a path leads to.
enum Selected {
    File(SelectedFile),
    /// A directory that was requested without its slash: relative links of its page would start at its parent.
    Unslashed,
    /// The page of a directory.
    Listing(String),
}

impl FileRequest<'_> {
    /// Answers the request.
    ///
    /// # Errors
    /// There is no such file, a precondition failed, the range is beyond its end, or the file system failed.
    pub(in crate::http) async fn answer(self) -> Result<Response<Body>, Refusal> {
        let path = FilePath::read(self.tail).ok_or(Refusal::NoFile)?;
        match self.select(path).await? {
            Selected::File(file) => self.send(file).await,
            Selected::Unslashed => self.add_slash(),
            Selected::Listing(page) => {
                let mut response = Response::new(Body::full(page.into()));
                let fields = response.headers_mut();
                fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
                fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
                Ok(response)
            }
        }
    }

    /// Finds what a path leads to: a file, the index of a directory, its listing, or the page for unknown paths.
    async fn select(self, path: FilePath<'_>) -> Result<Selected, Refusal> {
        let options = &self.files.options;
        if path.is_dir || self.is_slashed(path).await? {
            if let Some(index) = &options.index
                && let Some(file) = self.file(path.with(index)).await?
            {
                return Ok(Selected::File(file));
            }
            if options.listing
                && let Some(page) = self.list(path).await?
            {
                return Ok(Selected::Listing(page));
            }
        } else {
            match self.open(path.path).await? {
                Some(FoundEntry::File(file)) => {
                    return Ok(Selected::File(SelectedFile { path: path.path.to_owned(), file }));
                }
                Some(FoundEntry::Directory(_)) => {
                    // A directory without a page looks like a missing file.
                    let has_page = match &options.index {
                        Some(index) => options.listing || self.file(path.with(index)).await?.is_some(),
                        None => options.listing,
                    };
                    if has_page {
                        return Ok(Selected::Unslashed);
                    }
                }
                None => {}
            }
        }
        match &options.spa {
            // A name with a dot is a file that is missing, and a page in its place would only confuse.
            Some(spa) if !path.name().contains('.') => {
                self.file(spa.clone()).await?.map(Selected::File).ok_or(Refusal::NoFile)
            }
            Some(_) | None => Err(Refusal::NoFile),
        }
    }

    /// Reports whether a path without a slash is that of a directory, and the path that the client sent has the slash:
    /// a rewrite left it out. A redirect to another slash would never end.
    async fn is_slashed(self, path: FilePath<'_>) -> Result<bool, Refusal> {
        let is_rewritten = !std::ptr::eq(self.sent, self.head) && self.sent.uri.path().ends_with('/');
        Ok(is_rewritten && matches!(self.open(path.path).await?, Some(FoundEntry::Directory(_))))
    }

    /// Opens a name. Returns `None` if clients see no such file.
    async fn open(self, path: &str) -> Result<Option<FoundEntry>, Refusal> {
        match self.files.root.open(path).await {
            Ok(found) => Ok(Some(found)),
            Err(OpenError::Absent) => Ok(None),
            Err(error) => Err(self.refusal(&error)),
        }
    }

    /// Opens a file. Returns `None` if there is none.
    async fn file(self, path: String) -> Result<Option<SelectedFile>, Refusal> {
        Ok(match self.open(&path).await? {
            Some(FoundEntry::File(file)) => Some(SelectedFile { path, file }),
            Some(FoundEntry::Directory(_)) | None => None,
        })
    }

    async fn list(self, below: FilePath<'_>) -> Result<Option<String>, Refusal> {
        let place = if below.path.is_empty() { "." } else { below.path };
        let Some(FoundEntry::Directory(dir)) = self.open(place).await? else { return Ok(None) };
        let listed = self.files.root.list(place, dir).await.map_err(|error| self.refusal(&error))?;
        // It was decoded before, so it has no error.
        let shown = path::decode(self.sent.uri.path()).unwrap_or_default();
        Ok(Some(listing::page(&shown, &listed, !below.path.is_empty())))
    }

    /// Redirects to the path that the client sent, with a slash. A path that a rewrite made is not shown.
    fn add_slash(self) -> Result<Response<Body>, Refusal> {
        let to = Template::path("{path}/{?query}", &[]).map_err(|_| Refusal::Internal)?;
        direct_response::moved(
            StatusCode::MOVED_PERMANENTLY,
            to.fill(direct_response::parts(self.sent), |_| None),
        )
    }

    /// Sends a file, or the part of it that the client asks for.
    async fn send(self, selected: SelectedFile) -> Result<Response<Body>, Refusal> {
        let kind = content_type::of(&selected.path);
        let mut fields = HeaderMap::with_capacity(12);
        self.describe(&selected.path, &mut fields);
        let (file, coding) = match self.precompressed(&selected.path).await? {
            Some((file, coding)) => (file, Some(coding)),
            None => (selected.file, None),
        };
        let validators = Validators::of(&file.state, coding);
        fields.insert(ETAG, validators.etag_value());
        fields.extend(validators.modified_value().map(|date| (LAST_MODIFIED, date)));
        match validators.judge(&self.head.headers) {
            Precondition::Failed => return Err(Refusal::Precondition),
            Precondition::Unchanged => return Ok(response(StatusCode::NOT_MODIFIED, fields, Body::empty())),
            Precondition::Proceed => {}
        }
        fields.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        fields.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        fields.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        fields.extend(coding.map(|coding| (CONTENT_ENCODING, coding.value())));
        let length = file.state.length;
        if self.head.method == Method::HEAD {
            fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
            return Ok(response(StatusCode::OK, fields, Body::empty()));
        }
        let range = self.head.headers.get(RANGE).and_then(|value| value.to_str().ok());
        let range = range.filter(|_| validators.range_applies(&self.head.headers));
        let (status, first, length) =
            match range.map_or(RequestedRange::Whole, |range| range::parse(range, length)) {
                RequestedRange::Whole => (StatusCode::OK, 0, length),
                RequestedRange::Outside => return Err(Refusal::Range(length)),
                RequestedRange::Within { first, last } => {
                    let value = HeaderValue::try_from(format!("bytes {first}-{last}/{length}"));
                    fields.extend(value.ok().map(|value| (CONTENT_RANGE, value)));
                    (StatusCode::PARTIAL_CONTENT, first, last - first + 1)
                }
            };
        Ok(response(status, fields, self.body(file, first, length).await?))
    }

    /// Adds the fields that tell caches how to keep a file.
    fn describe(self, path: &str, fields: &mut HeaderMap) {
        let options = &self.files.options;
        if !options.precompressed.is_empty() {
            fields.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        if let Some(immutable) = &options.immutable {
            fields.insert(CACHE_CONTROL, freshness(immutable.matches(path), self.is_gated));
        }
    }

    /// Finds the file in a coding that the client prefers: `app.js.br` beside `app.js`.
    async fn precompressed(self, path: &str) -> Result<Option<(OpenedFile, Coding)>, Refusal> {
        for coding in Coding::accepted(&self.head.headers, &self.files.options.precompressed) {
            if let Some(found) = self.file([path, coding.extension()].concat()).await? {
                return Ok(Some((found.file, coding)));
            }
        }
        Ok(None)
    }

    /// Makes the body: a short one is read at once, a long one while it is sent.
    async fn body(self, file: OpenedFile, first: u64, length: u64) -> Result<Body, Refusal> {
        let root = &self.files.root;
        if length == 0 {
            return Ok(Body::empty());
        }
        let file = Arc::new(file);
        match usize::try_from(length) {
            Ok(short) if short <= CHUNK => self.read(&file, first, short).await.map(Body::full),
            _ => {
                let descriptor = self.descriptors.try_take(root.holder(), 1).ok_or_else(|| {
                    Refusal::Occupied("no file descriptor is left for this file: try again later".to_owned())
                })?;
                Ok(Body::from_source(FileBody::new(root.clone(), file, first, length, descriptor)))
            }
        }
    }

    /// Reads a part of a file whole.
    async fn read(self, file: &Arc<OpenedFile>, first: u64, length: usize) -> Result<Bytes, Refusal> {
        let mut whole = BytesMut::new();
        let mut at = first;
        while whole.len() < length {
            let wanted = length - whole.len();
            let read = match file.read_now(at, wanted) {
                Some(read) => read.map_err(OpenError::Failed),
                None => self.files.root.read(file.clone(), at, wanted).await,
            };
            let bytes = read.map_err(|error| self.refusal(&error))?;
            if bytes.len() == length && !file.has_changed() {
                return Ok(bytes);
            }
            at += bytes.len() as u64;
            whole.extend_from_slice(&bytes);
        }
        if file.has_changed() { Err(changed()) } else { Ok(whole.freeze()) }
    }

    /// Logs a failure of the file system, and makes the refusal for the client.
    fn refusal(self, failure: &OpenError) -> Refusal {
        match failure {
            OpenError::Absent => Refusal::NoFile,
            OpenError::Busy => {
                Refusal::Occupied("the file system of this file does not answer: try again later".to_owned())
            }
            OpenError::Failed(Errno::NODATA) => changed(),
            OpenError::Failed(Errno::MFILE | Errno::NFILE) => {
                Refusal::Occupied("no file descriptor is left for this file: try again later".to_owned())
            }
            OpenError::Failed(errno) => {
                error!("static {}: {:?}: {errno}", self.files.root.path().display(), self.tail);
                Refusal::Internal
            }
        }
    }
}

/// Makes the refusal for a file that became another one while it was read.
fn changed() -> Refusal {
    Refusal::Occupied("the file was changed while it was read: try again".to_owned())
}

/// Tells caches how long they may keep a file, and whether for one user only.
fn freshness(is_immutable: bool, is_gated: bool) -> HeaderValue {
    match (is_immutable, is_gated) {
        (true, false) => IMMUTABLE,
        (true, true) => IMMUTABLE_GATED,
        (false, _) => HeaderValue::from_static("no-cache"),
    }
}

fn response(status: StatusCode, fields: HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = fields;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_behind_gates_is_for_one_user() {
        assert_eq!(freshness(true, false), "public, max-age=31536000, immutable");
        assert_eq!(freshness(true, true), "private, max-age=31536000, immutable");
        assert_eq!(freshness(false, true), "no-cache");
    }
}
