//! Uses the SDK in the way that the first argument names.

use std::io::{self, Read as _};
use std::process::ExitCode;

use portcullis_guest::{Error, Event, Request, Response, SetCookie, serve};

fn main() -> ExitCode {
    serve(answer)
}

fn answer(mut request: Request) -> Result<Response, Error> {
    match request.args().last().map(String::as_str).unwrap_or_default() {
        "fail" => {
            std::fs::read("/nowhere")?;
            Ok(Response::ok())
        }
        "upload" => upload(&mut request),
        "elsewhere" => {
            let body = request.into_body();
            // In a boxed closure, as a library with its own tasks would have it.
            let read: Box<dyn FnOnce() -> io::Result<u64> + Send> =
                Box::new(move || Ok(body.bytes().count() as u64));
            Ok(Response::text(read()?.to_string()))
        }
        "visit" => {
            let visits = request.cookie("visits").and_then(|visits| visits.parse().ok()).unwrap_or(0) + 1;
            let cookie = SetCookie::new("visits", visits.to_string());
            Ok(Response::text(visits.to_string()).cookie(cookie).cookie(SetCookie::removed("old")))
        }
        "events" => Ok(Response::sse(|events| {
            events.send("one")?;
            events.keep_alive()?;
            events.send(Event::new("two\nlines").name("news").id("2"))
        })),
        other => Err(Error::not_found(other)),
    }
}

/// Reports the size of each part, and keeps none.
fn upload(request: &mut Request) -> Result<Response, Error> {
    let mut said = String::new();
    let mut parts = request.multipart()?;
    while let Some(mut part) = parts.next_part()? {
        let size = part.copy_to(&mut io::sink(), 20 << 20)?;
        said.push_str(&format!("{} {} {size}\n", part.name(), part.file_name().unwrap_or("-")));
    }
    Ok(Response::text(said))
}
