//! The target of a route, which answers its requests: a handler, or the daemon itself.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::static_files::StaticFiles;
use super::template::Template;
use crate::job::HandlerVersion;

/// The target of a route.
#[derive(Clone)]
pub enum RouteTarget {
    /// A job of this handler.
    Handler(Arc<HandlerVersion>),
    /// A redirect to another URL.
    Redirect(Arc<Redirect>),
    /// The same response to every request.
    Respond(Arc<FixedResponse>),
    /// The files of a directory.
    Files(Arc<StaticFiles>),
    /// The route of another path.
    Rewrite(Arc<Template>),
}

/// A redirect to a URL that is made from the request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Redirect {
    /// The URL.
    pub to: Template,
    /// The status: 301, 302, 303, 307 or 308.
    pub status: StatusCode,
}

/// A response that is the same for every request.
#[derive(Clone, PartialEq, Debug)]
pub struct FixedResponse {
    /// The status, 200 at least.
    pub status: StatusCode,
    /// The fields, `Content-Type` included, and an empty `Date`, which is set in each response.
    pub fields: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl RouteTarget {
    /// Returns the handler. `None` if the daemon answers.
    pub fn handler(&self) -> Option<&Arc<HandlerVersion>> {
        match self {
            RouteTarget::Handler(handler) => Some(handler),
            RouteTarget::Redirect(_)
            | RouteTarget::Respond(_)
            | RouteTarget::Files(_)
            | RouteTarget::Rewrite(_) => None,
        }
    }
}

/// `hello`, `redirect 302 https://{host}{uri}`, `respond 204`, `static /srv/www`,
/// `rewrite /new/{rest}`.
impl fmt::Display for RouteTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RouteTarget::Handler(handler) => write!(f, "{}", handler.name),
            RouteTarget::Redirect(redirect) => {
                write!(f, "redirect {} {}", redirect.status.as_u16(), redirect.to.as_str())
            }
            RouteTarget::Respond(response) => write!(f, "respond {}", response.status.as_u16()),
            RouteTarget::Files(files) => write!(f, "static {}", files.options.dir.display()),
            RouteTarget::Rewrite(to) => write!(f, "rewrite {}", to.as_str()),
        }
    }
}
