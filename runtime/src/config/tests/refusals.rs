//! Tests of invalid settings and their errors.

use super::{mistakes, named_paths, parse};

/// Reads a line at the top of the file, or inside `[handler.x]` or `[[route]]`, and expects one
/// error.
fn refused(section: &str, line: &str, wanted: &str) {
    let top = if section.is_empty() { line } else { "" };
    let handler = if section == "handler" { line } else { "" };
    let route = if section == "route" { line } else { "" };
    let path = if line.starts_with("path") { "" } else { "path = \"/\"" };
    let module = if line.starts_with("module") { "" } else { "module = \"hello.wasm\"" };
    let text =
        format!("{top}\n[handler.x]\n{module}\n{handler}\n[[route]]\nhandler = \"x\"\n{path}\n{route}\n");
    let errors = mistakes(&text);
    assert!(errors.len() == 1 && errors[0].contains(wanted), "{line}: wanted {wanted:?} in {errors:?}");
}

#[test]
fn what_a_refused_file_names_is_listed() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("portcullis.toml");
    let text = r#"
errors = { 502 = "502.html" }
nonsense = 1
[tls]
cert = "cert.pem"
key = "key.pem"
[gate.staff]
kind = "basic"
users_file = "users"
[handler.x]
module = "x.wasm"
mounts = [{ host = "data", guest = "/data" }]
[[route]]
path = "/{*rest}"
static = { dir = "public" }
"#;
    std::fs::write(&file, text).unwrap();

    let mut named = named_paths(&file);

    named.sort();
    let names = ["502.html", "cert.pem", "data", "key.pem", "public", "users", "x.wasm"];
    assert_eq!(named, names.map(|name| place.path().join(name)));
    std::fs::write(&file, "[[route").unwrap();
    assert!(named_paths(&file).is_empty());
}

#[test]
fn what_cannot_be_is_refused_with_what_can() {
    for (section, line, wanted) in [
        ("", "listen = []", "an empty list"),
        (
            "",
            "listen = \"tcp://:80\"",
            "wanted a list such as [\"tcp://:80\"], found the string \"tcp://:80\"",
        ),
        ("route", "methods = \"GET\"", "wanted a list such as [\"GET\"], found the string \"GET\""),
        (
            "handler",
            "mounts = [\"data\"]",
            "mounts[0]: wanted a table with the keys host, guest, write, found the string \"data\"",
        ),
        ("handler", "mounts = \"data\"", "wanted a list, found the string \"data\""),
        ("", "listen = [\"tcp://:80\", \"tcp://127.0.0.1:80\"]", "already"),
        ("", "listen = [80]", "listen[0]: wanted a string, found the integer 80"),
        ("handler", "reuse = 0", "reuse: "),
        ("handler", "tmp = \"63KiB\"", "64KiB to 1TiB, found \"63KiB\""),
        ("handler", "tmp = \"1MiB\"\nreuse = 2", "tmp: cannot be combined with reuse"),
        (
            "handler",
            "tmp = \"1MiB\"\nmounts = [{ host = \".\", guest = \"/tmp/\" }]",
            "tmp: something is mounted at /tmp already",
        ),
        ("handler", "reuse = \"often\"", "reuse: "),
        ("", "grace = true", "wanted a duration such as \"30s\", found the boolean true"),
        ("", "grace = \"10000h\"", "8784h at most"),
        ("", "jobs = 0", "from 1 to 4096, found 0"),
        ("", "jobs = 4097", "from 1 to 4096, found 4097"),
        ("", "access_log = \"yes\"", "wanted true, false, \"common\""),
        ("", "cache = \"\"", "wanted a directory, or \"none\""),
        ("", "cache = \"a\\u0000\"", "NUL"),
        ("", "cache = false", "wanted a string, found the boolean false"),
        ("", "admin = \"tcp://127.0.0.1:1\"", "admin: wanted unix:///PATH/TO.sock"),
        ("", "admin = \"fd://\"", "admin: wanted unix:///PATH/TO.sock"),
        ("", "admin = \"/run/a.sock\"", "unix:///run/a.sock"),
        ("", "admin_mode = 600", "octal permissions"),
        ("", "hardening.reach = [\"\"]", "wanted a directory, found \"\": write \".\""),
        (
            "handler",
            "mounts = [{ host = \"\", guest = \"/d\" }]",
            "wanted a directory, found \"\": write \".\"",
        ),
        ("route", "methods = [\"GET\", \"TRACE\"]", "TRACE never reaches a handler"),
        ("route", "methods = [\"CONNECT\"]", "CONNECT never reaches a handler"),
        ("route", "path = \"/a/../b\"", "a segment `.` or `..`"),
        ("", "volumes = 1", "unknown key; the keys here are listen, admin"),
        ("", "unix.mode = 660", "octal permissions such as \"0660\", found 660"),
        ("", "unix.mode = 0o1777", "octal"),
        ("", "unix.group = true", "name or number"),
        ("", "http.head = \"0s\"", "more than 0"),
        ("", "http.head_size = \"1KiB\"", "8KiB to 1MiB"),
        ("", "http.fields = -1", "from 1 to 4096, found -1"),
        ("", "cors.max_age = \"1h\"", "cors: the key origins is missing"),
        ("", "cors.origins = [\"https://a.example/\"]", "without a path"),
        ("", "cors.origins = [\"*\", \"https://a.example\"]", "write it alone"),
        ("", "cors = { origins = [\"*\"], credentials = true }", "cors.credentials: credentials need named"),
        ("", "limits.memory = \"4294967297\"", "64KiB to 4GiB, found"),
        ("", "limits.memory = 65535", "64KiB to 4GiB, found 65535"),
        ("", "limits.time = \"0s\"", "\"none\""),
        ("", "limits.body = -1", "not negative"),
        ("", "limits.output = \"all\"", "or \"none\""),
        ("", "limits.concurrency = 0", "from 1 to 4096"),
        ("", "handler.\"a b\".module = \"hello.wasm\"", "handler.\"a b\": \"a b\" is not a job name"),
        ("", "handler.y = {}", "handler.y: the key module is missing"),
        ("handler", "module = \"absent.wasm\"", "there is no module at /"),
        ("handler", "module = \"absent.wasm\"", "; `portcullis build` makes it from its source"),
        ("handler", "module = \"data\"", "not a file"),
        ("handler", "args = [\"a\\u0000\"]", "NUL"),
        ("handler", "env = { \"A=B\" = \"x\" }", "without `=`"),
        ("handler", "env = { A = 1 }", "handler.x.env.A: wanted a string, found the integer 1"),
        (
            "handler",
            "calls = [\"xx\"]",
            "handler.x.calls[0]: there is no handler \"xx\"; did you mean \"x\"?",
        ),
        ("handler", "calls = [\"shutdown\"]", "built-in jobs cannot"),
        ("handler", "calls = [\"x\", \"x\"]", "already"),
        (
            "handler",
            "schedule = \"* * *\"",
            "handler.x.schedule: wanted minute, hour, day of the month, month and day of the week, such as \"*/5 * * * *\", \
             found \"* * *\": 3 fields instead of 5",
        ),
        ("handler", "schedule = \"0 0 30 2 *\"", "never matches"),
        (
            "handler",
            "schedule = 5",
            "wanted a string such as \"*/5 * * * *\", or a table, found the integer 5",
        ),
        ("handler", "schedule = { stdin = \"x\" }", "the key cron is missing"),
        ("handler", "schedule = { cron = \"61 * * * *\" }", "handler.x.schedule.cron: wanted minute"),
        ("handler", "schedule = { cron = \"* * * * *\", args = [\"a\\u0000\"] }", "NUL"),
        ("handler", "mounts = [{ host = \"data\" }]", "the key guest is missing"),
        ("handler", "mounts = [{ host = \"absent\", guest = \"/a\" }]", "there is no directory"),
        ("handler", "mounts = [{ host = \"hello.wasm\", guest = \"/a\" }]", "wanted a directory"),
        ("handler", "mounts = [{ host = \"data\", guest = \"a\" }]", "absolute path"),
        (
            "handler",
            "mounts = [{ host = \"data\", guest = \"/a\" }, { host = \"data\", guest = \"/a/\" }]",
            "mounted already",
        ),
        ("", "history = \"some\"", "history: wanted a size such as \"4MiB\", or \"none\", found \"some\""),
        ("", "history = 9", "64KiB to 1GiB"),
        ("handler", "output = \"json\"", "wanted \"cgi\" or \"raw\""),
        ("handler", "content_type = \"text/html\"", "needs output = \"raw\""),
        ("handler", "output = \"raw\"\ncontent_type = \"html\"", "such as \"text/html\""),
        ("route", "methods = [\"get\"]", "capitals"),
        ("route", "methods = []", "every method"),
        ("route", "methods = [1]", "methods[0]: wanted a string"),
        ("route", "path = 5", "path: wanted a string, found the integer 5"),
        ("handler", "module = 5", "module: wanted a string, found the integer 5"),
        ("", "cors.origins = [5]", "origins[0]: wanted a string"),
        ("", "cors.origins = []", "an empty list"),
        ("route", "methods = [\"GET\", \"GET\"]", "already"),
        ("route", "host = \"a.example:80\"", "leave out the port"),
        ("route", "path = \"hello\"", "starts with `/`"),
        ("route", "upgrade = \"h2c\"", "upgrade: wanted \"tcp\" or \"websocket\", found \"h2c\""),
        ("route", "websocket.ping = \"1s\"", "needs upgrade = \"websocket\""),
        ("route", "upgrade = \"websocket\"\nmethods = [\"POST\"]", "is a GET request"),
        ("route", "upgrade = \"websocket\"\nwebsocket.messages = \"json\"", "wanted \"lines\" or \"frames\""),
        ("route", "upgrade = \"websocket\"\nwebsocket.message_size = 9", "125B to 64MiB"),
        ("route", "upgrade = \"websocket\"\nwebsocket.protocols = [\"a b\"]", "subprotocol such as"),
        ("route", "upgrade = \"websocket\"\nwebsocket.origins = [\"https://a.example/\"]", "without a path"),
        ("route", "upgrade = \"websocket\"\nwebsocket.ping = \"0s\"", "\"none\""),
        ("route", "redirect = \"/x\"", "route[0]: has both handler and redirect"),
        ("route", "respond = { body = \"x\" }", "has both handler and respond"),
        ("route", "status = 301", "status: needs redirect"),
        ("", "https = \"always\"", "https: wanted \"redirect\""),
        ("", "https = \"redirect\"", "https: no endpoint is served both ways"),
        ("route", "method = [\"GET\"]", "did you mean \"methods\"?"),
    ] {
        refused(section, line, wanted);
    }
}

#[test]
fn a_route_without_a_handler_is_refused_with_what_it_lacks() {
    for (line, wanted) in [
        ("", "the key handler is missing: write the NAME of a [handler.NAME], or redirect"),
        ("redirect = \"/a\"\nrespond = {}", "has both redirect and respond"),
        ("redirect = \"/{nobody}\"", "redirect: there is no {nobody} here; the names are who, host"),
        ("redirect = \"https://{who}.example/\"", "would let a client choose the host"),
        ("redirect = \"//example.org/\"", "names a host without a scheme"),
        ("redirect = \"new\"", "wanted a URL such as"),
        ("redirect = \"/a\"\nstatus = 304", "status: wanted one of [301, 302, 303, 307, 308], found 304"),
        ("redirect = \"/a\"\nupgrade = \"tcp\"", "upgrade: needs a handler"),
        ("rewrite = \"https://a.example/\"", "rewrite: wanted a path such as"),
        ("rewrite = \"/a\"\nfields.remove = [\"X\"]", "fields: belongs to the route that the rewritten path"),
        (
            "rewrite = \"/a\"\nlimit = { rate = \"1/s\" }",
            "limit: belongs to the route that the rewritten path",
        ),
        ("rewrite = \"/a\"\nbefore = []", "before: belongs to the route that the rewritten path"),
        ("respond = {}\nfields.set = { Date = \"x\" }", "fields.set.Date: Date is set by the daemon itself"),
        ("respond = {}\nerrors = \"xml\"", "errors: wanted \"json\", \"message\", or pages such as"),
        ("respond = {}\nerrors = { 404 = \"none.html\" }", "errors.404: there is no page at"),
        ("respond = {}\nerrors = { 200 = \"hello.wasm\" }", "errors.200: wanted a status from 400 to 599"),
        ("respond = {}\ncompress = [\"deflate\"]", "compress[0]: wanted \"zstd\", \"br\" or \"gzip\""),
        ("respond = {}\ncompress = [\"br\", \"br\"]", "\"br\" is in this list already"),
        ("static = { dir = \"data\" }", "path: static needs a path with a tail"),
        ("respond = { status = 199 }", "from 200 to 599, found 199"),
        ("respond = { status = 204, body = \"x\" }", "a response with status 204 has no body"),
        ("respond = { fields = { Content-Length = \"3\" } }", "Content-Length is set by the daemon itself"),
        ("respond = { fields = { X = \"a\\nb\" } }", "printable and on one line"),
        ("respond = { fields = { \"a b\" = \"x\" } }", "wanted the name of a header field"),
        ("respond = { fields = { x = \"1\", X = \"2\" } }", "in the table already"),
    ] {
        let errors = mistakes(&format!("[[route]]\npath = \"/{{who}}\"\n{line}\n"));
        assert!(errors.len() == 1 && errors[0].contains(wanted), "{line}: wanted {wanted:?} in {errors:?}");
    }
}

#[test]
fn a_group_that_cannot_be_is_refused() {
    for (group, route, wanted) in [
        ("before = [\"staff\"]", "", "group.api.before[0]: there is no gate \"staff\""),
        ("versions = \"1..2\"", "", "group.api.versions: needs prefix = \"/v{version}\""),
        ("prefix = \"/v{version}\"\nversions = \"2..1\"", "", "the range \"2..1\" is empty"),
        ("prefix = \"/v{version}\"\nversions = \"1.24\"", "", "wanted a range of versions such as"),
        ("prefix = \"/api/v{version}\"\nversions = \"1..2\"", "", "group.api.prefix: wanted a path such as"),
        ("prefix = \"api\"", "", "wanted a path such as \"/api\""),
        ("prefix = \"/api/\"", "", "wanted a path such as \"/api\""),
        ("prefix = \"/{x}\"", "", "wanted a path such as \"/api\""),
        ("prefix = \"/api\"", "group = \"apo\"", "group: there is no group \"apo\"; did you mean \"api\"?"),
        ("errors = \"xml\"", "", "group.api.errors: wanted \"json\", \"message\", or pages"),
    ] {
        let errors =
            mistakes(&format!("[group.api]\n{group}\n[[route]]\npath = \"/a\"\nrespond = {{}}\n{route}\n"));
        assert!(errors.len() == 1 && errors[0].contains(wanted), "{group}: wanted {wanted:?} in {errors:?}");
    }
}

#[test]
fn fields_are_as_many_as_a_response_has_room_for_and_no_more() {
    let list = |count: usize, value: &str| {
        (0..count).map(|number| format!("\"x-{number}\"{value}")).collect::<Vec<_>>().join(", ")
    };
    let lines = |count: usize| {
        let (table, names) = (list(count, " = \"1\""), list(count, ""));
        [
            ("fields.set.x-100", format!("handler = \"x\"\nfields.set = {{ {table} }}")),
            ("fields.add.x-100", format!("handler = \"x\"\nfields.add = {{ {table} }}")),
            ("fields.remove[100]", format!("handler = \"x\"\nfields.remove = [{names}]")),
            ("respond.fields.x-100", format!("respond.fields = {{ {table} }}")),
        ]
    };
    let text =
        |line: &str| format!("[handler.x]\nmodule = \"hello.wasm\"\n[[route]]\npath = \"/\"\n{line}\n");

    for (key, line) in lines(100) {
        assert_eq!(mistakes(&text(&line)), [""; 0], "{key}");
    }
    // The library panics between 24,576 and 32,768.
    for count in [101, 40_000] {
        for (key, line) in lines(count) {
            let errors = mistakes(&text(&line));
            let wanted = format!("route[0].{key}: wanted 100 fields at most, found {count}: leave some out");
            assert!(errors.len() == 1 && errors[0].ends_with(&wanted), "{key}: {:?}", errors.first());
        }
    }
}

#[test]
fn a_page_of_a_group_where_a_handler_may_write_is_one_mistake_of_its_route() {
    let place = tempfile::tempdir().unwrap();
    std::fs::create_dir(place.path().join("data")).unwrap();
    for file in ["a.wasm", "data/404.html"] {
        std::fs::write(place.path().join(file), "").unwrap();
    }
    let text = "[group.g]\nprefix = \"/g\"\nerrors = { 404 = \"data/404.html\" }\n\
        [handler.a]\nmodule = \"a.wasm\"\nmounts = [{ host = \"data\", guest = \"/data\", write = true }]\n\
        [[route]]\npath = \"/\"\ngroup = \"g\"\nrespond = {}\n";
    // Without pages of the route, a 404 of the group has them all the same.
    for more in ["", "errors = \"json\"\n"] {
        let config = parse(&format!("{text}{more}"), place.path(), "p.toml").unwrap();

        let refused = config.check_whole(&place.path().join("p.toml")).unwrap_err().to_string();

        assert_eq!(refused.matches("data/404.html is looked up in ").count(), 1, "{refused}");
    }
}

#[test]
fn a_key_in_the_wrong_table_is_told_where_it_belongs() {
    for (table, line, told) in [
        (
            "[[route]]\npath = \"/\"\nrespond = {}",
            "watch = true",
            "route[0].watch: unknown key; move it above all tables",
        ),
        (
            "[handler.x]\nmodule = \"hello.wasm\"",
            "listen = []",
            "handler.x.listen: unknown key; move it above all tables",
        ),
        ("[traces]", "admin = \"unix://a\"", "traces.admin: unknown key; move it above all tables"),
        ("[group.x]", "grace = \"1s\"", "group.x.grace: unknown key; move it above all tables"),
        (
            "[handler.x]\nmodule = \"hello.wasm\"",
            "memory = \"1MiB\"",
            "handler.x.memory: unknown key; write limits.memory, or move it to [compile] or to [limits]",
        ),
        (
            "[handler.x]\nmodule = \"hello.wasm\"",
            "path = \"/\"",
            "handler.x.path: unknown key; write probe.path, or move it to [[route]]",
        ),
        (
            "[[route]]\npath = \"/\"\nrespond = {}",
            "module = \"hello.wasm\"",
            "route[0].module: unknown key; move it to [compile] or to [handler.NAME]",
        ),
        (
            "[handler.x]\nmodule = \"hello.wasm\"",
            "cors = {}",
            "handler.x.cors: unknown key; move it to [cors]",
        ),
        // One letter is a slip, although other tables have the key.
        (
            "[handler.x]\nmodule = \"hello.wasm\"",
            "store = []",
            "handler.x.store: unknown key; did you mean \"stores\"?",
        ),
    ] {
        let at = table.lines().count() + 1;
        assert_eq!(mistakes(&format!("{table}\n{line}\n")), [format!("p.toml:{at}: {told}")]);
    }
}

#[test]
fn http3_is_no_slip_of_http_and_is_told_to_use_a_proxy() {
    for (text, at) in [
        ("http3 = true\n", "1: http3"),
        ("[tls]\ncert = \"a.pem\"\nkey = \"a.key\"\nhttp3 = false\n", "4: tls.http3"),
        ("[http]\nhttp3 = true\n", "2: http.http3"),
    ] {
        let told = "unknown key; the daemon does not speak HTTP/3: \
            remove the key, and put a proxy in front that does";
        assert_eq!(mistakes(text), [format!("p.toml:{at}: {told}")]);
    }
}

#[test]
fn the_wrong_number_of_brackets_is_told_the_right_one() {
    for (line, told) in [
        ("[route]", "route: wanted a list of tables such as [[route]], found a table"),
        ("[[handler]]", "handler: wanted a table such as [handler.NAME], found a list"),
        ("[[handler.x]]", "handler.x: wanted a table such as [handler.x], found a list"),
        ("[[limits]]", "limits: wanted a table such as [limits], found a list"),
    ] {
        assert_eq!(mistakes(&format!("{line}\n")), [format!("p.toml:1: {told}")]);
    }
}

#[test]
fn a_file_that_ends_within_a_number_is_refused() {
    let whole = "[handler.x]\nmodule = \"hello.wasm\"\nlimits.concurrency = 64";

    assert_eq!(mistakes(&format!("{whole}\n")), [""; 0]);
    assert!(mistakes(whole)[0].contains("3: the file ends within a number"), "{:?}", mistakes(whole));
}

#[test]
fn a_text_that_is_not_toml_says_where() {
    let errors = mistakes("jobs = 1\njobs = 2\ngrace = \n");
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].starts_with("p.toml:2: this is not TOML: "), "{errors:?}");
    assert!(errors[1].starts_with("p.toml:3: this is not TOML: "), "{errors:?}");
}
