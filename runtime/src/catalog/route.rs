//! The routes of one host as a tree of paths: the only place that knows matchit.

use std::collections::HashMap;
use std::iter;

use http::Method;
use matchit::{InsertError, Params, Router};

use super::pattern::Pattern;

/// The routes of one host. Routes are numbers here: their places in the list they came from.
#[derive(Default)]
pub(super) struct Table {
    tree: Router<usize>,
    leaves: Vec<Leaf>,
    /// The leaf of each shape.
    shapes: HashMap<String, usize>,
    /// Pairs of paths that were tried to find out which of them clash.
    pairs: usize,
}

/// Pairs of paths that are tried at most: a configuration in which many paths clash has another mistake than a slip of
/// the finger.
const PAIRS: usize = 100_000;

/// The routes with one path, told apart by their methods.
struct Leaf {
    path: String,
    pattern: Pattern,
    /// The first route.
    first: usize,
    /// A method, none being all of them, and the route that takes it; sorted by the method.
    takers: Vec<(Option<Method>, usize)>,
    /// What a 405 says: sorted, with HEAD where there is GET, and OPTIONS.
    allow: Vec<Method>,
}

/// Why a route cannot be beside another.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Clash {
    /// A request could be for either.
    Either(usize),
    /// The paths differ only in what they call their captures.
    Names(usize),
    /// The tree does not take it: matchit says why.
    Refused(String),
}

/// What a path leads to.
pub(super) enum Hit<'t, 'p> {
    /// A route, and what its captures matched.
    Route(usize, Values<'t, 'p>),
    /// Routes with other methods.
    Methods(&'t [Method]),
    /// No route.
    Nothing,
}

/// What the captures of a route matched, in their order.
pub(super) struct Values<'t, 'p>(Params<'t, 'p>);

impl Table {
    /// Adds a route; no methods are all methods.
    ///
    /// # Errors
    /// The first route that is in its way. The table stays as it was.
    pub(super) fn insert(
        &mut self,
        route: usize,
        path: &str,
        pattern: Pattern,
        methods: &[Method],
    ) -> Result<(), Clash> {
        if let Some(leaf) = self.shapes.get(&pattern.shape) {
            return self.leaves[*leaf].add(route, &pattern, methods);
        }
        match self.tree.insert(path, self.leaves.len()) {
            Ok(()) => {
                self.shapes.insert(pattern.shape.clone(), self.leaves.len());
                let (takers, allow) = Default::default();
                let mut leaf = Leaf { path: path.to_owned(), pattern, first: route, takers, allow };
                leaf.take(route, methods);
                self.leaves.push(leaf);
                Ok(())
            }
            Err(error) => Err(self.clash(path, &error)),
        }
    }

    /// Makes every tail match nothing as well: `/files/{*rest}` also answers `/files/`, unless that
    /// path has a route of its own. (matchit wants a tail of one character at least.) The last step.
    pub(super) fn settle(&mut self) {
        self.shapes = HashMap::new();
        self.leaves.iter_mut().for_each(Leaf::settle);
        for (position, leaf) in self.leaves.iter().enumerate().filter(|(_, leaf)| leaf.pattern.has_tail) {
            let end = leaf.path.rfind('{').unwrap_or(leaf.path.len());
            // Refused only where a route has the very same shape: that one goes first.
            let _taken = self.tree.insert(&leaf.path[..end], position);
        }
    }

    /// Finds the route for a path that is already decoded.
    pub(super) fn at<'t, 'p>(&'t self, method: &Method, path: &'p str) -> Hit<'t, 'p> {
        let Ok(found) = self.tree.at(path) else { return Hit::Nothing };
        let leaf = &self.leaves[*found.value];
        match leaf.taker(method) {
            Some(route) => Hit::Route(route, Values(found.params)),
            None => Hit::Methods(&leaf.allow),
        }
    }

    /// Finds out which route is in the way of a path. matchit names a path that need not be one of
    /// ours, so the paths are tried in pairs.
    fn clash(&mut self, path: &str, error: &InsertError) -> Clash {
        let left = PAIRS.saturating_sub(self.pairs);
        let pairs = &mut self.pairs;
        let collides = |leaf: &&Leaf| {
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

impl Leaf {
    fn add(&mut self, route: usize, pattern: &Pattern, methods: &[Method]) -> Result<(), Clash> {
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

    /// Makes what a 405 says. The last step.
    fn settle(&mut self) {
        self.allow = self.takers.iter().filter_map(|(method, _)| method.clone()).collect();
        if self.allow.contains(&Method::GET) {
            self.allow.push(Method::HEAD);
        }
        self.allow.push(Method::OPTIONS);
        self.allow.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        self.allow.dedup();
    }

    /// Finds a method among those that are taken, or where it would stand.
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

impl<'t, 'p> Values<'t, 'p> {
    /// Goes through the values; behind the last stand empty ones, for a tail that matched nothing.
    pub(super) fn iter(&self) -> impl Iterator<Item = &'p str> {
        self.0.iter().map(|(_, value)| value).chain(iter::repeat(""))
    }
}
