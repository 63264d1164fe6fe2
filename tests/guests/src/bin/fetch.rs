//! Makes the outbound requests on its stdin, one a line, and reports the outcome of each.

use std::process::ExitCode;

use portcullis_guest::{Request, Response, serve};

fn main() -> ExitCode {
    serve(|request: Request| answer(request))
}

#[cfg(not(target_env = "p2"))]
fn answer(_request: Request) -> Response {
    Response::text("only a component can ask\n").with_status(501)
}

#[cfg(target_env = "p2")]
fn answer(request: Request) -> Response {
    use std::io::BufRead as _;

    let args: Vec<String> = std::env::args().collect();
    if let Some([_, url]) = args.windows(2).find(|pair| pair[0] == "itself") {
        return Response::text(ask(&format!("GET {url}"), &mut Vec::new()));
    }
    let mut body = request.into_body();
    Response::stream("text/plain", move |out| {
        let mut line = String::new();
        // Kept until the end, so that requests are concurrent.
        let mut held = Vec::new();
        while body.read_line(&mut line)? > 0 {
            let said = ask(line.trim_end(), &mut held);
            writeln!(out, "{}", said.replace('\n', "\\n"))?;
            out.flush()?;
            line.clear();
        }
        Ok(())
    })
}

/// Runs `METHOD URL [BODY]`, `hold URL`, `head URL`, `fields URL`, `within URL MILLISECONDS` or `drain URL
/// MILLISECONDS`.
#[cfg(target_env = "p2")]
fn ask(line: &str, held: &mut Vec<portcullis_guest::fetch::Fetched>) -> String {
    use portcullis_guest::fetch;

    let mut words = line.splitn(3, ' ');
    let (verb, url, rest) =
        (words.next().unwrap_or_default(), words.next().unwrap_or_default(), words.next());
    let method = if matches!(verb, "hold" | "fields" | "within" | "drain") { "GET" } else { verb };
    let mut call = fetch::request(method, url);
    if let Some(("header", field)) = rest.and_then(|rest| rest.split_once(' ')) {
        let (name, value) = field.split_once(' ').unwrap_or_default();
        call = call.header(name, value);
    } else if let Some(size) = rest.and_then(|rest| rest.strip_prefix("size ")) {
        call = call.body(vec![b'x'; size.parse().unwrap_or(0)]);
    } else if let Some(time) = rest.filter(|_| matches!(verb, "within" | "drain")) {
        call = call.timeout(std::time::Duration::from_millis(time.parse().unwrap_or(0)));
    } else if let Some(body) = rest {
        call = call.body(body);
    }
    match call.send() {
        Ok(answer) if verb == "hold" => {
            held.push(answer);
            format!("held {}", held.len())
        }
        Ok(answer) if verb == "fields" => {
            let fields =
                answer.headers().map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value)));
            fields.collect::<Vec<_>>().join(";")
        }
        Ok(mut answer) if verb == "drain" => match std::io::copy(&mut answer, &mut std::io::sink()) {
            Ok(_) => "drained".to_owned(),
            Err(error) => format!("and then {error}"),
        },
        Ok(answer) => {
            let status = answer.status();
            match answer.text() {
                Ok(text) => format!("{status} {text}"),
                Err(error) => format!("{status} and then {error}"),
            }
        }
        Err(error) => format!("{error}"),
    }
}
