//! Two policies for the same task: what each one chooses, with the numbers why.

use std::time::Duration;

use proto::v1;
use runtime::backoff::Backoff;
use tokio::time::{Instant, sleep};

use super::{app::Answer, rows::Rows, stage::Stage, tally, task_text::Wish};
use crate::{
    failure::Failure,
    output::{self, Table},
    report,
};

/// How long a policy may take to be acted on.
const DECIDED_MAX: Duration = Duration::from_secs(20);
/// How long answers are measured under a policy, and how many at most.
const MEASURED_MAX: Duration = Duration::from_millis(1500);
const ANSWERS_MAX: usize = 300;

/// Applies the policy, waits until it is served, measures, and tells what was chosen and why.
async fn show(stage: &mut Stage, wish: Wish, questions: &Rows) -> Result<(), Failure> {
    stage.apply(wish).await?;
    let explained = decided(stage, wish).await?;
    let placement = stage.app.settle(1).await?;
    let answers = measure(stage, questions).await?;
    let latency = tally::latency(wish.objective, &answers);

    let p99_us = latency.as_ref().map(|it| it.p99_us);
    let policy = policy(wish, &explained, &placement, p99_us);
    stage.story.say(format!(
        "{} ({}) chooses {} with {} of {} voters",
        wish.objective,
        wish.words(),
        placement.device,
        placement.members.len(),
        stage.report.members.len().max(placement.members.len()),
    ))?;
    stage.story.rows(&table(&policy).lines())?;
    if let Some(latency) = latency {
        stage.story.rows(&[format!(
            "measured: {} answers, median {} (gate {}, vote {}, the way there and back {})",
            latency.answers,
            report::duration(latency.p50_us),
            report::duration(latency.gate_us),
            report::duration(latency.vote_us),
            report::duration(latency.transport_us),
        )])?;
        stage.report.latency.push(latency);
    }
    stage.report.policies.push(policy);
    Ok(())
}

/// Two policies: the loose one that is served already, and one so tight that only the nearest devices
/// can keep it; then the loose one again, for what follows.
pub(crate) async fn compare(
    stage: &mut Stage,
    loose: Wish,
    questions: &Rows,
) -> Result<(), Failure> {
    show(stage, loose, questions).await?;
    let nearest = stage.report.policies.last().and_then(|policy| {
        policy.candidates.iter().map(|it| it.total_us).filter(|us| 0.0 < *us).min_by(f64::total_cmp)
    });
    let tight = Wish {
        objective: "low-latency",
        p99_ms: tight_ms(nearest.unwrap_or(0.0)),
        accuracy_min: floor(stage),
    };
    show(stage, tight, questions).await?;
    stage.apply(loose).await?;
    decided(stage, loose).await?;
    stage.app.settle(1).await?;
    Ok(())
}

/// Twice what the nearest device is predicted to take, in whole milliseconds, 10 at least: devices of
/// a lab on one small machine are late now and then.
fn tight_ms(nearest_us: f64) -> f64 {
    (nearest_us * 2.0 / 1000.0).ceil().max(10.0)
}

/// The least accuracy that a fast policy should accept: a little below what is served now, on the
/// rows that it was measured on.
fn floor(stage: &Stage) -> f64 {
    let now = stage.report.lazy.last().map_or(0.0, |last| last.accuracy);
    ((now - 0.05) * 100.0).floor().max(0.0) / 100.0
}

/// The explanation, once it is one of this policy and somebody was chosen.
async fn decided(stage: &Stage, wish: Wish) -> Result<v1::ExplainPlacementReply, Failure> {
    let deadline = Instant::now() + DECIDED_MAX;
    let mut backoff = Backoff::new(Duration::from_millis(30), Duration::from_millis(200));
    loop {
        let explained = stage.admin.explain(&stage.task.name).await?;
        let chosen = explained.candidates.iter().any(|candidate| candidate.chosen);
        if explained.objective == wish.objective && chosen {
            return Ok(explained);
        }
        if deadline < Instant::now() {
            return Err(Failure::new(format!(
                "the policy {} was not acted on within {} s: {}",
                wish.objective,
                DECIDED_MAX.as_secs(),
                explained.why.join("; ")
            )));
        }
        sleep(backoff.wait()).await;
    }
}

async fn measure(stage: &mut Stage, questions: &Rows) -> Result<Vec<Answer>, Failure> {
    let begun = Instant::now();
    let mut answers = Vec::new();
    for row in (0..questions.len()).cycle() {
        if ANSWERS_MAX <= answers.len() || MEASURED_MAX < begun.elapsed() {
            break;
        }
        answers.push(stage.app.ask(questions.row(row)).await?);
    }
    Ok(answers)
}

fn policy(
    wish: Wish,
    explained: &v1::ExplainPlacementReply,
    placement: &v1::PlacementView,
    p99_us: Option<f64>,
) -> report::Policy {
    let candidates = explained
        .candidates
        .iter()
        .map(|it| report::Candidate {
            device: it.device.clone(),
            chosen: it.chosen,
            families: it.families.clone(),
            accuracy: it.accuracy,
            rtt_us: f64::from(it.rtt_us),
            transfer_us: f64::from(it.transfer_us),
            queue_us: f64::from(it.queue_us),
            service_us: f64::from(it.service_us),
            total_us: f64::from(it.total_us),
            measured_us: p99_us.filter(|_| it.device == placement.device),
            refused: it.refused.clone(),
        })
        .collect();
    report::Policy {
        name: wish.objective.to_owned(),
        asks: wish.words(),
        latency_max_us: wish.p99_ms * 1000.0,
        candidates,
        why: explained.why.clone(),
    }
}

fn table(policy: &report::Policy) -> Table {
    let mut table =
        Table::new(&["", "device", ">predicted", ">measured", ">voters", ">accuracy", "why not"]);
    for it in &policy.candidates {
        table.row([
            if it.chosen { "✓" } else { "" }.to_owned(),
            it.device.clone(),
            if it.total_us > 0.0 { report::duration(it.total_us) } else { "–".to_owned() },
            it.measured_us.map_or(String::new(), report::duration),
            it.families.len().to_string(),
            output::percent(it.accuracy),
            it.refused.clone(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tight_limit_leaves_the_nearest_device_room() {
        assert!((tight_ms(3_400.0) - 10.0).abs() < 1e-9);
        assert!((tight_ms(14_300.0) - 29.0).abs() < 1e-9);
        assert!((tight_ms(0.0) - 10.0).abs() < 1e-9);
    }
}
