//! The end of every demo: corrections, the comparison on held-out rows, and what it came to.

use super::{
    app::Answer,
    correcting::{self, Learnt},
    rows::Rows,
    stage::{Part, Stage},
    tally::Tally,
};
use crate::failure::Failure;

/// Corrects `chosen` of the answers to `seen`, waits for what is learnt, and compares the revisions
/// before and after on `parts`, which were never trained on or corrected.
pub(crate) async fn compare(
    stage: &mut Stage,
    parts: &[Part],
    seen: &Rows,
    answers: &[Answer],
    chosen: &[usize],
) -> Result<(), Failure> {
    let (before, before_each) = stage.examine(parts).await?;
    stage.report.before = before.outcome(named(&before_each));
    let learnt = correcting::correct(stage, seen, answers, chosen).await?;
    match &learnt {
        Learnt::Released { revision } => {
            stage
                .story
                .say(format!("revision {revision} is no worse on held-out rows: released"))?;
        }
        Learnt::Refused { why } => {
            stage.story.say(format!("the candidate was refused: {why}"))?;
            stage.report.notes.push(format!("The candidate was refused: {why}"));
        }
    }
    let (after, after_each) = stage.examine(parts).await?;
    stage.report.after = after.outcome(named(&after_each));
    let mut lines = vec![format!("{:<28} {:<46} {}", "held-out rows", "before", "after")];
    for ((name, before), (_, after)) in before_each.iter().zip(&after_each) {
        lines.push(format!("{name:<28} {:<46} {}", before.words(), after.words()));
    }
    if parts.len() > 1 {
        lines.push(format!("{:<28} {:<46} {}", "all", before.words(), after.words()));
    }
    if let (Some(before), Some(after)) = (before.missed_words(), after.missed_words()) {
        lines.push(format!("{:<28} {before:<46} {after}", ""));
    }
    let percent = |tally: &Tally| {
        let (right, rows) = tally.right();
        100.0 * crate::report::share(right, rows)
    };
    stage.story.say(format!(
        "accuracy on held-out rows: {:.1} % before, {:.1} % after",
        percent(&before),
        percent(&after)
    ))?;
    stage.story.rows(&lines)?;
    Ok(())
}

fn named(each: &[(String, Tally)]) -> Vec<(String, u64, u64)> {
    each.iter()
        .map(|(name, tally)| {
            let (right, rows) = tally.right();
            (name.clone(), right, rows)
        })
        .collect()
}
