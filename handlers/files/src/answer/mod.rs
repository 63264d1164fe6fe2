//! Answers a request with the file it names, a part of the file, or an error.

use crate::condition::{self, Stamp, Verdict};
use crate::kind;
use crate::path::{self, Wanted};
use crate::range::{self, Part};
use portcullis_guest::{Error, Request, Response};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The path of the mount, unless the variable `ROOT` names another.
const ROOT: &str = "/data";

/// The result of looking up a name.
enum Found {
    File(PathBuf),
    /// A directory requested without its final slash: relative links in its page would be resolved against the
    /// parent.
    Unslashed,
    Nothing,
}

/// Answers one request.
///
/// # Errors
/// 500 when the mount cannot be read. A name without a file is a 404, not an error.
pub(crate) fn answer(request: Request) -> Result<Response, Error> {
    if !matches!(request.method(), "GET" | "HEAD") {
        return Ok(Response::text("only GET and HEAD\n").with_status(405).header("Allow", "GET, HEAD"));
    }
    let root = Path::new(request.var("ROOT").unwrap_or(ROOT));
    let Some(wanted) = Wanted::parse(request.capture("rest").unwrap_or_default()) else {
        return Ok(Response::not_found());
    };
    if wanted.is_mount() && !request.path().ends_with('/') {
        return Ok(moved(&request));
    }
    match find(root, &wanted)? {
        Found::Nothing => Ok(Response::not_found()),
        Found::Unslashed => Ok(moved(&request)),
        Found::File(path) => send(&request, &path),
    }
}

fn find(root: &Path, wanted: &Wanted<'_>) -> io::Result<Found> {
    let path = wanted.under(root);
    let Some(meta) = present(std::fs::metadata(&path))? else { return Ok(Found::Nothing) };
    if meta.is_file() && !wanted.directory {
        return Ok(Found::File(path));
    }
    if !meta.is_dir() {
        return Ok(Found::Nothing);
    }
    let index = path.join("index.html");
    match present(std::fs::metadata(&index))? {
        Some(meta) if meta.is_file() && wanted.directory => Ok(Found::File(index)),
        // A directory without `index.html` looks like a missing file.
        Some(meta) if meta.is_file() => Ok(Found::Unslashed),
        _ => Ok(Found::Nothing),
    }
}

/// Converts errors that mean "no such file for this client" into `None`.
fn present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    use io::ErrorKind::{InvalidFilename, InvalidInput, NotADirectory, NotFound, PermissionDenied};
    // WASI preview1 `errno`: loop, and notcapable for a link that leaves the mount. They have no `ErrorKind`.
    const UNREACHABLE: [i32; 2] = [32, 76];
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) => match error.kind() {
            NotFound | NotADirectory | PermissionDenied | InvalidFilename | InvalidInput => Ok(None),
            _ if error.raw_os_error().is_some_and(|code| UNREACHABLE.contains(&code)) => Ok(None),
            _ => Err(error),
        },
    }
}

/// Redirects the client to the same path with a slash, and keeps its query.
fn moved(request: &Request) -> Response {
    let mut to = path::encode(request.path());
    to.push('/');
    if let Some(query) = request.var("QUERY_STRING").filter(|query| !query.is_empty()) {
        to.push('?');
        to.push_str(query);
    }
    Response::redirect(&to).with_status(308)
}

fn send(request: &Request, path: &Path) -> Result<Response, Error> {
    let Some(file) = present(File::open(path))? else { return Ok(Response::not_found()) };
    // The metadata of the open file: the name may lead to another file by now.
    let meta = file.metadata()?;
    let (stamp, length) = (Stamp::of(&meta), meta.len());
    match condition::judge(request, &stamp) {
        Verdict::Unchanged => return Ok(dressed(Response::new(304), path, &stamp)),
        Verdict::Refused => return Ok(Response::text("the file is another one by now\n").with_status(412)),
        Verdict::Proceed => {}
    }
    // RFC 9110 §14.2: a range has no meaning except for GET.
    let part = if request.method() == "GET" && condition::range_applies(request, &stamp) {
        range::parse(request.header("range"), length)
    } else {
        Part::Whole
    };
    match part {
        Part::Whole if request.method() == "HEAD" => {
            Ok(dressed(Response::new(200), path, &stamp).header("Content-Length", length.to_string()))
        }
        Part::Whole => Ok(dressed(body(file, 0, length)?, path, &stamp)),
        Part::Within { first, last } => {
            let response = dressed(body(file, first, last - first + 1)?, path, &stamp).with_status(206);
            Ok(response.header("Content-Range", format!("bytes {first}-{last}/{length}")))
        }
        Part::Outside => {
            let refused = Response::text("the file is shorter than that\n").with_status(416);
            Ok(refused.header("Content-Range", format!("bytes */{length}")))
        }
    }
}

/// Adds the fields that a 200, a 206 and a 304 share (RFC 9110 §15.4.5).
fn dressed(response: Response, path: &Path, stamp: &Stamp) -> Response {
    let response = response
        .header("Content-Type", kind::of(path))
        .header("X-Content-Type-Options", "nosniff")
        .header("Accept-Ranges", "bytes")
        .header("Cache-Control", "no-cache")
        .header("ETag", stamp.etag());
    match stamp.last_modified() {
        Some(date) => response.header("Last-Modified", date),
        None => response,
    }
}

/// Streams `length` bytes from `first` on.
fn body(mut file: File, first: u64, length: u64) -> io::Result<Response> {
    file.seek(SeekFrom::Start(first))?;
    Ok(Response::reader(Exactly { file, left: length }).header("Content-Length", length.to_string()))
}

/// Reads the promised length. Fails if the file has become shorter, because a truncated body must not look
/// complete.
struct Exactly {
    file: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.file.read(&mut buffer[..most])?;
        if read == 0 && most > 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file became shorter while it was sent",
            ));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
