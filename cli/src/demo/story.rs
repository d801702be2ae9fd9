//! What a person reads while the demo runs: short lines, each with its time.

use std::io;

use tokio::time::Instant;

use crate::output;

/// Prints lines as things happen and remembers them for the report.
#[derive(Debug)]
pub(crate) struct Story {
    begun: Instant,
    chapter: usize,
    told: Vec<(f64, String)>,
}

impl Story {
    /// Begins now.
    pub(crate) fn begin() -> Self {
        Self { begun: Instant::now(), chapter: 0, told: Vec::new() }
    }

    /// Seconds since the beginning.
    pub(crate) fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// A new step.
    pub(crate) fn chapter(&mut self, heading: &str) -> io::Result<()> {
        self.chapter += 1;
        output::line(format_args!("\n{}  {heading}", self.chapter))?;
        self.told.push((self.seconds(), heading.to_owned()));
        Ok(())
    }

    /// A line with the time, for the report too.
    pub(crate) fn say(&mut self, text: impl Into<String>) -> io::Result<()> {
        let text = text.into();
        self.detail(&text)?;
        self.told.push((self.seconds(), text));
        Ok(())
    }

    /// A line with the time that the report does without.
    pub(crate) fn detail(&self, text: &str) -> io::Result<()> {
        output::line(format_args!("{}  {text}", clock(self.seconds())))
    }

    /// Lines that belong to the one before.
    pub(crate) fn rows(&self, lines: &[String]) -> io::Result<()> {
        lines.iter().try_for_each(|line| output::line(format_args!("       {line}")))
    }

    /// What was told, and when.
    pub(crate) fn told(&self) -> &[(f64, String)] {
        &self.told
    }
}

/// Minutes and seconds: `01:07`.
fn clock(seconds: f64) -> String {
    format!("{:02}:{:02}", (seconds / 60.0).floor(), (seconds % 60.0).floor())
}

/// Milliseconds since 1970 as `2026-03-01 12:03 UTC`.
pub(crate) fn date(unix_ms: u64) -> String {
    let minutes = unix_ms / 60_000;
    let (days, minute) = (minutes / 1440, minutes % 1440);
    // Days of the civil calendar, counted from 1 March of the year 0 in eras of 400 years
    // (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms").
    let shifted = days + 719_468;
    let era_day = shifted % 146_097;
    let era_year = (era_day - era_day / 1460 + era_day / 36_524 - era_day / 146_096) / 365;
    let year_day = era_day - (365 * era_year + era_year / 4 - era_year / 100);
    let march = (5 * year_day + 2) / 153;
    let day = year_day - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = era_year + shifted / 146_097 * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", minute / 60, minute % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_that_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(951_782_400_000), "2000-02-29 00:00 UTC");
        assert_eq!(date(1_735_689_599_000), "2024-12-31 23:59 UTC");
        assert_eq!(date(1_772_366_580_000), "2026-03-01 12:03 UTC");
    }

    #[test]
    fn a_time_has_minutes_and_seconds() {
        assert_eq!(clock(0.4), "00:00");
        assert_eq!(clock(67.9), "01:07");
        assert_eq!(clock(59.999), "00:59");
    }
}
