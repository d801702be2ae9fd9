//! `sensemble evaluate`: how well a task is answered, on a file with labels.

mod figures;

use std::path::PathBuf;

use client::Predictor;
use models::ClassId;
use proto::v1;
use tokio::time::Instant;

use crate::{
    classes_file::ClassesFile,
    command::{Call, data::Labels, found, progress},
    failure::{Doing as _, Failure, Outcome},
    output,
    samples::{SampleReader, Wanted},
    table_file::{Columns, Picked, Problem},
};

use self::figures::Figures;

/// Most rows that are asked in one call.
const ROWS_MAX: usize = 256;
/// Most values that are asked in one call: 1 MiB.
const VALUES_MAX: usize = 1 << 18;

/// What `evaluate` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The task.
    task: String,
    /// A table of samples (CSV, gzip, Parquet), whose columns are found by their names; a matrix
    /// (IDX, NPY); for a task that takes sounds a table with a column `file`, or a folder of
    /// folders named after the classes.
    file: PathBuf,
    /// The column that holds the class, by its name or by an id.
    #[arg(long, value_name = "COLUMN")]
    label: Option<String>,
    /// Where the labels of a matrix are: IDX, NPY, or a table with the column `--label`.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// A table `id,name,background` that names the ids in the label column.
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
    /// Only rows whose cell is one of these; may be said more than once.
    #[arg(long = "where", value_name = "COLUMN=V1,V2")]
    picked: Vec<Picked>,
    /// Also measure the sets of classes that hold the true one with this probability, 0.5 to 0.999; as
    /// the policy says when absent.
    #[arg(long, value_name = "SHARE")]
    coverage: Option<f64>,
    /// The serving worker to ask, as host:port; found through the scheduler when absent.
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
}

/// Asks, compares and prints.
pub(crate) async fn run(options: Options, call: &Call) -> Result<Outcome, Failure> {
    let doing = || format!("{:?} was not evaluated", options.task);
    let admin = call.admin().await.doing(doing)?;
    let task = admin.task(&options.task).await.doing(doing)?;
    let file = options.classes.as_deref().map(ClassesFile::read).transpose().doing(doing)?;
    let labels = Labels::of(&task, file.as_ref());
    let columns = Columns {
        label: options.label.clone(),
        picked: options.picked.clone(),
        ..Columns::default()
    };
    let wanted = Wanted::of(&task, columns).doing(doing)?.labelled(options.labels.clone());
    let mut reader = SampleReader::open(&options.file, &wanted)?;
    let (predictor, address) = match &options.address {
        Some(address) => (Predictor::connect(address).await.doing(doing)?, address.clone()),
        None => {
            let found = found::serving(&admin, &task.name).await.doing(doing)?;
            (found.predictor, found.address)
        }
    };

    let bar = progress::of_bytes(reader.progress().0);
    let mut figures = Figures::new(&task);
    let mut batch = Batch { coverage: options.coverage, ..Batch::new(&task) };
    loop {
        let row = reader.next_row()?;
        let more = row.is_some();
        if let Some(row) = row {
            let Some(class) = labels.id(&row.label).and_then(|id| u16::try_from(id).ok()) else {
                let problem = Problem::Label {
                    line: row.line,
                    column: options.label.clone().unwrap_or_default(),
                    label: row.label.clone(),
                    known: labels.known(),
                };
                return Err(reader.error(problem).into());
            };
            batch.push(&row.values, ClassId(class));
        }
        if batch.is_full() || !more {
            bar.set_position(reader.progress().1);
            batch.ask(&predictor, &task.name, &mut figures).await.doing(doing)?;
        }
        if !more {
            break;
        }
    }
    bar.finish_and_clear();
    if figures.rows() == 0 {
        return Err(reader.error(Problem::NoRows { picked: !options.picked.is_empty() }).into());
    }
    if call.json() {
        output::json(&figures.json(&address))?;
    } else {
        for line in figures.lines() {
            output::line(line)?;
        }
    }
    Ok(Outcome::Done)
}

/// Rows that are asked in one call.
struct Batch {
    width: u32,
    rows_max: usize,
    values: Vec<f32>,
    truth: Vec<ClassId>,
    coverage: Option<f64>,
}

impl Batch {
    fn new(task: &v1::TaskView) -> Self {
        let width = task.features.len();
        Self {
            width: u32::try_from(width).unwrap_or(u32::MAX),
            rows_max: (VALUES_MAX / width.max(1)).clamp(1, ROWS_MAX),
            values: Vec::new(),
            truth: Vec::new(),
            coverage: None,
        }
    }

    fn push(&mut self, values: &[f32], truth: ClassId) {
        self.values.extend_from_slice(values);
        self.truth.push(truth);
    }

    fn is_full(&self) -> bool {
        self.rows_max <= self.truth.len()
    }

    async fn ask(
        &mut self,
        predictor: &Predictor,
        task: &str,
        figures: &mut Figures,
    ) -> Result<(), Failure> {
        if self.truth.is_empty() {
            return Ok(());
        }
        let values = std::mem::take(&mut self.values);
        let began = Instant::now();
        let answers = predictor.predict_sets(task, self.width, values, self.coverage).await?;
        figures.took(began.elapsed());
        for (truth, answer) in self.truth.drain(..).zip(&answers) {
            figures.add(truth, answer)?;
        }
        Ok(())
    }
}
