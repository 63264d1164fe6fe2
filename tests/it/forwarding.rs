//! Who the client is behind trusted proxies: true and forged fields, over TCP, Unix sockets and HTTP/2.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{
    Client, Daemon, PATIENCE, Program, Response, Setup, finish, found, free_port, guests, portcullis, reaped,
    until,
};

/// The proxy of these tests, on the loopback network.
const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

const TRUSTED: &str = "trusted_proxies = [\"127.0.0.2\", \"10.0.0.0/8\", \"unix\"]\naccess_log = true\n";

/// `/env` lists its variables.
fn setup() -> Setup {
    Setup::new(TRUSTED).handler("env", "", &Program::text().environment().wasm())
}

/// Sends a request from the proxy, on a connection of its own.
fn ask(daemon: &Daemon, fields: &str) -> Response {
    Client::tcp_from(PROXY, daemon.port()).ask("GET", "/env", fields)
}

fn variable<'r>(response: &'r Response, name: &str) -> &'r str {
    let variables = response.text().split_terminator('\0');
    let value = |variable: &'r str| variable.strip_prefix(name)?.strip_prefix('=');
    variables.filter_map(value).next().unwrap_or("-")
}

/// `REMOTE_ADDR REMOTE_PORT HTTPS SERVER_NAME SERVER_PORT`, as a handler sees them. `*` stands for a port of the test.
fn facts(daemon: &Daemon, response: &Response) -> String {
    let of = |name: &str| match variable(response, name) {
        port if port == daemon.port().to_string() => "*".to_owned(),
        value => value.to_owned(),
    };
    let port = match of("REMOTE_PORT") {
        port if of("REMOTE_ADDR").starts_with("127.") && port != "-" => "*".to_owned(),
        port => port,
    };
    [of("REMOTE_ADDR"), port, of("HTTPS"), of("SERVER_NAME"), of("SERVER_PORT")].join(" ")
}

#[test]
fn a_trusted_proxy_is_believed_from_the_right_as_far_as_trust_goes() {
    let daemon = setup().start();
    let of_proxy = "127.0.0.2 * - test *";

    for (fields, wanted) in [
        ("", of_proxy),
        // X-Forwarded-For: an address, a forged one before it, a chain, a port, IPv6, several lines.
        ("X-Forwarded-For: 203.0.113.7\r\n", "203.0.113.7 - - test *"),
        ("X-Forwarded-For: 6.6.6.6, 203.0.113.7\r\n", "203.0.113.7 - - test *"),
        ("X-Forwarded-For: 6.6.6.6, 203.0.113.7, 10.0.0.2\r\n", "203.0.113.7 - - test *"),
        ("X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 203.0.113.7\r\n", "203.0.113.7 - - test *"),
        ("X-Forwarded-For: 203.0.113.7:4711\r\n", "203.0.113.7 4711 - test *"),
        ("X-Forwarded-For: [2001:db8::7]:4711\r\n", "2001:db8::7 4711 - test *"),
        ("X-Forwarded-For: 2001:db8::7\r\n", "2001:db8::7 - - test *"),
        ("X-Forwarded-For: \"nonsense, 203.0.113.7\r\n", "203.0.113.7 - - test *"),
        ("X-Forwarded-For: 6.6.6.6, unknown, 10.0.0.2\r\n", "10.0.0.2 - - test *"),
        ("X-Forwarded-For: 6.6.6.6, unknown\r\n", of_proxy),
        // Forwarded, in the same ways.
        ("Forwarded: for=203.0.113.7\r\n", "203.0.113.7 - - test *"),
        ("Forwarded: for=6.6.6.6, for=203.0.113.7\r\n", "203.0.113.7 - - test *"),
        ("Forwarded: for=\"6.6.6.6, for=\"[2001:db8::7]:4711\"\r\n", "2001:db8::7 4711 - test *"),
        ("Forwarded: for=\"6\r\nForwarded: for=203.0.113.7, for=10.0.0.2\r\n", "203.0.113.7 - - test *"),
        ("Forwarded: for=_hidden\r\n", of_proxy),
        // Scheme and host.
        ("X-Forwarded-Proto: https\r\n", "127.0.0.2 * on test 443"),
        (
            "X-Forwarded-Proto: http, https\r\nX-Forwarded-Host: evil, a.example\r\n",
            "127.0.0.2 * on a.example 443",
        ),
        ("X-Forwarded-Host: a.example:8443\r\n", "127.0.0.2 * - a.example 8443"),
        (
            "Forwarded: for=203.0.113.7;proto=https;host=a.example, for=10.0.0.2;proto=http\r\n",
            "203.0.113.7 - on a.example 443",
        ),
        // Both kinds, if both say the same.
        ("Forwarded: for=203.0.113.7\r\nX-Forwarded-For: 203.0.113.7\r\n", "203.0.113.7 - - test *"),
    ] {
        let response = ask(&daemon, fields);
        assert_eq!((facts(&daemon, &response).as_str(), response.status()), (wanted, 200), "{fields}");
    }
}

#[test]
fn an_untrusted_client_changes_nothing_by_these_fields() {
    let daemon = setup().start();
    let forged = "Forwarded: for=6.6.6.6;proto=https;host=evil\r\nX-Forwarded-For: 6.6.6.6\r\n\
                  X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Real-IP: 6.6.6.6\r\n";

    let response = daemon.client().ask("GET", "/env", forged);

    assert_eq!(facts(&daemon, &response), "127.0.0.1 * - test *");
    assert_eq!(variable(&response, "HTTP_X_FORWARDED_FOR"), "6.6.6.6", "the field itself is passed on");
    assert!(daemon.log.line("GET /env").contains("for 127.0.0.1:"), "{}", daemon.log.text());
    let malformed = daemon.client().ask("GET", "/env", "Forwarded: for=\"\r\nX-Forwarded-For: nobody\r\n");
    assert_eq!(malformed.status(), 200, "what is not believed is not even parsed");
}

#[test]
fn what_a_proxy_leaves_unclear_is_refused_and_never_guessed() {
    let daemon = setup().start();

    for (fields, part) in [
        (
            "X-Forwarded-For: nobody\r\n",
            "X-Forwarded-For of a proxy: wanted the address of a client, found \"nobody\"",
        ),
        ("Forwarded: for=\"203.0.113.7\r\n", "Forwarded of a proxy: "),
        ("X-Forwarded-Proto: gopher\r\n", "a proxy reports the scheme \"gopher\": wanted http or https"),
        ("X-Forwarded-Host: a/b\r\n", "a proxy reports the host \"a/b\": wanted NAME or NAME:PORT"),
        (
            "Forwarded: for=6.6.6.6\r\nX-Forwarded-For: 203.0.113.7\r\n",
            "name different clients: let the proxy remove those that it does not write",
        ),
        (
            "Forwarded: by=x\r\nX-Forwarded-For: 203.0.113.7\r\n",
            "X-Forwarded-* names a client, and Forwarded beside it none",
        ),
        (
            "Forwarded: for=203.0.113.7;host=evil\r\nX-Forwarded-For: 203.0.113.7\r\n",
            "Forwarded names a host, and X-Forwarded-* beside it none",
        ),
        (
            &format!("X-Forwarded-For: 203.0.113.7{}\r\n", ", 10.0.0.2".repeat(32)),
            "more than 32 trusted proxies",
        ),
    ] {
        let response = ask(&daemon, fields);
        assert_eq!(response.status(), 400, "{fields}");
        assert!(response.text().contains(part), "{fields}: {}", response.text());
    }
}

#[test]
fn a_client_whose_address_a_proxy_hides_passes_no_gate_of_addresses() {
    let gate = "[gate.inside]\nkind = \"addresses\"\nallow = [\"127.0.0.0/8\", \"10.0.0.0/8\"]\n\
                [[route]]\npath = \"/inside\"\nhandler = \"env\"\nbefore = [\"inside\"]\n";
    let daemon = setup().add(gate).start();

    for (fields, wanted) in [
        ("", 200),
        ("X-Forwarded-For: 10.1.2.3\r\n", 200),
        ("X-Forwarded-For: 203.0.113.7\r\n", 403),
        ("Forwarded: for=unknown\r\n", 403),
        ("X-Forwarded-For: unknown, 10.0.0.2\r\n", 403),
    ] {
        let response = Client::tcp_from(PROXY, daemon.port()).ask("GET", "/inside", fields);
        assert_eq!(response.status(), wanted, "{fields}");
    }
}

#[test]
fn a_proxy_on_a_unix_socket_is_believed_and_so_are_routes_and_the_log() {
    let named = "[[route]]\npath = \"/named\"\nhost = \"a.example\"\nhandler = \"env\"\n";
    let setup = setup().add(named);
    let socket = format!("unix://{}", setup.path("web.sock").display());
    let daemon = setup.host("tcp://127.0.0.1:0").host(socket).start();
    let mut client = Client::unix(&daemon.path("web.sock"));
    let fields =
        "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Host: a.example\r\nX-Forwarded-Proto: https\r\n";

    let response = client.ask("GET", "/named", fields);

    assert_eq!(variable(&response, "REMOTE_ADDR"), "203.0.113.7");
    assert_eq!(variable(&response, "X_FULL_URL"), "https://a.example/named");
    assert_eq!(variable(&response, "HTTP_HOST"), "a.example");
    assert!(daemon.log.line("GET /named").ends_with("for 203.0.113.7"), "{}", daemon.log.text());
    assert_eq!(
        client.ask("GET", "/named", "").status(),
        404,
        "the next request of the connection is another client's"
    );
}

#[test]
fn a_component_and_a_request_of_http2_see_the_client_too() {
    if !found(&["curl"], "curl") {
        return;
    }
    let daemon = Setup::new(TRUSTED)
        .add("[handler.p]\nmodule = \"p.wasm\"\n[[route]]\npath = \"/{verb}\"\nhandler = \"p\"\n")
        .file("p.wasm", &fs::read(guests().join("proxy.wasm")).unwrap())
        .start();
    let url = format!("http://127.0.0.1:{}/facts", daemon.port());
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let mut curl = Command::new("curl");
        curl.args(["-sS", version, "--interface", "127.0.0.2", "-H", "X-Forwarded-For: 203.0.113.7"]);
        curl.args(["-H", "X-Forwarded-Proto: https", "-H", "X-Forwarded-Host: a.example", &url]);

        let told = String::from_utf8(finish(&mut curl, b"", PATIENCE).stdout).unwrap();

        for line in [
            "scheme Some(Scheme::Https)",
            "authority Some(\"a.example\")",
            "field portcullis-remote-addr: 203.0.113.7",
        ] {
            assert!(told.lines().any(|found| found == line), "{version}: {line} in\n{told}");
        }
    }
}

#[test]
fn nginx_in_front_as_the_page_shows_it_tells_the_client_and_its_forged_fields_are_gone() {
    if !found(&["nginx"], "nginx-light") {
        return;
    }
    let setup = setup();
    let socket = format!("unix://{}", setup.path("web.sock").display());
    let daemon = setup.host("tcp://127.0.0.1:0").host(socket).start();
    let front = free_port();
    let dir = daemon.path("nginx");
    fs::create_dir(&dir).unwrap();
    let configuration = format!(
        "user root; daemon off; pid {0}/pid; error_log stderr; worker_processes 1; events {{}}
         http {{
           access_log off; client_body_temp_path {0}/b; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f;
           uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;
           server {{
             listen 127.0.0.1:{front};
             location / {{
               proxy_pass http://unix:{1};
               proxy_http_version 1.1;
               proxy_set_header Host $host;
               proxy_set_header X-Forwarded-For $remote_addr;
               proxy_set_header X-Forwarded-Proto $scheme;
               proxy_set_header X-Forwarded-Host $host;
               proxy_set_header Forwarded \"\";
             }}
           }}
         }}",
        dir.display(),
        daemon.path("web.sock").display()
    );
    fs::write(dir.join("nginx.conf"), configuration).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-p").arg(&dir).arg("-c").arg(dir.join("nginx.conf")).arg("-e").arg("stderr");
    let mut nginx = command.stderr(Stdio::null()).spawn().unwrap();
    until("nginx listens", || TcpStream::connect(("127.0.0.1", front)).ok());
    let forged = "Forwarded: for=6.6.6.6\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Host: evil\r\n";

    let asked = std::panic::catch_unwind(|| {
        Client::tcp_from(Ipv4Addr::new(127, 0, 0, 9), front).ask("GET", "/env", forged)
    });

    kill_process(Pid::from_child(&nginx), Signal::TERM).unwrap();
    reaped(&mut nginx, PATIENCE);
    let response = asked.unwrap();
    assert_eq!(variable(&response, "REMOTE_ADDR"), "127.0.0.9");
    assert_eq!(variable(&response, "X_FULL_URL"), "http://test/env");
}

#[test]
fn connections_of_a_proxy_are_no_share_of_one_address() {
    let daemon = setup().add("[http]\nconnections = 8\nconnections_per_peer = 2\n").start();
    let busy: Vec<Client> = (0..4)
        .map(|_| {
            let mut client = Client::tcp_from(PROXY, daemon.port());
            client.send("GET /env HTTP/1.1\r\nHost: te");
            client
        })
        .collect();

    for mut client in busy {
        client.send("st\r\n\r\n");
        assert_eq!(client.response().status(), 200);
    }
}

#[test]
fn a_list_is_checked_explained_and_changed_by_a_reload() {
    let run = |setup: &Setup, args: &[&str]| {
        let mut command = portcullis();
        finish(command.args(args).current_dir(setup.path("")), b"", PATIENCE)
    };
    let wrong = Setup::new("trusted_proxies = [\"10.1.2.3/8\", \"nginx\"]\n");
    let said = run(&wrong, &["check"]).stderr;
    assert!(
        said.contains("trusted_proxies[0]: \"10.1.2.3/8\" has bits behind its prefix: write \"10.0.0.0/8\""),
        "{said}"
    );
    assert!(
        said.contains("trusted_proxies[1]: wanted a network such as \"10.0.0.0/8\", or an address"),
        "{said}"
    );
    let everybody = Setup::new("trusted_proxies = [\"0.0.0.0/0\"]\n");
    assert!(
        run(&everybody, &["check"])
            .stderr
            .contains("warning: trusted_proxies (0.0.0.0/0) holds every address")
    );

    let daemon = setup().prepend("admin = \"unix://admin.sock\"\n").start();
    let socket = daemon.path("admin.sock");
    let admin = |args: &[&str]| finish(portcullis().args(args).arg("--socket").arg(&socket), b"", PATIENCE);
    let explained: Value =
        serde_json::from_slice(&admin(&["explain", "GET", "/env", "--json"]).stdout).unwrap();
    let client = explained["client"].as_str().unwrap();
    assert!(client.contains("behind 10.0.0.0/8, 127.0.0.2/32, unix"), "{client}");
    let file = daemon.path("portcullis.toml");
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("\"127.0.0.2\", ", "")).unwrap();

    let reloaded = admin(&["reload", "--json"]);

    let told = String::from_utf8(reloaded.stdout).unwrap();
    assert!(told.contains("trusted_proxies"), "{told} {}", reloaded.stderr);
    let response = ask(&daemon, "X-Forwarded-For: 203.0.113.7\r\n");
    assert_eq!(facts(&daemon, &response), "127.0.0.2 * - test *");
}
