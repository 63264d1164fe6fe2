//! The tables of paths, one for each host that routes name.

use std::collections::HashMap;

use super::claim::{Claim, RouteError};
use crate::catalog::host::{self, RouteHost};
use crate::catalog::path_tree::{Clash, Table};
use crate::catalog::pattern::PathPattern;

/// The tables of all hosts.
#[derive(Default)]
pub(super) struct Tables {
    exact: HashMap<String, Table>,
    below: HashMap<String, Table>,
    anywhere: Table,
}

impl Tables {
    /// Makes the tables.
    ///
    /// # Errors
    /// As in `Routes::new`.
    pub(super) fn new(claims: &[Claim<'_>]) -> Result<Tables, Vec<RouteError>> {
        let mut tables = Tables::default();
        let mut errors = Vec::new();
        for position in 0..claims.len() {
            if let Err(message) = tables.insert(claims, position) {
                errors.push(RouteError { position, message });
            }
        }
        tables.anywhere.settle();
        tables.exact.values_mut().chain(tables.below.values_mut()).for_each(Table::settle);
        if errors.is_empty() { Ok(tables) } else { Err(errors) }
    }

    fn insert(&mut self, claims: &[Claim<'_>], position: usize) -> Result<(), String> {
        let claim = claims[position];
        let pattern = PathPattern::read(claim.pattern).map_err(|what| format!("{claim}: {what}"))?;
        let host = claim.host.map(host::written).transpose().map_err(|what| format!("{claim}: {what}"))?;
        let table = match host {
            Some(RouteHost::Exact(name)) => self.exact.entry(name).or_default(),
            Some(RouteHost::Below(name)) => self.below.entry(name).or_default(),
            None => &mut self.anywhere,
        };
        table.insert(position, claim.pattern, pattern, claim.methods).map_err(|clash| match clash {
            Clash::Either(other) => format!("{claim} conflicts with {}", claims[other].short()),
            Clash::Names(other) => format!(
                "{claim} conflicts with {}: one path, so give its captures the same names",
                claims[other].short()
            ),
            Clash::Refused(why) => format!("{claim}: {why}"),
        })
    }

    /// Reports whether a table is for one host or for the names below one.
    pub(super) fn have_hosts(&self) -> bool {
        !(self.exact.is_empty() && self.below.is_empty())
    }

    /// Returns the tables of a host, the most specific first.
    pub(super) fn of(&self, host: Option<&str>) -> [Option<&Table>; 3] {
        let Some(host) = host.filter(|_| self.have_hosts()).map(host::asked) else {
            return [None, None, Some(&self.anywhere)];
        };
        let below = host.split_once('.').and_then(|(_, name)| self.below.get(name));
        [self.exact.get(&*host), below, Some(&self.anywhere)]
    }
}

/// Returns the errors that `Routes::new` would return, before handlers are loaded.
pub fn conflicts(claims: &[Claim<'_>]) -> Vec<RouteError> {
    Tables::new(claims).err().unwrap_or_default()
}
