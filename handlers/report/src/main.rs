//! Lets the handler `wc` count the request body, and answers in JSON.

use portcullis_guest::{Error, Request, Response, job, serve};
use serde_json::json;
use std::process::ExitCode;

fn main() -> ExitCode {
    serve(report)
}

fn report(request: Request) -> Result<Response, Error> {
    // The body is passed on as it arrives: neither handler ever holds all of it.
    let counted = job("wc").stdin(request.into_body()).output()?;
    counted.status.ok()?;
    let [lines, words, bytes] =
        numbers(&counted.stdout).ok_or_else(|| Error::internal("wc said nonsense"))?;
    Ok(Response::json(&json!({ "lines": lines, "words": words, "bytes": bytes })))
}

/// Parses `LINES WORDS BYTES`.
fn numbers(said: &[u8]) -> Option<[u64; 3]> {
    let said = str::from_utf8(said).ok()?;
    let numbers: Vec<u64> = said.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    numbers.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_numbers_are_a_count_and_nothing_else_is() {
        assert_eq!(numbers(b"1 3 14\n"), Some([1, 3, 14]));
        assert_eq!([&b"1 3"[..], b"a b c", b"\xff"].map(numbers), [None; 3]);
    }
}
