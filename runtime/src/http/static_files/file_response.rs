//! The response to a request for a file.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG,
    LAST_MODIFIED, RANGE, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use rustix::io::Errno;
use tracing::error;

use super::condition::{self, Precondition, Validators};
use super::file_body::{CHUNK, FileBody};
use super::file_path::FilePath;
use super::listing;
use super::range::{self, RequestedRange};
use crate::budget::Budget;
use crate::catalog::{Coding, StaticFiles, StaticOptions, Template};
use crate::cgi::path;
use crate::files::{FoundEntry, KeptFile, OpenError, OpenedFile, WholeFile, content_type};
use crate::http::refusal::Refusal;
use crate::http::request::direct_response;
use crate::http::request::response_body::Body;

/// A year in seconds: as long as a cache may keep a file that never changes (RFC 8246).
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// The same for a file behind gates. `public` would let a shared cache give the answer to one user to all (RFC 9111
/// §3.5).
const IMMUTABLE_GATED: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");

/// The fields that a response without the file lacks (RFC 9110 §15.4.5), the last one first: a map puts its last field in
/// the place of the field that is removed.
static OF_CONTENT: [HeaderName; 4] = [CONTENT_ENCODING, ACCEPT_RANGES, X_CONTENT_TYPE_OPTIONS, CONTENT_TYPE];

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

/// The head of a response, and the part of the file that is its body. `None` for a response without a body.
struct FileHead {
    status: StatusCode,
    fields: HeaderMap,
    part: Option<FilePart>,
}

/// A part of a file, in bytes.
#[derive(Clone, Copy)]
struct FilePart {
    first: u64,
    length: u64,
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
    /// Answers the request with a file that is kept in memory. `None` if none is, or if its path no longer leads to it.
    /// Does not wait for another process or a server.
    pub(in crate::http) fn answer_kept(self) -> Option<Result<Response<Body>, Refusal>> {
        let path = FilePath::read(self.tail)?;
        let StaticOptions { index, precompressed, .. } = &self.files.options;
        // With a coding that the client accepts, another file may lie beside it.
        if !precompressed.is_empty() && Coding::accepted(&self.head.headers, precompressed).next().is_some() {
            return None;
        }
        let path = match index {
            _ if !path.is_dir => Cow::Borrowed(path.path),
            Some(index) => Cow::Owned(path.with(index)),
            None => return None,
        };
        let kept = self.files.root.kept(&path)?;
        Some(self.send_kept(&kept))
    }

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
    async fn send(self, SelectedFile { path, file }: SelectedFile) -> Result<Response<Body>, Refusal> {
        let (file, coding) = match self.precompressed(&path).await? {
            Some((file, coding)) => (file, Some(coding)),
            None => (file, None),
        };
        let state = file.version.state;
        let validators = Validators::of(&state, coding);
        let fields = || self.fields_of(&path, coding, &validators);
        let head = self.head_of(fields(), state.length, &validators)?;
        let body = match head.part {
            None | Some(FilePart { length: 0, .. }) => Body::empty(),
            Some(FilePart { first, length }) => match usize::try_from(length) {
                Ok(short) if short <= CHUNK => {
                    let (root, file) = (&self.files.root, Arc::new(file));
                    let content = self.read(&file, first, short).await?;
                    if length == state.length && coding.is_none() {
                        let read = WholeFile { path: &path, file: &file, content: &content };
                        root.keep(read, fields, self.descriptors);
                    }
                    Body::full(content)
                }
                _ => self.body_while_sent(file, first, length)?,
            },
        };
        Ok(direct_response::response(head.status, head.fields, body))
    }

    /// Sends a file that is kept in memory, or the part of it that the client asks for.
    fn send_kept(self, kept: &KeptFile) -> Result<Response<Body>, Refusal> {
        let mut fields = kept.fields.clone();
        if self.head.method == Method::GET && !may_want_less(&self.head.headers) {
            return Ok(direct_response::response(StatusCode::OK, fields, Body::full(kept.content.clone())));
        }
        // It follows the other fields of the response.
        fields.remove(DATE);
        let state = &kept.version.state;
        let head = self.head_of(fields, state.length, &Validators::of(state, None))?;
        let part = head.part.map(|part| kept.part(part.first, part.length));
        Ok(direct_response::response(head.status, head.fields, Body::full(part.unwrap_or_default())))
    }

    /// Makes the fields of the response with a whole file. They depend on the file and the route alone, and each route opens
    /// its directory for itself: the fields of a kept file are of one route.
    fn fields_of(self, path: &str, coding: Option<Coding>, validators: &Validators) -> HeaderMap {
        let mut fields = HeaderMap::with_capacity(12);
        self.describe(path, &mut fields);
        fields.insert(ETAG, validators.etag_value());
        fields.extend(validators.modified_value().map(|modified| (LAST_MODIFIED, modified)));
        fields.insert(CONTENT_TYPE, HeaderValue::from_static(content_type::of(path)));
        fields.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        fields.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        fields.extend(coding.map(|coding| (CONTENT_ENCODING, coding.value())));
        fields
    }

    /// Makes the head of the response from that with the whole file, and finds the part of the file that is the body.
    fn head_of(
        self,
        mut fields: HeaderMap,
        length: u64,
        validators: &Validators,
    ) -> Result<FileHead, Refusal> {
        let request = &self.head.headers;
        match validators.judge(request) {
            Precondition::Failed => return Err(Refusal::Precondition),
            Precondition::Unchanged => {
                for name in &OF_CONTENT {
                    fields.remove(name);
                }
                fields.insert(ETAG, validators.etag_of_copy(request));
                return Ok(FileHead { status: StatusCode::NOT_MODIFIED, fields, part: None });
            }
            Precondition::Proceed => {}
        }
        if self.head.method == Method::HEAD {
            fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
            return Ok(FileHead { status: StatusCode::OK, fields, part: None });
        }
        let range = condition::single(request, &RANGE).filter(|_| validators.range_applies(request));
        let (status, part) = match range.map_or(RequestedRange::Whole, |range| range::parse(range, length)) {
            RequestedRange::Whole => (StatusCode::OK, FilePart { first: 0, length }),
            RequestedRange::Outside => return Err(Refusal::Range(length)),
            RequestedRange::Within { first, last } => {
                let value = HeaderValue::try_from(format!("bytes {first}-{last}/{length}"));
                fields.extend(value.ok().map(|value| (CONTENT_RANGE, value)));
                (StatusCode::PARTIAL_CONTENT, FilePart { first, length: last - first + 1 })
            }
        };
        Ok(FileHead { status, fields, part: Some(part) })
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

    /// Makes the body of a long part, which is read while it is sent.
    fn body_while_sent(self, file: OpenedFile, first: u64, length: u64) -> Result<Body, Refusal> {
        let root = &self.files.root;
        let descriptor = self.descriptors.try_take(root.holder(), 1).ok_or_else(|| {
            Refusal::Occupied("no file descriptor is left for this file: try again later".to_owned())
        })?;
        Ok(Body::from_source(FileBody::new(root.clone(), Arc::new(file), first, length, descriptor)))
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
            // Room for no more than the file: it may be kept in memory, which counts its length.
            whole.reserve(wanted);
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

/// Reports whether a GET may want less than a whole file: a part, or nothing if it has the file already. The conditions of
/// RFC 9110 §13.1 all begin with `If-`.
fn may_want_less(request: &HeaderMap) -> bool {
    request.keys().any(|name| *name == RANGE || name.as_str().starts_with("if-"))
}

#[cfg(test)]
mod tests;
