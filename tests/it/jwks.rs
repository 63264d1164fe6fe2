//! Keys of tokens at a URL: fetched, refreshed, and kept while the server is down.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use crate::harness::{Daemon, Origin, PATIENCE, Program, Setup, finish, portcullis, until};

/// A server of keys, which says what it is told to.
struct Issuer {
    origin: Origin,
    says: Arc<Mutex<String>>,
}

impl Issuer {
    fn new(says: String) -> Issuer {
        let says = Arc::new(Mutex::new(says));
        let said = says.clone();
        let origin = Origin::of("127.0.0.1", move |_, stream| {
            // The client may have left.
            let _told = stream.write_all(said.lock().unwrap().as_bytes());
        });
        Issuer { origin, says }
    }

    fn says(&self, says: String) {
        *self.says.lock().unwrap() = says;
    }

    /// A daemon whose handler `/env` wants tokens of this issuer.
    fn serve(&self) -> Daemon {
        let gate = format!(
            "before = [\"api\"]\n[gate.api]\nkind = \"jwt\"\nalgorithms = [\"EdDSA\"]\nissuer = \"us\"\n\
             jwks = \"http://127.0.0.1:{}/jwks.json\"\nrefresh = \"1s\"\n",
            self.origin.port()
        );
        Setup::new("admin = \"unix://admin.sock\"\n")
            .handler("env", "", &Program::text().environment().wasm())
            .add(&gate)
            .start()
    }
}

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

/// A response with the set of these keys.
fn set(seeds: &[u8]) -> String {
    let key = |seed: &u8| {
        let x = BASE64.encode(pair(*seed).public_key().as_ref());
        json!({"kty": "OKP", "crv": "Ed25519", "kid": seed.to_string(), "x": x})
    };
    let keys: Vec<Value> = seeds.iter().map(key).collect();
    response("200 OK", &json!({"keys": keys}).to_string())
}

fn response(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

/// Asks with a token that a key has signed.
fn ask(daemon: &Daemon, seed: u8) -> u16 {
    let header = json!({"alg": "EdDSA", "kid": seed.to_string()});
    let body = json!({"sub": "ada", "iss": "us", "exp": 4_102_444_800_u64});
    let message = [header, body].map(|part| BASE64.encode(part.to_string())).join(".");
    let signature = BASE64.encode(pair(seed).sign(message.as_bytes()));
    daemon.client().ask("GET", "/env", &format!("Authorization: Bearer {message}.{signature}\r\n")).status()
}

fn admin(daemon: &Daemon, verb: &str) -> Value {
    serde_json::from_slice(&daemon.verb(&[verb, "--json"]).stdout).unwrap()
}

#[test]
fn keys_are_fetched_and_refreshed_and_kept_while_the_server_is_down() {
    let issuer = Issuer::new(set(&[1]));
    let daemon = issuer.serve();
    until("the first keys", || (ask(&daemon, 1) == 200).then_some(()));
    assert_eq!(ask(&daemon, 2), 401);

    issuer.says(set(&[2, 3]));
    until("the next keys", || (ask(&daemon, 2) == 200).then_some(()));
    assert_eq!((ask(&daemon, 1), ask(&daemon, 3)), (401, 200));

    issuer.says(response("500 Internal Server Error", ""));
    let failed = || daemon.metric("portcullis_jwks_fetches_total", &["gate=\"api\"", "end=\"failed\""]);
    until("a failure", || (failed() > 0.0).then_some(()));
    assert_eq!(ask(&daemon, 2), 200, "the last good keys stay");
    assert_eq!(daemon.metric("portcullis_jwks_keys", &["gate=\"api\""]), 2.0);
    let told = admin(&daemon, "status")["key_sets"].to_string();
    assert!(told.contains("api http://127.0.0.1:") && told.contains("/jwks.json: 2 keys of "), "{told}");
    assert!(told.contains("the last fetch failed: the response has status 500"), "{told}");

    admin(&daemon, "reload");
    assert_eq!(ask(&daemon, 2), 200, "the next configuration has them too");
}

#[test]
fn without_keys_nobody_passes_and_the_daemon_serves_all_the_same() {
    let issuer = Issuer::new(response("200 OK", "<html>"));

    let daemon = issuer.serve();

    assert_eq!(ask(&daemon, 1), 503);
    assert_eq!(daemon.get("/env").status(), 401, "no token");
    daemon.log.line("gate api: the keys of http://127.0.0.1:");
    issuer.says(set(&[1]));
    until("the first keys", || (ask(&daemon, 1) == 200).then_some(()));
}

#[test]
fn a_set_that_anybody_could_forge_is_refused() {
    for (gate, wanted) in [
        (
            "algorithms = [\"RS256\"]\njwks = \"http://id.example/jwks\"",
            "gate.g.jwks: \"http://id.example/jwks\" comes in clear",
        ),
        (
            "algorithms = [\"RS256\"]\njwks = \"https://u@id.example/jwks\"",
            "a user name or password has no place",
        ),
        (
            "algorithms = [\"HS256\"]\njwks = \"https://id.example/jwks\"",
            "HS algorithms have a shared secret",
        ),
        (
            "algorithms = [\"RS256\"]\njwks = \"https://id.example/jwks\"\nrefresh = \"10ms\"",
            "gate.g.refresh: wanted \"1s\" at least",
        ),
        (
            "algorithms = [\"RS256\"]\njwks = \"https://id.example/jwks\"\nkey = \"portcullis.toml\"",
            "gate.g: wanted one of key, secret and jwks",
        ),
        (
            "algorithms = [\"RS256\"]\nkey = \"portcullis.toml\"\nrefresh = \"1h\"",
            "gate.g.refresh: a file is read at a reload",
        ),
    ] {
        let setup = Setup::new(&format!("[gate.g]\nkind = \"jwt\"\n{gate}\n"));

        let said = finish(portcullis().arg("check").current_dir(setup.path("")), b"", PATIENCE).stderr;

        assert!(said.contains(wanted), "{gate}: {said}");
    }
    let open = "[gate.g]\nkind = \"jwt\"\nalgorithms = [\"RS256\"]\njwks = \"https://id.example/jwks\"\n";
    let setup = Setup::new(open);
    let said = finish(portcullis().arg("check").current_dir(setup.path("")), b"", PATIENCE).stderr;
    assert!(said.contains("warning: gate.g takes every token that its keys sign"), "{said}");
}
