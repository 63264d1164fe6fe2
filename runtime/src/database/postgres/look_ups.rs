//! The statements that tokio-postgres prepares by itself to look up types. A connection keeps them until it is closed.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use deadpool_postgres::{ClientWrapper, StatementCache};
use tokio_postgres::error::{DbError, ErrorPosition, Severity, SqlState};
use tokio_postgres::types::{Field, Kind, Type};
use tokio_postgres::{Column, Error, Statement};

/// Column with the number of the protocol's statements that are none of these. The texts are those of tokio-postgres
/// (`prepare.rs`): with others of a new version, a connection is closed where it could be kept.
pub(super) const LEFTOVERS: &str =
    "pg_catalog.count(*) FILTER (WHERE NOT from_sql AND statement OPERATOR(pg_catalog.<>) ALL (ARRAY['\
SELECT t.typname, t.typtype, t.typelem, r.rngsubtype, t.typbasetype, n.nspname, t.typrelid
FROM pg_catalog.pg_type t
LEFT OUTER JOIN pg_catalog.pg_range r ON r.rngtypid = t.oid
INNER JOIN pg_catalog.pg_namespace n ON t.typnamespace = n.oid
WHERE t.oid = $1
', '\
SELECT enumlabel
FROM pg_catalog.pg_enum
WHERE enumtypid = $1
ORDER BY enumsortorder
', '\
SELECT attname, atttypid
FROM pg_catalog.pg_attribute
WHERE attrelid = $1
AND NOT attisdropped
AND attnum > 0
ORDER BY attnum
']))";

/// Which of these statements a connection has. tokio-postgres prepares each when it meets the first type of its kind.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct TypeLookUps {
    /// The statement for all types that are not built in.
    any: bool,
    enums: bool,
    composites: bool,
    /// Whether the server may have other statements, which make up for some of these.
    is_unknown: bool,
    /// Whether a statement could not be prepared, and the server was not asked since what it has kept.
    is_unsettled: bool,
}

/// The look-ups of the connections of a pool. A connection is known by the cache that its wrapper owns.
#[derive(Default)]
pub(super) struct KnownLookUps(Mutex<Vec<(Weak<StatementCache>, TypeLookUps)>>);

impl TypeLookUps {
    /// Notes what tokio-postgres has looked up for this statement, or before.
    pub(super) fn note(&mut self, statement: &Statement) {
        let columns = statement.columns().iter().map(Column::type_);
        self.note_types(statement.params().iter().chain(columns).collect());
    }

    /// Notes that a statement could not be prepared. If only the look-up of its types has failed, the server keeps the
    /// statement, and the error does not show it. A job can make look-ups fail: its search path may have another `=`, whose
    /// function may first drop all statements, and [`LEFTOVERS`] then finds none. The server gives no position in the text
    /// with an error that a function raises, so without a position nothing is known.
    pub(super) fn note_failure(&mut self, error: &Error) {
        match error.as_db_error() {
            // The server has not read the text, and a look-up would need an answer to it.
            Some(error) if is_unread(error) => {}
            Some(error) if is_refusal_of_text(error) => self.is_unsettled = true,
            // A function has run, the connection has broken, or the server ends it.
            Some(_) | None => self.is_unknown = true,
        }
    }

    /// Whether the server is to be asked for [`LEFTOVERS`], before the job can drop any of them.
    pub(super) fn is_unsettled(self) -> bool {
        self.is_unsettled
    }

    /// Notes whether the server has leftovers. Without any, it has refused the text of the statement, and no look-up has
    /// begun.
    pub(super) fn settle(&mut self, has_leftovers: bool) {
        self.is_unsettled = false;
        self.is_unknown |= has_leftovers;
    }

    fn note_types(&mut self, mut types: Vec<&Type>) {
        // Composite types may share their fields: without this, their number could double with each level.
        let mut seen = HashSet::new();
        while let Some(next) = types.pop() {
            if Type::from_oid(next.oid()).is_some() || !seen.insert(next.oid()) {
                continue;
            }
            self.any = true;
            match next.kind() {
                Kind::Enum(_) => self.enums = true,
                Kind::Composite(fields) => {
                    self.composites = true;
                    types.extend(fields.iter().map(Field::type_));
                }
                Kind::Array(inner) | Kind::Domain(inner) | Kind::Range(inner) | Kind::Multirange(inner) => {
                    types.push(inner);
                }
                _ => {}
            }
        }
    }

    /// Returns how many statements the server has for them. `None` if that is not known.
    pub(super) fn count(self) -> Option<usize> {
        let count = usize::from(self.any) + usize::from(self.enums) + usize::from(self.composites);
        (!self.is_unknown && !self.is_unsettled).then_some(count)
    }
}

/// Reports whether a statement came too late in a transaction: after an error, the server only takes the end of it. Any
/// function can raise an error with this code, but not in the name of the function that reads a text.
fn is_unread(error: &DbError) -> bool {
    *error.code() == SqlState::IN_FAILED_SQL_TRANSACTION && error.routine() == Some("exec_parse_message")
}

fn is_refusal_of_text(error: &DbError) -> bool {
    let has_position = matches!(error.position(), Some(ErrorPosition::Original(_)));
    has_position && error.parsed_severity() == Some(Severity::Error)
}

impl KnownLookUps {
    fn lock(&self) -> MutexGuard<'_, Vec<(Weak<StatementCache>, TypeLookUps)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the look-ups of a connection.
    pub(super) fn of(&self, client: &ClientWrapper) -> TypeLookUps {
        let cache = Arc::downgrade(&client.statement_cache);
        let known = self.lock();
        known.iter().find(|(one, _)| one.ptr_eq(&cache)).map(|(_, look_ups)| *look_ups).unwrap_or_default()
    }

    /// Notes the look-ups of a connection. Forgets connections that are closed.
    pub(super) fn keep(&self, client: &ClientWrapper, look_ups: TypeLookUps) {
        let cache = Arc::downgrade(&client.statement_cache);
        let mut known = self.lock();
        known.retain(|(one, _)| one.strong_count() > 0 && !one.ptr_eq(&cache));
        if look_ups != TypeLookUps::default() {
            known.push((cache, look_ups));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(oid: u32, kind: Kind) -> Type {
        Type::new(format!("t{oid}"), oid, kind, "public".to_owned())
    }

    #[test]
    fn the_look_ups_of_a_type_are_those_of_its_parts_too() {
        let mood = own(100_001, Kind::Enum(vec!["calm".to_owned()]));
        let moods = own(100_002, Kind::Array(mood.clone()));
        let pair = own(100_003, Kind::Composite(vec![Field::new("a".to_owned(), Type::INT4)]));
        let both = own(100_004, Kind::Composite(vec![Field::new("a".to_owned(), moods.clone())]));
        let plain = own(100_005, Kind::Domain(Type::TEXT));
        let (text, numbers) = (Type::TEXT, Type::INT4_ARRAY);

        for (types, wanted) in [
            (vec![&text, &numbers], 0),
            (vec![&plain], 1),
            (vec![&mood], 2),
            (vec![&moods], 2),
            (vec![&pair], 2),
            (vec![&pair, &mood], 3),
            (vec![&both], 3),
        ] {
            let mut look_ups = TypeLookUps::default();
            look_ups.note_types(types.clone());

            assert_eq!(look_ups.count(), Some(wanted), "{types:?}");
        }
    }

    #[test]
    fn a_type_whose_parts_double_at_each_level_is_looked_through_once() {
        let mut last = own(100_000, Kind::Simple);
        for oid in 100_001..100_064 {
            let field = |name: &str| Field::new(name.to_owned(), last.clone());
            last = own(oid, Kind::Composite(vec![field("a"), field("b")]));
        }

        let mut look_ups = TypeLookUps::default();
        look_ups.note_types(vec![&last]);

        assert_eq!(look_ups.count(), Some(2));
    }
}
