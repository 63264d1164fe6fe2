//! Middlewares: components that export and import `wasi:http/handler`, around what stands behind them.

use crate::harness::{Daemon, PATIENCE, Program, Setup, at_once, finish, middleware, portcullis};
use crate::swap::swap;

/// `/env` leads to a program that prints its variables, `/echo` to an echo, `/bad` to a program that traps, and `/no` to a
/// second gate that lets nobody pass. The middleware stands in front of all.
fn setup() -> Setup {
    let module = std::fs::read(middleware().join("middleware.wasm")).unwrap();
    Setup::new(
        "wasi_http_03 = true\nadmin = \"unix://admin.sock\"\naccess_log = true\nbefore = [\"around\"]\n\
         [gate.nobody]\nkind = \"addresses\"\ndeny = [\"0.0.0.0/0\", \"::/0\"]\n\
         [handler.around]\nmodule = \"around.wasm\"\n[handler.echo]\nmodule = \"echo.wasm\"\n\
         [handler.bad]\nmodule = \"bad.wasm\"\n[handler.env]\nmodule = \"env.wasm\"\n\
         [[route]]\npath = \"/echo\"\nhandler = \"echo\"\n[[route]]\npath = \"/bad\"\nhandler = \"bad\"\n\
         [[route]]\npath = \"/env\"\nhandler = \"env\"\n\
         [[route]]\npath = \"/fixed\"\nrespond = { body = \"fixed\\n\" }\n\
         [[route]]\npath = \"/no\"\nhandler = \"echo\"\nbefore = [\"nobody\"]\n",
    )
    .file("around.wasm", &module)
    .file("echo.wasm", &Program::text().echo().wasm())
    .file("bad.wasm", &Program::new().trap().wasm())
    .file("env.wasm", &Program::text().environment().wasm())
}

fn ask(daemon: &Daemon, path: &str, what: &str) -> crate::harness::Response {
    daemon.client().ask("GET", path, &format!("X-Do: {what}\r\n"))
}

#[test]
fn a_middleware_changes_the_request_and_the_response_of_what_stands_behind_it() {
    let daemon = setup().start();

    let fixed = ask(&daemon, "/fixed", "");
    let env = ask(&daemon, "/env", "");
    let body = "x".repeat(300_000);
    let mut client = daemon.client();
    client.send(format!("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    let echo = client.response();

    assert_eq!((fixed.status(), fixed.text(), fixed.field("x-around")), (200, "fixed\n", Some("yes")));
    assert!(env.text().contains("HTTP_X_BY=middleware"), "{}", env.text());
    assert_eq!((echo.status(), echo.text() == body, echo.field("x-around")), (200, true, Some("yes")));
    // Each is a job: both handlers have counted.
    daemon.counted("portcullis_http_requests_total", &["handler=\"around\"", "code=\"2xx\""], 3.0);
    daemon.counted("portcullis_http_requests_total", &["handler=\"echo\"", "code=\"2xx\""], 1.0);
    assert_eq!(ask(&daemon, "/fixed", "untouched").field("x-around"), None);
}

#[test]
fn a_middleware_answers_by_itself_and_a_trap_is_no_pass() {
    let daemon = setup().start();

    let (stopped, own) = (ask(&daemon, "/env", "stop"), ask(&daemon, "/env", "forget"));
    let (early, late) = (ask(&daemon, "/env", "trap"), ask(&daemon, "/env", "trap-later"));

    assert_eq!((stopped.status(), stopped.text()), (403, "stopped\n"));
    assert_eq!((own.status(), own.text()), (200, "mine\n"));
    assert_eq!((early.status(), late.status()), (502, 502));
}

#[test]
fn failures_behind_a_middleware_are_its_to_handle() {
    let daemon = setup().start();

    let mended = ask(&daemon, "/bad", "mend");
    let passed_on = ask(&daemon, "/bad", "untouched");
    let refused = ask(&daemon, "/no", "untouched");

    assert_eq!(mended.status(), 200);
    assert!(
        mended.text().starts_with("mended ") && mended.text().contains("InternalError"),
        "{}",
        mended.text()
    );
    assert_eq!(passed_on.status(), 502);
    assert_eq!(refused.status(), 403, "the gate behind it answers through it");
    daemon.counted("portcullis_failures_total", &["handler=\"bad\"", "reason=\"trapped\""], 2.0);
}

#[test]
fn a_refusal_behind_a_middleware_has_the_page_of_its_status() {
    let daemon = setup().prepend("errors = { 403 = \"403.html\" }\n").file("403.html", b"<p>not you").start();

    let refused = ask(&daemon, "/no", "untouched");

    assert_eq!((refused.status(), refused.text()), (403, "<p>not you"));
    assert_eq!(refused.field("content-type"), Some("text/html; charset=utf-8"));
}

#[test]
fn limits_behind_the_gates_count_what_a_middleware_passes_on() {
    let route = "[[route]]\npath = \"/few\"\nrespond = { body = \"few\\n\" }\n\
                 limit = { rate = \"1/h\", by = \"header:x-by\" }\n";
    let daemon = setup().add(route).start();

    let stopped = ask(&daemon, "/few", "stop");
    let (first, second) = (ask(&daemon, "/few", ""), ask(&daemon, "/few", ""));

    assert_eq!((stopped.status(), first.status(), second.status()), (403, 200, 429));
    assert_eq!((first.field("x-around"), second.field("x-around")), (Some("yes"), Some("yes")));
}

#[test]
fn what_cannot_stand_behind_a_middleware_is_refused_at_the_start() {
    let refused = |text: &str, change: &dyn Fn(String) -> String| {
        let setup = setup().add(text);
        let file = setup.path("portcullis.toml");
        let config = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, change(config)).unwrap();
        let ended = finish(portcullis().arg("check").current_dir(setup.path("")), b"", PATIENCE);
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        ended.stderr
    };

    let upgrade =
        refused("[[route]]\npath = \"/ws\"\nhandler = \"env\"\nupgrade = \"tcp\"\n", &|config| config);
    let jobs = refused("", &|config| format!("jobs = 8\nlimits.concurrency = 8\n{config}"));
    let few = refused("", &|config| format!("jobs = 8\n{config}"));

    assert!(upgrade.contains("around in before is a middleware"), "{upgrade}");
    for jobs in [jobs, few] {
        assert!(jobs.contains("the middlewares around may hold 64 jobs at once"), "{jobs}");
    }
}

#[test]
fn a_swap_is_refused_where_its_kind_of_module_cannot_stand() {
    let module = std::fs::read(middleware().join("middleware.wasm")).unwrap();
    let daemon = Setup::new(
        "wasi_http_03 = true\nadmin = \"unix://admin.sock\"\njobs = 8\nbefore = [\"around\"]\n\
         [handler.around]\nmodule = \"around.wasm\"\n[handler.env]\nmodule = \"env.wasm\"\n\
         [[route]]\npath = \"/env\"\nhandler = \"env\"\n\
         [[route]]\npath = \"/tcp\"\nhandler = \"env\"\nupgrade = \"tcp\"\n",
    )
    .file("around.wasm", &Program::text().say("pass").wasm())
    .file("env.wasm", &Program::text().environment().wasm())
    .start();

    let gate = swap(&daemon, "around", "", &module);
    let program = swap(&daemon, "env", "", &module);

    assert_eq!((gate.status(), program.status()), (400, 400), "{} {}", gate.text(), program.text());
    assert!(gate.text().contains("upgrade: around in before is a middleware"), "{}", gate.text());
    assert!(gate.text().contains("the middlewares around may hold 64 jobs at once"), "{}", gate.text());
    assert!(program.text().contains("upgrade is for programs"), "{}", program.text());
    assert_eq!(daemon.get("/env").status(), 200);
}

#[test]
fn routes_with_the_same_middlewares_in_opposite_orders_do_not_block_one_another() {
    let module = std::fs::read(middleware().join("middleware.wasm")).unwrap();
    // With one slot each. A request may wait in the queue for longer than the test waits.
    let slots = "limits.concurrency = 1\nlimits.queue_time = \"20m\"\nlimits.time = \"20m\"\n";
    let daemon = Setup::new(&format!(
        "wasi_http_03 = true\nadmin = \"unix://admin.sock\"\n\
         [handler.a]\nmodule = \"m.wasm\"\n{slots}[handler.b]\nmodule = \"m.wasm\"\n{slots}\
         [[route]]\npath = \"/ab\"\nbefore = [\"a\", \"b\"]\nrespond = {{ body = \"fixed\\n\" }}\n\
         [[route]]\npath = \"/ba\"\nbefore = [\"b\", \"a\"]\nrespond = {{ body = \"fixed\\n\" }}\n"
    ))
    .file("m.wasm", &module)
    .start();

    let answered = at_once(["/ab", "/ba"], 50, |path| ask(&daemon, path, "untouched"));

    assert_eq!(answered.len(), 200);
    assert!(answered.iter().all(|status| [200, 502].contains(status)), "{answered:?}");
    assert!(answered.contains(&200), "{answered:?}");
}

#[test]
fn a_middleware_without_anything_behind_it_gets_an_error() {
    let module = std::fs::read(middleware().join("middleware.wasm")).unwrap();
    let daemon = Setup::one("", &module).prepend("wasi_http_03 = true\n").start();

    let alone = ask(&daemon, "/", "mend");

    assert_eq!(alone.status(), 200);
    assert!(alone.text().contains("nothing stands behind this handler"), "{}", alone.text());
}
