//! Trains on the real data sets with the code of a job, and says what became of their test part.
//!
//! ```text
//! cargo run --release -p training-worker --example accuracy [SET] [DATA] [FAMILY…]
//! cargo run --release -p training-worker --example accuracy splits SETS [DATA] [SEEDS] [TRIALS] [FAMILY…]
//! cargo run --release -p training-worker --example accuracy lazy SETS [DATA]
//! cargo run --release -p training-worker --example accuracy retrain SET [DATA] [CORRECTIONS] [TIMES]
//! ```
//!
//! `SET` is `hapt13`, `hapt6`, `room`, `occupancy`, `gas`, `esc10`, `mnist`, or `mnist6000` with a seventh of
//! the rows. `DATA` is the folder with `hapt/` and the others, `../shared/data` by default. Only rows of
//! the training part are shown to the workbench, which parts them itself.
//!
//! `splits` parts the rows in other ways, to compare rules without the promised test rows, and prints
//! means over partings and seeds: what ships, the same members with equal weights, the member that was
//! best across the folds, and the one that nobody can know before, best on the test rows. `SETS` are names
//! from above or `esc10`, with commas between; `page:gas` is the parting of the set's own page, to be
//! looked at last. With `TRIALS` the settings are searched, too. `FAMILY…` says who may ship; all when none is named,
//! `paper` for the seven of the paper.
//!
//! `lazy` follows each of these partings in two orders: as the plan has it, and by what trainings of the
//! other `SETS` have taught.
//!
//! `retrain` trains, corrects some answers to a quarter of the test part that are wrong, and trains again with the steps
//! that were kept; and so on.
#![expect(clippy::print_stdout, reason = "it is for people to read")]

mod course;
mod lazy;
mod retrain;
mod sets;
mod splits;

use std::path::Path;

use models::Family;

use crate::{sets::Failure, splits::Effort};

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let word = |at: usize, or: &str| words.get(at).cloned().unwrap_or_else(|| or.to_owned());
    let sets = word(1, "gas,esc10,room,occupancy,hapt6,mnist");
    if word(0, "hapt13") == "lazy" {
        return lazy::compare(sets.split(','), Path::new(&word(2, "../shared/data")));
    }
    if word(0, "hapt13") == "retrain" {
        let (count, times) = (word(3, "10").parse()?, word(4, "3").parse()?);
        return retrain::follow(
            &word(1, "hapt6"),
            Path::new(&word(2, "../shared/data")),
            count,
            times,
        );
    }
    if word(0, "hapt13") == "splits" {
        let named = words.iter().skip(5);
        let families: Vec<Family> = if named.clone().any(|name| name == "paper") {
            Family::PAPER.to_vec()
        } else {
            named.filter_map(|name| Family::parse(name)).collect()
        };
        let (seeds, trials) = (word(3, "1").parse()?, word(4, "0").parse()?);
        let effort = Effort { seeds, trials, families: &families };
        return splits::compare(sets.split(','), Path::new(&word(2, "../shared/data")), effort);
    }
    let families: Vec<Family> =
        words.iter().skip(2).filter_map(|name| Family::parse(name)).collect();
    course::follow(&word(0, "hapt13"), Path::new(&word(1, "../shared/data")), &families)
}
