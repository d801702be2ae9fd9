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
    // A bar tells the steps better. Asked here, since it must not be asked while it is suspended.
    let steps = bar.is_hidden();
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
                                bar.suspend(|| print(&event, steps, call))?;
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

fn print(event: &v1::TrainingEvent, steps: bool, call: &Call) -> std::io::Result<()> {
    if call.json() {
        return output::json_line(&view::training(event));
    }
    if event.kind == "step" && !steps {
        return Ok(());
    }
    output::line(format_args!("{:>8.1} s  {}", event.seconds, told(event)))
}

/// An event in words.
fn told(event: &v1::TrainingEvent) -> String {
    let v1::TrainingEvent { kind, text, done, total, .. } = event;
    match (kind.as_str(), &event.report) {
        ("released", Some(report)) => {
            let families: Vec<&str> = report.members.iter().map(|it| it.family.as_str()).collect();
            let best = report.frontier.iter().map(|it| it.accuracy).reduce(f64::max);
            let mut told = format!("revision {}", event.revision);
            if let Some(best) = best {
                told += &format!("  validation accuracy {}", output::percent(best));
            }
            if let Some(held_out) = report.held_out.as_ref().filter(|it| it.rows != 0) {
                told += &format!("  held-out {}", output::percent(held_out.accuracy));
            }
            told + "  " + &families.join(" + ")
        }
        ("step", _) if *total != 0 => format!("step {done}/{total}  {text}"),
        (kind, _) if text.is_empty() => kind.to_owned(),
        (kind, _) if text.contains(kind) => text.clone(),
        (kind, _) => format!("{kind}: {text}"),
    }
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
    fn a_release_is_told_with_its_best_subset() {
        let subset =
            |members, accuracy| v1::SubsetReport { members, accuracy, ..Default::default() };
        let member =
            |family: &str| v1::MemberReport { family: family.to_owned(), ..Default::default() };
        let mut released = event("released", 3);
        released.text = "revision 3 released".to_owned();
        released.report = Some(v1::RevisionReport {
            members: vec![member("ridge"), member("knn")],
            frontier: vec![subset(1, 0.5), subset(2, 0.912), subset(3, 0.9)],
            held_out: Some(v1::Measured { accuracy: 0.88, rows: 9, ..Default::default() }),
            ..Default::default()
        });
        let expected = "revision 3  validation accuracy 91.2 %  held-out 88.0 %  ridge + knn";
        assert_eq!(told(&released), expected);
    }

    #[test]
    fn nothing_is_told_twice() {
        let with =
            |kind: &str, text: &str| v1::TrainingEvent { text: text.to_owned(), ..event(kind, 0) };
        assert_eq!(told(&with("done", "done with revision 7")), "done with revision 7");
        assert_eq!(told(&with("refused", "a class got worse")), "refused: a class got worse");
        assert_eq!(told(&with("failed", "")), "failed");
    }
}
