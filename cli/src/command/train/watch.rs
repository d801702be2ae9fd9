//! Following a training to its end: a bar on a terminal, a line for each thing that happened.

use std::time::Duration;

use client::Admin;
use futures_util::StreamExt as _;
use indicatif::ProgressBar;
use proto::v1;
use runtime::backoff::Backoff;
use tonic::Code;

use crate::{
    command::{Call, progress, view},
    failure::Failure,
    output,
};

/// How long a scheduler may be away before the watching ends; the training goes on without it.
const AWAY_TRIES_MAX: u32 = 12;

/// How a training ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ended {
    /// The newest revision that it released.
    pub(super) released: Option<u64>,
    /// Whether it ended before it was done.
    pub(super) failed: bool,
}

/// Prints what happens in `job` until it ends.
pub(super) async fn to_its_end(
    admin: &Admin,
    task: &str,
    job: &str,
    call: &Call,
) -> Result<Ended, Failure> {
    if !call.json() {
        output::line(format_args!("training {task} ({job})"))?;
    }
    let bar = progress::of_steps(1);
    let mut ended = Ended::default();
    let mut seen = 0;
    let mut away = 0;
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    loop {
        let lost = match admin.watch(job).await {
            Err(error) => error,
            Ok(mut events) => {
                // What has happened so far comes again after a break.
                let mut at = 0;
                loop {
                    match events.next().await {
                        None if 0 < at => {
                            bar.finish_and_clear();
                            return Ok(ended);
                        }
                        None => return Err(Failure::new(format!("{job} has no history"))),
                        Some(Err(error)) => break error,
                        Some(Ok(event)) => {
                            away = 0;
                            backoff.reset();
                            at += 1;
                            if seen < at {
                                seen = at;
                                take(&mut ended, &event);
                                bar.suspend(|| print(&event, call))?;
                                advance(&bar, &event);
                            }
                        }
                    }
                }
            }
        };
        // A scheduler that restarts drops the stream, and the training goes on without it.
        let gone = matches!(lost.code(), Code::Unavailable | Code::Unknown | Code::Cancelled);
        away += 1;
        if !gone || AWAY_TRIES_MAX < away {
            bar.finish_and_clear();
            return Err(lost.into());
        }
        tokio::time::sleep(backoff.wait()).await;
    }
}

fn take(ended: &mut Ended, event: &v1::TrainingEvent) {
    match event.kind.as_str() {
        "released" => ended.released = ended.released.max(Some(event.revision)),
        "failed" => ended.failed = true,
        _ => {}
    }
}

fn advance(bar: &ProgressBar, event: &v1::TrainingEvent) {
    if event.total != 0 {
        bar.set_length(u64::from(event.total));
        bar.set_position(u64::from(event.done));
    }
    bar.set_message(event.text.clone());
}

fn print(event: &v1::TrainingEvent, call: &Call) -> std::io::Result<()> {
    if call.json() {
        return output::json_line(&view::training(event));
    }
    output::line(format_args!("{:>8.1} s  {}", event.seconds, told(event)))
}

/// An event in words.
pub(super) fn told(event: &v1::TrainingEvent) -> String {
    let on = if event.device.is_empty() { String::new() } else { format!(" on {}", event.device) };
    let text = event.text.as_str();
    let and = |words: String| if text.is_empty() { words } else { format!("{words}  {text}") };
    match event.kind.as_str() {
        "released" => {
            let accuracy = event.report.as_ref().and_then(validation_accuracy);
            let accuracy = accuracy.map_or_else(String::new, |accuracy| {
                format!("  validation accuracy {}", output::percent(accuracy))
            });
            let members = event.report.as_ref().map_or(0, |report| report.members.len());
            and(format!("revision {:>3}  {members} members{accuracy}", event.revision))
        }
        "step" if event.total != 0 => and(format!("step {}/{}", event.done, event.total)),
        kind => and(format!("{kind}{on}")),
    }
}

/// What validation rows say of all members together, with the gate where there is one.
fn validation_accuracy(report: &v1::RevisionReport) -> Option<f64> {
    let whole = report.frontier.iter().max_by_key(|it| (it.members.count_ones(), it.gated));
    whole.map(|subset| subset.accuracy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, revision: u64) -> v1::TrainingEvent {
        v1::TrainingEvent { kind: kind.to_owned(), revision, ..Default::default() }
    }

    #[test]
    fn the_newest_release_counts() {
        let mut ended = Ended::default();
        for event in [event("released", 4), event("refused", 0), event("released", 5)] {
            take(&mut ended, &event);
        }
        assert_eq!(ended, Ended { released: Some(5), failed: false });
        take(&mut ended, &event("failed", 0));
        assert!(ended.failed);
    }

    #[test]
    fn a_release_is_told_with_the_accuracy_of_all_members() {
        let subset = |members, gated, accuracy| v1::SubsetReport {
            members,
            gated,
            accuracy,
            ..Default::default()
        };
        let mut released = event("released", 3);
        released.report = Some(v1::RevisionReport {
            members: vec![v1::MemberReport::default(); 2],
            frontier: vec![subset(1, true, 0.5), subset(3, true, 0.912), subset(3, false, 0.9)],
            ..Default::default()
        });
        assert_eq!(told(&released), "revision   3  2 members  validation accuracy 91.2 %");
    }
}
