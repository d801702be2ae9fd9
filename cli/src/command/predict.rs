//! `sensemble predict`: answers for the samples of a file, one a line.

use std::path::PathBuf;

use client::Predictor;
use futures_util::StreamExt as _;
use proto::v1;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    command::{
        Call, found,
        trace::{Trace, TraceOptions},
    },
    failure::{Doing as _, Failure, Outcome},
    output,
    samples::{SampleReader, Wanted},
    table_file::{Columns, Picked, Problem, TableError},
};

/// Samples that are read ahead of the network at most.
const SAMPLES_AHEAD_MAX: usize = 64;
/// Samples that wait for their answers at most.
const LINES_WAITING_MAX: usize = 4_096;

/// What `predict` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The task.
    task: String,
    /// A table of samples (CSV, gzip, Parquet), whose columns are found by their names; a matrix
    /// (IDX, NPY); for a task that takes sounds a table with a column `file`, a folder or a clip.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Only rows whose cell is one of these; may be said more than once.
    #[arg(long = "where", value_name = "COLUMN=V1,V2")]
    picked: Vec<Picked>,
    /// Also answer the set of classes that holds the true one with this probability, 0.5 to 0.999; as
    /// the policy says when absent.
    #[arg(long, value_name = "SHARE")]
    coverage: Option<f64>,
    /// The serving worker to ask, as host:port; found through the scheduler when absent.
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    #[command(flatten)]
    trace: TraceOptions,
}

/// Asks and prints, and says what became of it to whoever collects traces.
pub(crate) async fn run(options: Options, call: &Call) -> Result<Outcome, Failure> {
    let trace = Trace::begin(&options.trace)?;
    let outcome = ask(&options, trace.as_ref(), call).await;
    if let Some(trace) = trace {
        trace.end("sensemble.v1.Serving", "PredictStream", &outcome).await;
    }
    outcome
}

async fn ask(options: &Options, trace: Option<&Trace>, call: &Call) -> Result<Outcome, Failure> {
    let doing = || format!("{} was not answered", options.input.display());
    let admin = call.admin().await.doing(doing)?;
    let task = admin.task(&options.task).await.doing(doing)?;
    let predictor = match &options.address {
        Some(address) => Predictor::connect(address).await.doing(doing)?,
        None => found::serving(&admin, &task.name).await.doing(doing)?.predictor,
    };
    let predictor = match trace {
        Some(trace) => predictor.in_trace(trace.context()),
        None => predictor,
    };
    let columns = Columns { picked: options.picked.clone(), ..Columns::default() };
    let wanted = Wanted::of(&task, columns).doing(doing)?;
    let reader = SampleReader::open(&options.input, &wanted)?;

    let (samples, ready) = mpsc::channel(SAMPLES_AHEAD_MAX);
    let (lines, mut asked) = mpsc::channel(LINES_WAITING_MAX);
    let (broken, ended) = oneshot::channel();
    let name = task.name.clone();
    let picked = !options.picked.is_empty();
    let coverage = options.coverage;
    tokio::task::spawn_blocking(move || {
        let end = read(reader, (&name, coverage), picked, &samples, &lines);
        // Nobody asks how the file ended once the worker has refused.
        let _refused = broken.send(end);
    });
    let mut answers = predictor.predict_stream(ReceiverStream::new(ready)).await.doing(doing)?;

    let width =
        task.classes.iter().map(|class| class.chars().count()).max().unwrap_or(0).max(5) + 1;
    let mut rows = 0_u64;
    while let Some(answer) = answers.next().await {
        let answer = answer.doing(|| format!("row {} was not answered", rows + 1))?;
        if rows == 0 && !call.json() {
            output::line(format_args!(
                "{:>7}  {:<width$}  CONFIDENCE  STAGE  VOTED  REVISION     TIME  PREDICTION ID",
                "ROW", "CLASS"
            ))?;
        }
        rows += 1;
        let line = asked.recv().await.unwrap_or(0);
        print(&answer, rows, line, width, call)?;
    }
    // An answer for each sample, and the end of the file rather than an error in it.
    match ended.await {
        Ok(Ok(read)) if read == rows => Ok(Outcome::Done),
        Ok(Err(error)) => Err(error.into()),
        Ok(Ok(_)) | Err(_) => {
            Err(Failure::new(format!("the answers end after row {rows}: the connection was lost")))
        }
    }
}

/// Reads samples for as long as somebody takes them; how many there were.
fn read(
    mut reader: SampleReader,
    (task, coverage): (&str, Option<f64>),
    picked: bool,
    samples: &mpsc::Sender<v1::PredictRequest>,
    lines: &mpsc::Sender<u64>,
) -> Result<u64, TableError> {
    let mut rows = 0;
    while let Some(row) = reader.next_row()? {
        let (task, features) = (task.to_owned(), row.values.clone());
        let request = v1::PredictRequest { task, features, coverage };
        if lines.blocking_send(row.line).is_err() || samples.blocking_send(request).is_err() {
            return Ok(rows);
        }
        rows += 1;
    }
    if rows == 0 {
        return Err(reader.error(Problem::NoRows { picked }));
    }
    Ok(rows)
}

/// The stage in words.
pub(super) fn stage(answer: &v1::PredictReply) -> &'static str {
    match answer.stage() {
        v1::Stage::Gate => "gate",
        v1::Stage::Vote => "vote",
        v1::Stage::Fallback => "fallback",
        v1::Stage::Unspecified => "unknown",
    }
}

fn print(
    answer: &v1::PredictReply,
    row: u64,
    line: u64,
    width: usize,
    call: &Call,
) -> std::io::Result<()> {
    let id = runtime::secret::hex(&answer.prediction_id);
    if call.json() {
        return output::json_line(&json!({
            "row": row, "line": line, "prediction_id": id, "class": answer.class,
            "class_id": answer.class_id, "confidence": answer.confidence,
            "stage": stage(answer), "voted": answer.voted, "members": answer.members,
            "revision": answer.revision, "gate_us": answer.gate_us, "vote_us": answer.vote_us,
            "scores": answer.scores, "cut_short": answer.cut_short, "reason": answer.reason,
            "abstained": answer.abstained,
            "set": (!answer.set.is_empty()).then_some(&answer.set_classes),
            "coverage": (!answer.set.is_empty()).then_some(answer.coverage),
            "no_set": (!answer.no_set.is_empty()).then_some(&answer.no_set),
        }));
    }
    let beside = format!("{}{}", answer.set_classes.join(", "), answer.no_set);
    output::line(format_args!(
        "{row:>7}  {:<width$}  {:>10}  {:<5}  {:>5}  {:>8}  {:>7}  {id}  {beside}",
        if answer.abstained { format!("{}?", answer.class) } else { answer.class.clone() },
        output::percent(f64::from(answer.confidence)),
        stage(answer),
        format!("{}/{}", answer.voted, answer.members),
        answer.revision,
        output::micros(answer.gate_us.saturating_add(answer.vote_us)),
    ))
}
