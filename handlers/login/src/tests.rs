//! Tests of the handler as a function.

use super::*;
use argon2::password_hash::PasswordHasher as _;
use argon2::{Algorithm, Argon2, Params, Version};
use portcullis_guest::TestRequest;
use std::sync::OnceLock;

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// A moment; all tests happen then.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// Hashes a password at a low cost.
fn hash(password: &str) -> String {
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(64, 1, 1, None).unwrap());
    argon2.hash_password(password.as_bytes()).unwrap().to_string()
}

/// The users ada and bob, with the passwords "lovelace" and "bob's".
fn users() -> &'static str {
    static USERS: OnceLock<String> = OnceLock::new();
    USERS.get_or_init(|| format!("ada:{}\n  bob:{}", hash("lovelace"), hash("bob's")))
}

fn request(method: &str, target: &str, route: &str) -> TestRequest {
    let request = Request::test(method, target).route(route).header("Host", "test");
    request.var("SESSION_KEY", KEY).var("USERS", users())
}

fn ask(request: impl Into<Request>) -> Response {
    answer(request.into(), now()).unwrap_or_else(|error| panic!("{error}"))
}

fn post(fields: &str, more: impl FnOnce(TestRequest) -> TestRequest) -> Request {
    let request = more(request("POST", "/login", "/login"));
    let request = request.header("Content-Type", "application/x-www-form-urlencoded");
    request.body(fields)
}

/// Logs ada in, and returns the cookie.
fn session() -> String {
    let response = ask(post("user=ada&password=lovelace&return=/private", |request| request));
    assert_eq!((response.status(), response.field("location")), (303, Some("/private")));
    let cookie = response.field("set-cookie").unwrap();
    cookie.split(';').next().unwrap().to_owned()
}

/// Asks the gate with this cookie, and returns the user that it names.
fn passed(cookie: &str, change: impl FnOnce(TestRequest) -> TestRequest, time: SystemTime) -> Option<String> {
    let request = change(request("GET", "/private?a=b", "/private").header("Cookie", cookie));
    let response = answer(request.into(), time).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(response.status() == 204, response.field("remote-user").is_some());
    response.field("remote-user").map(str::to_owned)
}

#[test]
fn a_right_password_begins_a_session_that_passes_the_gate_until_its_end() {
    let cookie = session();
    let at = |seconds| now() + Duration::from_secs(seconds);

    assert_eq!(passed(&cookie, |request| request, now()).as_deref(), Some("ada"));
    assert_eq!(passed(&cookie, |request| request, at(12 * 3600 - 1)).as_deref(), Some("ada"));
    assert_eq!(passed(&cookie, |request| request, at(12 * 3600)), None);
    // A shorter lifetime holds for sessions that began before.
    assert_eq!(passed(&cookie, |request| request.var("SESSION_SECONDS", "60"), now()), None);
    // It is not the same cookie over TLS, and not in clear.
    assert_eq!(passed(&cookie, |request| request.var("HTTPS", "on"), now()), None);
}

#[test]
fn a_cookie_over_tls_is_for_tls_and_this_host_alone() {
    let response = ask(post("user=ada&password=lovelace", |request| request.var("HTTPS", "on")));

    let cookie = response.field("set-cookie").unwrap();
    assert!(cookie.starts_with("__Host-session="), "{cookie}");
    assert!(cookie.ends_with("; Path=/; Max-Age=43200; Secure; HttpOnly; SameSite=Lax"), "{cookie}");
    assert_eq!(response.field("location"), Some("/"));
}

#[test]
fn what_was_not_signed_here_is_no_session() {
    let cookie = session();
    let value = cookie.strip_prefix("session=").unwrap();
    let [user, end, signature]: [&str; 3] = value.split('.').collect::<Vec<_>>().try_into().unwrap();
    let bob = "Ym9i";
    let later = (end.parse::<u64>().unwrap() + 1).to_string();

    for forged in [
        String::new(),
        format!("{user}.{end}."),
        format!("{user}.{end}.AAAA"),
        format!("{bob}.{end}.{signature}"),
        format!("{user}.{later}.{signature}"),
        format!("{user}.+{end}.{signature}"),
        format!("{user}.0{end}.{signature}"),
        format!("{user}.{end}.{signature}.{signature}"),
        format!("{user}.{end}.{signature}A"),
        format!("{user}{end}..{signature}"),
    ] {
        assert_eq!(passed(&format!("session={forged}"), |request| request, now()), None, "{forged}");
    }
    let other_key = |request: TestRequest| request.var("SESSION_KEY", "another key of 32 characters ....");
    assert_eq!(passed(&cookie, other_key, now()), None);
    let other_password = |request: TestRequest| request.var("USERS", format!("ada:{}", hash("new")));
    assert_eq!(passed(&cookie, other_password, now()), None);
    let gone = |request: TestRequest| request.var("USERS", format!("bob:{}", hash("bob's")));
    assert_eq!(passed(&cookie, gone, now()), None);
}

#[test]
fn a_wrong_password_and_an_unknown_user_get_the_same_page() {
    let pages =
        ["user=ada&password=byron", "user=eve&password=lovelace", "user=&password=", "x=y"].map(|fields| {
            let response = ask(post(fields, |request| request));
            assert_eq!((response.status(), response.field("set-cookie")), (401, None), "{fields}");
            response.body_string()
        });

    assert!(pages[0].contains("is wrong") && pages.iter().all(|page| *page == pages[0]));
}

#[test]
fn nothing_but_a_session_is_answered_with_success() {
    for (method, route) in
        [("GET", "/login"), ("GET", "/logout"), ("PUT", "/login"), ("GET", "/private"), ("POST", "/private")]
    {
        let response = ask(request(method, route, route).header("Accept", "text/html"));

        assert!(response.status() >= 300, "{method} {route}: {}", response.status());
        assert_eq!(response.field("cache-control"), Some("no-store"));
    }
}

#[test]
fn a_browser_is_sent_to_the_page_and_a_program_is_refused() {
    let page = ask(request("GET", "/private?a=b", "/private").header("Accept", "text/html,*/*"));
    let program = ask(request("GET", "/private", "/private").header("Accept", "application/json"));
    let form = ask(request("POST", "/private", "/private").header("Accept", "text/html"));

    assert_eq!(page.field("location"), Some("/login?return=/private%3Fa%3Db"));
    assert_eq!((program.status(), form.status()), (401, 401));
}

#[test]
fn the_way_back_never_leaves_the_site() {
    for (wanted, path) in [
        ("/a/b?c=d", "/a/b?c=d"),
        ("/", "//evil.example"),
        ("/", "https://evil.example"),
        ("/", "/\\evil.example"),
        ("/", "\\\\evil.example"),
        ("/", "/\t/evil.example"),
        ("/", "/\r\nSet-Cookie: a=b"),
        ("/", "javascript:alert(1)"),
        ("/", "evil.example"),
        ("/", ""),
        ("/", "/é"),
    ] {
        assert_eq!(return_path::safe(path), wanted, "{path}");
    }
    let shown = ask(request("GET", "/login?return=/%22%3E%3Cscript%3E", "/login")).body_string();
    assert!(shown.contains("value=\"/&quot;&gt;&lt;script&gt;\"") && !shown.contains("<script>"), "{shown}");
    let after = ask(request("GET", "/login?return=//evil.example", "/login").header("Cookie", session()));
    assert_eq!((after.status(), after.field("location")), (303, Some("/")));
}

#[test]
fn a_form_of_another_site_is_refused() {
    let status = |name: &'static str, value: &'static str| {
        let request = post("user=ada&password=lovelace", |request| request.header(name, value));
        match answer(request, now()) {
            Ok(response) => response.status(),
            Err(error) => error.status(),
        }
    };

    assert_eq!(status("Sec-Fetch-Site", "same-origin"), 303);
    assert_eq!(status("Sec-Fetch-Site", "cross-site"), 403);
    assert_eq!(status("Sec-Fetch-Site", "same-site"), 403);
    assert_eq!(status("Origin", "http://test"), 303);
    assert_eq!(status("Origin", "http://evil.example"), 403);
    assert_eq!(status("Origin", "null"), 403);
}

#[test]
fn a_logout_removes_the_cookie() {
    let response = ask(request("POST", "/logout", "/logout").header("Cookie", session()));

    assert_eq!((response.status(), response.field("location")), (303, Some("/login")));
    assert_eq!(response.field("set-cookie"), Some("session=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"));
}

#[test]
fn without_a_key_and_users_nobody_passes() {
    let refused = |key: &str, users: &str| {
        let request =
            Request::test("GET", "/private").route("/private").var("SESSION_KEY", key).var("USERS", users);
        answer(request.into(), now()).err().map(|error| (error.status(), error.to_string()))
    };

    for (key, users, why) in [
        ("", users(), "SESSION_KEY"),
        (&KEY[1..], users(), "SESSION_KEY"),
        (KEY, "", "USERS is empty"),
        (KEY, "ada", "write NAME:HASH"),
        (KEY, "ada:lovelace", "Argon2id"),
        (KEY, "ada:$argon2id$v=19$m=999999,t=2,p=1$c29tZXNhbHQ$aGFzaGhhc2hoYXNo", "costs too much"),
    ] {
        let (status, told) = refused(key, users).unwrap();

        assert!(status == 503 && told.contains(why), "{told}");
    }
}
