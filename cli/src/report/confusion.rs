//! What was answered for what: a matrix whose diagonal is right.

use super::{
    Outcome,
    svg::{Anchor, Svg},
};

const CELL: f64 = 46.0;
const HEAD: f64 = 26.0;
/// Most characters of a class name beside a matrix.
const NAME_MAX: usize = 14;

/// The matrix of `outcome`: a row for each true class, a column for each answer.
pub(super) fn chart(outcome: &Outcome, classes: &[String]) -> String {
    let count = classes.len();
    if count == 0 || outcome.confusion.len() != count * count {
        return String::new();
    }
    let cell = if count > 8 { 38.0 } else { CELL };
    let longest = classes.iter().map(|class| class.chars().count().min(NAME_MAX)).max();
    let left = 14.0 + 6.6 * f64::from(u32::try_from(longest.unwrap_or(0)).unwrap_or(0));
    let size = cell * small(count);
    let mut svg = Svg::new(
        left + size + 8.0,
        HEAD + size + left * 0.75 + 8.0,
        &format!("confusion matrix of revision {}", outcome.revision),
    );
    svg.text("axis", (left, 14.0), Anchor::Start, "true class ↓   answered →");
    for (row, (class, counts)) in
        classes.iter().zip(outcome.confusion.chunks_exact(count)).enumerate()
    {
        let total: u64 = counts.iter().sum();
        let y = HEAD + cell * small(row);
        svg.text("axis", (left - 8.0, y + cell / 2.0 + 4.0), Anchor::End, &short(class));
        for (column, &cases) in counts.iter().enumerate() {
            let share = ratio(cases, total);
            let x = left + cell * small(column);
            let fill = if row == column { "right" } else { "wrong" };
            let hint = format!(
                "{class} answered as {}: {cases} of {total} ({:.0} %)",
                classes[column],
                share * 100.0
            );
            svg.rect("empty", (x + 1.0, y + 1.0), (cell - 2.0, cell - 2.0), &hint);
            if cases > 0 {
                let opacity = 0.12 + 0.88 * share;
                svg.shade(fill, (x + 1.0, y + 1.0), (cell - 2.0, cell - 2.0), opacity, &hint);
                let ink = if share > 0.5 { "on-fill" } else { "value" };
                let at = (x + cell / 2.0, y + cell / 2.0 + 4.0);
                svg.text(ink, at, Anchor::Middle, &cases.to_string());
            }
        }
    }
    for (column, class) in classes.iter().enumerate() {
        let x = left + cell * small(column) + cell / 2.0;
        svg.slanted("axis", (x + 4.0, HEAD + size + 14.0), &short(class));
    }
    svg.finish()
}

/// The share of `part` in `whole`, 0 of nothing.
pub(crate) fn ratio(part: u64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of rows, far below 2^52")]
    let (part, whole) = (part as f64, whole as f64);
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// A count as a coordinate.
pub(super) fn small(count: usize) -> f64 {
    u32::try_from(count).map_or(0.0, f64::from)
}

fn short(name: &str) -> String {
    if name.chars().count() <= NAME_MAX {
        return name.to_owned();
    }
    name.chars().take(NAME_MAX - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_stands_in_its_cell() {
        let outcome = Outcome { confusion: vec![7, 2, 0, 31], ..Outcome::default() };
        let chart = chart(&outcome, &["off".to_owned(), "on".to_owned()]);
        assert!(chart.contains("off answered as on: 2 of 9 (22 %)"));
        assert!(chart.contains(">31</text>"));
        assert_eq!(chart.matches("class=\"wrong\"").count(), 1);
        assert_eq!(chart.matches("class=\"right\"").count(), 2);
    }

    #[test]
    fn a_matrix_of_another_size_is_not_drawn() {
        let outcome = Outcome { confusion: vec![1; 5], ..Outcome::default() };
        assert_eq!(chart(&outcome, &["a".to_owned(), "b".to_owned()]), "");
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        assert_eq!(short("ééééééééééééééé"), "ééééééééééééé…");
    }
}
