//! Each finding for what it is meant for, and silence where nothing is odd.

use super::*;

/// Rows of three features and two classes in four groups, in no order, with noise: nothing odd.
fn rows() -> Vec<([f32; 3], u32, String)> {
    let mut state = 7_u32;
    let mut draw = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f32::from(u16::try_from(state >> 16).unwrap()) / 65_536.0
    };
    (0..200_u32)
        .map(|row| {
            let class = row % 2;
            let shift = if class == 1 { 0.3 } else { 0.0 };
            ([draw() + shift, draw(), draw()], class, format!("day {}", row / 2 % 4))
        })
        .collect()
}

fn findings(rows: &[([f32; 3], u32, String)], known: Vec<(f32, f32)>) -> Vec<String> {
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut inspection =
        Inspection::new(&names(&["a", "b", "c"]), &names(&["idle", "busy"]), known);
    for (values, class, group) in rows {
        inspection.push(values, *class, group);
    }
    inspection.findings(0)
}

/// Changes every row, and expects one finding that says all of `parts`.
fn found(change: impl Fn(usize, &mut ([f32; 3], u32, String)), parts: &[&str]) {
    let mut rows = rows();
    rows.iter_mut().enumerate().for_each(|(at, row)| change(at, row));
    let findings = findings(&rows, vec![(-0.1, 1.4); 3]);
    assert_eq!(findings.len(), 1, "{findings:?}");
    for part in parts {
        assert!(findings[0].contains(part), "{part}: {}", findings[0]);
    }
}

#[test]
fn where_nothing_is_odd_nothing_is_said() {
    assert_eq!(findings(&rows(), Vec::new()), [""; 0]);
    assert_eq!(findings(&rows(), vec![(0.0, 1.3); 3]), [""; 0]);
    assert_eq!(findings(&[], Vec::new()), [""; 0]);
}

#[test]
fn each_oddity_is_said_with_its_number() {
    found(|_, row| row.0[1] = 0.5, &["1 of 3 features never change: b"]);
    found(|at, row| row.0[1] = f32::from(u16::try_from(at).unwrap()) / 200.0, &["b only rises"]);
}

#[test]
fn a_label_among_the_features_is_found() {
    found(|_, row| row.0[1] = if row.1 == 1 { 1.0 } else { 0.0 }, &["b alone tells the classes"]);
    // In other words: a threshold parts the classes.
    found(|_, row| row.0[2] = row.0[2] / 3.0 + if row.1 == 1 { 0.5 } else { 0.0 }, &["c alone"]);
}

#[test]
fn copies_and_contradictions_are_counted() {
    let mut rows = rows();
    rows[10] = rows[8].clone();
    rows[20] = rows[8].clone();
    rows[31].0 = rows[8].0;
    let findings = findings(&rows, Vec::new());
    assert!(findings.iter().any(|it| it.starts_with("2 of 200 rows repeat")), "{findings:?}");
    assert!(findings.iter().any(|it| it.starts_with("1 of 200 rows have the values")));
    assert_eq!(findings.len(), 2);
}

#[test]
fn another_unit_is_found() {
    found(|_, row| row.0[0] *= 100.0, &["of 200 rows", "\"a\"", "-0.1 to 1.4 was known"]);
}

#[test]
fn classes_and_groups_that_say_too_little_are_named() {
    let few: Vec<_> = rows().into_iter().filter(|row| row.1 == 0 || row.2 == "day 1").collect();
    let of_few = findings(&few, Vec::new());
    assert_eq!(of_few.len(), 1, "{of_few:?}");
    assert!(of_few[0].starts_with("1 of 2 classes occur in one group only: busy"));

    let mut apart = rows();
    apart.iter_mut().for_each(|row| row.2 = format!("{} {}", row.2, row.1));
    assert_eq!(findings(&apart, Vec::new()), [""; 0], "clips are often recorded like this");
    apart.iter_mut().for_each(|row| row.2 = format!("{}", row.1));
    assert!(findings(&apart, Vec::new())[0].starts_with("2 of 2 classes occur in one group only"));

    let one: Vec<_> = rows().into_iter().filter(|row| row.1 == 0).collect();
    assert!(findings(&one, Vec::new())[0].contains("all rows are of one class"));

    let mut at = 0;
    let mut three = rows();
    three.retain(|row| {
        at += 1;
        row.1 == 0 || at <= 6
    });
    assert!(findings(&three, Vec::new())[0].contains("\"busy\" has 3 rows here"));
}
