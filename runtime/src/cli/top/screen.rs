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

/// The columns that go where the others would be cut, the first one first: a part of a figure is a wrong figure.
const LEFT_OUT: [&str; 7] = ["MEMORY", "QUEUE", "P50", "CPU", "RUNNING", "FAILED", "P99"];

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
    /// The least width.
    least: u16,
    fit: ColumnFit,
    show: fn(&HandlerFigures) -> String,
}

/// How wide a column becomes.
#[derive(Clone, Copy)]
enum ColumnFit {
    /// As wide as its widest figure.
    Figures,
    /// Half of the room that is left.
    Names,
    /// The rest.
    Failures,
}

/// A column with what the rows show in it.
struct FilledColumn {
    column: &'static ScreenColumn,
    cells: Vec<String>,
    /// The width below which it would be cut.
    width: u16,
}

impl ScreenColumn {
    const fn figures(title: &'static str, least: u16, show: fn(&HandlerFigures) -> String) -> ScreenColumn {
        ScreenColumn { title, least, fit: ColumnFit::Figures, show }
    }
}

static COLUMNS: [ScreenColumn; 11] = [
    ScreenColumn { title: "HANDLER", least: 12, fit: ColumnFit::Names, show: |row| text(&row.name) },
    ScreenColumn::figures("VERSION", 12, |row| text(&row.version)),
    ScreenColumn::figures("REQ/S", 7, |row| or_dash(row.rate, rate)),
    ScreenColumn::figures("P50", 7, |row| or_dash(row.durations, |times| ms(times.p50))),
    ScreenColumn::figures("P99", 7, |row| or_dash(row.durations, |times| ms(times.p99))),
    ScreenColumn::figures("MAX", 8, |row| or_dash(row.durations, |times| bound(times.max))),
    ScreenColumn::figures("RUNNING", 7, |row| format!("{}/{}", row.running, row.slots)),
    ScreenColumn::figures("QUEUE", 7, |row| format!("{}/{}", row.waiting, row.places)),
    ScreenColumn::figures("CPU", 5, |row| or_dash(row.cpu, |cpu| format!("{:.0}%", cpu * 100.0))),
    ScreenColumn::figures("MEMORY", 8, |row| size(row.memory as u64)),
    ScreenColumn { title: "FAILED", least: 10, fit: ColumnFit::Failures, show: failures },
];

impl FilledColumn {
    fn of(column: &'static ScreenColumn, rows: &[HandlerFigures]) -> FilledColumn {
        let cells: Vec<String> = rows.iter().map(column.show).collect();
        let longest = cells.iter().map(|cell| cell.chars().count()).max().unwrap_or_default();
        let width = match column.fit {
            ColumnFit::Figures => column.least.max(u16::try_from(longest).unwrap_or(u16::MAX)),
            ColumnFit::Names | ColumnFit::Failures => column.least,
        };
        FilledColumn { column, cells, width }
    }

    fn constraint(&self) -> Constraint {
        match self.column.fit {
            ColumnFit::Figures => Constraint::Length(self.width),
            ColumnFit::Names => Constraint::Min(self.width),
            ColumnFit::Failures => Constraint::Fill(1),
        }
    }
}

/// Fills the columns that a screen of this width has room for.
fn filled(rows: &[HandlerFigures], width: u16) -> Vec<FilledColumn> {
    let is_wide = width >= WIDE;
    let columns = COLUMNS.iter().filter(|column| is_wide || !WIDE_ONLY.contains(&column.title));
    let mut columns: Vec<FilledColumn> = columns.map(|column| FilledColumn::of(column, rows)).collect();
    for title in LEFT_OUT {
        // A space stands between two columns.
        let needed: usize = columns.iter().map(|filled| usize::from(filled.width) + 1).sum();
        if needed <= usize::from(width) + 1 {
            break;
        }
        columns.retain(|filled| filled.column.title != title);
    }
    columns
}

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, screen: &Screen<'_>) {
    let [head, table, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)])
            .areas(frame.area());
    frame.render_widget(Line::from(title(screen)), head);
    let rows = screen.rows.get(screen.first..).unwrap_or_default();
    let rows = &rows[..rows.len().min(usize::from(table.height))];
    let columns = filled(rows, table.width);
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let is_sorted = |title: &str| title.eq_ignore_ascii_case(column_of(screen.order));
    let titles = columns.iter().map(|FilledColumn { column, .. }| {
        let style = if is_sorted(column.title) { bold.add_modifier(Modifier::REVERSED) } else { bold };
        Line::styled(column.title, style)
    });
    let lines = (0..rows.len()).map(|row| Row::new(columns.iter().map(move |filled| &*filled.cells[row])));
    let widths = columns.iter().map(FilledColumn::constraint);
    frame.render_widget(Table::new(lines, widths).header(Row::new(titles)).column_spacing(1), table);
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

    #[test]
    fn a_figure_is_shown_whole_or_not_at_all() {
        let busy = HandlerFigures { running: 1200, slots: 3584, waiting: 1000, places: 65_536, ..row("one") };
        let shown = |width: u16| {
            let screen = drawn(width, &[row("other"), busy.clone()], None);
            let figures = [
                ("REQ/S", "15.3k"),
                ("P50", "0.12ms"),
                ("P99", "12.5ms"),
                ("RUNNING", "1200/3584"),
                ("QUEUE", "1000/65536"),
                ("CPU", "150%"),
                ("MEMORY", "3MiB"),
            ];
            for (title, figure) in figures {
                assert_eq!(screen.contains(title), screen.contains(figure), "{width}, {title}: {screen}");
            }
            figures.iter().filter(|(title, _)| screen.contains(title)).count()
        };

        assert_eq!([140, 110, 84, 80, 60, 39, 20].map(shown), [7, 7, 7, 6, 4, 2, 1]);
    }
}
