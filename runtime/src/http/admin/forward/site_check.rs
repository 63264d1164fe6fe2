//! Checks that a request comes from the dashboard itself, and which part of the admin API it asks for.

use http::header::{HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, StatusCode};

use super::rejection::Rejection;
use crate::http::admin::dashboard_files;
use crate::job::builtin;

/// The path that exchanges the token of a link for that of a session.
const OPEN: &str = "/dashboard/open";

/// The path that runs a recorded job again.
const REPLAY: &str = "/dashboard/replay";

/// The path of the profiler.
const PROFILE: &str = "/debug/profile";

/// Says whether a page of another site made the browser send a request (Fetch Metadata, W3C).
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The jobs that the page runs. No other can be run through the port, whatever becomes of the page.
const JOBS: [&str; 10] = [
    builtin::HANDLERS,
    builtin::HISTORY,
    builtin::JOBS,
    builtin::KILL,
    builtin::LOGS,
    builtin::PROMOTE,
    builtin::ROLLBACK,
    builtin::ROUTES,
    builtin::STATUS,
    builtin::TAP,
];

/// What a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ForwardTarget {
    /// A file of the page, which holds no secret.
    File,
    /// A session for the token of a link.
    Open,
    /// A replay.
    Replay,
    /// An answer of the daemon.
    Daemon,
}

impl ForwardTarget {
    /// Finds what a request asks for.
    ///
    /// # Errors
    /// The page asks for nothing of the kind.
    pub(super) fn of(method: &Method, path: &str) -> Result<ForwardTarget, Rejection> {
        let job = path.strip_prefix("/jobs/");
        let (target, wanted) = match path {
            OPEN => (ForwardTarget::Open, Method::POST),
            REPLAY => (ForwardTarget::Replay, Method::POST),
            PROFILE | dashboard_files::ACCESS => (ForwardTarget::Daemon, Method::GET),
            // The daemon decodes a path: `/dashboard/%61ccess` is no file.
            _ if path.starts_with(dashboard_files::ROOT) && !path.contains('%') => {
                (ForwardTarget::File, Method::GET)
            }
            _ if job.is_some_and(|job| JOBS.contains(&job)) => (ForwardTarget::Daemon, Method::POST),
            _ => return Err(Rejection::new(StatusCode::NOT_FOUND, "the dashboard is at /dashboard/")),
        };
        if *method == wanted {
            return Ok(target);
        }
        Err(Rejection::new(StatusCode::METHOD_NOT_ALLOWED, format!("this path allows {wanted} only")))
    }
}

/// Checks that a request names this host and was not sent by the page of another site.
///
/// # Errors
/// It does not, or it was.
pub(super) fn check(head: &Parts, port: u16) -> Result<(), Rejection> {
    let forbidden = |message: &str| Err(Rejection::new(StatusCode::FORBIDDEN, message));
    let ours = [format!("127.0.0.1:{port}"), format!("localhost:{port}")];
    let is_ours = |host: &str| ours.iter().any(|our| our.eq_ignore_ascii_case(host));
    // A name that leads to 127.0.0.1 by a trick of DNS is not ours.
    let hosts: Vec<&str> = texts(&head.headers, &HOST).collect();
    let is_named = matches!(hosts[..], [host] if is_ours(host));
    if !is_named || !head.uri.authority().is_none_or(|authority| is_ours(authority.as_str())) {
        return forbidden("the host is not that of the dashboard: open the link as it was printed");
    }
    let is_own = |origin: &str| origin.strip_prefix("http://").is_some_and(is_ours);
    if !texts(&head.headers, &ORIGIN).all(is_own) {
        return forbidden("the page of another site has sent this");
    }
    if !texts(&head.headers, &FETCH_SITE).all(|site| matches!(site, "same-origin" | "none")) {
        return forbidden("the page of another site leads here: open the link as it was printed");
    }
    Ok(())
}

/// Iterates over the values of a field. A value that is not ASCII is empty, which matches nothing.
fn texts<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn is_let_in(fields: &[(&str, &str)]) -> bool {
        let mut request = Request::get("/dashboard/");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        check(&request.body(()).unwrap().into_parts().0, 7070).is_ok()
    }

    #[test]
    fn only_this_host_and_this_origin_are_let_in() {
        let host = ("host", "127.0.0.1:7070");
        assert!(is_let_in(&[host]) && is_let_in(&[("host", "LOCALHOST:7070")]));
        assert!(is_let_in(&[host, ("origin", "http://localhost:7070"), ("sec-fetch-site", "same-origin")]));
        assert!(is_let_in(&[host, ("sec-fetch-site", "none")]));

        for fields in [
            &[][..],
            &[("host", "127.0.0.1")],
            &[("host", "127.0.0.1:7071")],
            &[("host", "rebound.example:7070")],
            &[host, ("host", "rebound.example:7070")],
            &[host, ("origin", "null")],
            &[host, ("origin", "http://127.0.0.1:8080")],
            &[host, ("origin", "https://127.0.0.1:7070")],
            &[host, ("origin", "http://127.0.0.1:7070.evil.example")],
            &[host, ("sec-fetch-site", "cross-site")],
            &[host, ("sec-fetch-site", "same-site")],
        ] {
            assert!(!is_let_in(fields), "{fields:?}");
        }
    }

    #[test]
    fn only_what_the_page_needs_is_forwarded() {
        let post = |path| ForwardTarget::of(&Method::POST, path);
        let get = |path| ForwardTarget::of(&Method::GET, path);

        assert_eq!(post("/jobs/kill"), Ok(ForwardTarget::Daemon));
        assert_eq!(get("/dashboard/access"), Ok(ForwardTarget::Daemon));
        assert_eq!(get("/dashboard/main.js"), Ok(ForwardTarget::File));
        assert_eq!(post("/dashboard/open"), Ok(ForwardTarget::Open));
        for path in
            ["/jobs/shutdown", "/jobs/swap", "/jobs/hello", "/jobs/kill/", "/metrics", "/", "/dashboard"]
        {
            assert!(post(path).is_err() && get(path).is_err(), "{path}");
        }
        assert!(get("/jobs/kill").is_err() && get("/dashboard/open").is_err());
        assert!(get("/dashboard/%61ccess").is_err(), "an answer of the daemon without a token");
    }
}
