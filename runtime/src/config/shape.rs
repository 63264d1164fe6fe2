//! Which keys each table of the configuration has, and where a key belongs that stands in another table.

/// The form that a value may have.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Shape {
    /// No table with fixed keys.
    Value,
    /// A table with these keys.
    Table { keys: &'static [(&'static str, &'static Shape)] },
    /// A table with keys that the user chose.
    Named { each: &'static Shape },
    /// A list.
    List { each: &'static Shape },
}

/// A step from a table to one below it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ShapeStep {
    Key(&'static str),
    /// A key that the user chose.
    Name,
    /// An element of a list.
    Element,
}

/// Searches all tables for a key.
struct KeySearch<'a> {
    name: &'a str,
    /// The table in which the key stands.
    here: &'a Shape,
    /// The way from the top of the file to the table that is searched.
    path: Vec<ShapeStep>,
    /// The keys to write in `here` instead: `limits.memory`.
    below: Vec<String>,
    /// The other tables that have the key, with their depth: `to [limits]`.
    elsewhere: Vec<(usize, String)>,
}

impl Shape {
    /// Returns the key that a field of Rust is named after: `static` for `r#static`.
    pub(super) const fn key(field: &'static str) -> &'static str {
        match field.as_bytes() {
            [b'r', b'#', key @ ..] => match std::str::from_utf8(key) {
                Ok(key) => key,
                Err(_) => field,
            },
            _ => field,
        }
    }

    /// Returns the keys of a table.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        let keys: &'static [(&'static str, &'static Shape)] = match *self {
            Shape::Table { keys } => keys,
            Shape::Value | Shape::Named { .. } | Shape::List { .. } => &[],
        };
        keys.iter().map(|(name, _)| *name)
    }

    /// Says where a key belongs that the table `here` does not have. Returns `None` if no table has it. `self` is the
    /// shape of the whole file.
    pub(super) fn advice(&self, name: &str, here: &Shape) -> Option<String> {
        /// With more places, the key says little about what was meant.
        const MOST: usize = 3;
        let (path, below, elsewhere) = Default::default();
        let mut search = KeySearch { name, here, path, below, elsewhere };
        search.visit(self, None);
        let KeySearch { mut below, mut elsewhere, .. } = search;
        below.sort_by_key(|key| key.matches('.').count());
        elsewhere.sort_by_key(|(depth, _)| *depth);
        below.truncate(MOST);
        elsewhere.truncate(MOST - below.len());
        let keys = below.join(" or ");
        let tables = elsewhere.into_iter().map(|(_, table)| table).collect::<Vec<_>>().join(" or ");
        match (keys.is_empty(), tables.is_empty()) {
            (true, true) => None,
            (false, true) => Some(format!("write {keys}")),
            (true, false) => Some(format!("move it {tables}")),
            (false, false) => Some(format!("write {keys}, or move it {tables}")),
        }
    }
}

impl KeySearch<'_> {
    /// Searches a table and the tables below it. `from` is the depth of `here` if only fixed keys lead from there to
    /// this table.
    fn visit(&mut self, shape: &Shape, from: Option<usize>) {
        match *shape {
            Shape::Value => {}
            Shape::Named { each } => self.descend(ShapeStep::Name, each, None),
            Shape::List { each } => self.descend(ShapeStep::Element, each, None),
            Shape::Table { keys } => {
                let from = if shape == self.here { Some(self.path.len()) } else { from };
                if let Some(&(key, value)) = keys.iter().find(|(key, _)| *key == self.name) {
                    self.note(key, value, from);
                }
                for &(key, below) in keys {
                    self.descend(ShapeStep::Key(key), below, from);
                }
            }
        }
    }

    fn descend(&mut self, step: ShapeStep, shape: &Shape, from: Option<usize>) {
        self.path.push(step);
        self.visit(shape, from);
        self.path.pop();
    }

    /// Notes that the searched table has the key, with a value of this shape.
    fn note(&mut self, key: &'static str, shape: &Shape, from: Option<usize>) {
        if let Some(from) = from {
            let way = dotted(&[&self.path[from..], &[ShapeStep::Key(key)]].concat());
            if !self.below.contains(&way) {
                self.below.push(way);
            }
            return;
        }
        let key = ShapeStep::Key(key);
        let place = match (self.path.is_empty(), shape) {
            (false, _) => format!("to {}", header(&self.path)),
            // A table is not bound to the top of the file, so its own header is named.
            (true, Shape::Table { .. }) => format!("to {}", header(&[key])),
            (true, Shape::Named { .. }) => format!("to {}", header(&[key, ShapeStep::Name])),
            (true, Shape::List { each: Shape::Table { .. } }) => {
                format!("to {}", header(&[key, ShapeStep::Element]))
            }
            (true, Shape::Value | Shape::List { .. }) => "above all tables".to_owned(),
        };
        self.elsewhere.push((self.path.len(), place));
    }
}

/// Returns the header of a table: `[handler.NAME]` or `[[route]]`.
fn header(path: &[ShapeStep]) -> String {
    match path.last() {
        Some(ShapeStep::Element) => format!("[[{}]]", dotted(path)),
        Some(ShapeStep::Key(_) | ShapeStep::Name) | None => format!("[{}]", dotted(path)),
    }
}

/// Returns the key that leads along a path: `handler.NAME.limits`.
fn dotted(path: &[ShapeStep]) -> String {
    let word = |step: &ShapeStep| match *step {
        ShapeStep::Key(key) => Some(key),
        ShapeStep::Name => Some("NAME"),
        ShapeStep::Element => None,
    };
    path.iter().filter_map(word).collect::<Vec<_>>().join(".")
}
