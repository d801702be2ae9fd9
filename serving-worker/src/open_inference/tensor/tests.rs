//! What tensors say of themselves, and that no bytes from outside make reading them panic.

use proptest::prelude::*;

use super::*;

fn shape(rows: i64, width: i64) -> Shape {
    Shape::parse(&[rows, width]).unwrap()
}

fn json(text: &str) -> Data {
    serde_json::from_str(text).unwrap()
}

const ALL: [Datatype; 11] = [
    Datatype::Bool,
    Datatype::Uint8,
    Datatype::Uint16,
    Datatype::Uint32,
    Datatype::Uint64,
    Datatype::Int8,
    Datatype::Int16,
    Datatype::Int32,
    Datatype::Int64,
    Datatype::Fp32,
    Datatype::Fp64,
];

#[test]
fn a_shape_is_two_numbers_that_are_not_negative() {
    assert_eq!((shape(2, 3).rows, shape(2, 3).width, shape(2, 3).values), (2, 3, 6));
    assert_eq!(shape(0, 3).values, 0);
    for bad in [&[][..], &[3], &[1, 2, 3], &[-1, 3], &[3, -1], &[i64::MAX, 3], &[1 << 40, 0]] {
        assert!(matches!(Shape::parse(bad), Err(RequestError::Shape { .. })), "{bad:?}");
    }
    let many = Shape::parse(&[1; 100]).unwrap_err().to_string();
    assert!(many.contains("[1, 1, 1, 1, 1, 1, 1, 1, …]"), "{many}");
}

#[test]
fn whole_numbers_are_exact_or_refused_by_their_place() {
    let two = |bytes: Vec<u8>| raw(Datatype::Int64, shape(2, 1), &bytes);
    let of = |a: i64, b: i64| [a.to_le_bytes(), b.to_le_bytes()].concat();
    assert_eq!(two(of(-16_777_216, 3)).unwrap(), [-16_777_216.0, 3.0]);
    let refused = two(of(0, 16_777_217)).unwrap_err();
    assert!(
        refused.to_string().starts_with("16777217 in row 1, column 0 is not exact in FP32"),
        "{refused}"
    );
    assert_eq!(raw(Datatype::Int8, shape(1, 2), &[255, 1]).unwrap(), [-1.0, 1.0]);
    assert_eq!(raw(Datatype::Bool, shape(1, 2), &[2, 0]).unwrap(), [1.0, 0.0]);
    let large = raw(Datatype::Uint64, shape(1, 1), &u64::MAX.to_le_bytes()).unwrap_err();
    assert!(matches!(large, RequestError::Inexact { .. }));
}

#[test]
fn a_double_is_rounded_and_never_becomes_infinite() {
    let raw = |value: f64| raw(Datatype::Fp64, shape(1, 1), &value.to_le_bytes());
    assert_eq!(raw(0.1).unwrap(), [0.1]);
    assert!(matches!(raw(1e300), Err(RequestError::Beyond { row: 0, column: 0, .. })));
    // Not finite already: its place is named where samples are checked.
    assert!(raw(f64::NAN).unwrap()[0].is_nan());
}

#[test]
fn a_json_list_is_flat_or_of_the_shape() {
    let listed = |text: &str| listed(Datatype::Fp32, shape(2, 3), &json(text));
    let values = [1.0, 2.0, 3.5, 4.0, -5.0, 0.0];
    assert_eq!(listed("[1, 2, 3.5, 4, -5, false]").unwrap(), values);
    assert_eq!(listed("[[1, 2, 3.5], [4, -5, 0]]").unwrap(), values);
    for nested in [
        "[[1, 2], [3, 4], [5, 6]]",
        "[[1, 2, 3, 4], [5, 6]]",
        "[[1, 2], [3, 4, 5, 6]]",
        "[1, 2, 3, [4, 5, 6]]",
        "[[1, 2, 3], 4, 5, 6]",
        "[[[1, 2, 3], [4, 5, 6]]]",
        "[[[1], 2, 3], [4, 5, 6]]",
    ] {
        assert!(matches!(listed(nested), Err(RequestError::Nested { .. })), "{nested}");
    }
    for other in ["[\"1\"]", "[null]", "[{\"a\": [1]}]", "7", "null", "[[1, 2, \"\"], [4, 5, 6]]"] {
        assert!(matches!(listed(other), Err(RequestError::NotNumbers)), "{other}");
    }
    assert!(matches!(listed("[1, 2]"), Err(RequestError::Values { actual: 2, .. })));
    assert!(matches!(listed("[]"), Err(RequestError::Values { actual: 0, .. })));
    let large = super::listed(Datatype::Int32, shape(1, 1), &json("[1e30]"));
    assert!(matches!(large, Err(RequestError::Inexact { .. })));
    let broken = super::listed(Datatype::Int32, shape(1, 1), &json("[1.5]"));
    assert!(matches!(broken, Err(RequestError::Inexact { .. })));
    let beyond = super::listed(Datatype::Fp32, shape(1, 1), &json("[-1e300]"));
    assert!(matches!(beyond, Err(RequestError::Beyond { .. })));
}

#[test]
fn lists_deeper_than_any_tensor_are_refused_and_do_not_end_the_process() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(serde_json::from_str::<Data>(&deep).is_err());
}

proptest! {
    #[test]
    fn raw_bytes_are_values_exactly_when_shape_and_datatype_take_so_many(
        at in 0_usize..ALL.len(),
        rows in 0_i64..5,
        width in 1_i64..5,
        bytes in proptest::collection::vec(any::<u8>(), 0..160),
    ) {
        let (datatype, shape) = (ALL[at], shape(rows, width));
        let fits = bytes.len() == shape.values * datatype.bytes();
        match raw(datatype, shape, &bytes) {
            Ok(values) => prop_assert!(fits && values.len() == shape.values),
            Err(RequestError::Bytes { .. }) => prop_assert!(!fits),
            Err(RequestError::Inexact { row, column, .. } | RequestError::Beyond { row, column, .. }) => {
                prop_assert!(fits && row < shape.rows && column < shape.width);
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    #[test]
    fn typed_raw_and_listed_values_are_the_same(
        values in proptest::collection::vec(any::<f32>().prop_filter("finite", |it| it.is_finite()), 6),
    ) {
        let shape = shape(2, 3);
        let bytes: Vec<u8> = values.iter().flat_map(|it| it.to_le_bytes()).collect();
        prop_assert_eq!(&raw(Datatype::Fp32, shape, &bytes).unwrap(), &values);
        let contents =
            InferTensorContents { fp32_contents: values.clone(), ..InferTensorContents::default() };
        prop_assert_eq!(&typed(Datatype::Fp32, shape, contents).unwrap(), &values);
        let text = serde_json::to_string(&values).unwrap();
        prop_assert_eq!(&listed(Datatype::Fp32, shape, &json(&text)).unwrap(), &values);
    }
}
