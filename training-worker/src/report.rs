//! What is said of a bundle when it is published.

use models::{ClassId, Confusion, gate::Threshold};
use proto::v1::{GateReport, Measured, MemberReport, RevisionReport, SetReport, Setting};

use crate::{
    fit::Recipe,
    material::Material,
    search::space,
    workbench::{Assembled, MemberMeasure, Origin, SetMeasure},
};

/// The report of an ensemble whose bundle takes `bundle_bytes`.
#[must_use]
pub fn report(material: &Material, assembled: &Assembled, bundle_bytes: usize) -> RevisionReport {
    let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
    let gate = assembled.gate.map(|Threshold { value, missed, stopped, new_group }| GateReport {
        threshold: f64::from(value),
        stopped: stopped.value(),
        missed_events: missed.value(),
        work: assembled.ensemble.gate_work().map(Into::into),
        missed_low: missed.interval().low,
        missed_high: missed.interval().high,
        missed_new_group: new_group.unwrap_or(0.0),
    });
    RevisionReport {
        members: assembled.members.iter().map(alone).collect(),
        left_out: assembled.left_out.iter().map(alone).collect(),
        rule: assembled.ensemble.voting().rule.name().to_owned(),
        calibration_error: assembled.calibration_error,
        frontier: assembled.frontier.iter().map(Into::into).collect(),
        gate,
        training_rows: count(material.lessons.labels.len()),
        validation_rows: count(assembled.rows),
        held_out_rows: count(material.held_out.truth.len()),
        split: material.kind.name().to_owned(),
        bundle_bytes: count(bundle_bytes),
        held_out: Some(measured(&assembled.held_out, material.schema.background())),
        sets: assembled.sets.iter().map(set).collect(),
        // Whoever trained says how much of it was computed.
        steps_computed: 0,
        steps_kept: 0,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a mean of counts")]
fn set(measure: &SetMeasure) -> SetReport {
    let SetMeasure { level, blocks, held, classes } = *measure;
    let interval = held.interval();
    SetReport {
        coverage: level.coverage.share(),
        blocks: u32::try_from(blocks).unwrap_or(u32::MAX),
        rows: held.of,
        held: held.hits,
        low: interval.low,
        high: interval.high,
        mean_size: classes as f64 / held.of.max(1) as f64,
    }
}

fn alone(member: &MemberMeasure) -> MemberReport {
    MemberReport {
        family: member.family.name().to_owned(),
        weight: member.weight,
        validation_accuracy: member.accuracy,
        fit_seconds: member.fit_seconds,
        work: Some(member.work.into()),
        bytes: member.bytes,
        settings: match &member.origin {
            Origin::Fitted(recipe) => settings(recipe),
            Origin::Imported(_) => Vec::new(),
        },
        imported: match &member.origin {
            Origin::Fitted(_) => String::new(),
            Origin::Imported(name) => name.clone(),
        },
    }
}

/// The searched settings of a recipe, for the wire.
pub(crate) fn settings(recipe: &Recipe) -> Vec<Setting> {
    let settings = space::settings(recipe);
    settings.map(|(name, value)| Setting { name: name.to_owned(), value }).collect()
}

/// Figures of a confusion table, for the wire.
fn measured(confusion: &Confusion, background: Option<ClassId>) -> Measured {
    let accuracy = confusion.accuracy();
    let interval = accuracy.interval();
    Measured {
        accuracy: accuracy.value(),
        balanced_accuracy: confusion.balanced_accuracy(),
        missed_events: confusion.missed_events(background).value(),
        interval_low: interval.low,
        interval_high: interval.high,
        rows: confusion.rows(),
        confusion: confusion.counts().to_vec(),
    }
}
