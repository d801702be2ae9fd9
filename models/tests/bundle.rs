//! The bundle reads back what it wrote, and refuses everything else by name.

#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as a test may")]

use models::{
    Ensemble, Family, Features, ModelError, Parts, Subset,
    bundle::{self, ArrayFault, BundleError, HEAD_BYTES, Head},
    synthetic::{self, Shape},
};
use proptest::prelude::*;

fn full() -> Ensemble {
    synthetic::ensemble(&Family::PAPER, Shape::SMALL, true, 7)
}

/// With everything that version 2 has.
fn soft() -> Ensemble {
    Ensemble::new(Parts { voting: synthetic::voting(7, 3), ..full().into_parts() }).unwrap()
}

/// With everything that version 3 has.
fn compact() -> Ensemble {
    synthetic::compacted(soft())
}

/// With everything that version 4 has.
fn golden() -> Ensemble {
    let rows = synthetic::rows(Shape::SMALL.width, 3, 2);
    let golden = compact().with_golden(rows.iter().map(Vec::as_slice));
    synthetic::with_sets(golden.unwrap())
}

/// With everything that version 5 has.
fn short() -> Ensemble {
    synthetic::short(golden())
}

/// With everything that version 6 has.
fn half() -> Ensemble {
    synthetic::halved(short())
}

/// With everything that version 7 has.
fn pooled() -> Ensemble {
    let mut parts = half().into_parts();
    parts.voting.rule = synthetic::pooled(parts.members.len(), 4).rule;
    Ensemble::new(parts).unwrap()
}

fn tiny() -> Ensemble {
    let shape = Shape { width: 1, classes: 2, ..Shape::SMALL };
    synthetic::ensemble(&[Family::Ridge], shape, false, 7)
}

/// Makes the digest right again, so that what lies behind it is reached.
fn resealed(mut bytes: Vec<u8>) -> Vec<u8> {
    if HEAD_BYTES <= bytes.len() {
        let digest = bundle::digest(&bytes[40..]);
        bytes[8..40].copy_from_slice(&digest);
    }
    bytes
}

/// A bundle of `manifest` and `arrays` with a head that fits them.
fn sealed(schema: [u8; 32], manifest: &[u8], arrays: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(b"SNSB");
    bytes.extend_from_slice(&1_u32.to_le_bytes());
    bytes.extend_from_slice(&[0; 32]);
    bytes.extend_from_slice(&schema);
    bytes.extend_from_slice(&(manifest.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&(arrays.len() as u64).to_le_bytes());
    bytes.extend_from_slice(manifest);
    bytes.extend_from_slice(arrays);
    resealed(bytes)
}

/// The two bodies of a bundle.
fn bodies(bytes: &[u8]) -> (&[u8], &[u8]) {
    let manifest = usize::try_from(Head::read(bytes).unwrap().manifest_bytes).unwrap();
    bytes[HEAD_BYTES..].split_at(manifest)
}

#[test]
fn reads_back_what_it_wrote_and_writes_it_alike() {
    let compact_and_plain = synthetic::compacted(full());
    let sets_alone = synthetic::with_sets(full());
    let half_and_plain = synthetic::halved(full());
    let all = [
        full(),
        tiny(),
        soft(),
        compact(),
        compact_and_plain,
        golden(),
        sets_alone,
        short(),
        half(),
        half_and_plain,
        pooled(),
    ];
    for ensemble in all {
        let bytes = bundle::encode(&ensemble);
        let read = bundle::decode(&bytes).unwrap();
        assert_eq!(read, ensemble);
        assert_eq!(bundle::encode(&read), bytes);
        let head = Head::read(&bytes).unwrap();
        assert_eq!(head.bundle_bytes(), bytes.len() as u64);
        assert_eq!(head.schema, ensemble.schema().hash());
    }
}

#[test]
fn every_prefix_is_truncated() {
    let bytes = bundle::encode(&full());
    for len in 0..bytes.len() {
        assert!(matches!(
            bundle::decode(&bytes[..len]),
            Err(BundleError::Truncated { len: found, .. }) if found == len as u64
        ));
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let bytes = bundle::encode(&tiny());
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(bundle::decode(&flipped).is_err(), "bit {bit} of {}", bytes.len() * 8);
    }
}

#[test]
fn each_way_of_being_wrong_has_its_name() {
    let ensemble = full();
    let bytes = bundle::encode(&ensemble);
    let changed = |at: usize, to: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        bytes
    };
    let schema = ensemble.schema().hash();
    let (manifest, arrays) = bodies(&bytes);

    let wrong = |bytes: &[u8]| bundle::decode(bytes).unwrap_err();
    assert!(matches!(wrong(&changed(0, b"PK")), BundleError::Format { found: [b'P', b'K', _, _] }));
    assert!(matches!(wrong(&changed(4, &[8])), BundleError::Version { found: 8 }));
    assert!(matches!(wrong(&changed(4, &[0])), BundleError::Version { found: 0 }));
    let newer = |manifest: &[u8], voting: &[u8]| {
        let mut bytes = sealed(schema, &[manifest, voting].concat(), arrays);
        bytes[4] = 2;
        wrong(&bytes)
    };
    // What knows no compact form must not say that it does, nor the other way round; and so on.
    for (ensemble, version) in [
        (soft(), 3),
        (compact(), 2),
        (golden(), 5),
        (short(), 4),
        (short(), 6),
        (half(), 5),
        (half(), 7),
        (pooled(), 6),
    ] {
        let mut bytes = bundle::encode(&ensemble);
        let needed = u32::from(bytes[4]);
        bytes[4] = version;
        let refused = wrong(&bytes);
        let found = u32::from(version);
        assert!(
            matches!(refused, BundleError::Needed { found: f, needed: n } if (f, n) == (found, needed))
        );
    }
    // A hard vote and no curves: that is version 1. An unknown rule; a rule and nothing more.
    assert!(matches!(newer(manifest, &[0, 0]), BundleError::Needed { found: 2, needed: 1 }));
    assert!(matches!(newer(manifest, &[3, 0]), BundleError::Manifest(_)));
    assert!(matches!(newer(manifest, &[0]), BundleError::Manifest(_)));
    assert!(matches!(newer(manifest, &[0, 0, 0]), BundleError::ManifestTrailing { extra: 1 }));
    assert!(matches!(newer(manifest, &[0, 1, 0]), BundleError::Model(_)));
    assert!(matches!(newer(manifest, &[1, 0, 0]), BundleError::Model(_)));
    assert!(matches!(
        wrong(&changed(72, &u64::MAX.to_le_bytes())),
        BundleError::TooLarge { what: "manifest", length: u64::MAX, .. }
    ));
    assert!(matches!(
        wrong(&changed(80, &u64::MAX.to_le_bytes())),
        BundleError::TooLarge { what: "arrays", .. }
    ));
    let longer = [bytes.as_slice(), &[0]].concat();
    assert!(matches!(wrong(&longer), BundleError::Trailing { extra: 1 }));
    assert!(matches!(wrong(&changed(40, &[!bytes[40]])), BundleError::Digest));
    assert!(matches!(wrong(&resealed(changed(40, &[!bytes[40]]))), BundleError::SchemaHash));

    assert!(matches!(wrong(&sealed(schema, &[], arrays)), BundleError::Manifest(_)));
    let longer = [manifest, &[0]].concat();
    assert!(matches!(
        wrong(&sealed(schema, &longer, arrays)),
        BundleError::ManifestTrailing { extra: 1 }
    ));
    // No features, no classes, no background, no preparations, no gate, no members.
    assert!(matches!(wrong(&sealed(schema, &[0; 6], arrays)), BundleError::Schema(_)));
    assert!(matches!(wrong(&sealed(schema, manifest, &[0; 8])), BundleError::Arrays(_)));
    // A length of eight, and an empty map with six spaces.
    let none = [&8_u64.to_le_bytes(), b"{}      ".as_slice()].concat();
    assert!(matches!(
        wrong(&sealed(schema, manifest, &none)),
        BundleError::Array { fault: ArrayFault::Missing, .. }
    ));
    let renamed = replaced(arrays, "\"F32\"", "\"I32\"");
    assert!(matches!(
        wrong(&sealed(schema, manifest, &renamed)),
        BundleError::Array { fault: ArrayFault::Kind { .. }, .. }
    ));
    let tiny = bundle::encode(&tiny());
    let (tiny_manifest, _) = bodies(&tiny);
    let tiny_schema = Head::read(&tiny).unwrap().schema;
    assert!(matches!(
        wrong(&sealed(tiny_schema, tiny_manifest, arrays)),
        BundleError::Array { .. } | BundleError::Unused { .. }
    ));
    // The first label of the kNN points beyond the classes: u16 comes last in the arrays.
    let mut beyond = arrays.to_vec();
    let last = beyond.len() - 2;
    beyond[last..].copy_from_slice(&999_u16.to_le_bytes());
    let error = wrong(&sealed(schema, manifest, &beyond));
    let BundleError::Model(ModelError::Part { part, source }) = error else {
        panic!("{error:?}");
    };
    assert_eq!(part, "member 0 (knn)");
    assert_eq!(*source, ModelError::Index { what: "knn labels", value: 999, limit: 3 });
}

/// `golden()` in four parts: what stands before the golden rows, what is said of them, the sets, the
/// arrays.
fn parted(bytes: &[u8]) -> [Vec<u8>; 4] {
    let (manifest, arrays) = bodies(bytes);
    let sets = bundle::encode(&synthetic::with_sets(compact()));
    let (sets, _) = bodies(&sets);
    let (plain, _) = (bundle::encode(&compact()), ());
    let (before, _) = bodies(&plain);
    // Without golden rows stands one zero before the sets.
    assert_eq!(sets[before.len()], 0);
    let sets = &sets[before.len() + 1..];
    let rows = &manifest[before.len()..manifest.len() - sets.len()];
    [before, rows, sets, arrays].map(<[u8]>::to_vec)
}

#[test]
fn golden_rows_and_sets_that_are_none_are_refused_by_name() {
    let ensemble = golden();
    let bytes = bundle::encode(&ensemble);
    let schema = ensemble.schema().hash();
    let [before, rows, sets, arrays] = parted(&bytes);
    let count = u8::try_from(ensemble.golden().len()).unwrap();
    assert_eq!((rows[0], rows.len()), (count, 1 + 2 * usize::from(count)));
    let plain = bundle::encode(&compact());
    let (_, fewer) = bodies(&plain);
    let refused = |manifest: &[&[u8]], arrays: &[u8], version: u8| {
        let mut bytes = sealed(schema, &manifest.concat(), arrays);
        bytes[4] = version;
        bundle::decode(&bytes).unwrap_err()
    };
    let found = refused(&[&before, &[0], &[0]], fewer, 4);
    assert!(matches!(found, BundleError::Needed { found: 4, needed: 3 }), "{found}");
    let found = refused(&[&before, &[0], &sets], &arrays, 4);
    assert!(matches!(found, BundleError::Unused { count: 3 }), "{found}");
    for cut in [&[&before[..]][..], &[&before, &rows]] {
        let found = refused(cut, &arrays, 4);
        assert!(matches!(found, BundleError::Manifest(_)), "{found}");
    }
    let found = refused(&[&before, &rows, &sets], &arrays, 3);
    assert!(matches!(found, BundleError::ManifestTrailing { .. }), "{found}");
    let found = refused(&[&before, &rows, &sets], fewer, 4);
    assert!(matches!(found, BundleError::Array { fault: ArrayFault::Missing, .. }), "{found}");
    let more = [&[count + 2][..], &vec![0; usize::from(count) + 2]].concat();
    let found = refused(&[&before, &more, &sets], &arrays, 4);
    assert!(
        matches!(&found, BundleError::Array { name, fault: ArrayFault::Parts { .. } } if name == "golden.rows"),
        "{found}"
    );
    // There is a gate, so it must have said something of each row.
    let silent = [&[count][..], &vec![0; usize::from(count)]].concat();
    let found = refused(&[&before, &silent, &sets], &arrays, 4);
    assert!(matches!(found, BundleError::Model(ModelError::Length { .. })), "{found}");
    // One ladder: of no member; of a member that is not there; without a level; with a coverage that
    // cannot be; with levels that fall behind; and with more than the whole.
    let ladders: [&[u8]; 6] = [
        &[1, 0, 0, 1, 0xa0, 0x06, 1],
        &[1, 0x80, 1, 0, 1, 0xa0, 0x06, 1],
        &[1, 1, 0, 0],
        &[1, 1, 0, 1, 0xe8, 0x07, 1],
        &[1, 1, 0, 2, 0xa0, 0x06, 1, 0x84, 0x07, 2],
        &[1, 1, 0, 1, 0xa0, 0x06, 0xff, 0xff, 0xff, 0xff, 0x0f],
    ];
    for ladder in ladders {
        let found = refused(&[&before, &rows, ladder], &arrays, 4);
        assert!(matches!(found, BundleError::Model(_)), "{ladder:?}: {found}");
    }
}

#[test]
fn arrays_that_belong_to_nothing_are_refused() {
    let one = bundle::encode(&tiny());
    let shape = Shape { width: 1, classes: 2, ..Shape::SMALL };
    let two = synthetic::ensemble(&[Family::Ridge, Family::Ridge], shape, false, 7);
    let two = bundle::encode(&two);
    let (manifest, _) = bodies(&one);
    let (_, arrays) = bodies(&two);
    let schema = Head::read(&one).unwrap().schema;
    assert!(matches!(
        bundle::decode(&sealed(schema, manifest, arrays)),
        Err(BundleError::Unused { count: 2 })
    ));
}

fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
    let mut bytes = bytes.to_vec();
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    bytes
}

#[test]
fn what_was_compared_with_its_name_is_read_without_the_digest_in_its_head() {
    for ensemble in [full(), soft(), golden(), pooled()] {
        let mut bytes = bundle::encode(&ensemble);
        assert_eq!(bundle::decode_named(&bytes, &|| ()).unwrap(), ensemble);
        bytes[8] ^= 1;
        assert!(matches!(bundle::decode(&bytes), Err(BundleError::Digest)));
        assert_eq!(bundle::decode_named(&bytes, &|| ()).unwrap(), ensemble);
        let end = bytes.len() - 1;
        assert!(matches!(
            bundle::decode_named(&bytes[..end], &|| ()),
            Err(BundleError::Truncated { .. })
        ));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        let _whoever_named_them = bundle::decode_named(&bytes, &|| ());
        let _any_answer_will_do = bundle::decode(&bytes);
        let _behind_a_right_head = bundle::decode(&sealed([0; 32], &bytes, &bytes));
    }

    #[test]
    fn a_damaged_bundle_is_refused(
        at: prop::sample::Index, mask in 1_u8..,
    ) {
        let mut bytes = bundle::encode(&full());
        let at = at.index(bytes.len());
        bytes[at] ^= mask;
        prop_assert!(bundle::decode(&bytes).is_err());
    }

    /// Whoever can compute a digest can say anything behind it. What is then believed must answer.
    #[test]
    fn a_forged_bundle_is_refused_or_answers(
        forgeries in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..9),
        one in 0_usize..4,
    ) {
        let mut bytes = bundle::encode(&[full, soft, golden, pooled][one]());
        for (at, to) in forgeries {
            let at = HEAD_BYTES + at.index(bytes.len() - HEAD_BYTES);
            bytes[at] = to;
        }
        if let Ok(ensemble) = bundle::decode(&resealed(bytes)) {
            let width = ensemble.schema().width();
            let rows = synthetic::rows(width, 4, 1).concat();
            let samples = Features::new(width, rows).unwrap();
            let all = Subset::all(ensemble.members().len());
            let _either = ensemble.check_golden(&mut ensemble.scratch());
            for class in ensemble.predict(&samples, all, true).unwrap() {
                prop_assert!(class.index() < ensemble.schema().classes().len());
            }
        }
    }
}
