//! The daemon under a service manager: the messages and sockets that they exchange.

use std::fs;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Client, PATIENCE, Program, Setup, found, soon, until};
use crate::lifecycle::{AS_CONFIGURED, CLOSE, configuration, hello, listening};
use crate::swap::{swap, version};
use crate::upgrade::Successors;

#[test]
fn a_handler_gets_its_secrets_and_nobody_else_sees_them() {
    let module = Program::text().environment().wasm();
    let setup = Setup::one("secrets = { API_KEY = \"key\" }", &module).file("key", b"s3cret\n");
    let credentials = setup.path("");
    let mut daemon = setup.flag("-D").env("CREDENTIALS_DIRECTORY", credentials).start();

    let response = daemon.get("/");

    assert!(response.text().split('\0').any(|variable| variable == "API_KEY=s3cret"));
    assert!(!daemon.terminate().stderr.contains("s3cret"));
}

#[test]
fn a_missing_secret_keeps_the_gate_shut_and_says_which() {
    let setup = Setup::one("secrets = { API_KEY = \"key\" }", &hello());
    let credentials = setup.path("");

    let ended = setup.env("CREDENTIALS_DIRECTORY", credentials).fail();

    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("secrets.API_KEY: there is no credential \"key\""), "{}", ended.stderr);
}

#[test]
fn a_daemon_that_nobody_could_start_again_does_not_end_when_idle() {
    let setup = Setup::new(&format!("idle_exit = \"1s\"\n{}", configuration("[\"fd://\"]", "")));

    let ended = setup.file("one.wasm", &hello()).fail();

    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("idle_exit: needs sockets of systemd"), "{}", ended.stderr);
}

#[test]
fn an_idle_daemon_ends_well_and_a_connection_keeps_it() {
    if !found(&["systemd-socket-activate"], "systemd") {
        return;
    }
    let setup = Setup::new(&format!("idle_exit = \"1s\"\n{}", configuration("[\"fd://\"]", "")));
    let setup = setup.file("one.wasm", &hello()).under(&AS_CONFIGURED);
    let socket = setup.path("p.sock");
    let listen = socket.to_str().unwrap().to_owned();
    let mut daemon = setup.under(&["systemd-socket-activate", "-l", &listen]).spawn();
    // The file of the socket exists before anything listens on it.
    let mut client = until("it listens", || Client::try_unix(&socket).ok());
    assert_eq!(client.get("/").text(), "hello\n");
    assert!(client.is_silent_for(Duration::from_secs(2)), "it does not end under a client");
    let start = Instant::now();
    drop(client);

    let ended = daemon.wait(PATIENCE);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert!(socket.exists(), "the socket is systemd's");
}

#[test]
fn an_idle_daemon_does_not_end_under_a_trial() {
    if !found(&["systemd-socket-activate"], "systemd") {
        return;
    }
    let more = "idle_exit = \"1s\"\nadmin = \"unix://admin.sock\"\n";
    let setup = Setup::new(&configuration("[\"fd://\"]", more)).file("one.wasm", &hello());
    let socket = setup.path("p.sock");
    let listen = socket.to_str().unwrap().to_owned();
    let mut daemon = setup.under(&AS_CONFIGURED).under(&["systemd-socket-activate", "-l", &listen]).spawn();
    // The file of the socket exists before anything listens on it.
    let mut client = until("it listens", || Client::try_unix(&socket).ok());
    assert_eq!(client.get("/").text(), "hello\n");
    let trial = "Job-Env: CANARY=50%\r\nJob-Env: FOR=3s\r\n";
    assert_eq!(swap(&daemon, "one", trial, &version("two")).status(), 200);

    drop(client);

    let ended = daemon.wait(PATIENCE);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    // Its time had expired. A daemon that exits stops it earlier.
    assert!(ended.stderr.contains("no request reached it"), "{}", ended.stderr);
}

/// Reads the messages of the daemon to its service manager, until one contains `wanted`.
fn told(manager: &UnixDatagram, wanted: &str) -> Vec<String> {
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let (start, mut messages) = (Instant::now(), Vec::new());
    let mut buffer = [0; 4096];
    loop {
        // Watchdog messages never end.
        assert!(start.elapsed() < PATIENCE, "no {wanted:?} in {messages:?}");
        let length = manager.recv(&mut buffer).unwrap_or_else(|error| panic!("{error} after {messages:?}"));
        messages.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
        if messages.last().is_some_and(|message| message.contains(wanted)) {
            return messages;
        }
    }
}

#[test]
fn the_service_manager_is_told_of_every_step_and_that_it_is_alive() {
    let setup = listening("[\"tcp://127.0.0.1:0\"]");
    let path = setup.path("manager.sock");
    let manager = UnixDatagram::bind(&path).unwrap();
    let socket = format!("NOTIFY_SOCKET={}", path.display());
    let setup = setup.prepend("cache = \"none\"\n").under(&["env", &socket, "WATCHDOG_USEC=1000000"]);
    let mut daemon = setup.spawn();

    told(&manager, "STATUS=compiling 1 of 1: one\nEXTEND_TIMEOUT_USEC=600000000\n");
    told(&manager, "READY=1\nSTATUS=open: generation 1, 1 handler\n");
    told(&manager, "WATCHDOG=1\n");
    // systemd gives up a daemon that says nothing for a second.
    soon(Duration::from_secs(1), || drop(told(&manager, "WATCHDOG=1\n")));
    daemon.signal(Signal::HUP);
    told(&manager, "RELOADING=1\nMONOTONIC_USEC=");
    told(&manager, "READY=1\nSTATUS=open: generation 2, 1 handler\n");
    fs::write(daemon.path("portcullis.toml"), "rubbish").unwrap();
    daemon.signal(Signal::HUP);
    told(&manager, "RELOADING=1\n");
    told(&manager, "READY=1\nSTATUS=open: generation 2, 1 handler\n");
    daemon.signal(Signal::TERM);
    told(&manager, "STOPPING=1\nSTATUS=draining\n");
    assert_eq!(daemon.wait(PATIENCE).code, Some(0));
}

/// Receives a descriptor that the daemon stores with its service manager, and its name.
fn stored(manager: &UnixDatagram) -> (String, OwnedFd) {
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    loop {
        let mut buffer = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received =
            recvmsg(manager, &mut [IoSliceMut::new(&mut buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)
                .unwrap();
        let text = String::from_utf8(buffer[..received.bytes].to_vec()).unwrap();
        let mut descriptors = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        if let Some(descriptor) = descriptors.next().and_then(|mut all| all.next()) {
            let name = text.strip_prefix("FDSTORE=1\nFDNAME=").unwrap().trim_end();
            return (name.to_owned(), descriptor);
        }
    }
}

#[test]
fn a_socket_that_the_service_manager_keeps_outlives_a_restart() {
    let setup = listening("[\"unix://p.sock\"]");
    let (path, config, place) =
        (setup.path("p.sock"), setup.path("portcullis.toml"), setup.path("manager.sock"));
    let manager = UnixDatagram::bind(&place).unwrap();
    let socket = format!("NOTIFY_SOCKET={}", place.display());
    let mut daemon = setup.under(&["env", &socket, "FDSTORE=8"]).spawn();
    let (name, descriptor) = stored(&manager);
    assert_eq!(name, format!("unix%3A//{}", path.display()));
    assert_eq!(daemon.terminate().code, Some(0));
    let mut between = Client::unix(&path);
    between.send(CLOSE);

    let script = "exec 3<&0 </dev/null; exec \"$0\" exec \"$0\" serve -c \"$1\"";
    let mut next = Command::new("sh");
    next.args(["-c", script, env!("CARGO_BIN_EXE_portcullis")]).arg(config);
    next.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", name).stdin(descriptor).stderr(Stdio::null());
    let mut next = next.spawn().unwrap();
    let _ended = Successors(vec![Pid::from_child(&next)]);

    assert_eq!(between.response().text(), "hello\n");
    kill_process(Pid::from_child(&next), Signal::TERM).unwrap();
    assert_eq!(until("it ends", || next.try_wait().unwrap()).code(), Some(0));
    assert!(!path.exists());
}
