//! The routes of one host as a tree of paths: the only place that knows matchit.

use std::iter;

use http::Method;
use matchit::{InsertError, Params, Router};

use super::pattern::Pattern;

/// The routes of one host. Routes are numbers here: their places in the list they came from.
#[derive(Default)]
pub(super) struct Table {
    tree: Router<usize>,
    leaves: Vec<Leaf>,
}

/// The routes with one path, told apart by their methods.
struct Leaf {
    path: String,
    pattern: Pattern,
    /// A method, none being all of them, and the route that takes it.
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
        if let Some(leaf) = self.leaves.iter_mut().find(|leaf| leaf.pattern.shape == pattern.shape) {
            return leaf.add(route, &pattern, methods);
        }
        match self.tree.insert(path, self.leaves.len()) {
            Ok(()) => {
                let mut leaf = Leaf { path: path.to_owned(), pattern, takers: Vec::new(), allow: Vec::new() };
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
    fn clash(&self, path: &str, error: &InsertError) -> Clash {
        let collides = |leaf: &&Leaf| {
            let mut pair = Router::new();
            pair.insert(&leaf.path, ()).is_ok() && pair.insert(path, ()).is_err()
        };
        let culprit = self.leaves.iter().find(collides).and_then(|leaf| leaf.takers.first());
        match culprit {
            Some((_, route)) => Clash::Either(*route),
            None => Clash::Refused(error.to_string()),
        }
    }
}

impl Leaf {
    fn add(&mut self, route: usize, pattern: &Pattern, methods: &[Method]) -> Result<(), Clash> {
        let overlaps = |method: &Option<Method>| match method {
            None => true,
            Some(method) => methods.is_empty() || methods.contains(method),
        };
        if let Some((_, other)) = self.takers.iter().find(|(method, _)| overlaps(method)) {
            return Err(Clash::Either(*other));
        }
        if let Some((_, other)) = self.takers.first().filter(|_| self.pattern.captures != pattern.captures) {
            return Err(Clash::Names(*other));
        }
        self.take(route, methods);
        Ok(())
    }

    fn take(&mut self, route: usize, methods: &[Method]) {
        if methods.is_empty() {
            self.takers.push((None, route));
        }
        self.takers.extend(methods.iter().map(|method| (Some(method.clone()), route)));
        self.allow = self.takers.iter().filter_map(|(method, _)| method.clone()).collect();
        if self.allow.contains(&Method::GET) {
            self.allow.push(Method::HEAD);
        }
        self.allow.push(Method::OPTIONS);
        self.allow.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        self.allow.dedup();
    }

    fn taker(&self, method: &Method) -> Option<usize> {
        let of = |wanted: Option<&Method>| {
            self.takers.iter().find(|(method, _)| method.as_ref() == wanted).map(|(_, route)| *route)
        };
        // RFC 9110 §9.3.2: HEAD is GET without the content.
        let as_get = || of(Some(&Method::GET)).filter(|_| method == Method::HEAD);
        of(Some(method)).or_else(as_get).or_else(|| of(None))
    }
}

impl<'t, 'p> Values<'t, 'p> {
    /// Goes through the values; behind the last stand empty ones, for a tail that matched nothing.
    pub(super) fn iter(&self) -> impl Iterator<Item = &'p str> {
        self.0.iter().map(|(_, value)| value).chain(iter::repeat(""))
    }
}
