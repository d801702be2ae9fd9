//! One training, member after member, and what each revision makes of the test rows.

use std::{path::Path, sync::Arc};

use models::{ClassId, Confusion, Family, Schema, Speed, Subset};
use proto::v1::SampleChunk;
use tokio::time::Instant;
use training_worker::{
    fit::Stop,
    material::Material,
    plan::{self, Size},
    table::Table,
    workbench::{Terms, Workbench},
};

use crate::sets::{Failure, Set, set};

/// What goes in and comes out.
pub(crate) fn schema(set: &Set) -> Result<Schema, Failure> {
    let classes = usize::from(set.labels.iter().copied().max().unwrap_or(0)) + 1;
    let names = (0..classes).map(|class| format!("class {class}")).collect();
    Ok(Schema::new(set.names.clone(), names, set.background)?)
}

/// The training rows as they come from a scheduler.
pub(crate) fn table(set: &Set) -> Result<Table, Failure> {
    let classes = schema(set)?.classes().len();
    let mut table = Table::new(set.samples.width(), classes);
    for rows in set.rows(false).chunks(1000) {
        table.take(&SampleChunk {
            width: u32::try_from(set.samples.width())?,
            values: proto::parse::pack(set.samples.select(rows).values()),
            labels: rows.iter().map(|&row| u32::from(set.labels[row])).collect(),
            groups: rows.iter().filter_map(|&row| set.groups.get(row).cloned()).collect(),
            ..SampleChunk::default()
        })?;
    }
    Ok(table)
}

/// Follows a training of `families`, all when empty.
pub(crate) fn follow(which: &str, data: &Path, families: &[Family]) -> Result<(), Failure> {
    let set = set(which, data)?;
    let (schema, table) = (schema(&set)?, table(&set)?);
    let classes = schema.classes().len();
    let began = Instant::now();
    let material = Arc::new(Material::new(schema, table, 1)?);
    let (training, kind) = (material.lessons.labels.len(), material.kind);
    let (validation, held_out) = (material.truth().len(), material.held_out.truth.len());
    println!(
        "{which}: {training} training, {validation} validation, {held_out} held out, by {}",
        kind.name()
    );

    let tests = set.rows(true);
    let truth: Vec<ClassId> = tests.iter().map(|&row| ClassId(set.labels[row])).collect();
    let tests = set.samples.select(&tests);
    let size = Size { rows: training, width: set.samples.width(), classes };
    let stop = Stop::default();
    let terms = Terms { seed: 1, threads: 1, missed_events_max: 0.02, coverage: None };
    let mut bench = Workbench::new(material, terms);
    let (mut first, mut measuring) = (None, 0.0);
    let recipes = plan::order(families, size);
    let count = recipes.len();
    for (at, recipe) in recipes.into_iter().enumerate() {
        let clock = || began.elapsed().as_secs_f64();
        bench.add(&recipe, &stop, &clock)?;
        if 0 < at {
            bench.add_gates(&stop)?;
        }
        let assembled = bench.assemble()?;
        let bytes = models::bundle::encode(&assembled.ensemble).len();
        let stands = began.elapsed().as_secs_f64() - measuring;
        first.get_or_insert(stands);

        // What follows is about the test part, which the workbench never sees.
        let asked = Instant::now();
        let all = Subset::all(assembled.ensemble.members().len());
        let score = |subset: Subset, gated: bool| -> Result<Confusion, models::ShapeError> {
            let given = assembled.ensemble.predict(&tests, subset, gated)?;
            Ok(Confusion::of(classes, &truth, &given))
        };
        let vote = score(all, false)?;
        let family = recipe.family();
        let mut everyone = assembled.members.iter().chain(&assembled.left_out);
        let last = everyone.find(|it| it.family == family).ok_or("it stands")?;
        println!(
            "{stands:6.2} s  {:10} fit {:5.2} s (plan {:5.2}), validation {:.4} | {} vote: chosen {:.4}, held out {:.4}, test {:.4} balanced {:.4} missed {:.4} | {} kB",
            family.name(),
            last.fit_seconds,
            plan::seconds(&recipe, size),
            last.accuracy,
            assembled.ensemble.voting().rule.name(),
            assembled.expected,
            assembled.held_out.accuracy().value(),
            vote.accuracy().value(),
            vote.balanced_accuracy(),
            vote.missed_events(set.background).value(),
            bytes / 1024,
        );
        if let Some(gate) = assembled.gate {
            let gated = score(all, true)?;
            println!(
                "          gate {}: stops {:.3} of validation, misses {:.4}; vote behind it: test {:.4} missed {:.4}",
                assembled.ensemble.gate().map_or("", |gate| gate.member.family.name()),
                gate.stopped.value(),
                gate.missed.value(),
                gated.accuracy().value(),
                gated.missed_events(set.background).value(),
            );
        }
        if at + 1 == count {
            for (index, member) in assembled.members.iter().enumerate() {
                let alone = score(Subset(1 << index), false)?.accuracy();
                println!(
                    "          {:10} weight {:.4}, {:8.2} us, validation {:.4}, test {:.4}",
                    member.family.name(),
                    member.weight,
                    Speed::USUAL.micros(member.work),
                    member.accuracy,
                    alone.value(),
                );
            }
            for member in &assembled.left_out {
                let (family, accuracy) = (member.family.name(), member.accuracy);
                println!("          {family:10} left out, validation {accuracy:.4}");
            }
            let interval = vote.accuracy().interval();
            let (mut asked, mut same) = (0.0, 0_u32);
            let full = assembled.ensemble.asking(all)?.to_the_end();
            let mut scratch = assembled.ensemble.scratch();
            let (mut sure, mut wrong) = (0.0_f64, 0.0);
            for (row, truth) in tests.rows().zip(&truth) {
                let early = assembled.ensemble.answer(row, all, false, &mut scratch)?;
                let full =
                    assembled.ensemble.answer_timed(row, &full, false, &mut scratch, |_| ())?;
                same += u32::from(early.class == full.class);
                asked += Speed::USUAL.micros(assembled.ensemble.work(early.votes.asked()));
                sure += f64::from(early.confidence);
                wrong += f64::from(u8::from(early.class != *truth));
            }
            let rows = f64::from(u32::try_from(truth.len())?);
            let work = rows * Speed::USUAL.micros(assembled.ensemble.work(all));
            println!(
                "          vote on test {:.4} to {:.4}; early end: same class in {same} of {} rows, {:.3} of the work; mean confidence {:.4}, right {:.4}",
                interval.low,
                interval.high,
                truth.len(),
                asked / work,
                sure / rows,
                1.0 - wrong / rows,
            );
            let mut frontier = assembled.frontier.clone();
            frontier.sort_by(|a, b| b.accuracy.total_cmp(&a.accuracy));
            for measure in frontier.iter().take(8) {
                let test = score(measure.subset, measure.gated)?;
                let families: Vec<&str> = measure
                    .subset
                    .members()
                    .map(|member| assembled.members[member].family.name())
                    .collect();
                println!(
                    "          {} {}: validation {:.4} ± {:.4} balanced {:.4}, test {:.4} missed {:.4}",
                    families.join("+"),
                    if measure.gated { "gated" } else { "" },
                    measure.accuracy,
                    measure.standard_error,
                    measure.balanced_accuracy,
                    test.accuracy().value(),
                    test.missed_events(set.background).value(),
                );
            }
        }
        measuring += asked.elapsed().as_secs_f64();
    }
    let total = began.elapsed().as_secs_f64() - measuring;
    let first = first.unwrap_or(total);
    println!("first bundle after {first:.2} s of {total:.2} s: {:.1} %", 100.0 * first / total);
    Ok(())
}
