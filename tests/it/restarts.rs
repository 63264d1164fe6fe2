//! Restarts under load, with sockets held by a manager, in each version of HTTP, behind a proxy, and with a delay for
//! load balancers.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::frames::{Frames, flag, frame, head, kind};
use crate::harness::{Client, Log, PATIENCE, Program, Setup, attempted, found, free_port, reaped, until};
use crate::lifecycle::{ON_ITS_WAY, configuration, hello, port};
use crate::tls::site::{offering, secure};
use crate::upgrade::Successors;

/// How often each test restarts the daemon.
const RESTARTS: usize = 4;

/// The answers between two restarts, so that requests are in progress at each.
const ANSWERS: usize = 200;

/// What clients that send requests share with the test.
#[derive(Default)]
struct Load {
    /// Whether they are to end.
    over: AtomicBool,
    /// The answers that they have got.
    answers: AtomicUsize,
}

impl Load {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn answers(&self) -> usize {
        self.answers.load(Ordering::Relaxed)
    }

    /// Counts an answer.
    fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }
}

/// Successive daemons on one socket, which the test holds open.
struct Restarted {
    setup: Setup,
    socket: TcpListener,
    /// The running daemon; it ends with the test.
    serving: Option<(Child, Successors)>,
}

impl Restarted {
    fn new(setup: Setup) -> Restarted {
        let setup = setup.prepend("listen = [\"fd://\"]\ngrace = \"5s\"\n");
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        Restarted { setup, socket, serving: None }
    }

    fn port(&self) -> u16 {
        self.socket.local_addr().unwrap().port()
    }

    fn start(&mut self) {
        let script = "exec 3<&0 </dev/null; exec \"$0\" exec \"$0\" serve -c \"$1\"";
        let mut command = Command::new("sh");
        command
            .args(["-c", script, env!("CARGO_BIN_EXE_portcullis")])
            .arg(self.setup.path("portcullis.toml"));
        command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "web").env_remove("NOTIFY_SOCKET");
        command.stdin(OwnedFd::from(self.socket.try_clone().unwrap())).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = Log::of(child.stderr.take().unwrap());
        let pid = Pid::from_child(&child);
        self.serving = Some((child, Successors(vec![pid])));
        log.line("listening on");
    }

    /// Stops the daemon as a service manager does, and asserts that it exits with 0.
    fn stop(&mut self) {
        let (mut child, _successors) = self.serving.take().unwrap();
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        let status = reaped(&mut child, PATIENCE);
        assert_eq!(status.code(), Some(0));
    }

    /// Restarts the daemon while clients send requests, and returns how many answers there were.
    fn under_load(&mut self, post: impl Fn(&Load) + Sync) -> usize {
        let load = Load::default();
        thread::scope(|scope| {
            let clients: Vec<_> = (0..8).map(|_| scope.spawn(|| post(&load))).collect();
            let restarts = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                for _ in 0..RESTARTS {
                    let before = load.answers();
                    until("answers before the stop", || (load.answers() >= before + ANSWERS).then_some(()));
                    self.stop();
                    self.start();
                }
            }));
            load.over.store(true, Ordering::Relaxed);
            clients.into_iter().for_each(|client| client.join().unwrap());
            restarts.unwrap();
        });
        load.answers()
    }
}

/// Posts again and again over kept connections, until the server announces the last response on one. A request without
/// an answer fails the test, unless the client was too late with it.
fn post_until(connect: impl Fn() -> Client, load: &Load) {
    let mut kept = None;
    while !load.is_over() {
        let asked = Instant::now();
        // A daemon may end once the request before this one has been answered.
        let (mut client, since) = kept.take().unwrap_or_else(|| (connect(), asked));
        let sent = client.try_send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello");
        let is_late = since.elapsed() >= ON_ITS_WAY;
        if is_late && (sent.is_err() || !client.is_answered()) {
            continue;
        }
        sent.unwrap();
        let answer = client.response();
        assert_eq!((answer.status(), answer.text()), (200, "hello\n"), "after {} answers", load.answers());
        load.answered();
        kept = (answer.field("connection") != Some("close")).then_some((client, asked));
    }
}

/// As [`post_until`], over HTTP/2: each request has a stream of its own, until a GOAWAY comes.
fn post_over_http2_until(connect: impl Fn() -> Client, load: &Load) {
    let mut kept: Option<(Frames, u32, Instant)> = None;
    while !load.is_over() {
        let asked = Instant::now();
        // A client that may be too late for one more stream connects again.
        let in_time = kept.take().filter(|(.., since)| since.elapsed() < ON_ITS_WAY / 2);
        let (mut client, stream, _) = in_time.unwrap_or_else(|| (Frames::begin(connect(), &[]), 1, asked));
        let fields = head(stream, "POST", "/", &[("content-length", "5")], 0);
        client.send([fields, frame(kind::DATA, flag::END_STREAM, stream, b"hello")].concat());
        let (answer, is_last) = answered(&mut client, stream);
        assert_eq!(answer, b"hello\n", "after {} answers", load.answers());
        load.answered();
        kept = (!is_last && !client.is_told_to_go()).then_some((client, stream + 2, asked));
    }
}

/// Receives the response of a stream with status 200. Returns its body, and whether a GOAWAY came meanwhile.
fn answered(client: &mut Frames, stream: u32) -> (Vec<u8>, bool) {
    let (mut body, mut is_last) = (Vec::new(), false);
    loop {
        let frame = client.next();
        match (frame.kind, frame.stream) {
            (kind::GOAWAY, 0) => is_last = true,
            (kind::HEADERS, id) if id == stream => assert_eq!(frame.status(), 200),
            (kind::DATA, id) if id == stream => body.extend(&frame.payload),
            _ => panic!("{frame:?} on a connection with stream {stream}"),
        }
        if frame.ends() {
            return (body, is_last);
        }
    }
}

/// Restarts a daemon of this setup under load, and asserts that each request was answered.
fn restarted_under_load(setup: Setup, post: impl Fn(u16, &Load) + Sync) {
    let mut daemons = Restarted::new(setup);
    daemons.start();
    let port = daemons.port();

    let answers = daemons.under_load(|load| post(port, load));

    assert!(answers > 8 * RESTARTS, "{answers}");
    daemons.stop();
}

#[test]
fn restarts_under_load_break_no_request_on_a_kept_connection() {
    let setup = Setup::one("", &hello());
    restarted_under_load(setup, |port, load| post_until(|| Client::tcp(port), load));
}

#[test]
fn restarts_under_load_break_no_request_on_a_kept_connection_over_tls() {
    let config = offering(&["http/1.1"]);
    let connect = |port| Client::tls(port, config.clone(), "127.0.0.1");
    restarted_under_load(secure("", &hello()), |port, load| post_until(|| connect(port), load));
}

#[test]
fn restarts_under_load_break_no_stream_of_http2() {
    let setup = Setup::one("", &hello());
    restarted_under_load(setup, |port, load| post_over_http2_until(|| Client::tcp(port), load));
}

#[test]
fn restarts_under_load_break_no_stream_of_http2_over_tls() {
    let config = offering(&["h2"]);
    let connect = |port| Client::tls(port, config.clone(), "127.0.0.1");
    restarted_under_load(secure("", &hello()), |port, load| post_over_http2_until(|| connect(port), load));
}

#[test]
fn restarts_behind_nginx_turn_no_post_into_a_502() {
    if !found(&["nginx"], "nginx-light") {
        return;
    }
    let mut daemons = Restarted::new(Setup::one("", &hello()));
    daemons.start();
    let front = free_port();
    let dir = daemons.setup.path("nginx");
    std::fs::create_dir(&dir).unwrap();
    let configuration = format!(
        "daemon off; pid {0}/pid; error_log stderr; worker_processes 1; events {{}}
         http {{
           access_log off; client_body_temp_path {0}/b; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f;
           uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;
           upstream daemon {{ server 127.0.0.1:{1} max_fails=0; keepalive 16; }}
           server {{
             listen 127.0.0.1:{front};
             location / {{
               proxy_pass http://daemon; proxy_http_version 1.1; proxy_set_header Connection \"\";
               proxy_next_upstream off;
             }}
           }}
         }}",
        dir.display(),
        daemons.port()
    );
    std::fs::write(dir.join("nginx.conf"), configuration).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-p").arg(&dir).arg("-c").arg(dir.join("nginx.conf")).arg("-e").arg("stderr");
    let mut nginx = command.stderr(Stdio::null()).spawn().unwrap();
    until("nginx listens", || TcpStream::connect(("127.0.0.1", front)).ok());

    let answers = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        daemons.under_load(|load| post_until(|| Client::tcp(front), load))
    }));

    // SIGTERM to the master, so that it stops its workers as well.
    kill_process(Pid::from_child(&nginx), Signal::TERM).unwrap();
    reaped(&mut nginx, PATIENCE);
    let answers = answers.unwrap();
    assert!(answers > 8 * RESTARTS, "{answers}");
}

#[test]
fn during_the_delay_of_a_shutdown_probes_are_told_and_requests_answered() {
    // Longer than the requests take on a busy machine.
    let configured = configuration("[\"tcp://127.0.0.1:0\"]", "shutdown_delay = \"6s\"\ngrace = \"2s\"\n");
    let setup = Setup::new(&configured).file("one.wasm", &hello()).under(&crate::lifecycle::AS_CONFIGURED);
    let mut daemon = setup.start();
    let port = port(&daemon, 1);
    assert_eq!(Client::tcp(port).get("/healthz").status(), 200);
    let mut kept = Client::tcp(port);
    assert_eq!(kept.get("/").text(), "hello\n");
    let start = Instant::now();

    daemon.signal(Signal::TERM);
    daemon.log.line("probes are told");

    let told = Client::tcp(port).get("/healthz");
    assert_eq!((told.status(), told.text().contains("draining")), (503, true), "{}", told.text());
    for client in [&mut kept, &mut Client::tcp(port)] {
        let answer = client.get("/");
        assert_eq!((answer.text(), answer.field("connection")), ("hello\n", Some("close")));
    }
    assert_eq!(daemon.wait(PATIENCE).code, Some(0));
    assert!(start.elapsed() >= Duration::from_secs(6));
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn connections_that_the_kernel_took_before_the_end_are_answered() {
    // The daemon accepts them for 200 ms, in which a busy machine may not let it run.
    attempted(|| {
        let setup = Setup::one("", &Program::text().say("hello\n").wasm());
        let mut daemon = setup.prepend("grace = \"10s\"\n").start();
        assert_eq!(daemon.get("/").text(), "hello\n");

        daemon.signal(Signal::STOP);
        let mut clients: Vec<Client> = (0..30)
            .map(|_| {
                let mut client = daemon.client();
                client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
                client
            })
            .collect();
        daemon.signal(Signal::TERM);
        daemon.signal(Signal::CONT);

        let answered: Vec<bool> = clients.iter_mut().map(Client::is_answered).collect();
        if answered.contains(&false) {
            return Err(format!("{answered:?}"));
        }
        for mut client in clients {
            assert_eq!(client.response().text(), "hello\n");
        }
        assert_eq!(daemon.wait(PATIENCE).code, Some(0));
        Ok(())
    });
}

#[test]
fn an_idle_daemon_with_a_kept_connection_ends_well_however_short_its_grace_is() {
    for grace in ["1s", "100ms"] {
        // A daemon that does not run for 75 ms misses the shorter one.
        attempted(|| {
            let setup = Setup::one("", &Program::text().say("hello\n").wasm());
            let mut daemon = setup.prepend(&format!("grace = \"{grace}\"\n")).start();
            let mut client = daemon.client();
            assert_eq!(client.get("/").text(), "hello\n");

            let ended = daemon.terminate();

            (ended.code == Some(0)).then_some(()).ok_or_else(|| format!("{grace}: {}", ended.stderr))
        });
    }
}
