//! Forwards requests to the server in the variable `ORIGIN`, and streams its response back.

use portcullis_guest::fetch::{self, FetchError};
use portcullis_guest::{Error, Request, Response, serve};
use std::process::ExitCode;
use std::time::Duration;

/// The time limit for connecting to the other server.
const PATIENCE: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    serve(mirror)
}

fn mirror(request: Request) -> Result<Response, Error> {
    let origin = request.var("ORIGIN").ok_or_else(|| Error::internal("env.ORIGIN is not set"))?;
    let url = format!("{origin}{}", target(request.uri()));
    let answer = fetch::get(url).connect_timeout(PATIENCE).send().map_err(told)?;
    let (status, kind) = (answer.status(), answer.header("content-type").unwrap_or_default().to_owned());
    let response = Response::reader(answer).with_status(status);
    Ok(if kind.is_empty() { response } else { response.header("Content-Type", kind) })
}

/// Returns the target at the other server: everything after the first segment of the path.
fn target(uri: &str) -> &str {
    uri.get(1..).and_then(|rest| rest.find('/')).map_or("/", |slash| &uri[slash + 1..])
}

/// Returns the failure for the client, and logs its cause.
#[expect(clippy::print_stderr, reason = "stderr is the handler's log")]
fn told(error: FetchError) -> Error {
    eprintln!("{error}");
    match error {
        FetchError::TimedOut(_) => Error::new(504, "the server that was asked takes too long"),
        _ => Error::new(502, "the server that was asked gives no answer"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_the_target_is_asked_for_as_it_was_written() {
        assert_eq!(["/mirror/a%2Fb/c?d=/e", "/mirror/", "/mirror"].map(target), ["/a%2Fb/c?d=/e", "/", "/"]);
    }

    #[test]
    fn who_cannot_ask_is_a_bad_gateway() {
        let error =
            mirror(Request::test("GET", "/mirror/a").var("ORIGIN", "http://a.test").body("")).unwrap_err();
        assert_eq!(error.status(), 502);
    }
}
