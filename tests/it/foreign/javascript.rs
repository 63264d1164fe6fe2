//! JavaScript, as a component that contains its engine and answers `fetch` events.

use std::io::Write as _;

use super::tools::npm;
use super::{LONG, build, tried};
use crate::bytes::pattern;
use crate::harness::{Daemon, Origin, Response, Setup};

/// The exports of the component in WIT. The tool knows what the two resources mean.
pub(super) const WIT: &str = "package local:app;
world app { export wasi:http/incoming-handler@0.2.10; }
package wasi:http@0.2.10 {
  interface types { resource incoming-request; resource response-outparam; }
  interface incoming-handler {
    use types.{incoming-request, response-outparam};
    handle: func(request: incoming-request, response-out: response-outparam);
  }
}
";

/// A service worker as in browsers: it answers requests and makes them.
const APP: &str = r#"
addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const url = new URL(request.url);
  if (url.pathname === "/ask") {
    return fetch(await request.text());
  }
  if (url.pathname === "/pieces") {
    return new Response(pieces(300, 20));
  }
  if (url.pathname === "/pass") {
    return new Response(passed(request.body.getReader(), 4096));
  }
  if (url.pathname === "/large") {
    return new Response("x".repeat(2_500_000));
  }
  if (url.pathname === "/throws") {
    throw new Error("on purpose");
  }
  const text = await request.text();
  console.log(`${text.length} letters`);
  return new Response(`${request.method} ${url.search} ${text.toUpperCase()}`, {
    status: 201,
    headers: { "Content-Type": "text/plain", "X-Made-With": "JavaScript" },
  });
}

// Passes a body on, in pieces of this size at most.
function passed(reader, size) {
  let rest = new Uint8Array(0);
  return new ReadableStream({
    async pull(controller) {
      while (rest.length === 0) {
        const { done, value } = await reader.read();
        if (done) {
          controller.close();
          return;
        }
        rest = value;
      }
      controller.enqueue(rest.subarray(0, size));
      rest = rest.subarray(size);
    },
  });
}

function pieces(count, size) {
  return new ReadableStream({
    pull(controller) {
      if (count-- === 0) {
        controller.close();
      } else {
        controller.enqueue(new Uint8Array(size).fill(120));
      }
    },
  });
}
"#;

/// Sends a body in chunks of 4 KiB while the response is read.
fn pass(daemon: &Daemon, body: &[u8]) -> Response {
    let mut all = b"POST /pass HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.chunks(4096) {
        write!(all, "{:x}\r\n", chunk.len()).unwrap();
        all.extend_from_slice(chunk);
        all.extend_from_slice(b"\r\n");
    }
    all.extend_from_slice(b"0\r\n\r\n");
    let mut client = daemon.client().patient(LONG);
    let mut socket = client.socket().try_clone().unwrap();
    std::thread::scope(|scope| {
        // The job may end early. Then the response tells more than this error.
        scope.spawn(move || drop(socket.write_all(&all)));
        client.response()
    })
}

#[test]
fn a_service_worker_in_javascript_answers_and_asks_whom_it_may_and_passes_on_the_largest_body() {
    let Some(tools) = npm() else { return };
    let origin = Origin::text("127.0.0.1", "asked");
    let url = format!("http://127.0.0.1:{}/", origin.port());
    let setup = Setup::new(&format!(
        "[handler.j]\nmodule = \"j.wasm\"\nlimits.cpu = \"60s\"\nlimits.time = \"300s\"\nallow = [\"{}\"]\nallow_addresses = [\"127.0.0.1\"]\n\
         [[route]]\npath = \"/{{word}}\"\nhandler = \"j\"\n",
        url.trim_end_matches('/')
    ))
    .file("app.wit", WIT.as_bytes())
    .file("app.js", APP.as_bytes());
    let mut componentize = tools.run(".bin/componentize-js");
    componentize.arg(setup.path("app.js")).arg("--wit").arg(setup.path("app.wit"));
    build(componentize.args(["-n", "app", "-o"]).arg(setup.path("j.wasm")));
    let (daemon, response) = tried("JavaScript, componentize-js", setup, |daemon| {
        daemon.client().submit("POST", "/shout?a=b", "", b"shout it")
    });
    let asked = daemon.client().submit("POST", "/ask", "", url.as_bytes());
    let thrown = daemon.client().get("/throws");
    let [pieces, large] = ["/pieces", "/large"].map(|target| daemon.client().get(target));
    // As large as `limits.body` allows by default, within the other limits as they are by default.
    let body = pattern(16 << 20);
    let passed = pass(&daemon, &body);

    assert_eq!((response.status(), response.field("x-made-with")), (201, Some("JavaScript")));
    assert_eq!(response.text(), "POST ?a=b SHOUT IT");
    daemon.log.line("j: 8 letters");
    assert_eq!((asked.status(), asked.text(), origin.hits()), (200, "asked", 1));
    // The program answers 500 itself, and leaves the body unfinished.
    assert!(matches!(thrown.status(), 500 | 502), "{}", thrown.text());
    assert_eq!((pieces.status(), pieces.body.len()), (200, 6_000), "300 pieces of 20 bytes");
    assert_eq!((large.status(), large.body.len()), (200, 2_500_000));
    assert!(passed.status() == 200 && passed.body == body, "{} {}", passed.status(), passed.body.len());
}
