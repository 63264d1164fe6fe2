//! The order of the rows of `top`, each chosen by a letter.

use std::cmp::Ordering;

use super::figures::HandlerFigures;

/// What the rows are sorted by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    Name,
    Rate,
    P50,
    P99,
    Max,
    Running,
    Queue,
    Cpu,
    Memory,
    Failed,
}

impl Order {
    /// Every order, with its letter and the column that it sorts by.
    pub(super) const ALL: [(Order, char, &str); 10] = [
        (Order::Name, 'n', "name"),
        (Order::Rate, 'r', "req/s"),
        (Order::P50, '5', "p50"),
        (Order::P99, '9', "p99"),
        (Order::Max, 'x', "max"),
        (Order::Running, 'u', "running"),
        (Order::Queue, 'w', "queue"),
        (Order::Cpu, 'c', "cpu"),
        (Order::Memory, 'm', "memory"),
        (Order::Failed, 'f', "failed"),
    ];

    /// Returns the order of a letter.
    pub(super) fn of(letter: char) -> Option<Order> {
        Order::ALL.iter().find(|(_, key, _)| *key == letter).map(|(order, ..)| *order)
    }

    /// Returns the name of the column.
    pub(super) fn title(self) -> &'static str {
        Order::ALL.iter().find(|(order, ..)| *order == self).map_or("", |(.., title)| title)
    }

    /// Compares two rows: names forwards, figures with the largest first. Rows with equal figures are sorted by name.
    pub(super) fn compare(self, one: &HandlerFigures, other: &HandlerFigures) -> Ordering {
        let figure = |row: &HandlerFigures| {
            let of = |read: fn(&super::figures::Durations) -> f64| row.durations.as_ref().map_or(-1.0, read);
            match self {
                Order::Name => 0.0,
                Order::Rate => row.rate.unwrap_or_default(),
                Order::P50 => of(|times| times.p50),
                Order::P99 => of(|times| times.p99),
                Order::Max => of(|times| times.max),
                Order::Running => row.running as f64,
                Order::Queue => row.waiting as f64,
                Order::Cpu => row.cpu.unwrap_or_default(),
                Order::Memory => row.memory as f64,
                Order::Failed => row.failed() as f64,
            }
        };
        figure(other).total_cmp(&figure(one)).then_with(|| one.name.cmp(&other.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_has_a_letter_of_its_own() {
        for (order, letter, _) in Order::ALL {
            assert_eq!(Order::of(letter), Some(order));
        }
        // `q` ends the program.
        assert_eq!(Order::of('q'), None);
    }
}
