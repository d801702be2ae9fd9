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
    let mut watch = Watch::new(call.json());
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    let mut away = 0;
    loop {
        let seen = watch.seen;
        let lost = match watch.follow(admin, job).await {
            Ok(()) => return Ok(watch.ended),
            Err(lost) => lost,
        };
        if seen < watch.seen {
            away = 0;
            backoff.reset();
        }
        // A scheduler that restarts drops the stream, and the training goes on without it.
        away += 1;
        if !is_away(&lost) || AWAY_TRIES_MAX < away {
            return Err(lost);
        }
        tokio::time::sleep(backoff.wait()).await;
    }
}

fn is_away(failure: &Failure) -> bool {
    matches!(failure.code(), Some(Code::Unavailable | Code::Unknown | Code::Cancelled))
}

/// What was seen and printed of a training.
struct Watch {
    json: bool,
    bar: ProgressBar,
    /// Whether steps are told in lines. Asked once, since a suspended bar must not be asked.
    steps: bool,
    ended: Ended,
    seen: usize,
    last: (u32, String),
}

impl Watch {
    fn new(json: bool) -> Self {
        let bar = progress::of_steps(1);
        let steps = bar.is_hidden();
        Self { json, bar, steps, ended: Ended::default(), seen: 0, last: Default::default() }
    }

    /// Takes what happens until the training ends, or the stream breaks.
    async fn follow(&mut self, admin: &Admin, job: &str) -> Result<(), Failure> {
        let mut events = admin.watch(job).await?;
        // What has happened so far comes again after a break.
        let mut at = 0;
        while let Some(event) = events.next().await {
            let event = event?;
            at += 1;
            if self.seen < at {
                self.seen = at;
                self.take(&event)?;
            }
        }
        self.bar.finish_and_clear();
        Ok(())
    }

    fn take(&mut self, event: &v1::TrainingEvent) -> std::io::Result<()> {
        self.ended.take(event);
        if self.json {
            return output::json_line(&view::training(event));
        }
        let now = (event.done, event.text.clone());
        // A step that goes on is not news, and the bar tells steps better.
        let step = event.kind == "step" || event.kind == "trial";
        if !step || (self.steps && self.last != now) {
            let line = format!("{:>8.1} s  {}", event.seconds, told(event));
            self.bar.suspend(|| output::line(line))?;
        }
        self.last = now;
        if event.total != 0 {
            self.bar.set_length(u64::from(event.total));
            self.bar.set_position(u64::from(event.done));
        }
        if step {
            self.bar.set_message(event.text.clone());
        }
        Ok(())
    }
}

impl Ended {
    fn take(&mut self, event: &v1::TrainingEvent) {
        match event.kind.as_str() {
            "released" => self.released = self.released.max(Some(event.revision)),
            "failed" => self.failed = true,
            _ => {}
        }
    }
}

/// An event in words.
fn told(event: &v1::TrainingEvent) -> String {
    let v1::TrainingEvent { kind, text, done, total, .. } = event;
    match (kind.as_str(), &event.report) {
        ("released", Some(report)) => {
            let called = |it: &v1::MemberReport| match &*it.imported {
                "" => it.family.clone(),
                name => format!("{name} ({})", it.family),
            };
            let families: Vec<String> = report.members.iter().map(called).collect();
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
            ended.take(&event);
        }
        assert_eq!(ended, Ended { released: Some(5), failed: false });
        ended.take(&event("failed", 0));
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
