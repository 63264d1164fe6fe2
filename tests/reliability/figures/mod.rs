//! What is measured, rather than told by a test.

mod bomb;
mod fairness;
mod idle;
mod noise;
mod recovery;
mod slow;

use crate::cases::Figure;

/// Everything that is measured, in this order.
pub(crate) const ALL: [&Figure; 12] = [
    &slow::HEADS,
    &slow::BODIES,
    &slow::READERS,
    &noise::REQUESTS,
    &idle::CONNECTIONS,
    &bomb::SWAP,
    &fairness::SPINNERS,
    &fairness::QUEUE,
    &fairness::ADMIN,
    &recovery::KILLED,
    &recovery::TRAPS,
    &recovery::GROWTH,
];

/// Finds figures by their names.
pub(crate) fn chosen(names: &[String]) -> Vec<&'static Figure> {
    ALL.into_iter().filter(|figure| names.iter().any(|name| name == figure.name)).collect()
}

/// Lists the names.
pub(crate) fn names() -> String {
    ALL.map(|figure| figure.name).join(", ")
}
