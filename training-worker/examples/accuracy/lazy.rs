//! The lazy course in two orders: as the plan has it, and by what trainings of the other sets have taught.

use std::{path::Path, sync::Arc};

use models::{ClassId, Family};
use proto::v1::{EarlierTraining, FamilyFit};
use training_worker::{
    fit::{Recipe, Stop},
    knowledge::Knowledge,
    material::{Checks, Material},
    plan::{self, Size},
    report::report,
    workbench::{Terms, Workbench},
};

use crate::{
    course::{schema, table},
    sets::{Failure, Set, splits},
    splits::Mean,
};

/// Prints both courses of each parting and how far they differ, then the means of each set.
///
/// What is known of a set comes from the first parting of each other one. How far a course falls short is
/// the mean, over the time that the plan's own order takes, of how much less is right on the test rows
/// than in its end; before the first bundle a guess is right.
pub(crate) fn compare<'a>(sets: impl Iterator<Item = &'a str>, data: &Path) -> Result<(), Failure> {
    let parted = sets.map(|name| Ok((name, splits(name, data)?)));
    let parted = parted.collect::<Result<Vec<(&str, Vec<Set>)>, Failure>>()?;
    let nobody = Knowledge::default();
    let mut plain: Vec<Vec<Course>> = Vec::new();
    for (_, partings) in &parted {
        plain.push(partings.iter().map(|it| train(it, &nobody)).collect::<Result<_, _>>()?);
    }
    for (at, (name, partings)) in parted.iter().enumerate() {
        let others = plain.iter().enumerate().filter(|(other, _)| *other != at);
        let earlier: Vec<EarlierTraining> =
            others.filter_map(|(_, courses)| Some(courses.first()?.taught.clone())).collect();
        let knowledge = Knowledge::of(&earlier);
        let (mut shorter, mut sooner) = (Vec::new(), Vec::new());
        for (set, before) in partings.iter().zip(&plain[at]) {
            let end = before.end();
            println!("{}\n  {before}", set.name);
            if before.order == families(&plan::order_by(&knowledge, &[], size(set)?)) {
                // The same again would only say how much its times scatter.
                shorter.push(0.0);
                sooner.push(0.0);
                continue;
            }
            let after = train(set, &knowledge)?;
            println!("  {after}");
            shorter.push(before.short_of(end) - after.short_of(end));
            sooner.push((before.nearly(end) / after.nearly(end)).ln());
        }
        println!(
            "**{name}**: falls {} less short; near the end sooner by a factor of e to the {}\n",
            Mean::of(shorter.iter().copied()),
            Mean::of(sooner.iter().copied())
        );
    }
    Ok(())
}

/// One training, member after member.
struct Course {
    order: Vec<Family>,
    /// Seconds of computing until a revision stands, and the share of test rows that it has right.
    revisions: Vec<(f64, f64)>,
    /// What is right by a guess.
    guess: f64,
    /// What a scheduler would tell of it.
    taught: EarlierTraining,
}

impl Course {
    fn end(&self) -> (f64, f64) {
        self.revisions.last().copied().unwrap_or((0.0, self.guess))
    }

    fn short_of(&self, (seconds, right): (f64, f64)) -> f64 {
        let (mut since, mut has, mut short) = (0.0, self.guess, 0.0);
        for &(stands, next) in self.revisions.iter().chain(&[(seconds, right)]) {
            let until = stands.min(seconds);
            short += (right - has) * (until - since);
            (since, has) = (until, next);
        }
        short / seconds
    }

    /// Seconds until nine tenths of what is gained from the guess to the end are there to stay.
    fn nearly(&self, (_, right): (f64, f64)) -> f64 {
        let enough = self.guess + 0.9 * (right - self.guess);
        let late = self.revisions.iter().rposition(|&(_, has)| has < enough);
        let first = late.map_or(0, |late| late + 1).min(self.revisions.len() - 1);
        self.revisions[first].0
    }
}

impl std::fmt::Display for Course {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (family, (seconds, right)) in self.order.iter().zip(&self.revisions) {
            write!(to, "{} {seconds:.2} s {right:.4}  ", family.name())?;
        }
        Ok(())
    }
}

fn size(set: &Set) -> Result<Size, Failure> {
    let classes = schema(set)?.classes().len();
    Ok(Size { rows: set.rows(false).len(), width: set.samples.width(), classes })
}

fn train(set: &Set, knowledge: &Knowledge) -> Result<Course, Failure> {
    let (schema, table) = (schema(set)?, table(set)?);
    let tests = set.rows(true);
    let held_out = Checks {
        samples: set.samples.select(&tests),
        truth: tests.iter().map(|&row| ClassId(set.labels[row])).collect(),
        groups: vec![],
    };
    let size = size(set)?;
    let material = Arc::new(Material::measured_by(held_out, schema, table, 1)?);
    let terms = Terms { seed: 1, threads: 1, missed_events_max: 0.02, coverage: None };
    let mut bench = Workbench::new(material.clone(), terms);
    let order = plan::order_by(knowledge, &[], size);
    let began = cpu_seconds()?;
    let clock = || cpu_seconds().unwrap_or(f64::NAN);
    let (mut revisions, mut taught) = (Vec::new(), EarlierTraining::default());
    for recipe in &order {
        bench.add(recipe, &Stop::default(), &clock)?;
        let assembled = bench.assemble()?;
        revisions.push((cpu_seconds()? - began, assembled.held_out.accuracy().value()));
        let report = report(&material, &assembled, 0);
        let members = report.members.iter().chain(&report.left_out);
        taught = EarlierTraining {
            own: false,
            training_rows: report.training_rows,
            width: u32::try_from(size.width)?,
            classes: u32::try_from(size.classes)?,
            families: members
                .map(|it| FamilyFit {
                    family: it.family.clone(),
                    seconds: it.fit_seconds,
                    settings: it.settings.clone(),
                })
                .collect(),
        };
    }
    let guess = 1.0 / f64::from(u32::try_from(size.classes)?);
    Ok(Course { order: families(&order), revisions, guess, taught })
}

fn families(order: &[Recipe]) -> Vec<Family> {
    order.iter().map(Recipe::family).collect()
}

/// Seconds that this thread has computed: others may be on the machine.
pub(crate) fn cpu_seconds() -> Result<f64, Failure> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds: f64 = stat.split(' ').next().ok_or("no run time")?.parse()?;
    Ok(nanoseconds * 1e-9)
}
