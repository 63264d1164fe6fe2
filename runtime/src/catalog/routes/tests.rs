//! Tests of the routing table.

use super::*;
use crate::access::{AccessCheck, AccessGate, AddressRules, AddressSet};
use crate::catalog::RouteGate;
use proptest::prelude::*;

fn spec(line: &str, handler: &str) -> RouteSpec {
    let (methods, place) = line.split_once(' ').unwrap();
    let (host, pattern) = place.split_at(place.find('/').unwrap());
    RouteSpec {
        upgrade: None,
        rules: None,
        group: None,
        versions: None,
        checks: None,
        pattern: pattern.to_owned(),
        methods: methods.split(',').filter(|name| *name != "*").map(|name| name.parse().unwrap()).collect(),
        host: (!host.is_empty()).then(|| host.to_owned()),
        target: RouteTarget::Handler(Arc::new(HandlerVersion::idle(handler))),
    }
}

/// Routes written as `METHODS HOST/PATH`. The handlers are named h0, h1, ...
fn build(lines: &[&str]) -> Result<Routes, Vec<RouteError>> {
    let specs = lines.iter().enumerate().map(|(number, line)| spec(line, &format!("h{number}")));
    Routes::new(specs.collect())
}

fn routes(lines: &[&str]) -> Routes {
    build(lines).map_err(|errors| format!("{errors:?}")).ok().unwrap()
}

fn refusals(lines: &[&str]) -> Vec<String> {
    let errors = build(lines).err().unwrap_or_default();
    errors.into_iter().map(|error| error.message).collect()
}

/// `h0 who=bob`, `405 GET HEAD OPTIONS`, `404`.
fn ask(routes: &Routes, host: Option<&str>, method: &str, path: &str) -> String {
    told(routes.lookup(host, &method.parse().unwrap(), path), path)
}

fn told(lookup: Lookup<'_, '_>, path: &str) -> String {
    let words: Vec<String> = match lookup {
        Lookup::NotFound => vec!["404".to_owned()],
        Lookup::UnsupportedVersion { message, .. } => vec!["400".to_owned(), message],
        Lookup::MethodNotAllowed { allow, .. } => {
            ["405".to_owned()].into_iter().chain(allow.iter().map(ToString::to_string)).collect()
        }
        Lookup::Found(found) => {
            assert_eq!(format!("{}{}", found.script_name, found.path_info), path);
            let captures = found.captures().map(|(capture, value)| format!("{}={value}", capture.name));
            let version = found.api_version().map(|version| format!("v{version}"));
            [found.route.target.to_string()].into_iter().chain(captures).chain(version).collect()
        }
    };
    words.join(" ")
}

#[test]
fn one_path_may_have_a_handler_for_each_method() {
    let routes = routes(&["GET /a/{x}", "PUT,DELETE /a/{x}", "* /any"]);

    assert_eq!(ask(&routes, None, "GET", "/a/1"), "h0 x=1");
    assert_eq!(ask(&routes, None, "HEAD", "/a/1"), "h0 x=1");
    assert_eq!(ask(&routes, None, "PUT", "/a/1"), "h1 x=1");
    assert_eq!(ask(&routes, None, "POST", "/a/1"), "405 DELETE GET HEAD OPTIONS PUT");
    assert_eq!(ask(&routes, None, "OPTIONS", "/a/1"), "405 DELETE GET HEAD OPTIONS PUT");
    assert_eq!(ask(&routes, None, "BREW", "/any"), "h2");
    assert_eq!(ask(&routes, None, "GET", "/a/"), "404");
}

#[test]
fn a_route_for_head_goes_before_the_one_for_get() {
    let routes = routes(&["GET /a", "HEAD /a", "POST /b"]);

    assert_eq!(ask(&routes, None, "HEAD", "/a"), "h1");
    assert_eq!(ask(&routes, None, "HEAD", "/b"), "405 OPTIONS POST");
}

#[test]
fn a_tail_splits_the_path_and_may_be_empty() {
    let routes = routes(&[
        "* /files/{*rest}",
        "GET /own/{*rest}",
        "GET /own/",
        "* /{*all}",
        "* /{{a}}/{*rest}",
        "* /of/{user}/{*rest}",
    ]);

    for (path, script_name, path_info) in [
        ("/files/a/b", "/files", "/a/b"),
        ("/files/", "/files", "/"),
        ("/files//a", "/files", "//a"),
        ("/files", "", "/files"),
        ("/", "", "/"),
        ("/own/", "/own/", ""),
        ("/{a}/é", "/{a}", "/é"),
        ("/{a}/", "/{a}", "/"),
        ("/of/é/a/b", "/of/é", "/a/b"),
        ("/of/bob/", "/of/bob", "/"),
    ] {
        let Lookup::Found(found) = routes.lookup(None, &Method::GET, path) else { panic!("{path}") };
        assert_eq!((found.script_name, found.path_info), (script_name, path_info), "{path}");
    }
    assert_eq!(ask(&routes, None, "GET", "/files/"), "h0 rest=");
    assert_eq!(ask(&routes, None, "GET", "/own/"), "h2");
    assert_eq!(ask(&routes, None, "GET", "/own/x"), "h1 rest=x");
}

#[test]
fn a_host_of_its_own_goes_before_a_wildcard_before_none() {
    let routes = routes(&["* API.example.org/x", "* *.example.org/x", "* /x", "* /y", "* [::1]/x"]);

    assert_eq!(ask(&routes, Some("api.Example.org:8080"), "GET", "/x"), "h0");
    assert_eq!(ask(&routes, Some("www.example.org"), "GET", "/x"), "h1");
    assert_eq!(ask(&routes, Some("a.www.example.org"), "GET", "/x"), "h2");
    assert_eq!(ask(&routes, Some("example.org"), "GET", "/x"), "h2");
    assert_eq!(ask(&routes, None, "GET", "/x"), "h2");
    assert_eq!(ask(&routes, Some("api.example.org"), "GET", "/y"), "h3");
    assert_eq!(ask(&routes, Some("[::1]:80"), "GET", "/x"), "h4");
}

#[test]
fn the_host_of_a_request_matters_if_a_route_or_a_group_is_for_one() {
    let in_group = |host: Option<&str>| {
        let (name, prefix, host) = ("g".to_owned(), "/g".to_owned(), host.map(str::to_owned));
        let group = Arc::new(RouteGroup { name, prefix, host, ..RouteGroup::default() });
        Routes::new(vec![RouteSpec { group: Some(group), ..spec("* /g/x", "h0") }]).ok().unwrap()
    };

    assert!(!routes(&["* /x"]).has_hosts() && !in_group(None).has_hosts());
    assert!(routes(&["* example.org/x", "* /x"]).has_hosts() && routes(&["* *.example.org/x"]).has_hosts());
    assert!(in_group(Some("example.org")).has_hosts());
}

#[test]
fn a_version_may_stand_in_front() {
    let lines = ["GET /info", "GET /{name}/json", "GET /files/{*rest}", "GET /vfoo"];
    let range = Arc::new(VersionRange::any("/v"));
    let specs = lines.iter().enumerate().map(|(number, line)| RouteSpec {
        versions: Some(range.clone()),
        ..spec(line, &format!("h{number}"))
    });
    let routes = Routes::new(specs.collect()).ok().unwrap();

    assert_eq!(ask(&routes, None, "GET", "/v1.14/info"), "h0 v1.14");
    assert_eq!(ask(&routes, None, "POST", "/v1/info"), "405 GET HEAD OPTIONS");
    assert_eq!(ask(&routes, None, "GET", "/info"), "h0");
    assert_eq!(ask(&routes, None, "GET", "/v1/a/json"), "h1 name=a v1");
    assert_eq!(ask(&routes, None, "GET", "/v1/json"), "h1 name=v1");
    assert_eq!(ask(&routes, None, "GET", "/v1/files/a/b"), "h2 rest=a/b v1");
    for path in ["/v1", "/v/info", "/v1./info", "/v.1/info", "/v1a/info", "/v1..2/info"] {
        assert_eq!(ask(&routes, None, "GET", path), "404", "{path}");
    }
    assert_eq!(ask(&routes, None, "GET", "/vfoo"), "h3");
    assert_eq!(ask(&self::routes(&lines), None, "GET", "/v1.14/info"), "404");
}

#[test]
fn a_version_outside_the_range_is_refused_whatever_the_method() {
    let range = Arc::new(VersionRange::read("/v", "1.24..1.41").unwrap());
    let versioned = |line: &str, name: &str| RouteSpec { versions: Some(range.clone()), ..spec(line, name) };
    let unsupported = "400 client version 9.9 is too new. Maximum supported API version is 1.41";

    let routes = Routes::new(vec![versioned("GET /info", "h0"), spec("POST /plain", "h1")]).ok().unwrap();
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "BREW"] {
        assert_eq!(ask(&routes, None, method, "/v9.9/info"), unsupported, "{method}");
        assert_eq!(ask(&routes, None, method, "/v9.9/none"), "404", "{method}");
        assert_eq!(
            ask(&routes, None, method, "/v1.30/plain"),
            "404",
            "{method}: no route has a version there"
        );
    }
    assert_eq!(ask(&routes, None, "DELETE", "/v1.30/info"), "405 GET HEAD OPTIONS");
    assert_eq!(ask(&routes, None, "GET", "/plain"), "405 OPTIONS POST");

    // A path of another route that looks like a version has no say in it, unless that route takes the method.
    let shadowed = Routes::new(vec![
        versioned("GET /info", "h0"),
        spec("GET /{name}/info", "h1"),
        spec("PUT /{name}/info", "h2"),
    ]);
    let shadowed = shadowed.ok().unwrap();
    assert_eq!(ask(&shadowed, None, "DELETE", "/v9.9/info"), unsupported);
    assert_eq!(ask(&shadowed, None, "PUT", "/v9.9/info"), "h2 name=v9.9");
}

#[test]
fn an_empty_segment_leads_round_no_gates() {
    let gate = AccessGate {
        name: "office".to_owned(),
        check: AccessCheck::Addresses(AddressRules {
            allow: AddressSet::default(),
            deny: AddressSet::default(),
        }),
        files: Vec::new(),
        content: String::new(),
        digest: String::new(),
    };
    let gates = vec![RouteGate::BuiltIn(Arc::new(gate))];
    let checks = EntryChecks { limits: Vec::new(), gates, limits_behind: Vec::new() }.if_any();
    let specs = |checks: Option<Arc<EntryChecks>>| {
        vec![
            spec("* /{*rest}", "app"),
            RouteSpec { checks, ..spec("* /admin/{*rest}", "app") },
            spec("* /fetch/{*url}", "app"),
        ]
    };
    let evades = |routes: &Routes, path: &str| {
        let Lookup::Found(found) = routes.lookup(None, &Method::GET, path) else { panic!("{path}") };
        routes.evasion(&found, None, &Method::GET, path).is_some()
    };
    let gated = Routes::new(specs(checks)).ok().unwrap();
    let open = Routes::new(specs(None)).ok().unwrap();

    for path in ["//admin/x", "///admin//x", "//admin/"] {
        assert!(evades(&gated, path) && !evades(&open, path), "{path}");
    }
    for path in ["/admin/x", "/admin//x", "/fetch/https://a.example/admin/x", "//fetch/x", "//x"] {
        assert!(!evades(&gated, path), "{path}");
    }
}

#[test]
fn a_conflict_names_both_routes() {
    let expected = r#"route "/a/{y}" (handler "h1") conflicts with "/a/{x}" (handler "h0")"#;
    assert_eq!(refusals(&["* /a/{x}", "* /a/{y}"]), [expected]);
    assert_eq!(
        refusals(&["GET,PUT /a", "PUT /a", "GET /b", "GET h.x/a"]),
        [r#"route "/a" (handler "h1") conflicts with "/a" (handler "h0")"#]
    );
    assert_eq!(
        refusals(&["GET /a/{x}", "PUT /a/{y}"]),
        [
            r#"route "/a/{y}" (handler "h1") conflicts with "/a/{x}" (handler "h0"): one path, so give its captures the same names"#
        ]
    );
    assert_eq!(
        refusals(&["* /b", "* /a/{x}", "* /a/{*y}"]),
        [r#"route "/a/{*y}" (handler "h2") conflicts with "/a/{x}" (handler "h1")"#]
    );
}

#[test]
fn every_bad_route_is_reported() {
    let errors = build(&["* /{", "* a:1/x", "* /ok", "* /ok"]).err().unwrap();

    let positions: Vec<_> = errors.iter().map(|error| error.position).collect();
    assert_eq!(positions, [0, 1, 3]);
}

#[test]
fn texts_behind_a_capture_are_tried_one_after_the_other_and_so_are_few() {
    let lines: Vec<String> = (0..257).map(|number| format!("GET /{{name}}.{number}")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let beside = [&lines[..256], &["GET /{name}.7/more", "GET /of/{name}.256"]].concat();

    assert_eq!(ask(&routes(&beside), None, "GET", "/a.255"), "h255 name=a");
    let refused = r#"route "/{name}.256" (handler "h256"): 256 different texts at most follow the capture in "/{}": put a slash in front of the text, or let the handler tell them apart"#;
    assert_eq!(refusals(&lines), [refused]);
}

/// Looks a path up as [`Routes::lookup`] does, but tries one range of versions after the other.
fn look_up_by_each<'r, 'p>(
    routes: &'r Routes,
    ranges: &[Arc<VersionRange>],
    path: &'p str,
) -> Lookup<'r, 'p> {
    let (mut denied, mut unsupported) = (None, None);
    for range in ranges {
        let Some((version, rest)) = api_version::split(&range.before, path) else { continue };
        let has_range = |route: &Route| route.versions.as_ref() == Some(range);
        match (routes.find(None, &Method::GET, rest), range.check(version)) {
            (Lookup::Found(found), Ok(())) if has_range(found.route) => {
                return Lookup::Found(found).behind(version, path);
            }
            (Lookup::Found(found), Err(message)) if has_range(found.route) => {
                return Lookup::UnsupportedVersion { route: found.route, message };
            }
            (Lookup::MethodNotAllowed { route, allow }, Ok(())) if has_range(route) => {
                denied = Some((route, allow));
            }
            (Lookup::MethodNotAllowed { route, .. }, Err(message)) if has_range(route) => {
                unsupported = Some((route, message));
            }
            _ => {}
        }
    }
    match (routes.find(None, &Method::GET, path), denied, unsupported) {
        (Lookup::NotFound, Some((route, allow)), _) => Lookup::MethodNotAllowed { route, allow },
        (Lookup::NotFound | Lookup::MethodNotAllowed { .. }, None, Some((route, message))) => {
            Lookup::UnsupportedVersion { route, message }
        }
        (found, ..) => found,
    }
}

/// Matches segment by segment. Returns how specific each match is: 0 fixed, 1 capture, 2 tail.
fn naive(pattern: &str, path: &str) -> Option<Vec<u8>> {
    let (mut pattern, mut path) = (pattern[1..].split('/'), path[1..].split('/'));
    let mut grades = Vec::new();
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return Some(grades),
            (Some(tail), Some(_)) if tail.starts_with("{*") => {
                grades.push(2);
                return Some(grades);
            }
            (Some(capture), Some(value)) if capture.starts_with('{') && !value.is_empty() => grades.push(1),
            (Some(fixed), Some(value)) if fixed == value => grades.push(0),
            _ => return None,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_table_agrees_with_a_naive_matcher(
        patterns in prop::collection::vec(r"(/(a|b|ab|é|\{x\})){0,3}(/|/[ab]|/\{y\}|/\{\*r\})", 1..8),
        paths in prop::collection::vec("(/(a|b|ab|c|é|)){1,5}", 1..16),
    ) {
        // The captures of a path are distinct. Patterns that conflict with an earlier one are skipped.
        let mut kept: Vec<String> = Vec::new();
        for pattern in patterns {
            let mut count = 0;
            let unique = pattern.split("{x}").collect::<Vec<_>>().join("\u{1}");
            let unique: String = unique.chars().map(|char| match char {
                '\u{1}' => { count += 1; format!("{{x{count}}}") }
                other => other.to_string(),
            }).collect();
            kept.push(unique);
            let lines: Vec<_> = kept.iter().map(|pattern| format!("* {pattern}")).collect();
            if build(&lines.iter().map(String::as_str).collect::<Vec<_>>()).is_err() {
                kept.pop();
            }
        }
        let lines: Vec<_> = kept.iter().map(|pattern| format!("* {pattern}")).collect();
        let routes = routes(&lines.iter().map(String::as_str).collect::<Vec<_>>());

        for path in paths {
            let best = kept.iter().enumerate()
                .filter_map(|(number, pattern)| naive(pattern, &path).map(|grades| (grades, number)))
                .min();
            let expected = best.map_or("404".to_owned(), |(_, number)| format!("h{number}"));
            let found = ask(&routes, None, "GET", &path);
            prop_assert_eq!(found.split(' ').next(), Some(expected.as_str()), "{} in {:?}", path, kept);
        }
    }

    #[test]
    fn a_version_is_found_as_by_a_look_at_every_range(
        written in prop::collection::btree_map(
            "(/[ab]){1,2}",
            (any::<bool>(), prop::option::of((r"/(v|v1|v1\.|a)", prop::option::of((0..3_u8, 0..3_u8))))),
            1..12,
        ),
        paths in prop::collection::vec(r"(/(v|v1|v1\.|a)[0-9.]{0,3})?(/[ab]){1,2}", 1..16),
    ) {
        let range = |(before, ends): (String, Option<(u8, u8)>)| Arc::new(match ends {
            Some((oldest, more)) => VersionRange::read(&before, &format!("{oldest}..{}", oldest + more)).unwrap(),
            None => VersionRange::any(&before),
        });
        let specs: Vec<RouteSpec> = written.into_iter().map(|(path, (is_read, versions))| {
            let line = format!("{} {path}", if is_read { "GET" } else { "PUT" });
            RouteSpec { versions: versions.map(range), ..spec(&line, "h") }
        }).collect();
        let ranges: Vec<_> = specs.iter().filter_map(|spec| spec.versions.clone()).collect();
        let routes = Routes::new(specs).ok().unwrap();

        for path in &paths {
            let wanted = told(look_up_by_each(&routes, &ranges, path), path);
            prop_assert_eq!(told(routes.lookup(None, &Method::GET, path), path), wanted, "{}", path);
        }
    }

    #[test]
    fn no_pattern_panics(patterns in prop::collection::vec(r"(/|a|é|è|ё|\{|\}|\{x\}|\{y\}|\{\*z\}|-|v1){0,8}", 0..6)) {
        let lines: Vec<_> = patterns.iter().map(|pattern| format!("GET /{pattern}")).collect();
        let _either = build(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    }
}
