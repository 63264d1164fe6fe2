//! Suggests a known key or name for a mistyped one, by edit distance.

use std::cell::Cell;
use std::collections::HashSet;

use crate::job::Name;

/// The most comparisons for the names of one file. A file with many wrong names has another problem
/// than a typo.
const COMPARISONS: usize = 100_000;

/// The names of a file's handlers, valid or not.
pub(super) struct Names<'k> {
    known: HashSet<&'k str>,
    comparisons: Cell<usize>,
}

impl<'k> Names<'k> {
    pub(super) fn new(names: impl IntoIterator<Item = &'k str>) -> Names<'k> {
        Names { known: names.into_iter().collect(), comparisons: Cell::new(COMPARISONS) }
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.known.contains(name)
    }

    /// Reads the name of a handler of the file.
    ///
    /// # Errors
    /// There is no such handler: the text suggests a near name, or gives the advice.
    pub(super) fn known(&self, name: &str, advice: impl Fn(&str) -> String) -> Result<Name, String> {
        if self.contains(name) {
            return name.parse().map_err(|error| format!("{error}"));
        }
        Err(self.absent("handler", name, || advice(name)))
    }

    /// Says that there is no such thing: suggests a near name, or gives the advice.
    pub(super) fn absent(&self, kind: &str, name: &str, advice: impl FnOnce() -> String) -> String {
        match self.nearest(name) {
            Some(near) => format!("there is no {kind} {name:?}; did you mean {near:?}?"),
            None => format!("there is no {kind} {name:?}: {}", advice()),
        }
    }

    /// Finds the name that was probably meant, if one is near.
    pub(super) fn nearest(&self, name: &str) -> Option<&'k str> {
        let left = self.comparisons.get().checked_sub(self.known.len())?;
        self.comparisons.set(left);
        nearest(name, self.known.iter().copied())
    }
}

/// Finds the known word that is nearest to `word`, if one is near.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    // A third of the letters may be wrong; with more, it is another word. The maximum is 4, because
    // all our keys are short.
    within(word.chars().count().div_ceil(3).min(4), word, known)
}

/// Finds the known word that `word` misses by one letter.
pub(super) fn slip<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    within(1, word, known)
}

/// Finds the nearest known word, if `max` letters at most are wrong.
fn within<'k>(max: usize, word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let measured = known.into_iter().map(|known| (distance(word, known), known));
    measured.filter(|(distance, _)| *distance <= max).min().map(|(_, known)| known)
}

/// Counts the letters to add, drop, change or swap with their neighbour (optimal string alignment).
fn distance(one: &str, other: &str) -> usize {
    /// Longer words are not compared.
    const LONGEST: usize = 64;
    let (one, other): (Vec<_>, Vec<_>) = (one.chars().collect(), other.chars().collect());
    if one.len().max(other.len()) > LONGEST {
        return usize::MAX;
    }
    let mut rows = vec![(0..=other.len()).collect::<Vec<_>>()];
    for i in 1..=one.len() {
        let mut row = vec![i];
        for j in 1..=other.len() {
            let changed = usize::from(one[i - 1] != other[j - 1]);
            let mut least = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + changed);
            if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_wrong_names_is_not_compared_with_itself() {
        let known: Vec<String> = (0..40_000).map(|number| format!("handler-{number}")).collect();
        let names = Names::new(known.iter().map(String::as_str));

        assert!(names.contains("handler-7") && !names.contains("handler"));
        assert_eq!(names.nearest("handlre-39999"), Some("handler-39999"));
        let near = (0..40_000).filter(|_| names.nearest("handlre-7").is_some()).count();

        assert_eq!(near, 1);
    }

    #[test]
    fn a_slip_of_the_finger_is_understood() {
        let known = ["memory", "time", "module", "mounts"];
        assert_eq!(nearest("memroy", known), Some("memory"));
        assert_eq!(nearest("modul", known), Some("module"));
        assert_eq!(nearest("tiem", known), Some("time"));
        assert_eq!(nearest("volumes", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest(&"x".repeat(10_000), known), None);
    }
}
