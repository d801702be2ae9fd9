//! The user: says what wrong answers should have been, and waits for the revision that learnt it.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use proto::v1::EventsRequest;
use tokio::time::timeout;

use super::{app::Answer, rows::Rows, stage::Stage, training};
use crate::{failure::Failure, report};

/// How long a retraining may take.
const RETRAINED_MAX: Duration = Duration::from_secs(240);
/// Corrections on their way at the same time: far devices take their round trip.
const AT_ONCE: usize = 8;
/// Events of the journal that are read before the corrections begin.
const EVENTS_MAX: u32 = 10_000;

/// What became of the corrections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Learnt {
    /// A new revision is served.
    Released { revision: u64 },
    /// The candidate was not good enough; the old revision goes on.
    Refused { why: String },
}

/// Which answers to correct: wrong ones, spread evenly over all of them; where there are too few, the
/// least confident right ones are confirmed, which is a label too.
pub(crate) fn choose(rows: &Rows, answers: &[Answer], wanted: usize) -> Vec<usize> {
    let (right, wrong): (Vec<usize>, Vec<usize>) = (0..rows.len().min(answers.len()))
        .partition(|&row| answers[row].class() == rows.classes[row]);
    let mut chosen: Vec<usize> = if wanted < wrong.len() {
        (0..wanted).map(|nth| wrong[nth * wrong.len() / wanted]).collect()
    } else {
        let mut unsure = right;
        unsure.sort_by(|&a, &b| {
            answers[a].reply.confidence.total_cmp(&answers[b].reply.confidence).then(a.cmp(&b))
        });
        wrong.iter().copied().chain(unsure).take(wanted).collect()
    };
    chosen.sort_unstable();
    chosen
}

/// Corrects `chosen` and waits until what was learnt from them is served, or was refused.
pub(crate) async fn correct(
    stage: &mut Stage,
    rows: &Rows,
    answers: &[Answer],
    chosen: &[usize],
) -> Result<Learnt, Failure> {
    let name = stage.task.name.clone();
    let before = stage.admin.task(&name).await?.revision;
    // What is in the journal by now is not about these corrections.
    let past = EventsRequest { after: 0, follow: false, task: name.clone(), limit: EVENTS_MAX };
    let mut last = 0;
    let mut past = stage.admin.events(past).await?;
    while let Some(event) = past.next().await {
        last = event?.sequence;
    }
    let follow = EventsRequest { after: last, follow: true, task: name.clone(), limit: 0 };
    let mut events = stage.admin.events(follow).await?;

    let wrong = chosen.iter().filter(|&&row| answers[row].class() != rows.classes[row]).count();
    let times: Vec<f64> = futures_util::stream::iter(chosen)
        .map(async |&row| {
            let label = &stage.task.classes[rows.classes[row]];
            let took = stage.app.correct(&answers[row], label).await?;
            Ok::<_, Failure>(took.as_secs_f64() * 1e6)
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    stage.story.say(format!(
        "{wrong} wrong answers corrected, {} right ones confirmed; acknowledged after {} (median), when on disk",
        chosen.len() - wrong,
        report::duration(super::tally::quantile(times, 0.5)),
    ))?;

    let learnt = timeout(RETRAINED_MAX, async {
        while let Some(event) = events.next().await {
            let event = event?;
            if event.kind.contains("released") {
                let revision = stage.admin.task(&name).await?.revision;
                if before < revision {
                    return Ok(Learnt::Released { revision });
                }
            } else if event.kind.contains("refused") && !event.kind.contains("correction") {
                return Ok(Learnt::Refused { why: event.text });
            } else if matches!(event.kind.as_str(), "training.queued" | "training.started") {
                stage.story.detail(&event.text)?;
            }
        }
        Err(Failure::new("the journal was cut off"))
    })
    .await
    .map_err(|_| Failure::new(format!("no retraining within {} s", RETRAINED_MAX.as_secs())))??;
    if let Learnt::Released { revision } = learnt {
        stage.app.settle(revision).await?;
        let revisions = stage.admin.revisions(&name).await?;
        if let Some(view) = revisions.iter().find(|view| view.revision == revision)
            && let Some(report) = &view.report
        {
            stage.report.members = training::members(report);
        }
    }
    Ok(learnt)
}

#[cfg(test)]
mod tests {
    use proto::v1::PredictReply;

    use super::*;

    fn asked(truths: &[usize], given: &[(u32, f32)]) -> (Rows, Vec<Answer>) {
        let mut rows = Rows::new(1);
        for &truth in truths {
            rows.push(&[0.0], truth, None);
        }
        let answers = given
            .iter()
            .map(|&(class_id, confidence)| Answer {
                reply: PredictReply { class_id, confidence, ..PredictReply::default() },
                device: String::new(),
                elapsed: Duration::ZERO,
                again: 0,
            })
            .collect();
        (rows, answers)
    }

    #[test]
    fn wrong_answers_come_first_then_the_least_confident() {
        let (rows, answers) = asked(&[0, 0, 0, 0], &[(0, 0.9), (1, 0.8), (0, 0.4), (0, 0.6)]);
        assert_eq!(choose(&rows, &answers, 1), [1]);
        assert_eq!(choose(&rows, &answers, 2), [1, 2]);
        assert_eq!(choose(&rows, &answers, 3), [1, 2, 3]);
        assert_eq!(choose(&rows, &answers, 9), [0, 1, 2, 3]);
        assert!(choose(&rows, &answers, 0).is_empty());
    }

    #[test]
    fn too_many_wrong_answers_are_thinned_evenly() {
        let (rows, answers) = asked(&[0; 9], &[(1, 0.5); 9]);
        assert_eq!(choose(&rows, &answers, 3), [0, 3, 6]);
    }
}
