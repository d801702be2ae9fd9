//! What a training is told of earlier ones: how long the fit of each family took.
//!
//! The report of a task's newest revision stands for the task, so that one that is trained often says
//! no more than another. What that means for the order of fits is for the training worker to say: it
//! knows what it had expected (docs/decisions/0032-families-take-as-long-as-they-took.md).

use std::{cmp::Reverse, collections::BTreeSet};

use proto::v1::{EarlierTraining, FamilyFit, MemberReport, RevisionReport};

use crate::books::{Books, TaskBook};

/// Trainings that a job hears of. More would move a mean by less than it is sure of.
pub const EARLIER_MAX: usize = 64;
/// Families of one of them: what a report says beyond is not handed on.
const FAMILIES_MAX: usize = 16;
/// Settings of one family.
const SETTINGS_MAX: usize = 16;

/// What is told to a job of `task` that was asked for at `created_ms`: its own earlier training first,
/// then the newest of the others.
///
/// What came later waits for the next job, so that no attempt hears what its own job has published.
#[must_use]
pub fn earlier(books: &Books, task: &str, created_ms: u64) -> Vec<EarlierTraining> {
    let mut known: Vec<_> = books
        .tasks
        .values()
        .filter_map(|book| Some((book, book.current.as_ref()?)))
        .filter(|(_, revision)| revision.at_ms <= created_ms)
        .map(|(book, revision)| (book.task.name == task, revision.at_ms, book, &revision.report))
        .collect();
    known.sort_by_key(|(own, at_ms, book, _)| (Reverse(*own), Reverse(*at_ms), book.id));
    known
        .into_iter()
        .map(|(own, _, book, report)| told(own, book, report))
        // One alone compares with nobody.
        .filter(|it| 1 < it.families.len())
        .take(EARLIER_MAX)
        .collect()
}

fn told(own: bool, book: &TaskBook, report: &RevisionReport) -> EarlierTraining {
    let schema = &book.task.schema;
    let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    let mut seen = BTreeSet::new();
    let families = report
        .members
        .iter()
        .chain(&report.left_out)
        // What was fitted elsewhere says nothing of what a fit here would give.
        .filter(|member| member.imported.is_empty())
        .filter(|member| seen.insert(&member.family))
        .take(FAMILIES_MAX)
        .map(fit)
        .collect();
    EarlierTraining {
        own,
        training_rows: report.training_rows,
        width: count(schema.width()),
        classes: count(schema.classes().len()),
        families,
    }
}

fn fit(member: &MemberReport) -> FamilyFit {
    FamilyFit {
        family: member.family.clone(),
        seconds: member.fit_seconds,
        settings: member.settings.iter().take(SETTINGS_MAX).cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{books::Revision, task_file::Task};

    fn member(family: &str, imported: &str) -> MemberReport {
        MemberReport {
            family: family.to_owned(),
            fit_seconds: if imported.is_empty() { 2.0 } else { 0.0 },
            imported: imported.to_owned(),
            ..MemberReport::default()
        }
    }

    fn report() -> RevisionReport {
        RevisionReport {
            members: vec![member("ridge", ""), member("forest", "mine")],
            left_out: vec![member("forest", ""), member("ridge", "")],
            training_rows: 500,
            ..RevisionReport::default()
        }
    }

    /// Books with a task of each name, released then.
    fn books(tasks: &[(&str, u64, RevisionReport)]) -> Books {
        let mut books = Books::default();
        for (id, (name, at_ms, report)) in (1..).zip(tasks) {
            let toml = format!(
                "[task]\nname = \"{name}\"\nclasses = [\"a\", \"b\", \"c\"]\n\
                 [input]\nkind = \"features\"\nfeatures = [\"x\", \"y\"]\n[policy]\n"
            );
            let revision = Revision {
                revision: 1,
                digest: [0; 32],
                bundle_bytes: 1,
                job: String::new(),
                at_ms: *at_ms,
                report: report.clone(),
                comparison: None,
                rollback_of: None,
            };
            let book = TaskBook {
                id,
                task: Task::parse(&toml).unwrap(),
                toml,
                version: 1,
                samples: 1,
                corrections: 0,
                corrections_since: 0,
                current: Some(Arc::new(revision)),
                members: Vec::new(),
            };
            books.tasks.insert((*name).to_owned(), Arc::new(book));
        }
        books
    }

    #[test]
    fn each_family_is_told_once_whether_it_shipped_or_not() {
        let told = earlier(&books(&[("hall", 5, report())]), "kitchen", 9);
        let [it] = &told[..] else { panic!("{told:?}") };
        let families: Vec<&str> = it.families.iter().map(|it| it.family.as_str()).collect();
        assert_eq!(families, ["ridge", "forest"], "and not the one that was imported");
        assert!(!it.own);
        assert_eq!((it.training_rows, it.width, it.classes), (500, 2, 3));
        assert!(it.families.iter().all(|it| it.seconds.to_bits() == 2.0_f64.to_bits()));
    }

    #[test]
    fn its_own_comes_first_and_then_the_newest() {
        let wide = |rows| RevisionReport { training_rows: rows, ..report() };
        let books = books(&[("a", 3, wide(1)), ("b", 8, wide(2)), ("kitchen", 1, wide(3))]);
        let rows = |created_ms| -> Vec<(bool, u64)> {
            let told = earlier(&books, "kitchen", created_ms);
            told.iter().map(|it| (it.own, it.training_rows)).collect()
        };
        assert_eq!(rows(8), [(true, 3), (false, 2), (false, 1)]);
        assert_eq!(rows(7), [(true, 3), (false, 1)], "what came later waits for the next job");
    }

    #[test]
    fn one_family_alone_is_not_worth_telling() {
        let alone = RevisionReport { left_out: Vec::new(), ..report() };
        assert_eq!(earlier(&books(&[("hall", 5, alone)]), "kitchen", 9), []);
    }

    #[test]
    fn however_much_is_written_down_little_is_told() {
        let names: Vec<String> = (0..EARLIER_MAX + 3).map(|at| format!("task-{at}")).collect();
        let many = RevisionReport {
            members: (0..1_000).map(|at| member(&format!("family-{at}"), "")).collect(),
            ..report()
        };
        let tasks: Vec<_> = names.iter().map(|name| (name.as_str(), 5, many.clone())).collect();
        let told = earlier(&books(&tasks), "kitchen", 9);
        assert_eq!(told.len(), EARLIER_MAX);
        assert!(told.iter().all(|it| it.families.len() == FAMILIES_MAX));
    }
}
