//! Draws `top`: a line about the daemon, the table of handlers, and the letters.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Row, Table};

use super::figures::HandlerFigures;
use super::order::Order;
use crate::cli::history::ms;
use crate::cli::table::{size, text, time};
use crate::jobs::api::StatusReply;

/// Below this width, the columns of [`WIDE_ONLY`] are left out.
const WIDE: u16 = 110;

/// The columns that a narrow screen has no room for.
const WIDE_ONLY: [&str; 2] = ["VERSION", "MAX"];

/// What is drawn.
pub(super) struct Screen<'a> {
    pub(super) daemon: Option<&'a StatusReply>,
    /// Why the last sample is old. `None` if it is not.
    pub(super) trouble: Option<&'a str>,
    pub(super) rows: &'a [HandlerFigures],
    /// The first row that is shown.
    pub(super) first: usize,
    pub(super) order: Order,
}

/// A column: its title, its width, and how a row fills it.
struct ScreenColumn {
    title: &'static str,
    width: Constraint,
    show: fn(&HandlerFigures) -> String,
}

const COLUMNS: [ScreenColumn; 11] = [
    ScreenColumn { title: "HANDLER", width: Constraint::Min(12), show: |row| text(&row.name) },
    ScreenColumn { title: "VERSION", width: Constraint::Length(12), show: |row| text(&row.version) },
    ScreenColumn { title: "REQ/S", width: Constraint::Length(7), show: |row| or_dash(row.rate, rate) },
    ScreenColumn {
        title: "P50",
        width: Constraint::Length(7),
        show: |row| or_dash(row.durations, |times| ms(times.p50)),
    },
    ScreenColumn {
        title: "P99",
        width: Constraint::Length(7),
        show: |row| or_dash(row.durations, |times| ms(times.p99)),
    },
    ScreenColumn {
        title: "MAX",
        width: Constraint::Length(8),
        show: |row| or_dash(row.durations, |times| bound(times.max)),
    },
    ScreenColumn {
        title: "RUNNING",
        width: Constraint::Length(7),
        show: |row| format!("{}/{}", row.running, row.slots),
    },
    ScreenColumn {
        title: "QUEUE",
        width: Constraint::Length(7),
        show: |row| format!("{}/{}", row.waiting, row.places),
    },
    ScreenColumn {
        title: "CPU",
        width: Constraint::Length(5),
        show: |row| or_dash(row.cpu, |cpu| format!("{:.0}%", cpu * 100.0)),
    },
    ScreenColumn { title: "MEMORY", width: Constraint::Length(8), show: |row| size(row.memory as u64) },
    ScreenColumn { title: "FAILED", width: Constraint::Fill(1), show: failures },
];

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, screen: &Screen<'_>) {
    let [head, table, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)])
            .areas(frame.area());
    frame.render_widget(Line::from(title(screen)), head);
    let is_wide = table.width >= WIDE;
    let columns: Vec<&ScreenColumn> =
        COLUMNS.iter().filter(|column| is_wide || !WIDE_ONLY.contains(&column.title)).collect();
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let is_sorted = |column: &ScreenColumn| column.title.eq_ignore_ascii_case(column_of(screen.order));
    let titles = columns.iter().map(|column| {
        let style = if is_sorted(column) { bold.add_modifier(Modifier::REVERSED) } else { bold };
        Line::styled(column.title, style)
    });
    let rows = screen.rows.iter().skip(screen.first).take(usize::from(table.height));
    let rows = rows.map(|row| Row::new(columns.iter().map(|column| (column.show)(row))));
    let widths = columns.iter().map(|column| column.width);
    frame.render_widget(Table::new(rows, widths).header(Row::new(titles)).column_spacing(1), table);
    frame.render_widget(Line::from(letters()), foot);
}

fn title(screen: &Screen<'_>) -> String {
    let daemon = screen.daemon.map_or_else(String::new, |status| {
        let memory = status.memory.map_or_else(|| "-".to_owned(), size);
        format!(
            "portcullis {}  up {}  {}  generation {}  {} jobs  {memory}",
            text(&status.version),
            time(status.uptime_ms),
            text(&status.gate),
            status.generation,
            status.jobs
        )
    });
    match screen.trouble {
        Some(trouble) => format!("{daemon}  -- {}", text(trouble)),
        None => format!("{daemon}  sorted by {}", screen.order.title()),
    }
}

/// Lists the letters: `q end  sort: n name  r req/s`.
fn letters() -> String {
    let sorts = Order::ALL.iter().map(|(_, letter, title)| format!("{letter} {title}"));
    format!("q end  sort: {}", sorts.collect::<Vec<_>>().join("  "))
}

/// Returns the title of the column that an order sorts by.
fn column_of(order: Order) -> &'static str {
    match order {
        Order::Name => "HANDLER",
        other => other.title(),
    }
}

/// Formats requests a second: `0.5`, `12`, `15.3k`.
fn rate(rate: f64) -> String {
    match rate {
        rate if rate > 0.0 && rate < 10.0 => format!("{rate:.1}"),
        rate if rate < 10_000.0 => format!("{rate:.0}"),
        rate => format!("{:.1}k", rate / 1000.0),
    }
}

/// Formats the bound of the longest duration.
fn bound(longest: f64) -> String {
    if longest.is_finite() { format!("<{}", ms(longest)) } else { "long".to_owned() }
}

/// Formats failures: those a second if there are any now, and those of the version by reason.
fn failures(row: &HandlerFigures) -> String {
    if row.reasons.is_empty() {
        return "-".to_owned();
    }
    let now = row.failing.filter(|failing| *failing > 0.0).map(|failing| format!("{}/s  ", rate(failing)));
    let reasons = row.reasons.iter().map(|(reason, count)| format!("{} {count}", text(reason)));
    now.unwrap_or_default() + &reasons.collect::<Vec<_>>().join(", ")
}

fn or_dash<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::cli::top::figures::Durations;

    fn row(name: &str) -> HandlerFigures {
        HandlerFigures {
            name: name.to_owned(),
            version: "5f2d9c1ab0e7".to_owned(),
            rate: Some(15_300.0),
            durations: Some(Durations { p50: 0.12, p99: 12.5, max: 25.0 }),
            running: 3,
            slots: 64,
            waiting: 0,
            places: 128,
            cpu: Some(1.5),
            memory: 3 << 20,
            failing: Some(0.5),
            reasons: vec![("trapped".to_owned(), 7), ("cpu_limit".to_owned(), 1)],
        }
    }

    fn drawn(width: u16, rows: &[HandlerFigures], trouble: Option<&str>) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, 5)).unwrap();
        let screen = Screen { daemon: None, trouble, rows, first: 0, order: Order::Rate };
        terminal.draw(|frame| draw(frame, &screen)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn a_row_has_all_figures_and_a_narrow_screen_leaves_out_versions() {
        let wide = drawn(140, &[row("one"), row("evil\u{1b}[2J")], None);

        assert!(wide.contains("sorted by req/s"), "{wide}");
        for shown in ["5f2d9c1ab0e7", "15.3k", "0.12ms", "12.5ms", "<25.0ms", "3/64", "0/128", "150%", "3MiB"]
        {
            assert!(wide.contains(shown), "{shown}: {wide}");
        }
        assert!(wide.contains("0.5/s  trapped 7, cpu_limit 1"), "{wide}");
        assert!(wide.contains("evil\\u{1b}[2J"), "{wide}");
        let narrow = drawn(100, &[row("one")], Some("no daemon listens"));
        assert!(!narrow.contains("5f2d9c1ab0e7") && narrow.contains("no daemon listens"), "{narrow}");
    }
}
