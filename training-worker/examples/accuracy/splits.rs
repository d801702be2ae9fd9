//! Rules compared on many partings of the same data: means, and how far they scatter.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use models::{ClassId, Confusion, Ensemble, Family, Subset};
use training_worker::{
    fit::Stop,
    material::{Checks, Material},
    plan::{self, Size},
    search::{Next, Search},
    workbench::{Terms, Workbench},
};

use crate::{
    course::{schema, table},
    sets::{Failure, Set, set, splits},
};

/// What is compared, in the order of the columns.
const COLUMNS: [&str; 4] = ["ships", "equal", "best by folds", "best on test"];

/// What each parting is trained with.
#[derive(Clone, Copy)]
pub(crate) struct Effort<'a> {
    pub(crate) seeds: u64,
    pub(crate) trials: usize,
    /// All when it is empty.
    pub(crate) families: &'a [Family],
}

/// Prints a line for each parting and seed, and the means of each set, then of each family that shipped.
pub(crate) fn compare<'a>(
    sets: impl Iterator<Item = &'a str>,
    data: &Path,
    effort: Effort<'_>,
) -> Result<(), Failure> {
    println!("| parting, seed | {} |\n|---|---|---|---|---|", COLUMNS.join(" | "));
    for name in sets {
        let mut known: Vec<[f64; 4]> = Vec::new();
        let mut families: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        let parted = match name.strip_prefix("page:") {
            None => splits(name, data)?,
            Some(name) => vec![set(name, data)?],
        };
        for set in parted {
            for seed in 1..=effort.seeds {
                let (found, alone) = train(&set, seed, effort)?;
                for (family, right) in alone {
                    families.entry(family.name()).or_default().push(right);
                }
                let [ships, equal, folds, test] = found;
                println!(
                    "| {}, {seed} | {ships:.4} | {equal:.4} | {folds:.4} | {test:.4} |",
                    set.name
                );
                known.push(found);
            }
        }
        let mean = |column: usize| Mean::of(known.iter().map(|found| found[column]));
        let ahead = Mean::of(known.iter().map(|found| found[0] - found[1]));
        println!(
            "| **{name}**, {} | {} | {} | {} | {} |\nships before equal: {ahead}\n",
            known.len(),
            mean(0),
            mean(1),
            mean(2),
            mean(3)
        );
        for (family, right) in families {
            println!("{family} alone, {} times: {}", right.len(), Mean::of(right.iter().copied()));
        }
    }
    Ok(())
}

/// A mean with its standard error.
pub(crate) struct Mean {
    mean: f64,
    error: f64,
}

impl Mean {
    #[expect(clippy::cast_precision_loss, reason = "a few partings")]
    pub(crate) fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let count = values.clone().count() as f64;
        let mean = values.clone().sum::<f64>() / count;
        let squares: f64 = values.map(|value| (value - mean).powi(2)).sum();
        Self { mean, error: (squares / count / (count - 1.0).max(1.0)).sqrt() }
    }
}

impl std::fmt::Display for Mean {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{:.4} ± {:.4}", self.mean, self.error)
    }
}

/// Rows that stand for those that a job holds out: every training row teaches.
const HELD_OUT_ROWS: usize = 100;

/// The columns of one parting, and what each member is alone.
type Found = ([f64; 4], Vec<(Family, f64)>);

fn train(set: &Set, seed: u64, effort: Effort<'_>) -> Result<Found, Failure> {
    let (schema, table) = (schema(set)?, table(set)?);
    let tests = set.rows(true);
    let truth: Vec<ClassId> = tests.iter().map(|&row| ClassId(set.labels[row])).collect();
    let tests = set.samples.select(&tests);
    let few: Vec<usize> =
        (0..tests.len()).step_by(tests.len().div_ceil(HELD_OUT_ROWS).max(1)).collect();
    let held_out = Checks {
        samples: tests.select(&few),
        truth: few.iter().map(|&row| truth[row]).collect(),
        groups: vec![],
    };
    let size =
        Size { rows: table.labels().len(), width: schema.width(), classes: schema.classes().len() };
    let material = Arc::new(Material::measured_by(held_out, schema, table, seed)?);
    let terms = Terms { seed, threads: 1, missed_events_max: 0.02, coverage: None };
    let mut bench = Workbench::new(material, terms);
    for recipe in plan::order(effort.families, size) {
        bench.add(&recipe, &Stop::default(), &|| 0.0)?;
    }
    let mut search = Search::new(effort.families, size, effort.trials, seed);
    loop {
        match search.step() {
            Next::Done => break,
            Next::Try(trial) => {
                let score = bench.trial(&trial.recipe, trial.rung, &Stop::default());
                search.tell(trial.number, score.ok());
            }
            Next::Adopt(recipe) => {
                bench.improve(&recipe, &Stop::default(), &|| 0.0)?;
            }
        }
    }
    let assembled = bench.assemble()?;
    let right = |ensemble: &Ensemble, subset: Subset| -> Result<f64, Failure> {
        let given = ensemble.predict(&tests, subset, false)?;
        Ok(Confusion::of(size.classes, &truth, &given).accuracy().value())
    };
    let all = Subset::all(assembled.members.len());
    let ships = right(&assembled.ensemble, all)?;
    let alone = (0..assembled.members.len()).map(|at| right(&assembled.ensemble, Subset(1 << at)));
    let alone = alone.collect::<Result<Vec<f64>, Failure>>()?;
    let by_folds = assembled.members.iter().zip(&alone);
    let by_folds = by_folds.max_by(|a, b| a.0.accuracy.total_cmp(&b.0.accuracy));
    let by_folds = by_folds.map_or(0.0, |(_, &alone)| alone);
    let best = alone.iter().copied().fold(0.0, f64::max);
    let mut parts = assembled.ensemble.into_parts();
    parts.members.iter_mut().for_each(|weighted| weighted.weight = 1.0);
    let equal = right(&Ensemble::new(parts)?, all)?;
    let families = assembled.members.iter().map(|member| member.family).zip(alone);
    Ok(([ships, equal, by_folds, best], families.collect()))
}
