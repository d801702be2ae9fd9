//! Training while answering: revisions come one by one, and the app never stops asking.

use std::{collections::BTreeMap, time::Duration};

use futures_util::StreamExt as _;
use proto::v1::{RevisionReport, TrainingEvent};
use runtime::Drain;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

use super::{app::App, rows::Rows, stage::Stage};
use crate::{
    failure::{Doing as _, Failure},
    report,
};

/// Between two questions of the app while a training runs beside it.
const PAUSE: Duration = Duration::from_millis(25);
/// How long the first answer may take once the last revision is served.
const FIRST_MAX: Duration = Duration::from_secs(5);
/// Rows from one question to the next.
const STRIDE: usize = 37;
/// Revisions whose first answers wait to be told.
const FIRSTS_MAX: usize = 64;

/// What the app got while the training ran.
#[derive(Debug, Default)]
struct Traffic {
    answers: u64,
    again: u64,
    failed: u64,
    right: u64,
    revisions: BTreeMap<u64, u64>,
    last_failure: Option<String>,
}

/// Trains and tells what comes; `questions` are asked all the while.
pub(crate) async fn train(stage: &mut Stage, questions: &Rows) -> Result<(), Failure> {
    let begun = Instant::now();
    let job = stage.admin.train(&stage.task.name).await?;
    let stop = Drain::new();
    let (sender, firsts) = mpsc::channel(FIRSTS_MAX);
    let app = stage.app.clone();
    let (told, traffic) = tokio::join!(
        async {
            // Whatever ends this ends the traffic.
            let _stop_at_the_end = StopOnDrop(stop.clone());
            watch(stage, &job, begun, firsts).await
        },
        ask_all_the_while(app, questions, &stop, sender, begun),
    );
    told?;
    tell_of(stage, traffic)
}

/// Tells of the events of a training until the last revision is served.
async fn watch(
    stage: &mut Stage,
    job: &str,
    begun: Instant,
    mut firsts: mpsc::Receiver<(u64, f64)>,
) -> Result<(), Failure> {
    let mut events = stage.admin.watch(job).await?;
    let mut known: Vec<String> = Vec::new();
    let mut newest = 0;
    loop {
        tokio::select! {
            event = events.next() => {
                let Some(event) = event else {
                    return Err(Failure::new("the training was cut off"));
                };
                let event = event?;
                match event.kind.as_str() {
                    "started" => stage.story.detail(&format!("training started on {}", event.device))?,
                    "released" => {
                        newest = event.revision;
                        released(stage, &event, &mut known)?;
                    }
                    "refused" => stage.story.say(format!("refused: {}", event.text))?,
                    "failed" => return Err(Failure::new(format!("the training failed: {}", event.text))),
                    "done" => break,
                    _ => {}
                }
            }
            Some(first) = firsts.recv() => tell_first(stage, first)?,
        }
    }
    let all = begun.elapsed().as_secs_f64();
    stage.report.all_members_s = Some(all);
    stage.app.settle(newest).await.doing(|| "the last revision".to_owned())?;
    // A training may be faster than the first question.
    while stage.report.first_answer_s.is_none()
        && let Ok(Some(first)) = timeout(FIRST_MAX, firsts.recv()).await
    {
        tell_first(stage, first)?;
    }
    // A little longer, so that the last revision answers too.
    sleep(PAUSE * 4).await;
    Ok(())
}

/// Tells of the first answer; of the others nobody needs to be told.
fn tell_first(stage: &mut Stage, (revision, seconds): (u64, f64)) -> Result<(), Failure> {
    if stage.report.first_answer_s.is_none() {
        stage.report.first_answer_s = Some(seconds);
        stage.story.say(format!(
            "first answer {seconds:.1} s after the training was asked for, by revision {revision}"
        ))?;
    }
    Ok(())
}

/// Tells what the app got meanwhile.
fn tell_of(stage: &mut Stage, traffic: Traffic) -> Result<(), Failure> {
    let all = stage.report.all_members_s.unwrap_or(0.0);
    let rows = traffic.answers.max(1);
    stage.story.say(format!(
        "all members after {all:.1} s; meanwhile {} questions answered by {} revisions, {:.1} % right, {} failed",
        traffic.answers,
        traffic.revisions.len(),
        100.0 * report::share(traffic.right, rows),
        traffic.failed,
    ))?;
    if traffic.again > 0 {
        let again = traffic.again;
        stage.story.detail(&format!("{again} were asked again after their task had moved"))?;
    }
    if let Some(failure) = traffic.last_failure {
        stage.story.detail(&format!("the last failure: {failure}"))?;
    }
    Ok(())
}

struct StopOnDrop(Drain);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.ask();
    }
}

/// Tells of a revision that was released.
fn released(
    stage: &mut Stage,
    event: &TrainingEvent,
    known: &mut Vec<String>,
) -> Result<(), Failure> {
    let report = event.report.clone().unwrap_or_default();
    let families: Vec<String> = report.members.iter().map(|it| it.family.clone()).collect();
    let family = joined(known, &families);
    let held_out = report.held_out.clone().unwrap_or_default();
    stage.story.say(format!(
        "revision {:<2} +{family:<12} {:>2} {:<8} held-out {:5.1} % ({:.1} to {:.1})  at {:4.1} s",
        event.revision,
        families.len(),
        if families.len() == 1 { "member" } else { "members" },
        held_out.accuracy * 100.0,
        held_out.interval_low * 100.0,
        held_out.interval_high * 100.0,
        event.seconds,
    ))?;
    stage.report.lazy.push(report::LazyPoint {
        seconds: event.seconds,
        revision: event.revision,
        members: families.len(),
        family,
        accuracy: held_out.accuracy,
        interval: (held_out.interval_low, held_out.interval_high),
    });
    stage.report.members = members(&report);
    *known = families;
    Ok(())
}

/// The members of a revision, for the report.
pub(crate) fn members(report: &RevisionReport) -> Vec<report::Member> {
    report
        .members
        .iter()
        .map(|member| report::Member {
            family: member.family.clone(),
            weight: f64::from(member.weight),
            accuracy: member.validation_accuracy,
            fit_seconds: member.fit_seconds,
            bytes: member.bytes,
        })
        .collect()
}

/// The family that is in `now` more often than in `before`.
fn joined(before: &[String], now: &[String]) -> String {
    let count =
        |families: &[String], family: &String| families.iter().filter(|it| *it == family).count();
    now.iter()
        .find(|family| count(before, family) < count(now, family))
        .cloned()
        .unwrap_or_else(|| "reweighted".to_owned())
}

async fn ask_all_the_while(
    mut app: App,
    questions: &Rows,
    stop: &Drain,
    firsts: mpsc::Sender<(u64, f64)>,
    begun: Instant,
) -> Traffic {
    let mut traffic = Traffic::default();
    for nth in (0..questions.len()).cycle() {
        // Not in the order of the rows: neighbours are alike.
        let row = nth * STRIDE % questions.len();
        let asked = tokio::select! {
            asked = app.ask(questions.row(row)) => asked,
            () = stop.wait() => return traffic,
        };
        match asked {
            Ok(answer) => {
                traffic.answers += 1;
                traffic.again += u64::from(answer.again);
                traffic.right += u64::from(answer.class() == questions.classes[row]);
                let of_revision = traffic.revisions.entry(answer.reply.revision).or_default();
                *of_revision += 1;
                if *of_revision == 1 {
                    let first = (answer.reply.revision, begun.elapsed().as_secs_f64());
                    // Nobody listens when the training has ended.
                    let _nobody = firsts.try_send(first);
                }
            }
            // Before the first revision there is nobody to ask: that is no failure.
            Err(_) if traffic.answers == 0 => {}
            Err(failure) => {
                traffic.failed += 1;
                traffic.last_failure = Some(failure.text().to_owned());
            }
        }
        sleep(PAUSE).await;
    }
    traffic
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_family_that_joined_is_found_wherever_it_stands() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(joined(&[], &names(&["ridge"])), "ridge");
        assert_eq!(joined(&names(&["knn"]), &names(&["ridge", "knn"])), "ridge");
        assert_eq!(joined(&names(&["knn"]), &names(&["knn", "knn"])), "knn");
        assert_eq!(joined(&names(&["knn"]), &names(&["knn"])), "reweighted");
    }
}
