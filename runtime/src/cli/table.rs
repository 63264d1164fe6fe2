//! Formats tables for people, and the values in their cells.

use super::say;
use crate::observe::plain;

/// Prints rows under their titles, each column as wide as its widest cell.
pub(super) fn print(titles: &[&str], rows: &[Vec<String>]) {
    for line in lines(titles, rows) {
        say(&line);
    }
}

fn lines(titles: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let titles: Vec<String> = titles.iter().map(ToString::to_string).collect();
    let all = || std::iter::once(&titles).chain(rows);
    let width = |column: usize| {
        all().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..titles.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all().map(line).collect()
}

/// Escapes a text of the daemon for a terminal.
pub(super) fn text(text: &str) -> String {
    plain(text).into_owned()
}

/// Formats several texts of the daemon for one cell.
pub(super) fn list(texts: &[String]) -> String {
    texts.iter().map(|each| text(each)).collect::<Vec<_>>().join(",")
}

/// Formats a value, or a dash if there is none.
pub(super) fn or_dash<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}

/// Formats a text of the daemon, or a dash if there is none.
pub(super) fn text_or_dash(value: Option<&String>) -> String {
    or_dash(value, |value| text(value))
}

/// Formats a number of bytes: `45.2MiB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut number, mut unit) = (bytes as f64, 0);
    while number >= 1024.0 && unit + 1 < UNITS.len() {
        (number, unit) = (number / 1024.0, unit + 1);
    }
    let unit_name = UNITS[unit];
    if unit == 0 || number.fract() == 0.0 {
        format!("{number}{unit_name}")
    } else {
        format!("{number:.1}{unit_name}")
    }
}

/// Formats a number of milliseconds: `850ms`, `3.2s`, `2h05m`.
pub(super) fn time(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms}ms"),
        1000..60_000 => format!("{}.{}s", ms / 1000, ms % 1000 / 100),
        60_000..3_600_000 => format!("{}m{:02}s", ms / 60_000, ms % 60_000 / 1000),
        _ => format!("{}h{:02}m", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["é".to_owned(), "1".to_owned()], vec!["longer".to_owned(), String::new()]];
        assert_eq!(lines(&["NAME", "N"], &rows), ["NAME    N", "é       1", "longer"]);
    }

    #[test]
    fn sizes_and_times_are_short() {
        assert_eq!([512, 1536, 16 << 20].map(size), ["512B", "1.5KiB", "16MiB"]);
        assert_eq!(or_dash(None, size), "-");
        assert_eq!([7, 3_250, 125_000, 7_500_000].map(time), ["7ms", "3.2s", "2m05s", "2h05m"]);
    }
}
