//! Tables for people, out of the JSON that jobs write.

use serde_json::Value;

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

/// Goes through a JSON array; anything else has no elements.
pub(super) fn elements(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Shows a value without the quotes of a string, as it may stand on a terminal; null is a dash.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => plain(text).into_owned(),
        Value::Array(elements) => elements.iter().map(text).collect::<Vec<_>>().join(","),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Object(_)) => other.to_string(),
    }
}

/// Shows a number of bytes: `45.2MiB`.
pub(super) fn size(value: &Value) -> String {
    let Some(bytes) = value.as_f64() else { return text(value) };
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut scaled = (bytes, 0);
    while scaled.0 >= 1024.0 && scaled.1 + 1 < units.len() {
        scaled = (scaled.0 / 1024.0, scaled.1 + 1);
    }
    let (number, unit) = (scaled.0, units[scaled.1]);
    if scaled.1 == 0 || number.fract() == 0.0 {
        format!("{number}{unit}")
    } else {
        format!("{number:.1}{unit}")
    }
}

/// Shows a number of milliseconds: `850ms`, `3.2s`, `2h05m`.
pub(super) fn time(value: &Value) -> String {
    let Some(ms) = value.as_u64() else { return text(value) };
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
    use serde_json::json;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["é".to_owned(), "1".to_owned()], vec!["longer".to_owned(), String::new()]];
        assert_eq!(lines(&["NAME", "N"], &rows), ["NAME    N", "é       1", "longer"]);
    }

    #[test]
    fn sizes_and_times_are_short() {
        assert_eq!(
            [size(&json!(512)), size(&json!(1536)), size(&json!(16 << 20))],
            ["512B", "1.5KiB", "16MiB"]
        );
        assert_eq!(size(&json!(null)), "-");
        let times = [7, 3_250, 125_000, 7_500_000].map(|ms| time(&json!(ms)));
        assert_eq!(times, ["7ms", "3.2s", "2m05s", "2h05m"]);
    }
}
