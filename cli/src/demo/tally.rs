//! How well rows were answered, and how fast.

use models::{ClassId, metrics::Confusion};

use super::{app::Answer, rows::Rows};
use crate::{failure::Failure, report};

/// Answers against the truth.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    confusion: Confusion,
    background: Option<usize>,
    revision: u64,
}

impl Tally {
    /// Nothing was answered.
    pub(crate) fn new(classes: usize, background: Option<usize>) -> Self {
        Self { confusion: Confusion::new(classes), background, revision: 0 }
    }

    /// Adds an answer.
    ///
    /// # Errors
    ///
    /// When the answer is no class of the task.
    pub(crate) fn add(&mut self, truth: usize, answer: &Answer) -> Result<(), Failure> {
        let (truth, given) = (id(truth), id(answer.class()));
        if self.confusion.classes() <= given.index() {
            return Err(Failure::new(format!(
                "{:?} was answered, which is no class",
                answer.reply.class
            )));
        }
        self.confusion.add(truth, given);
        self.revision = self.revision.max(answer.reply.revision);
        Ok(())
    }

    /// Adds the answers to all of `rows`.
    pub(crate) fn add_all(&mut self, rows: &Rows, answers: &[Answer]) -> Result<(), Failure> {
        rows.classes.iter().zip(answers).try_for_each(|(&truth, answer)| self.add(truth, answer))
    }

    /// Right answers and answers.
    pub(crate) fn right(&self) -> (u64, u64) {
        let share = self.confusion.accuracy();
        (share.hits, share.of)
    }

    /// It in words: `93.1 % of 240 (89.2 to 95.7)`.
    pub(crate) fn words(&self) -> String {
        let share = self.confusion.accuracy();
        let interval = share.interval();
        format!(
            "{:5.1} % of {} (95 % interval {:.1} to {:.1})",
            share.value() * 100.0,
            share.of,
            interval.low * 100.0,
            interval.high * 100.0
        )
    }

    /// Events that were called background, in words; nothing without a background class.
    pub(crate) fn missed_words(&self) -> Option<String> {
        let missed = self.missed()?;
        Some(format!("{:.1} % of {} events missed", missed.value() * 100.0, missed.of))
    }

    fn missed(&self) -> Option<models::metrics::Share> {
        self.background.map(|class| self.confusion.missed_events(Some(id(class))))
    }

    /// It for the report.
    pub(crate) fn outcome(&self, parts: Vec<(String, u64, u64)>) -> report::Outcome {
        let share = self.confusion.accuracy();
        let interval = share.interval();
        report::Outcome {
            revision: self.revision,
            accuracy: share.value(),
            interval: (interval.low, interval.high),
            missed_events: self.missed().map(models::metrics::Share::value),
            rows: share.of,
            confusion: self.confusion.counts().to_vec(),
            parts,
        }
    }
}

fn id(class: usize) -> ClassId {
    ClassId(u16::try_from(class).unwrap_or(u16::MAX))
}

/// Where the time of `answers` went; nothing when there are none.
pub(crate) fn latency(policy: &str, answers: &[Answer]) -> Option<report::Latency> {
    let first = answers.first()?;
    let total = |answer: &Answer| answer.elapsed.as_secs_f64() * 1e6;
    let gate = |answer: &Answer| f64::from(answer.reply.gate_us);
    let vote = |answer: &Answer| f64::from(answer.reply.vote_us);
    let voted: Vec<f64> = answers.iter().filter(|it| it.reply.voted > 0).map(vote).collect();
    Some(report::Latency {
        device: first.device.clone(),
        policy: policy.to_owned(),
        answers: answers.len(),
        voters: usize::try_from(first.reply.members).unwrap_or(0),
        gate_us: quantile(answers.iter().map(gate).collect(), 0.5),
        vote_us: quantile(voted, 0.5),
        transport_us: quantile(
            answers.iter().map(|it| total(it) - gate(it) - vote(it)).collect(),
            0.5,
        ),
        p50_us: quantile(answers.iter().map(total).collect(), 0.5),
        p99_us: quantile(answers.iter().map(total).collect(), 0.99),
    })
}

/// The smallest value that at least the share `q` of `values` does not exceed; 0 of none.
pub(crate) fn quantile(mut values: Vec<f64>, q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a count of answers"
    )]
    let rank = (q * values.len() as f64).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use proto::v1::PredictReply;

    use super::*;

    fn reply(class_id: u32) -> Answer {
        let reply = PredictReply { class_id, revision: 3, ..PredictReply::default() };
        Answer { reply, device: String::new(), elapsed: std::time::Duration::ZERO, again: 0 }
    }

    #[test]
    fn an_event_that_is_called_background_is_missed() {
        let mut tally = Tally::new(3, Some(0));
        for (truth, given) in [(0, 0), (1, 1), (1, 0), (2, 1), (2, 2)] {
            tally.add(truth, &reply(given)).unwrap();
        }
        let outcome = tally.outcome(Vec::new());
        assert_eq!(tally.right(), (3, 5));
        assert_eq!(outcome.missed_events, Some(0.25));
        assert_eq!(outcome.revision, 3);
        assert_eq!(outcome.confusion, [1, 0, 0, 1, 1, 0, 0, 1, 1]);
        assert_eq!(tally.missed_words().unwrap(), "25.0 % of 4 events missed");
    }

    #[test]
    fn an_answer_that_is_no_class_is_an_error() {
        assert!(Tally::new(2, None).add(0, &reply(2)).is_err());
        assert!(Tally::new(2, None).add(0, &reply(u32::MAX)).is_err());
    }

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert!((quantile(values.clone(), 0.5) - 50.0).abs() < 1e-9);
        assert!((quantile(values.clone(), 0.99) - 99.0).abs() < 1e-9);
        assert!((quantile(values, 1.0) - 100.0).abs() < 1e-9);
        assert!((quantile(vec![7.0], 0.0) - 7.0).abs() < 1e-9);
        assert!(quantile(Vec::new(), 0.5).abs() < 1e-9);
    }
}
