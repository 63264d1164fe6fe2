//! Greets the name in the path: the handler to read first.

use portcullis_guest::{Request, Response, serve};
use std::process::ExitCode;

fn main() -> ExitCode {
    serve(|request: Request| greet(&request))
}

fn greet(request: &Request) -> Response {
    let greeting = request.var("GREETING").unwrap_or("Hello");
    let who = request.capture("who").unwrap_or("world");
    Response::text(format!("{greeting}, {who}!\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_names_the_greeted_and_the_configuration_the_greeting() {
        let request = Request::test("GET", "/hello/ada").route("/hello/{who}").var("GREETING", "Good day");

        let response = greet(&request);

        assert_eq!(response.into_bytes(), b"Good day, ada!\n");
    }

    #[test]
    fn nobody_in_particular_is_the_world() {
        assert_eq!(greet(&Request::test("GET", "/hello/")).into_bytes(), b"Hello, world!\n");
    }
}
