//! The requests that a route claims, and the error of a claim that conflicts with another.

use std::fmt;

use http::Method;

/// The requests that a route claims: a route without its target.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// As in the route.
    pub pattern: &'a str,
    /// As in the route.
    pub methods: &'a [Method],
    /// As in the route.
    pub host: Option<&'a str>,
    /// The handler's name, for error messages. `None` if the daemon answers.
    pub handler: Option<&'a str>,
}

/// A route that is invalid or conflicts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouteError {
    /// The index of the route in the list given.
    pub position: usize,
    /// What is wrong. The message names the route and the one it conflicts with.
    pub message: String,
}

/// The most characters of a path that an error shows.
const SHOWN: usize = 200;

impl Claim<'_> {
    /// Names the route.
    pub(super) fn short(&self) -> String {
        let shown: String = self.pattern.chars().take(SHOWN).collect();
        let more = if shown.len() < self.pattern.len() { "..." } else { "" };
        match self.handler {
            Some(handler) => format!("{shown:?}{more} (handler {handler:?})"),
            None => format!("{shown:?}{more}"),
        }
    }
}

/// The beginning of an error message: `route "/a/{x}" (handler "one")`.
impl fmt::Display for Claim<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "route {}", self.short())
    }
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for RouteError {}
