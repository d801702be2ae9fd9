//! The workbench on small data: what is held out changes nothing, and what it says is true.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;

use models::{
    ClassId, Confusion, Coverage, Ensemble, Family, Member, Model, Parts, Preparation, Schema,
    Subset, Voting, Weighted, bundle, member::Linear,
};
use prost::bytes::Bytes;
use proto::v1::SampleChunk;
use training_worker::{
    comparison::{Served, compare},
    draw::Draw,
    fit::{Recipe, Stop},
    material::Material,
    table::{Table, TableError},
    workbench::{Assembled, BenchError, Origin, Terms, Workbench},
};

const WIDTH: usize = 4;
const CLASSES: usize = 3;
const ROWS: usize = 720;

/// Twelve people, three classes of which the first is the background.
fn chunk() -> SampleChunk {
    let mut draw = Draw::new(5);
    let mut chunk = SampleChunk { width: 4, ..SampleChunk::default() };
    let mut values = Vec::new();
    for row in 0..ROWS {
        let class = row % CLASSES;
        for column in 0..WIDTH {
            let corner = if column == class { 3.0 } else { 0.0 };
            #[expect(clippy::cast_possible_truncation, reason = "test data")]
            values.push((corner + draw.normal()) as f32);
        }
        chunk.labels.push(u32::try_from(class).unwrap());
        chunk.groups.push(format!("person {}", row * 12 / ROWS));
    }
    chunk.values = proto::parse::pack(&values);
    chunk
}

fn schema() -> Schema {
    let names = |names: &[&str]| names.iter().copied().map(str::to_owned).collect();
    Schema::new(names(&["a", "b", "c", "d"]), names(&["idle", "x", "y"]), Some(ClassId(0))).unwrap()
}

fn material(chunks: &[SampleChunk]) -> Arc<Material> {
    let mut table = Table::new(WIDTH, CLASSES);
    chunks.iter().for_each(|chunk| table.take(chunk).unwrap());
    Arc::new(Material::new(schema(), table, 3).unwrap())
}

fn terms(coverage: Option<u32>) -> Terms {
    let coverage = coverage.map(|it| Coverage::of_thousandths(it).unwrap());
    Terms { seed: 3, threads: 1, missed_events_max: 0.05, coverage }
}

fn assembled(material: &Arc<Material>, families: &[Family]) -> Assembled {
    assembled_with(material, families, terms(None))
}

fn assembled_with(material: &Arc<Material>, families: &[Family], terms: Terms) -> Assembled {
    let mut bench = Workbench::new(material.clone(), terms);
    for &family in families {
        bench.add(&Recipe::of(family), &Stop::default(), &|| 0.0).unwrap();
    }
    bench.add_gates(&Stop::default()).unwrap();
    bench.assemble().unwrap()
}

/// Rows of which a class says where they are.
fn chunk_of(place: impl Fn(usize, &mut Draw) -> [f64; WIDTH]) -> SampleChunk {
    let mut draw = Draw::new(7);
    let mut chunk = SampleChunk { width: 4, ..SampleChunk::default() };
    let mut values = Vec::new();
    for row in 0..ROWS {
        let class = row % CLASSES;
        #[expect(clippy::cast_possible_truncation, reason = "test data")]
        values.extend(place(class, &mut draw).map(|value| value as f32));
        chunk.labels.push(u32::try_from(class).unwrap());
        chunk.groups.push(format!("person {}", row * 12 / ROWS));
    }
    chunk.values = proto::parse::pack(&values);
    chunk
}

#[test]
fn neighbours_are_near_in_what_tells_classes_apart_only_where_that_is_no_worse() {
    let classes = [-1.0, 0.0, 1.0];
    // What differs between classes is small beside what varies without them…
    let beside = chunk_of(|class, draw| {
        let together = 9.0 * draw.normal();
        let apart = classes[class] + 0.3 * draw.normal();
        [together + apart, together - apart, draw.normal(), draw.normal()]
    });
    // … or classes are rings around the same middle.
    let rings = chunk_of(|class, draw| {
        let (radius, turn) = (1.0 + 3.0 * (class as f64), draw.unit() * std::f64::consts::TAU);
        [radius * turn.cos(), radius * turn.sin(), 0.1 * draw.normal(), 0.1 * draw.normal()]
    });
    // Where all rows are right either way, the fewer columns.
    let clear = chunk_of(|class, draw| {
        let middle = 9.0 * classes[class];
        [middle + 0.1 * draw.normal(), draw.normal(), draw.normal(), draw.normal()]
    });
    for family in [Family::Knn, Family::RbfSvm] {
        for (chunk, expected) in [(&beside, 2), (&rings, WIDTH), (&clear, 2)] {
            let material = material(std::slice::from_ref(chunk));
            // As the first member, which is heard of in full later, and as the second.
            for families in [[family, Family::Ridge], [Family::Ridge, family]] {
                let ensemble = assembled(&material, &families).ensemble;
                let member = ensemble.members().iter().find(|it| it.member.family == family);
                let preparation = member.unwrap().member.preparation;
                let columns = ensemble.preparations()[preparation].apply(&[0.5; WIDTH]).len();
                assert_eq!(columns, expected, "{}", family.name());
            }
        }
    }
}

/// … of all members on the rows that were held out, at each of three levels.
fn what_is_reported_of_sets_is_what_the_bundle_does(material: &Material, assembled: &Assembled) {
    let Assembled { ensemble, sets, .. } = assembled;
    let gated = ensemble.gate().is_some();
    let all = Subset::all(ensemble.members().len());
    let asking = ensemble.asking(all).unwrap().to_the_end();
    let mut scratch = ensemble.scratch();
    assert_eq!(sets.len(), 3);
    for measure in sets {
        assert_eq!((measure.blocks, measure.held.of), (10, 120));
        let (mut held, mut classes) = (0, 0);
        let checks = &material.held_out;
        for (row, truth) in checks.samples.rows().zip(&checks.truth) {
            let answer = ensemble.answer_timed(row, &asking, gated, &mut scratch, |_| ()).unwrap();
            let set = ensemble.set(measure.level, &answer, &scratch).unwrap();
            held += u64::from(set.contains(truth));
            classes += u64::try_from(set.len()).unwrap();
        }
        assert_eq!((measure.held.hits, measure.classes), (held, classes));
        assert!(measure.level.coverage.share() <= measure.held.interval().high, "{measure:?}");
    }
}

#[test]
fn sets_with_an_imported_member_hold_as_much_as_those_without() {
    let material = material(&[chunk()]);
    // Fitted by somebody else on other rows: the classes' corners are known to everybody.
    let weights = (0..CLASSES * WIDTH).map(|at| if at % WIDTH == at / WIDTH { 1.0 } else { 0.0 });
    let linear = Linear { width: WIDTH, weights: weights.collect(), bias: vec![0.0; CLASSES] };
    let member = Member {
        family: Family::LinearSvm,
        preparation: 0,
        model: Arc::new(Model::Linear(linear)),
    };
    let own = Ensemble::new(Parts {
        schema: schema(),
        preparations: vec![Preparation::default()],
        gate: None,
        members: vec![Weighted { weight: 1.0, member }],
        voting: Voting::default(),
        golden: Vec::new(),
    });
    let mut bench = Workbench::new(material.clone(), terms(Some(880)));
    bench.add(&Recipe::of(Family::Ridge), &Stop::default(), &|| 0.0).unwrap();
    bench.adopt("own", own.unwrap(), &Stop::default(), &|| 0.0).unwrap();
    let assembled = bench.assemble().unwrap();
    assert!(assembled.members.iter().any(|it| it.origin == Origin::Imported("own".to_owned())));
    what_is_reported_of_sets_is_what_the_bundle_does(&material, &assembled);
}

#[test]
fn every_choice_has_sets_of_as_much_as_its_people_can_show_and_what_is_asked_beyond_is_refused() {
    let material = material(&[chunk()]);
    let families = [Family::Ridge, Family::Knn, Family::Forest];
    let assembled = assembled_with(&material, &families, terms(Some(880)));
    let Assembled { ensemble, frontier, .. } = &assembled;
    // Two people of twelve are held out: ten are nine and one more, and not nineteen.
    let thousandths = |it: &models::Ladder| -> Vec<u16> {
        it.levels.iter().map(|it| it.coverage.thousandths()).collect()
    };
    let known = &ensemble.voting().sets;
    assert!(known.ladders.iter().all(|it| thousandths(it) == [800, 880, 900]));
    let all = Subset::all(ensemble.members().len());
    for (subset, gated) in frontier.iter().map(|it| (it.subset, it.gated)).chain([(all, false)]) {
        assert!(known.ladder(subset, gated).is_some(), "{subset:?} {gated}");
    }
    // Where every answer has a set, every vote goes to its end, and is said to cost that.
    for measure in frontier.iter().filter(|it| !it.gated) {
        assert_eq!(measure.work, ensemble.work(measure.subset));
    }

    what_is_reported_of_sets_is_what_the_bundle_does(&material, &assembled);

    let refused =
        |coverage| Workbench::new(material.clone(), terms(Some(coverage))).can_promise().err();
    assert!(refused(900).is_none());
    let few = refused(950);
    assert!(matches!(few, Some(BenchError::Sets(few)) if few.blocks == 10), "{few:?}");
}

#[test]
fn golden_rows_are_training_rows_of_every_class_and_none_that_was_held_out() {
    let material = material(&[chunk()]);
    let ensemble = assembled(&material, &[Family::Ridge, Family::Knn]).ensemble;
    let golden = ensemble.golden();
    assert_eq!(golden.len(), models::golden::affordable(&ensemble));
    assert!((CLASSES..=models::golden::ROWS_MAX).contains(&golden.len()));
    let lessons = &material.lessons;
    let mut classes = std::collections::BTreeSet::new();
    for golden in golden {
        assert!(material.held_out.samples.rows().all(|row| row != golden.row));
        let row = lessons.samples.rows().position(|row| row == golden.row);
        classes.insert(lessons.labels[row.expect("it is one of the lessons")]);
    }
    assert_eq!(classes.len(), CLASSES);
    assert_eq!(ensemble.check_golden(&mut ensemble.scratch()), Ok(()));
}

#[test]
fn held_out_rows_change_neither_members_nor_weights_nor_thresholds() {
    let honest = chunk();
    let material = material(std::slice::from_ref(&honest));
    // Find the rows that are held out, and lie about every one of them.
    let samples = proto::parse::samples(4, &honest.values).unwrap();
    let held_out: Vec<&[f32]> = material.held_out.samples.rows().collect();
    let mut lying = honest;
    for (row, label) in samples.rows().zip(&mut lying.labels) {
        if held_out.contains(&row) {
            *label = (*label + 1) % 3;
        }
    }
    let families = [Family::Ridge, Family::Knn, Family::Forest, Family::Boosted];
    let before = assembled(&material, &families);
    let after = assembled(&self::material(&[lying]), &families);
    assert_eq!(bundle::encode(&before.ensemble), bundle::encode(&after.ensemble));
    assert_eq!(before.frontier, after.frontier);
    assert_ne!(before.held_out, after.held_out);
}

#[test]
fn no_row_is_asked_of_a_member_that_it_taught() {
    let material = material(&[chunk()]);
    for across in &material.folds {
        let taught: Vec<&[f32]> = across.lessons.samples.rows().collect();
        assert!(across.checks.samples.rows().all(|row| !taught.contains(&row)));
        assert!(!across.checks.truth.is_empty());
    }
    let taught: Vec<&[f32]> = material.lessons.samples.rows().collect();
    assert!(material.held_out.samples.rows().all(|row| !taught.contains(&row)));
}

#[test]
fn what_is_measured_on_held_out_rows_is_what_the_ensemble_answers() {
    let material = material(&[chunk()]);
    let assembled = assembled(&material, &[Family::Ridge, Family::Forest, Family::RbfSvm]);
    let all = Subset::all(3);
    let given = assembled.ensemble.predict(&material.held_out.samples, all, true).unwrap();
    assert_eq!(Confusion::of(CLASSES, &material.held_out.truth, &given), assembled.held_out);
    let decoded = bundle::decode(&bundle::encode(&assembled.ensemble)).unwrap();
    assert_eq!(decoded, assembled.ensemble);
}

#[test]
fn members_ship_in_their_smaller_form_where_that_costs_nothing() {
    let families = [Family::Ridge, Family::Knn, Family::RbfSvm, Family::Forest, Family::Mlp];
    let assembled = assembled(&material(&[chunk()]), &families);
    let compact = assembled.ensemble.members().iter().filter(|it| it.member.model.is_compact());
    let mut compact: Vec<Family> = compact.map(|it| it.member.family).collect();
    compact.sort_unstable();
    assert_eq!(compact, [Family::Knn, Family::RbfSvm, Family::Mlp]);
}

#[test]
fn members_that_need_the_same_preparation_share_it() {
    let families = [
        Family::Ridge,
        Family::LinearSvm,
        Family::Forest,
        Family::Boosted,
        Family::Knn,
        Family::RbfSvm,
    ];
    let assembled = assembled(&material(&[chunk()]), &families);
    // Nothing for trees, the size of columns for planes, discriminants for who compares distances.
    assert_eq!(assembled.ensemble.preparations().len(), 3);
}

#[test]
fn a_gate_keeps_the_ceiling_on_the_rows_that_choose() {
    let material = material(&[chunk()]);
    let assembled = assembled(&material, &[Family::RbfSvm, Family::Forest]);
    let gate = assembled.gate.expect("a third of the rows is background, far from the events");
    assert!(gate.missed.value() <= 0.05 && 0.1 < gate.stopped.value(), "{gate:?}");
    assert!(assembled.frontier.iter().any(|measure| measure.gated));
}

#[test]
fn without_a_background_there_is_no_gate() {
    let mut table = Table::new(WIDTH, CLASSES);
    table.take(&chunk()).unwrap();
    let names = |names: &[&str]| names.iter().copied().map(str::to_owned).collect();
    let schema = Schema::new(names(&["a", "b", "c", "d"]), names(&["x", "y", "z"]), None).unwrap();
    let material = Arc::new(Material::new(schema, table, 3).unwrap());
    let assembled = assembled(&material, &[Family::RbfSvm]);
    assert!(assembled.gate.is_none() && assembled.ensemble.gate().is_none());
}

#[test]
fn members_of_an_earlier_attempt_are_taken_over_as_they_are() {
    let material = material(&[chunk()]);
    let earlier = assembled(&material, &[Family::Ridge, Family::Mlp]);
    let terms = terms(None);
    let mut bench = Workbench::new(material, terms);
    bench.resume(earlier.ensemble.clone(), |_| true);
    assert_eq!(bench.taken_over(), [Family::Ridge, Family::Mlp]);
    assert!(bench.families().is_empty());
    for family in [Family::Ridge, Family::Mlp] {
        bench.add(&Recipe::of(family), &Stop::default(), &|| 0.0).unwrap();
    }
    bench.add_gates(&Stop::default()).unwrap();
    assert!(bench.taken_over().is_empty());
    let again = bench.assemble().unwrap();
    assert_eq!(bundle::encode(&again.ensemble), bundle::encode(&earlier.ensemble));
    assert_eq!(again.frontier, earlier.frontier);
}

#[test]
fn an_ensemble_is_as_good_as_itself() {
    let material = material(&[chunk()]);
    let assembled = assembled(&material, &[Family::Ridge, Family::Knn]);
    let baseline = Served { ensemble: &assembled.ensemble, members: Subset::all(2), gated: true };
    let candidate = Served::like(&assembled.ensemble, &baseline);
    let counts = compare(&material, &candidate, &baseline).unwrap();
    assert_eq!(counts.rows, 120);
    assert_eq!((counts.only_candidate_right, counts.only_baseline_right), (0, 0));
    assert_eq!(counts.both_right, assembled.held_out.accuracy().hits);
    assert_eq!(counts.corrections, 0);
}

#[test]
fn a_bad_chunk_is_refused_as_a_whole() {
    let mut table = Table::new(WIDTH, CLASSES);
    table.take(&chunk()).unwrap();
    let good = chunk();
    let refusal = |chunk: SampleChunk| table.clone().take(&chunk).unwrap_err();
    let width = SampleChunk { width: 5, ..good.clone() };
    assert!(matches!(refusal(width), TableError::Width { expected: 4, actual: 5 }));
    let mut class = good.clone();
    class.labels[7] = 3;
    assert!(matches!(refusal(class), TableError::Class { class: 3, classes: 3 }));
    let labels = SampleChunk { labels: vec![1], ..good.clone() };
    assert!(matches!(refusal(labels), TableError::Rows { what: "labels", .. }));
    let groups = SampleChunk { groups: vec![], ..good.clone() };
    assert!(matches!(refusal(groups), TableError::Rows { what: "groups", .. }));
    let keys = SampleChunk { corrections: true, keys: vec![Bytes::new()], ..good.clone() };
    assert!(matches!(refusal(keys), TableError::Rows { what: "keys", .. }));
    let mut values = good.values.to_vec();
    values[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let nan = SampleChunk { values: values.into(), ..good };
    assert!(matches!(refusal(nan), TableError::Chunk(_)));
    assert_eq!(table.labels().len(), ROWS);
}
