//! What was once released decodes and answers as it did.

use std::{collections::BTreeSet, path::Path};

use models::{Family, Model, Step, bundle, member::Verdict};

mod golden_files;

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/golden"))
}

#[test]
fn golden_bundles_answer_as_they_did() {
    let mut answers = 0;
    for path in golden_files::bundles(folder()).unwrap() {
        answers += golden_files::check(&path).unwrap();
    }
    assert!(300 <= answers, "only {answers} answers");
}

#[test]
fn golden_bundles_are_written_again_bit_for_bit() {
    for path in golden_files::bundles(folder()).unwrap() {
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bundle::encode(&bundle::decode(&bytes).unwrap()), bytes, "{path:?}");
    }
}

#[test]
fn golden_bundles_have_every_form() {
    let mut families = BTreeSet::new();
    let mut steps = BTreeSet::new();
    let mut gates = 0;
    let mut votings = BTreeSet::new();
    let mut compact = BTreeSet::new();
    let mut verdicts = BTreeSet::new();
    let mut golden = BTreeSet::new();
    let mut sets = BTreeSet::new();
    for path in golden_files::bundles(folder()).unwrap() {
        let ensemble = bundle::decode(&std::fs::read(path).unwrap()).unwrap();
        families.extend(ensemble.members().iter().map(|it| it.member.family));
        let members = ensemble.members().iter().filter(|it| it.member.model.is_compact());
        compact.extend(members.map(|it| it.member.family));
        for member in ensemble.members() {
            if let Model::RbfSvm(svm) = &*member.member.model {
                let (short, rule) =
                    (svm.verdict == Verdict::Shortfall, ensemble.voting().rule.name());
                verdicts.insert((short, member.member.model.is_compact(), rule));
            }
        }
        let voting = ensemble.voting();
        votings.insert((voting.rule.name(), voting.confidence.is_measured()));
        gates += usize::from(ensemble.gate().is_some());
        sets.extend(voting.sets.ladders.iter().map(|it| (it.gated, it.levels.len())));
        golden.extend(ensemble.golden().iter().map(|it| it.stopped));
        steps.extend(ensemble.preparations().iter().flat_map(|it| &it.steps).map(
            |step| match step {
                Step::Select { .. } => "select",
                Step::Standardise { .. } => "standardise",
                Step::Project { .. } => "project",
            },
        ));
    }
    assert_eq!(families.len(), Family::ALL.len());
    assert_eq!(steps.len(), 3);
    assert_eq!(compact.into_iter().collect::<Vec<_>>(), [Family::Knn, Family::RbfSvm, Family::Mlp]);
    for compact in [false, true] {
        for rule in ["hard", "soft", "logarithmic"] {
            assert!(verdicts.contains(&(true, compact, rule)), "{verdicts:?}");
        }
    }
    assert!(0 < gates);
    assert_eq!(sets.into_iter().collect::<Vec<_>>(), [(false, 3), (true, 3)]);
    assert_eq!(golden.into_iter().collect::<Vec<_>>(), [None, Some(false), Some(true)]);
    assert_eq!(
        votings.into_iter().collect::<Vec<_>>(),
        [("hard", false), ("hard", true), ("logarithmic", true), ("soft", true)]
    );
}
