//! A middleware as of WASI 0.3, which does what the client's field `x-do` says.

use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::wit_bindgen::rt::async_support::FutureReader;
use wasip3::{spawn_local, wit_future, wit_stream};

use self::next::wasi::http::handler;

wasip3::http::service::export!(Middleware);

struct Middleware;

/// The import of `wasi:http/middleware`, which the bindings of WASI leave out. The types are theirs.
mod next {
    wit_bindgen::generate!({
        world: "inner",
        with: {
            "wasi:clocks/types@0.3.2": wasip3::clocks::types,
            "wasi:http/types@0.3.2": wasip3::http::types,
            "wasi:http/handler@0.3.2": generate,
        },
    });
}

type Answer = Result<Response, ErrorCode>;

/// The trailers after a body.
type End = Result<Option<Fields>, ErrorCode>;

impl Guest for Middleware {
    async fn handle(request: Request) -> Answer {
        let wanted = request.get_headers().get("x-do").into_iter().next().unwrap_or_default();
        match &*wanted {
            b"stop" => text(403, "stopped\n"),
            b"trap" => panic!("before anything"),
            b"untouched" => handler::handle(request).await,
            b"forget" => {
                let _unused = handler::handle(request).await;
                text(200, "mine\n")
            }
            b"trap-later" => {
                let _response = handler::handle(request).await;
                panic!("behind the inner one")
            }
            b"mend" => match handler::handle(request).await {
                Ok(response) => Ok(response),
                Err(code) => text(200, &format!("mended {code:?}\n")),
            },
            _ => around(handler::handle(with_field(request)).await?),
        }
    }
}

/// Makes the request again with another field, and the same body.
fn with_field(request: Request) -> Request {
    let fields = request.get_headers().clone();
    fields.append("x-by", b"middleware").expect("a field");
    let (method, scheme) = (request.get_method(), request.get_scheme());
    let (authority, target) = (request.get_authority(), request.get_path_with_query());
    let (processed, outcome) = wit_future::new(|| Ok(()));
    let (body, trailers): (_, FutureReader<End>) = Request::consume_body(request, outcome);
    drop(processed);
    let (request, _sent) = Request::new(fields, Some(body), trailers, None);
    request.set_method(&method).expect("a method");
    request.set_scheme(scheme.as_ref()).expect("a scheme");
    request.set_authority(authority.as_deref()).expect("an authority");
    request.set_path_with_query(target.as_deref()).expect("a target");
    request
}

/// Makes the response again with another field, and the same body.
fn around(response: Response) -> Answer {
    let (status, fields) = (response.get_status_code(), response.get_headers().clone());
    fields.append("x-around", b"yes").expect("a field");
    let (processed, outcome) = wit_future::new(|| Ok(()));
    let (body, trailers): (_, FutureReader<End>) = Response::consume_body(response, outcome);
    drop(processed);
    let (response, _sent) = Response::new(fields, Some(body), trailers);
    response.set_status_code(status).expect("a status");
    Ok(response)
}

fn text(status: u16, text: &str) -> Answer {
    let text = text.as_bytes().to_vec();
    let (mut body, contents) = wit_stream::new();
    let (end, ended) = wit_future::new(|| Ok(None));
    let (response, _sent) = Response::new(Fields::new(), Some(contents), ended);
    response.set_status_code(status).expect("a status");
    spawn_local(async move {
        body.write_all(text).await;
        drop(body);
        let _read = end.write(Ok(None)).await;
    });
    Ok(response)
}

/// The target requires a `main`, which is never run.
fn main() {}
