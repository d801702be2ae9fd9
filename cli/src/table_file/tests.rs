//! What is a table, and each way of not being one.

use std::{io::Write as _, path::PathBuf};

use proptest::prelude::*;

use super::*;

fn file(text: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.csv");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

fn labelled() -> Columns {
    Columns { label: Some("label".to_owned()), ..Columns::default() }
}

fn table(text: &str, columns: &Columns) -> Result<Table, Problem> {
    let (_folder, path) = file(text.as_bytes());
    read(&path, columns).map_err(|error| error.problem)
}

fn wrong(text: &str) -> String {
    let (_folder, path) = file(text.as_bytes());
    let error = read(&path, &labelled()).unwrap_err();
    let text = runtime::Report(&error).to_string();
    let after = text.strip_prefix(&format!("{}: ", path.display()));
    after.expect("every error names the file").to_owned()
}

#[test]
fn features_stand_left_of_the_label() {
    let table = table("a,b,label,day\n1,-2.5e3,x,mo\n 3 ,4,y,tu\n", &labelled()).unwrap();
    assert_eq!(table.features, ["a", "b"]);
    assert_eq!(table.values, [1.0, -2500.0, 3.0, 4.0]);
    assert_eq!(table.row(1), [3.0, 4.0]);
    assert_eq!(table.labels, ["x", "y"]);
    assert_eq!(table.lines, [2, 3]);
    assert_eq!(table.ignored, ["day"]);
}

#[test]
fn features_stand_right_of_a_label_that_is_first() {
    let columns = Columns { group: Some("day".to_owned()), ..labelled() };
    let table = table("label,a,day,b\nx,1,mo,2\n", &columns).unwrap();
    assert_eq!(table.features, ["a", "b"]);
    assert_eq!(table.groups, ["mo"]);
}

#[test]
fn named_features_are_found_in_any_order() {
    let names = ["b", "a"].map(str::to_owned).to_vec();
    let columns = Columns { features: FeatureColumns::Named(names), ..Columns::default() };
    let found = table("time,a,x,b\nnoon,1,?,2\n", &columns).unwrap();
    assert_eq!(found.values, [2.0, 1.0]);
    let missing = table("time,a\nnoon,1\n", &columns).unwrap_err();
    assert_eq!(missing.to_string(), "it has no column \"b\"; its columns are time, a");
}

#[test]
fn only_picked_rows_are_looked_at() {
    let columns = Columns {
        picked: vec!["split=train,more".parse().unwrap()],
        extra: vec!["split".to_owned()],
        ..labelled()
    };
    let text = "a,label,split\n1,x,train\nbroken,x,test\n3,y,more\n";
    let picked = table(text, &columns).unwrap();
    assert_eq!(picked.values, [1.0, 3.0]);
    assert_eq!(picked.extra["split"], ["train", "more"]);
    let none = table("a,label,split\n1,x,test\n", &columns).unwrap_err();
    assert_eq!(none.to_string(), "it has no rows for which --where holds");
}

#[test]
fn quoted_cells_are_read() {
    let found = table(
        "a,\"la\"\"bel\"\n\"1.5\",\"yes, please\"\n",
        &Columns { label: Some("la\"bel".to_owned()), ..Columns::default() },
    )
    .unwrap();
    assert_eq!(found.values, [1.5]);
    assert_eq!(found.labels, ["yes, please"]);
}

#[test]
fn packed_and_plain_files_are_alike() {
    let text = "a,label\n1,x\n2,y\n";
    // Two members one after the other, as parallel packers write them.
    let mut packed = Vec::new();
    for part in [&text[..9], &text[9..]] {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(part.as_bytes()).unwrap();
        packed.extend(encoder.finish().unwrap());
    }
    let (_folder, path) = file(&packed);
    assert_eq!(read(&path, &labelled()).unwrap(), table(text, &labelled()).unwrap());

    let (_folder, path) = file(&packed[..packed.len() / 2]);
    let error = read(&path, &labelled()).unwrap_err();
    assert!(matches!(error.problem, Problem::Read(_)), "{error:?}");
}

#[test]
fn a_mark_of_byte_order_is_no_part_of_a_name() {
    let found = table("\u{feff}a,label\n1,x\n", &labelled()).unwrap();
    assert_eq!(found.features, ["a"]);
}

#[test]
fn each_way_of_being_wrong_names_its_place() {
    let cases = [
        ("", "it is empty: the first line must name the columns"),
        ("a,label\n", "it has no rows"),
        ("a,,label\n", "column 2 of the heading has no name"),
        ("a,a,label\n", "the heading names column \"a\" twice"),
        ("a,b\n1,2\n", "it has no column \"label\"; its columns are a, b"),
        ("label\nx\n", "no column is left as a feature; its columns are label"),
        ("a,label\n1,x\n2\n", "line 3 has 1 cells where the heading has 2"),
        ("a,label\n1,x,9\n", "line 2 has 3 cells where the heading has 2"),
        ("a,label\n,x\n", "line 2, column \"a\": the value is missing"),
        ("a,label\n1,\n", "line 2, column \"label\": the value is missing"),
        ("a,label\n1,x\none,x\n", "line 3, column \"a\": \"one\" is not a number"),
        ("a,label\nNaN,x\n", "line 2, column \"a\": \"NaN\" is not a finite 32-bit number"),
        ("a,label\n-inf,x\n", "line 2, column \"a\": \"-inf\" is not a finite 32-bit number"),
        ("a,label\n1e99,x\n", "line 2, column \"a\": \"1e99\" is not a finite 32-bit number"),
    ];
    for (text, expected) in cases {
        assert_eq!(wrong(text), expected, "{text:?}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = read(Path::new("not/here.csv"), &labelled()).unwrap_err();
    let text = runtime::Report(&error).to_string();
    assert!(text.starts_with("not/here.csv: it cannot be opened: "), "{text}");
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let (_folder, path) = file(&bytes);
        let _any_answer_will_do = read(&path, &labelled());
    }

    #[test]
    fn numbers_are_read_as_they_were_written(values in proptest::collection::vec(
        proptest::num::f32::NORMAL | proptest::num::f32::ZERO | proptest::num::f32::SUBNORMAL, 1..50
    )) {
        let mut text = "a,label\n".to_owned();
        for value in &values {
            text += &format!("{value:e},x\n");
        }
        prop_assert_eq!(table(&text, &labelled()).unwrap().values, values);
    }
}
