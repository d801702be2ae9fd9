//! A data set as files, so that both sides read the same bytes.

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use models::{ClassId, Features, Schema};
use proto::v1::SampleChunk;
use training_worker::table::Table;

use crate::sets::{Meta, Part, Set};

/// What goes wrong with files and their content, in words.
pub type Fault = Box<dyn std::error::Error>;

/// The folder of one data set.
#[derive(Clone, Debug)]
pub struct Folder(
    /// Where it is.
    pub PathBuf,
);

/// Rows of a chunk, as the scheduler sends them.
const CHUNK_ROWS: usize = 1_000;

impl Folder {
    /// Writes both parts.
    ///
    /// # Errors
    ///
    /// As the disk says; the same below.
    pub fn write(&self, set: &Set) -> Result<(), Fault> {
        fs::create_dir_all(self.ours())?;
        fs::write(self.0.join("meta.json"), serde_json::to_string_pretty(&set.meta)?)?;
        self.write_part("train", &set.train)?;
        self.write_part("test", &set.test)?;
        Ok(())
    }

    fn write_part(&self, name: &str, part: &Part) -> io::Result<()> {
        let mut file = BufWriter::new(File::create(self.file(name, "f32"))?);
        for value in &part.values {
            file.write_all(&value.to_le_bytes())?;
        }
        file.flush()?;
        let labels: Vec<u8> = part.labels.iter().flat_map(|label| label.to_le_bytes()).collect();
        fs::write(self.file(name, "u16"), labels)?;
        fs::write(self.file(name, "groups"), part.groups.join("\n"))
    }

    fn file(&self, part: &str, kind: &str) -> PathBuf {
        self.0.join(format!("{part}.{kind}"))
    }

    /// Where our members are kept.
    pub fn ours(&self) -> PathBuf {
        self.0.join("ours")
    }

    /// What both sides are told.
    ///
    /// # Errors
    ///
    /// When it was not written; the same below.
    pub fn meta(&self) -> Result<Meta, Fault> {
        Ok(serde_json::from_slice(&fs::read(self.0.join("meta.json"))?)?)
    }

    /// The names that a task would have.
    ///
    /// # Errors
    ///
    /// As [`meta`](Self::meta).
    pub fn schema(&self) -> Result<Schema, Fault> {
        let meta = self.meta()?;
        let features = (0..meta.width).map(|column| format!("x{column}")).collect();
        let classes = (0..meta.classes).map(|class| format!("class {class}")).collect();
        Ok(Schema::new(features, classes, meta.background.map(ClassId))?)
    }

    /// The labels of `train` or `test`.
    ///
    /// # Errors
    ///
    /// As [`meta`](Self::meta).
    pub fn labels(&self, part: &str) -> Result<Vec<u16>, Fault> {
        let bytes = fs::read(self.file(part, "u16"))?;
        Ok(bytes.as_chunks().0.iter().map(|&bytes| u16::from_le_bytes(bytes)).collect())
    }

    /// The labels as classes.
    ///
    /// # Errors
    ///
    /// As [`meta`](Self::meta).
    pub fn truth(&self, part: &str) -> Result<Vec<ClassId>, Fault> {
        Ok(self.labels(part)?.into_iter().map(ClassId).collect())
    }

    /// The rows of `train` or `test`.
    ///
    /// # Errors
    ///
    /// As [`meta`](Self::meta).
    pub fn samples(&self, part: &str) -> Result<Features, Fault> {
        let path = self.file(part, "f32");
        let bytes = usize::try_from(fs::metadata(&path)?.len())?;
        let mut values = Vec::with_capacity(bytes / 4);
        read_floats(&path, |some| values.extend_from_slice(some))?;
        Ok(Features::new(self.meta()?.width, values)?)
    }

    /// The training rows as a job receives them.
    ///
    /// # Errors
    ///
    /// As [`meta`](Self::meta).
    pub fn table(&self) -> Result<Table, Fault> {
        let meta = self.meta()?;
        let labels = self.labels("train")?;
        let groups = fs::read_to_string(self.file("train", "groups"))?;
        let groups: Vec<&str> = groups.lines().collect();
        let mut table = Table::new(meta.width, meta.classes);
        let mut file = BufReader::new(File::open(self.file("train", "f32"))?);
        let mut bytes = vec![0; CHUNK_ROWS * meta.width * 4];
        for (at, labels) in labels.chunks(CHUNK_ROWS).enumerate() {
            let bytes = &mut bytes[..labels.len() * meta.width * 4];
            file.read_exact(bytes)?;
            let groups = groups.iter().skip(at * CHUNK_ROWS).take(labels.len());
            table.take(&SampleChunk {
                width: u32::try_from(meta.width)?,
                values: bytes.to_vec().into(),
                labels: labels.iter().map(|&label| u32::from(label)).collect(),
                groups: groups.map(|&group| group.to_owned()).collect(),
                ..SampleChunk::default()
            })?;
        }
        Ok(table)
    }
}

fn read_floats(path: &Path, mut each: impl FnMut(&[f32])) -> io::Result<()> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut bytes = vec![0; 1 << 18];
    loop {
        let mut filled = 0;
        while filled < bytes.len() {
            let read = file.read(&mut bytes[filled..])?;
            if read == 0 {
                break;
            }
            filled += read;
        }
        let floats: Vec<f32> =
            bytes[..filled].as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        each(&floats);
        if filled < bytes.len() {
            return Ok(());
        }
    }
}
