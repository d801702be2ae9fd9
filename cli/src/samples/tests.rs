//! The same samples from every kind of file, and each way of not being one.

use std::{fs, io::Write as _, sync::Arc};

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use proptest::prelude::*;
use signals::{Detail, Image, ImageDetail, Sound, SoundDetail, Window};

use super::*;

/// What a file gives: line, label, group and values of each row.
type Rows = Vec<(u64, String, String, Vec<f32>)>;

fn wanted(input: Input, label: Option<&str>) -> Wanted {
    let columns = Columns { label: label.map(str::to_owned), ..Columns::default() };
    Wanted {
        input,
        cutting: Cutting::default(),
        columns,
        group: None,
        labels: None,
        labelled: label.is_some(),
    }
}

fn features(names: &[&str]) -> Input {
    Input::Features(names.iter().map(ToString::to_string).collect())
}

fn rows(path: &Path, wanted: &Wanted) -> Result<Rows, String> {
    let says = |error: TableError| runtime::Report(&error).to_string();
    let mut reader = SampleReader::open(path, wanted).map_err(says)?;
    let mut rows = Vec::new();
    while let Some(row) = reader.next_row().map_err(says)? {
        rows.push((row.line, row.label.clone(), row.group.clone(), row.values.clone()));
    }
    Ok(rows)
}

fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn idx(kind: u8, shape: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, kind, u8::try_from(shape.len()).unwrap()];
    bytes.extend(shape.iter().flat_map(|side| side.to_be_bytes()));
    bytes.extend(data);
    bytes
}

fn npy(kind: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

#[test]
fn a_matrix_has_its_labels_beside_it() {
    let (folder, labels) = file("labels", &idx(8, &[2], &[7, 3]));
    let expected = vec![
        (1, "7".to_owned(), String::new(), vec![1.0, -2.0]),
        (2, "3".to_owned(), String::new(), vec![0.5, 4.0]),
    ];
    let big: Vec<u8> = [1.0_f32, -2.0, 0.5, 4.0].iter().flat_map(|it| it.to_be_bytes()).collect();
    let little: Vec<u8> =
        [1.0_f64, -2.0, 0.5, 4.0].iter().flat_map(|it| it.to_le_bytes()).collect();
    let mut wanted = wanted(features(&["a", "b"]), None).labelled(Some(labels));
    for bytes in [
        idx(0x0d, &[2, 2], &big),
        gzip(&idx(0x0d, &[2, 2], &big)),
        npy("<f8", "(2, 2)", &little),
        npy(">f4", "(2, 2, 1)", &big),
    ] {
        let path = folder.path().join("matrix");
        fs::write(&path, bytes).unwrap();
        assert_eq!(rows(&path, &wanted).unwrap(), expected);
    }
    let table = folder.path().join("labels.csv");
    fs::write(&table, "label,day\n7,mo\n3,tu\n").unwrap();
    wanted.labels = Some(table);
    wanted.columns.group = Some("day".to_owned());
    let found = rows(&folder.path().join("matrix"), &wanted).unwrap();
    assert_eq!((found[1].1.as_str(), found[1].2.as_str()), ("3", "tu"));
}

#[test]
fn each_way_of_being_no_matrix_is_said() {
    let labels = |count: u8| file("labels", &idx(8, &[u32::from(count)], &vec![0; count.into()]));
    let ones = npy("|u1", "(2, 2)", &[1; 4]);
    for (bytes, count, part) in [
        (ones.clone(), 1, "more or fewer"),
        (ones.clone(), 3, "more or fewer"),
        (npy("|u1", "(2, 3)", &[1; 6]), 2, "3 values and the task takes 2"),
        (npy("|u1", "(3, 2)", &[1; 5]), 3, "row 3 of 3 cannot be read"),
        (npy("<c8", "(2, 2)", &[1; 32]), 2, "\"<c8\" are not read"),
        (npy("<f4", "(2, 999999999999, 99999999)", &[]), 2, "are no samples"),
        (npy("<f4", "(2, 2)", &f32::NAN.to_le_bytes().repeat(4)), 2, "not a finite"),
        (idx(8, &[4_000_000_000, 2], &[0; 64]), 33, "cannot be read"),
        (idx(8, &[2, 0], &[]), 2, "are no samples"),
        (idx(0x0a, &[2, 2], &[0; 4]), 2, "0x0a"),
    ] {
        let (_labels, labels) = labels(count);
        let (_folder, path) = file("matrix", &bytes);
        let wanted = wanted(features(&["a", "b"]), None).labelled(Some(labels));
        let says = rows(&path, &wanted).unwrap_err();
        assert!(says.contains(part), "{part}: {says}");
    }
    let (_folder, path) = file("matrix", &ones);
    let says = rows(&path, &wanted(features(&["a", "b"]), None).labelled(None)).unwrap_err();
    assert!(says.contains("--labels FILE"), "{says}");
    let (_folder, path) = file("table.csv", b"a,b\n1,2\n");
    let says = rows(&path, &wanted(features(&["a", "b"]), None).labelled(None)).unwrap_err();
    assert!(says.contains("--label COLUMN"), "{says}");
}

#[test]
fn parquet_says_what_the_table_says() {
    let (folder, csv) = file("t.csv", b"a,b,label,day\n1.5,7,x,mo\n,8,y,tu\n-3e-7,9,x,tu\n");
    let batch = RecordBatch::try_from_iter([
        ("a", Arc::new(Float64Array::from(vec![Some(1.5), None, Some(-3e-7)])) as ArrayRef),
        ("b", Arc::new(Int64Array::from(vec![7, 8, 9]))),
        ("label", Arc::new(StringArray::from(vec!["x", "y", "x"]))),
        ("day", Arc::new(StringArray::from(vec!["mo", "tu", "tu"]))),
    ])
    .unwrap();
    let path = folder.path().join("t.parquet");
    let properties = parquet::file::properties::WriterProperties::builder()
        .set_compression(parquet::basic::Compression::SNAPPY)
        .build();
    let mut writer = parquet::arrow::ArrowWriter::try_new(
        fs::File::create(&path).unwrap(),
        batch.schema(),
        Some(properties),
    )
    .unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();

    let mut wanted = wanted(features(&["b", "a"]), Some("label"));
    wanted.columns.group = Some("day".to_owned());
    for path in [&csv, &path] {
        let says = rows(path, &wanted).unwrap_err();
        assert!(says.contains("column \"a\": the value is missing"), "{says}");
    }
    wanted.columns.skip_incomplete = true;
    let without_lines = |path| {
        let rows = rows(path, &wanted).unwrap().into_iter();
        rows.map(|row| (row.1, row.2, row.3)).collect::<Vec<_>>()
    };
    assert_eq!(without_lines(&csv), without_lines(&path));
    assert_eq!(without_lines(&path)[1], ("x".to_owned(), "tu".to_owned(), vec![9.0, -3e-7]));

    fs::write(&path, b"PAR1 but nothing else").unwrap();
    assert!(rows(&path, &wanted).unwrap_err().contains("Parquet"));
}

#[test]
fn a_window_reaches_across_no_gap() {
    // Two samples a window; at 5 and 6 another recording begins, sample 9 is not picked.
    let mut text = "x,label,run,use\n".to_owned();
    for (at, (label, run, used)) in (1_u32..).zip([
        ("a", 1, 1),
        ("a", 1, 1),
        ("b", 1, 1),
        ("a", 1, 1),
        ("a", 2, 1),
        ("b", 3, 1),
        ("b", 3, 1),
        ("b", 3, 1),
        ("b", 3, 0),
        ("b", 3, 1),
    ]) {
        text += &format!("{at},{label},{run},{used}\n");
    }
    let (_folder, path) = file("t.csv", text.as_bytes());
    let window = Window::new(vec!["x".to_owned()], 1.0, 2.0, 1.0, Detail::Brief).unwrap();
    let mut wanted = wanted(Input::Window(window), Some("label"));
    wanted.cutting.recording = Some("run".to_owned());
    wanted.columns.picked = vec!["use=1".parse().unwrap()];
    let cut = |wanted: &Wanted| -> Vec<(u64, String, f32)> {
        rows(&path, wanted).unwrap().into_iter().map(|row| (row.0, row.1, row.3[0])).collect()
    };
    let row = |line, label: &str, mean| (line, label.to_owned(), mean);
    let all =
        [row(2, "a", 1.5), row(3, "a", 2.5), row(4, "b", 3.5), row(7, "b", 6.5), row(8, "b", 7.5)];
    assert_eq!(cut(&wanted), all, "of equally frequent labels the earliest");
    wanted.cutting.label_share_min = 0.75;
    assert_eq!(cut(&wanted), [&all[..1], &all[3..]].concat());
}

#[test]
fn images_come_from_matrices_and_from_tables() {
    let image = || Input::Image(Image::new(2, 1, ImageDetail::Pixels).unwrap());
    let (folder, labels) = file("labels", &idx(8, &[1], &[4]));
    let matrix = folder.path().join("images");
    fs::write(&matrix, idx(8, &[1, 1, 2], &[0, 255])).unwrap();
    let found = rows(&matrix, &wanted(image(), None).labelled(Some(labels))).unwrap();
    assert_eq!(found, [(1, "4".to_owned(), String::new(), vec![0.0, 1.0])]);
    let table = folder.path().join("images.csv");
    fs::write(&table, "label,p0,p1\n4,0,255\n").unwrap();
    assert_eq!(rows(&table, &wanted(image(), Some("label"))).unwrap()[0].3, [0.0, 1.0]);
    for (text, part) in [
        ("label,p0,p1\n4,0,256\n", "256 is no pixel"),
        ("label,p0,p1\n4,0,0.5\n", "0.5 is no pixel"),
        ("label,p0\n4,0\n", "1 values and the task takes 2"),
    ] {
        fs::write(&table, text).unwrap();
        let says = rows(&table, &wanted(image(), Some("label"))).unwrap_err();
        assert!(says.contains(part), "{says}");
    }
}

#[test]
fn clips_are_listed_or_lie_in_folders_or_come_alone() {
    let folder = tempfile::tempdir().unwrap();
    let wav = |path: PathBuf, rate_hz: u32| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // 44 bytes of heading, then 16-bit samples.
        let (data, rate) = (3_200_u32, rate_hz.to_le_bytes());
        let mut bytes = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
        bytes.extend(rate);
        bytes.extend((2 * rate_hz).to_le_bytes());
        bytes.extend(b"\x02\0\x10\0data");
        bytes.extend(data.to_le_bytes());
        bytes.extend([7; 3_200]);
        let whole = u32::try_from(bytes.len() - 8).unwrap().to_le_bytes();
        bytes[4..8].copy_from_slice(&whole);
        fs::write(path, bytes).unwrap();
    };
    let sounds = folder.path().join("sounds");
    wav(sounds.join("dog/one.wav"), 16_000);
    wav(sounds.join("cat/two.WAV"), 16_000);
    fs::write(sounds.join("cat/notes.txt"), "no clip").unwrap();
    let sound = || Input::Audio(Sound::new(16_000.0, 0.05, 0.05, SoundDetail::Compact).unwrap());
    let labels = |path: &Path, wanted: &Wanted| -> Vec<(u64, String)> {
        rows(path, wanted).unwrap().into_iter().map(|row| (row.0, row.1)).collect()
    };
    let said = |line, label: &str| (line, label.to_owned());
    let in_folders = labels(&sounds, &wanted(sound(), None).labelled(None));
    // A tenth of a second has two stretches.
    assert_eq!(in_folders, [said(1, "cat"), said(1, "cat"), said(2, "dog"), said(2, "dog")]);
    assert_eq!(labels(&sounds.join("dog/one.wav"), &wanted(sound(), None)).len(), 2);

    let list = folder.path().join("clips.csv");
    fs::write(&list, "what,file\nx,sounds/dog/one.wav\n").unwrap();
    let listed = labels(&list, &wanted(sound(), Some("what")));
    assert_eq!(listed, [said(2, "x"), said(2, "x")]);

    wav(sounds.join("dog/one.wav"), 44_100);
    let says = rows(&list, &wanted(sound(), Some("what"))).unwrap_err();
    assert!(says.contains("one.wav") && says.contains("ffmpeg"), "{says}");
    fs::remove_file(sounds.join("dog/one.wav")).unwrap();
    assert!(rows(&list, &wanted(sound(), Some("what"))).unwrap_err().contains("cannot be opened"));
}

proptest! {
    #[test]
    fn a_matrix_that_lies_never_panics(
        at in proptest::collection::vec((0_usize..80, any::<u8>()), 0..8),
        cut in 0_usize..100,
        kind: bool,
    ) {
        let mut bytes = match kind {
            true => npy("<f4", "(2, 2)", &[0; 16]),
            false => idx(8, &[2, 2], &[1; 4]),
        };
        for (at, byte) in at {
            let length = bytes.len();
            bytes[at % length] = byte;
        }
        bytes.truncate(bytes.len() - cut % bytes.len());
        let (_folder, path) = file("matrix", &bytes);
        let _any_answer_will_do = rows(&path, &wanted(features(&["a", "b"]), None));
    }
}
