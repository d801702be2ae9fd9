//! The main story: this machine is the sensor, and the task is to say what it is doing.

use std::{ops::Range, path::Path};

use client::Admin;
use signals::Stretch as _;

use super::{
    app::Answer,
    closing, correcting, policies,
    recording::{self, Recorder},
    rows::Rows,
    stage::{Part, Stage},
    story::Story,
    task_text::{TaskText, Wish},
    telemetry::{Probe, RATE_HZ},
    training,
    workload::{Effort, Workload},
};
use crate::{failure::Failure, report::Report};

/// Rounds that are trained on, many and short: of every six the training worker holds one out and
/// chooses on another, and a machine is not the same from one minute to the next.
const ROUNDS: u64 = 12;
/// Rounds that nobody trains on.
const ROUNDS_HELD_OUT: u64 = 2;
/// Windows of one workload in a round.
const WINDOWS: usize = 2;
/// Windows of one workload in a live round.
const WINDOWS_LIVE: usize = 4;
/// Live rounds that a user sees and corrects, and live rounds that are held out.
const ROUNDS_SEEN: u64 = 3;
const ROUNDS_KEPT: u64 = 2;
/// Corrections that make it learn again: every live answer, wrong or right. Wrong ones alone would
/// teach that the lighter workloads are nothing but exceptions.
const CORRECTIONS: usize = 60;

/// Loose enough for every machine of the lab: accuracy decides.
const BEST_EFFORT: Wish = Wish { objective: "best-effort", p99_ms: 500.0, accuracy_min: 0.0 };

/// Tells the story on a fleet that runs.
pub(crate) async fn tell(admin: Admin, mut story: Story, dir: &Path) -> Result<Stage, Failure> {
    let probe = Probe::open()?;
    let channels = probe.channels();
    story.chapter("Record: this machine is the sensor, idle is the background")?;
    story.say(format!("{} channels of /proc at {RATE_HZ} Hz", channels.len()))?;
    if !probe.missing().is_empty() {
        story.say(format!("not offered here and left out: {}", probe.missing().join(", ")))?;
    }
    let task = TaskText {
        name: "machine-activity".to_owned(),
        features: recording::window(channels)?.feature_names(),
        classes: Workload::ALL.map(|it| it.name().to_owned()).to_vec(),
        background: Workload::ALL.iter().position(|it| *it == Workload::Idle),
        group: Some("round".to_owned()),
        after_corrections: CORRECTIONS,
        missed_events_max: 0.1,
    };
    let report = Report {
        title: "Sensemble: what is this machine doing?".to_owned(),
        subtitle:
            "One machine, its own telemetry, five workloads; a fleet of five declared devices \
                   trained, placed, served, was corrected and improved."
                .to_owned(),
        ..Report::default()
    };
    let mut stage = Stage::new(admin, task, story, report);
    stage.apply(BEST_EFFORT).await?;

    let mut recorder = Recorder::start(probe)?;
    let mut trained = Rows::new(recorder.width());
    for round in 1..=ROUNDS {
        let rows = record(&mut stage, &mut recorder, round, dir).await?;
        trained.extend(&rows);
    }
    let mut as_recorded = Rows::new(recorder.width());
    for round in ROUNDS + 1..=ROUNDS + ROUNDS_HELD_OUT {
        as_recorded.extend(&record(&mut stage, &mut recorder, round, dir).await?);
    }
    let imported = stage.import(&trained).await?;
    stage.story.say(format!(
        "{imported} windows imported; the last {ROUNDS_HELD_OUT} rounds ({} windows) are held out",
        as_recorded.len()
    ))?;

    stage.story.chapter("Train lazily, and answer while training")?;
    training::train(&mut stage, &as_recorded).await?;

    stage.story.chapter("Two policies, two placements")?;
    policies::compare(&mut stage, BEST_EFFORT, &as_recorded).await?;

    stage.story.chapter("Predict live, on workloads that the training never saw: lighter ones")?;
    let (seen, answers) = live(&mut stage, &mut recorder, 100..100 + ROUNDS_SEEN, dir).await?;
    stage.story.say("once more, to be held out: nobody corrects these")?;
    let (lighter, _) = live(&mut stage, &mut recorder, 200..200 + ROUNDS_KEPT, dir).await?;

    stage.story.chapter("Correct, learn again, compare")?;
    let parts: Vec<Part> = vec![
        ("as recorded".to_owned(), as_recorded),
        ("lighter, never corrected".to_owned(), lighter),
    ];
    let chosen = correcting::choose(&seen, &answers, CORRECTIONS);
    closing::compare(&mut stage, &parts, &seen, &answers, &chosen).await?;
    stage.report.notes.extend([
        "The lighter workloads do a fraction of the work in smaller pieces; they were chosen so that \
         a model trained on full efforts is sometimes wrong. Nothing else was arranged."
            .to_owned(),
        "Windows overlap their neighbours, but training, held-out and corrected windows come from \
         different rounds: none of them shares a sample with another."
            .to_owned(),
        "All five devices share this machine: their declared cores and round trips are those of the \
         lab, their latencies are measured through it."
            .to_owned(),
    ]);
    Ok(stage)
}

/// One round at full effort.
async fn record(
    stage: &mut Stage,
    recorder: &mut Recorder,
    round: u64,
    dir: &Path,
) -> Result<Rows, Failure> {
    let order = recording::shuffled(round);
    let group = round.to_string();
    let mut rows = Rows::new(recorder.width());
    for workload in order {
        let running = recorder.begin(workload, Effort::Full, dir).await?;
        for _ in 0..WINDOWS {
            rows.push(&recorder.window().await?, class(workload), Some(&group));
        }
        recording::end(running).await?;
    }
    stage.story.detail(&format!("round {round}: {}", order.map(Workload::name).join(" ")))?;
    Ok(rows)
}

/// Rounds at light effort, answered window by window.
async fn live(
    stage: &mut Stage,
    recorder: &mut Recorder,
    seeds: Range<u64>,
    dir: &Path,
) -> Result<(Rows, Vec<Answer>), Failure> {
    let mut rows = Rows::new(recorder.width());
    let mut answers = Vec::new();
    for workload in seeds.flat_map(recording::shuffled) {
        let running = recorder.begin(workload, Effort::Light, dir).await?;
        for nth in 0..WINDOWS_LIVE {
            let features = recorder.window().await?;
            let answer = stage.app.ask(&features).await?;
            rows.push(&features, class(workload), None);
            // The first line and the last of each are enough to follow.
            if nth == 0 || nth + 1 == WINDOWS_LIVE {
                stage.story.detail(&told(workload, &answer))?;
            }
            answers.push(answer);
        }
        recording::end(running).await?;
    }
    let mut tally = stage.tally();
    tally.add_all(&rows, &answers)?;
    let missed = tally.missed_words().unwrap_or_default();
    stage.story.say(format!("right: {}; {missed}", tally.words()))?;
    Ok((rows, answers))
}

/// `disk     → disk     0.93  vote 5/5    2.1 ms  nuc`
fn told(workload: Workload, answer: &Answer) -> String {
    let reply = &answer.reply;
    let stage = match reply.voted {
        0 => "gate".to_owned(),
        voted => format!("vote {voted}/{}", reply.members),
    };
    let mark = if reply.class == workload.name() { ' ' } else { '✗' };
    format!(
        "{:<8} → {:<8} {mark} {:.2}  {stage:<9} {:>8}  {}",
        workload.name(),
        reply.class,
        reply.confidence,
        crate::report::duration(answer.elapsed.as_secs_f64() * 1e6),
        answer.device
    )
}

fn class(workload: Workload) -> usize {
    Workload::ALL.iter().position(|it| *it == workload).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proto::v1::PredictReply;

    use super::*;

    #[test]
    fn a_line_says_truth_answer_stage_time_and_device() {
        let answer = |class: &str, voted| Answer {
            reply: PredictReply {
                class: class.to_owned(),
                confidence: 0.93,
                voted,
                members: 5,
                ..PredictReply::default()
            },
            device: "nuc".to_owned(),
            elapsed: Duration::from_micros(2100),
            again: 0,
        };
        let right = told(Workload::Disk, &answer("disk", 5));
        assert_eq!(right, "disk     → disk       0.93  vote 5/5    2.1 ms  nuc");
        let wrong = told(Workload::Disk, &answer("idle", 0));
        assert_eq!(wrong, "disk     → idle     ✗ 0.93  gate        2.1 ms  nuc");
    }
}
