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
    use super::super::figures::Durations;
    use super::*;

    #[test]
    fn every_order_has_a_letter_of_its_own() {
        for (order, letter, _) in Order::ALL {
            assert_eq!(Order::of(letter), Some(order));
        }
        // `q` ends the program.
        assert_eq!(Order::of('q'), None);
    }

    #[test]
    fn a_letter_puts_the_largest_figure_first_and_equal_rows_in_the_order_of_their_names() {
        let row = |name: &str| HandlerFigures {
            name: name.to_owned(),
            version: "1".to_owned(),
            rate: None,
            durations: None,
            running: 0,
            slots: 1,
            waiting: 0,
            places: 1,
            cpu: None,
            memory: 0,
            failing: None,
            reasons: Vec::new(),
        };
        let times = |p50, p99, max| Some(Durations { p50, p99, max });
        let rows = [
            HandlerFigures { rate: Some(2.0), durations: times(1.0, 5.0, 9.0), ..row("a") },
            HandlerFigures { durations: times(2.0, 3.0, 9.0), running: 2, memory: 7, ..row("b") },
            HandlerFigures {
                cpu: Some(0.5),
                waiting: 3,
                reasons: vec![("trapped".to_owned(), 1)],
                ..row("c")
            },
            HandlerFigures { durations: times(0.5, 4.0, f64::INFINITY), ..row("d") },
        ];

        for (letter, wanted) in [
            ('n', "abcd"),
            ('r', "abcd"),
            ('5', "badc"),
            ('9', "adbc"),
            ('x', "dabc"),
            ('u', "bacd"),
            ('w', "cabd"),
            ('c', "cabd"),
            ('m', "bacd"),
            ('f', "cabd"),
        ] {
            let order = Order::of(letter).unwrap();
            let mut sorted: Vec<&HandlerFigures> = rows.iter().rev().collect();
            sorted.sort_by(|one, other| order.compare(one, other));
            let names: String = sorted.iter().map(|row| row.name.as_str()).collect();
            assert_eq!(names, wanted, "{letter}");
        }
    }
}
