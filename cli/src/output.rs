//! What a command prints on standard output: aligned tables for people, JSON for scripts.

use std::io::{self, Write as _};

use serde_json::Value;

/// How answers are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns and sentences.
    #[default]
    Table,
    /// One JSON value; one a line where answers come one after the other.
    Json,
}

/// Prints a line. An error of kind `BrokenPipe` means that the reader has seen enough.
pub(crate) fn line(text: impl std::fmt::Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Prints `value` in several indented lines.
pub(crate) fn json(value: &Value) -> io::Result<()> {
    line(format_args!("{value:#}"))
}

/// Prints `value` on one line.
pub(crate) fn json_line(value: &Value) -> io::Result<()> {
    line(value)
}

/// Aligned columns under a heading each. Columns whose heading starts with `>` are set to the right.
#[derive(Debug)]
pub(crate) struct Table {
    headings: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub(crate) fn new(headings: &'static [&'static str]) -> Self {
        Self { headings, rows: Vec::new() }
    }

    /// Adds a row, one cell for each heading.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.headings.len(), "one cell for each heading");
        self.rows.push(cells.into());
    }

    /// Prints it; `when_empty` instead, when there is no row.
    pub(crate) fn print(&self, when_empty: &str) -> io::Result<()> {
        if self.rows.is_empty() {
            eprintln!("{when_empty}");
            return Ok(());
        }
        for text in self.lines() {
            line(text)?;
        }
        Ok(())
    }

    /// The lines of the table, without blanks at their ends.
    pub(crate) fn lines(&self) -> Vec<String> {
        let titles: Vec<&str> = self.headings.iter().map(|it| it.trim_start_matches('>')).collect();
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.chain([titles[column].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..titles.len()).map(width).collect();
        let set = |cells: Vec<&str>| {
            let mut text = String::new();
            for (column, cell) in cells.into_iter().enumerate() {
                let width = widths[column];
                text += if column == 0 { "" } else { "  " };
                text += &if self.headings[column].starts_with('>') {
                    format!("{cell:>width$}")
                } else {
                    format!("{cell:<width$}")
                };
            }
            text.truncate(text.trim_end().len());
            text
        };
        let heading = set(titles.clone()).to_uppercase();
        let rows = self.rows.iter().map(|row| set(row.iter().map(String::as_str).collect()));
        std::iter::once(heading).chain(rows).collect()
    }
}

/// `0.9312` as `93.1 %`.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Microseconds in the unit that fits.
pub(crate) fn micros(us: u32) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..100_000 => format!("{:.1} ms", f64::from(us) / 1e3),
        100_000..10_000_000 => format!("{} ms", us / 1_000),
        _ => format!("{} s", us / 1_000_000),
    }
}

/// Bytes in the unit that fits.
pub(crate) fn bytes(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} B"),
        10_240..10_485_760 => format!("{} KiB", bytes >> 10),
        10_485_760..10_737_418_240 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}

/// `items`, comma separated; a dash when there are none.
pub(crate) fn list<T: ToString>(items: &[T]) -> String {
    if items.is_empty() {
        return "-".to_owned();
    }
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Unix milliseconds as `2026-03-04 05:06:07Z`.
pub(crate) fn time(unix_ms: u64) -> String {
    let seconds = unix_ms / 1_000;
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of a day since 1970 (Howard Hinnant's `civil_from_days`, for days from 1970 on).
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["device", ">rtt"]);
        table.row(["pi4".to_owned(), "3".to_owned()]);
        table.row(["vm-büro-16".to_owned(), "128".to_owned()]);
        assert_eq!(table.lines(), ["DEVICE      RTT", "pi4           3", "vm-büro-16  128"]);
    }

    #[test]
    fn times_are_the_calendars() {
        assert_eq!(time(0), "1970-01-01 00:00:00Z");
        assert_eq!(time(951_782_400_000), "2000-02-29 00:00:00Z");
        assert_eq!(time(1_767_225_599_999), "2025-12-31 23:59:59Z");
    }

    #[test]
    fn units_fit_what_is_measured() {
        assert_eq!([micros(999), micros(1_500), micros(128_000)], ["999 µs", "1.5 ms", "128 ms"]);
        assert_eq!([bytes(100), bytes(20_480), bytes(20 << 20)], ["100 B", "20 KiB", "20 MiB"]);
    }
}
