//! A tree of paths with the routes of one host; the only module that uses matchit.

use std::collections::{HashMap, HashSet};
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
    /// The texts that follow each capture in its segment, by the shape of the path up to it.
    suffixes: HashMap<String, HashSet<String>>,
    /// What the tests for conflicts have cost so far, in pairs of short paths.
    tested: usize,
}

/// The most pairs of paths to test. A configuration with so many conflicts has a worse problem than a typing error.
const PAIRS: usize = 100_000;

/// The most different texts that follow one capture, such as `.png` in `/{name}.png`. matchit tries one after the other.
const SUFFIXES: usize = 256;

/// The routes of one path, distinguished by method.
struct PathRoutes {
    path: String,
    pattern: PathPattern,
    /// The first route.
    first: usize,
    /// The route of each method, while routes are added. A route for all methods has `None`.
    routes: HashMap<Option<Method>, usize>,
    /// The same as pairs sorted by method, once all routes are added.
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
    /// The path has routes, but only for these methods. `first` is the first of the routes; `takers` are all of them.
    Methods { first: usize, allow: &'t [Method], takers: &'t [(Option<Method>, usize)] },
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
        self.check_suffixes(&pattern)?;
        match self.tree.insert(path, self.leaves.len()) {
            Ok(()) => {
                self.shapes.insert(pattern.shape.clone(), self.leaves.len());
                for (before, suffix) in pattern.suffixes() {
                    self.suffixes.entry(before.to_owned()).or_default().insert(suffix.to_owned());
                }
                let (path, (routes, takers, allow)) = (path.to_owned(), Default::default());
                let mut leaf = PathRoutes { path, pattern, first: route, routes, takers, allow };
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
        self.suffixes = HashMap::new();
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
            None => PathMatch::Methods { first: leaf.first, allow: &leaf.allow, takers: &leaf.takers },
        }
    }

    /// Checks that few enough texts follow each capture of a path.
    fn check_suffixes(&self, pattern: &PathPattern) -> Result<(), Clash> {
        let has_room = |before: &str, suffix: &str| {
            self.suffixes.get(before).is_none_or(|known| known.len() < SUFFIXES || known.contains(suffix))
        };
        match pattern.suffixes().find(|&(before, suffix)| !has_room(before, suffix)) {
            Some((before, _)) => Err(Clash::Refused(format!(
                "{SUFFIXES} different texts at most follow the capture in {before:?}: put a slash in front of the text, or \
                 let the handler tell them apart"
            ))),
            None => Ok(()),
        }
    }

    /// Finds the route that conflicts with a path. matchit may name a path that is not a route, so the paths are
    /// tested in pairs.
    fn clash(&mut self, path: &str, error: &InsertError) -> Clash {
        let (own, tested) = (cost(path), &mut self.tested);
        let may_test = |leaf: &&PathRoutes| {
            *tested += own.max(cost(&leaf.path));
            *tested <= PAIRS
        };
        let collides = |leaf: &&PathRoutes| {
            let mut pair = Router::new();
            pair.insert(&leaf.path, ()).is_ok() && pair.insert(path, ()).is_err()
        };
        match self.leaves.iter().take_while(may_test).find(collides) {
            Some(culprit) => Clash::Either(culprit.first),
            None => Clash::Refused(error.to_string()),
        }
    }
}

/// Estimates what a test of a path costs, in short paths: matchit compares each byte with every doubled brace.
fn cost(path: &str) -> usize {
    let doubled = path.matches("{{").count() + path.matches("}}").count();
    1 + path.len() * doubled / 1000
}

impl PathRoutes {
    fn add(&mut self, route: usize, pattern: &PathPattern, methods: &[Method]) -> Result<(), Clash> {
        let route_of = |method: Option<Method>| self.routes.get(&method).copied();
        let overlapping = match methods {
            [] => Some(self.first),
            _ => methods.iter().filter_map(|method| route_of(Some(method.clone()))).min(),
        };
        if let Some(other) = overlapping.or_else(|| route_of(None)) {
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
            self.routes.entry(method).or_insert(route);
        }
    }

    /// Sorts the methods, and builds their list for a 405. Call it last.
    fn settle(&mut self) {
        self.takers = std::mem::take(&mut self.routes).into_iter().collect();
        self.takers.sort_by(|(one, _), (other, _)| {
            one.as_ref().map(Method::as_str).cmp(&other.as_ref().map(Method::as_str))
        });
        self.allow = self.takers.iter().filter_map(|(method, _)| method.clone()).collect();
        if self.allow.contains(&Method::GET) {
            self.allow.push(Method::HEAD);
        }
        self.allow.push(Method::OPTIONS);
        self.allow.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        self.allow.dedup();
    }

    /// Finds the route of a method. A path has few of them, and to compare two known methods is to compare two numbers.
    fn taker_of(&self, wanted: Option<&Method>) -> Option<usize> {
        self.takers.iter().find(|(method, _)| method.as_ref() == wanted).map(|(_, route)| *route)
    }

    fn taker(&self, method: &Method) -> Option<usize> {
        // RFC 9110 §9.3.2: HEAD is GET without the content.
        let as_get =
            || Some(&Method::GET).filter(|_| method == Method::HEAD).and_then(|get| self.taker_of(Some(get)));
        self.taker_of(Some(method)).or_else(as_get).or_else(|| self.taker_of(None))
    }
}

impl<'t, 'p> CaptureValues<'t, 'p> {
    /// Iterates over the values, followed by empty ones for a tail that matched nothing.
    pub(super) fn iter(&self) -> impl Iterator<Item = &'p str> {
        self.0.iter().map(|(_, value)| value).chain(iter::repeat(""))
    }
}
