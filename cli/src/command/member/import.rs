//! `sensemble member import`: an ONNX file becomes a member of a task.

use std::{fs::File, io::Read as _, path::PathBuf, sync::Arc};

use models::{ClassId, Ensemble, Member, Parts, Schema, Voting, Weighted, bundle};
use proto::v1;
use serde_json::json;
use training_worker::onnx::{FILE_BYTES_MAX, Lowered};

use super::{
    classes,
    expectation::Expectation,
    parity::{Parity, Sides},
};
use crate::{
    command::{Call, data::Labels, view},
    failure::{Doing as _, Failure, Outcome},
    output::{self, bytes},
    samples::{SampleReader, Wanted},
    table_file::{Columns, Picked, Problem},
};

/// Most values that are answered at once.
const VALUES_MAX: usize = 1 << 18;

/// Which rows have taught a classifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum TrainedOn {
    /// No row of the task: it is weighed by the rows that choose, as every member is.
    None,
    /// Rows of the task: those that are there now say nothing of it, and it is weighed by those that
    /// come after it.
    These,
}

/// What `member import` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The task.
    task: String,
    /// The classifier: an ONNX file that scikit-learn (skl2onnx), XGBoost, LightGBM or PyTorch wrote.
    file: PathBuf,
    /// Whether rows of this task have taught it: what a member says of rows that it has learnt by
    /// heart is worth nothing.
    #[arg(long, value_enum, value_name = "WHICH")]
    trained_on: TrainedOn,
    /// What it is called; the name of the file when absent.
    #[arg(long)]
    name: Option<String>,
    /// The class of each output, in order, where the file names none or others.
    #[arg(long, value_name = "CLASS,…", value_delimiter = ',')]
    outputs: Vec<String>,
    /// Samples to answer, as `predict` takes them: what it says of them is reported.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// The column of these samples that holds the class, and of expected answers.
    #[arg(long, value_name = "COLUMN")]
    label: Option<String>,
    /// What it answered to these samples where it was fitted: a table with a column of labels, or NPY of
    /// labels or probabilities; may be said more than once.
    #[arg(long, value_name = "FILE", requires = "data")]
    expect: Vec<PathBuf>,
    /// Only samples whose cell is one of these; may be said more than once.
    #[arg(long = "where", value_name = "COLUMN=V1,V2")]
    picked: Vec<Picked>,
}

/// Lowers, checks, compares and uploads.
pub(super) async fn run(options: Options, call: &Call) -> Result<Outcome, Failure> {
    let doing = || format!("{} was not imported", options.file.display());
    let admin = call.admin().await.doing(doing)?;
    let task = admin.task(&options.task).await.doing(doing)?;
    let (content, source) = read(&options.file).doing(doing)?;
    let lowered = Lowered::read(&content, task.features.len()).doing(doing)?;
    let labels = Labels::of(&task, None);
    let names =
        if options.outputs.is_empty() { &lowered.names } else { &Some(options.outputs.clone()) };
    let order = match names {
        Some(names) if names.len() == lowered.classes => classes::order(names, &labels),
        Some(_) | None => classes::unnamed(lowered.classes, &labels),
    };
    let order = order.doing(doing)?;
    let guessed = names.is_none();
    let (operators, link) = (lowered.operators.clone(), lowered.link);
    let alone = alone(lowered.in_order(&order), &task).doing(doing)?;

    let parity = match &options.data {
        Some(_) => Some(compared(&options, &task, &labels, &alone, link, &order).doing(doing)?),
        None => None,
    };
    let bytes_of_it = bundle::encode(&alone);
    let request = v1::AddMemberRequest {
        task: task.name.clone(),
        name: name(&options),
        digest: bundle::digest(&bytes_of_it).to_vec().into(),
        taught_by_these: options.trained_on == TrainedOn::These,
        source,
    };
    let member = admin.add_member(bytes_of_it, request).await.doing(doing)?;
    let holds = parity.as_ref().is_none_or(Parity::holds);
    let outcome = if holds { Outcome::Done } else { Outcome::Unsatisfied };
    if call.json() {
        output::json(&json!({
            "member": view::imported(&member), "operators": operators,
            "outputs_guessed": guessed, "parity": parity.as_ref().map(Parity::json),
        }))?;
        return Ok(outcome);
    }
    output::line(format_args!(
        "{} is a {} of {} for {} classes ({})",
        options.file.display(),
        member.family,
        bytes(member.bundle_bytes),
        task.classes.len(),
        operators.join(", ")
    ))?;
    if guessed {
        output::line(format_args!(
            "its outputs have no names: they are taken for {} in this order; --outputs says otherwise",
            task.classes.join(", ")
        ))?;
    }
    if let Some(parity) = &parity {
        output::line(format_args!("{} rows of --data:", parity.rows))?;
        parity.lines().iter().try_for_each(|line| output::line(format_args!("  {line}")))?;
    }
    let judged = match options.trained_on {
        TrainedOn::None => "the next training weighs it".to_owned(),
        TrainedOn::These => format!(
            "a training weighs it once enough rows have come after the {} that it may know",
            member.samples_seen
        ),
    };
    output::line(format_args!("{} has it as {:?} now; {judged}", task.name, member.name))?;
    Ok(outcome)
}

/// The file, and what it is called by: its name and its SHA-256.
fn read(path: &std::path::Path) -> Result<(Vec<u8>, String), Failure> {
    let most = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX);
    let mut content = Vec::new();
    // One byte more than may be: the reader says that it is too large.
    File::open(path)?.take(most + 1).read_to_end(&mut content)?;
    let name: String =
        path.file_name().unwrap_or_default().to_string_lossy().chars().take(200).collect();
    let digest = runtime::secret::hex(&bundle::digest(&content));
    let name: String = name.chars().filter(|it| !it.is_control()).collect();
    Ok((content, format!("{name}, SHA-256 {digest}")))
}

fn name(options: &Options) -> String {
    options.name.clone().unwrap_or_else(|| {
        let stem = options.file.file_stem().unwrap_or_default().to_string_lossy();
        stem.chars().map(|it| if it.is_ascii_alphanumeric() { it } else { '-' }).take(64).collect()
    })
}

/// An ensemble of this member alone: what a bundle holds, and what answers.
fn alone(lowered: Lowered, task: &v1::TaskView) -> Result<Ensemble, Failure> {
    let background = task.classes.iter().position(|class| *class == task.background);
    let background = background.and_then(|at| u16::try_from(at).ok()).map(ClassId);
    let schema = Schema::new(task.features.clone(), task.classes.clone(), background)?;
    let Lowered { family, preparation, model, .. } = lowered;
    let parts = Parts {
        schema,
        preparations: vec![preparation],
        gate: None,
        members: vec![Weighted {
            weight: 1.0,
            member: Member { family, preparation: 0, model: Arc::new(model) },
        }],
        voting: Voting::default(),
        golden: Vec::new(),
    };
    Ok(Ensemble::new(parts)?)
}

/// What it says of the samples of `--data`, beside their labels and what is expected.
fn compared(
    options: &Options,
    task: &v1::TaskView,
    labels: &Labels,
    alone: &Ensemble,
    link: training_worker::onnx::Link,
    order: &[usize],
) -> Result<Parity, Failure> {
    let mut expected = Expectation::default();
    let column = options.label.as_deref().unwrap_or("label");
    for path in &options.expect {
        expected.add(path, labels, column)?;
    }
    let columns = Columns {
        label: options.label.clone(),
        picked: options.picked.clone(),
        ..Columns::default()
    };
    let data = options.data.as_deref().unwrap_or(std::path::Path::new(""));
    let mut reader = SampleReader::open(data, &Wanted::of(task, columns)?)?;
    let sides = Sides { alone, link, order, expected: &expected };
    let mut parity = Parity::default();
    let (mut values, mut truth) = (Vec::new(), Vec::new());
    let most = (VALUES_MAX / task.features.len().max(1)).max(1);
    loop {
        let row = reader.next_row()?;
        let more = row.is_some();
        if let Some(row) = row {
            let class = labels.id(&row.label).and_then(|id| u16::try_from(id).ok());
            if options.label.is_some() && class.is_none() {
                let problem = Problem::Label {
                    line: row.line,
                    column: column.to_owned(),
                    label: row.label.clone(),
                    known: labels.known(),
                };
                return Err(reader.error(problem).into());
            }
            values.extend_from_slice(&row.values);
            truth.push(class.filter(|_| options.label.is_some()).map(ClassId));
        }
        if truth.len() == most || (!more && !truth.is_empty()) {
            parity.ask(&sides, std::mem::take(&mut values), &truth)?;
            truth.clear();
        }
        if !more {
            break;
        }
    }
    if parity.rows == 0 {
        let picked = !options.picked.is_empty();
        return Err(reader.error(Problem::NoRows { picked }).into());
    }
    let given = expected.classes.len().max(expected.probabilities.len() / order.len());
    if !options.expect.is_empty() && given != parity.rows {
        return Err(Failure::new(format!(
            "{given} answers are expected, but --data has {} rows",
            parity.rows
        )));
    }
    Ok(parity)
}
