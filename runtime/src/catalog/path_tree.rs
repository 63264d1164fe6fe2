//! A tree of paths with the routes of one host; the only module that uses matchit.

use std::collections::HashMap;
use std::iter;

use http::Method;
use matchit::{InsertError, Params, Router};

use super::pattern::PathPattern;

/// The routes of one host. A route is represented by its index in the list of routes.
#[derive(Default)]
pub(super) struct Table {
    tree: Router<usize>,
    leaves: Vec<PathRoutes>,
    /// The leaf of each shape.
    shapes: HashMap<String, usize>,
    /// How many pairs of paths were tested for conflicts.
    pairs: usize,
}

/// The most pairs of paths to test. A configuration with so many conflicts has a worse problem than a typing error.
const PAIRS: usize = 100_000;

/// The routes of one path, distinguished by method.
struct PathRoutes {
    path: String,
    pattern: PathPattern,
    /// The first route.
    first: usize,
    /// Pairs of a method and its route, sorted by method. A route for all methods has `None`.
    takers: Vec<(Option<Method>, usize)>,
    /// The methods that a 405 lists: sorted, with HEAD where there is GET, and OPTIONS.
    allow: Vec<Method>,
}

/// Why a route conflicts with another.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Clash {
    /// A request could match either route.
    Either(usize),
    /// The paths differ only in the names of their captures.
    Names(usize),
    /// matchit refuses the path; the text is its reason.
    Refused(String),
}

/// The result of looking up a path.
pub(super) enum PathMatch<'t, 'p> {
    /// A route, and the values of its captures.
    Route(usize, CaptureValues<'t, 'p>),
    /// The path has routes, but only for these methods. `first` is the first of the routes.
    Methods { first: usize, allow: &'t [Method] },
    /// No route.
    Nothing,
}

/// The values of a route's captures, in order.
pub(super) struct CaptureValues<'t, 'p>(Params<'t, 'p>);

impl Table {
    /// Adds a route. An empty list of methods means all methods.
    ///
    /// # Errors
    /// The first route that conflicts. The table stays unchanged.
    pub(super) fn insert(
        &mut self,
        route: usize,
        path: &str,
        pattern: PathPattern,
        methods: &[Method],
    ) -> Result<(), Clash> {
        if let Some(leaf) = self.shapes.get(&pattern.shape) {
            return self.leaves[*leaf].add(route, &pattern, methods);
        }
        match self.tree.insert(path, self.leaves.len()) {
            Ok(()) => {
                self.shapes.insert(pattern.shape.clone(), self.leaves.len());
                let (takers, allow) = Default::default();
                let mut leaf = PathRoutes { path: path.to_owned(), pattern, first: route, takers, allow };
                leaf.take(route, methods);
                self.leaves.push(leaf);
                Ok(())
            }
            Err(error) => Err(self.clash(path, &error)),
        }
    }

    /// Lets every tail match nothing as well: `/files/{*rest}` also answers `/files/`, unless that path has its own
    /// route. matchit requires at least one character in a tail. Call it last.
    pub(super) fn settle(&mut self) {
        self.shapes = HashMap::new();
        self.leaves.iter_mut().for_each(PathRoutes::settle);
        for (position, leaf) in self.leaves.iter().enumerate().filter(|(_, leaf)| leaf.pattern.has_tail) {
            let end = leaf.path.rfind('{').unwrap_or(leaf.path.len());
            // The insert fails only if another route has the same shape; that route takes precedence.
            let _taken = self.tree.insert(&leaf.path[..end], position);
        }
    }

    /// Finds the route of a decoded path.
    pub(super) fn at<'t, 'p>(&'t self, method: &Method, path: &'p str) -> PathMatch<'t, 'p> {
        let Ok(found) = self.tree.at(path) else { return PathMatch::Nothing };
        let leaf = &self.leaves[*found.value];
        match leaf.taker(method) {
            Some(route) => PathMatch::Route(route, CaptureValues(found.params)),
            None => PathMatch::Methods { first: leaf.first, allow: &leaf.allow },
        }
    }

    /// Finds the route that conflicts with a path. matchit may name a path that is not a route, so the paths are
    /// tested in pairs.
    fn clash(&mut self, path: &str, error: &InsertError) -> Clash {
        let left = PAIRS.saturating_sub(self.pairs);
        let pairs = &mut self.pairs;
        let collides = |leaf: &&PathRoutes| {
            *pairs += 1;
            let mut pair = Router::new();
            pair.insert(&leaf.path, ()).is_ok() && pair.insert(path, ()).is_err()
        };
        match self.leaves.iter().take(left).find(collides) {
            Some(culprit) => Clash::Either(culprit.first),
            None => Clash::Refused(error.to_string()),
        }
    }
}

impl PathRoutes {
    fn add(&mut self, route: usize, pattern: &PathPattern, methods: &[Method]) -> Result<(), Clash> {
        let overlapping = match methods {
            [] => Some(self.first),
            _ => methods.iter().filter_map(|method| self.taker_of(Some(method))).min(),
        };
        if let Some(other) = overlapping.or_else(|| self.taker_of(None)) {
            return Err(Clash::Either(other));
        }
        if self.pattern.captures != pattern.captures {
            return Err(Clash::Names(self.first));
        }
        self.take(route, methods);
        Ok(())
    }

    fn take(&mut self, route: usize, methods: &[Method]) {
        let all = methods.is_empty().then_some(None);
        for method in methods.iter().cloned().map(Some).chain(all) {
            if let Err(at) = self.place_of(method.as_ref()) {
                self.takers.insert(at, (method, route));
            }
        }
    }

    /// Builds the list of methods for a 405. Call it last.
    fn settle(&mut self) {
        self.allow = self.takers.iter().filter_map(|(method, _)| method.clone()).collect();
        if self.allow.contains(&Method::GET) {
            self.allow.push(Method::HEAD);
        }
        self.allow.push(Method::OPTIONS);
        self.allow.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        self.allow.dedup();
    }

    /// Returns the index of a method, or the index at which to insert it.
    fn place_of(&self, wanted: Option<&Method>) -> Result<usize, usize> {
        let wanted = wanted.map(Method::as_str);
        self.takers.binary_search_by(|(method, _)| method.as_ref().map(Method::as_str).cmp(&wanted))
    }

    fn taker_of(&self, method: Option<&Method>) -> Option<usize> {
        self.place_of(method).ok().map(|at| self.takers[at].1)
    }

    fn taker(&self, method: &Method) -> Option<usize> {
        // RFC 9110 §9.3.2: HEAD is GET without the content.
        let as_get = || self.taker_of(Some(&Method::GET)).filter(|_| method == Method::HEAD);
        self.taker_of(Some(method)).or_else(as_get).or_else(|| self.taker_of(None))
    }
}

impl<'t, 'p> CaptureValues<'t, 'p> {
    /// Iterates over the values, followed by empty ones for a tail that matched nothing.
    pub(super) fn iter(&self) -> impl Iterator<Item = &'p str> {
        self.0.iter().map(|(_, value)| value).chain(iter::repeat(""))
    }
}
