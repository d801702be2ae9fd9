//! `sensemble feedback`: what answers should have been.

use client::{ClientError, Predictor};
use proto::v1;
use serde_json::{Value, json};
use tonic::Code;

use crate::{
    command::{Call, found, view},
    failure::{Doing as _, Failure, Outcome},
    output::{self, Table},
};

/// Bytes of a prediction id.
const ID_BYTES: usize = 16;

/// What may be done with corrections.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Say what an answer should have been; on disk once this returns.
    Send {
        /// The id that came with the answer.
        prediction_id: String,
        /// The class that would have been right.
        class: String,
        /// The task of the answer; only saves time.
        #[arg(long)]
        task: Option<String>,
        /// The serving worker that answered, as host:port; found through the scheduler when absent.
        #[arg(long, value_name = "ADDRESS")]
        address: Option<String>,
    },
    /// List the corrections that have arrived for a task.
    List {
        /// The task.
        task: String,
    },
}

/// Runs one of them.
pub(crate) async fn run(command: Command, call: &Call) -> Result<Outcome, Failure> {
    match command {
        Command::Send { prediction_id, class, task, address } => {
            let id = parse(&prediction_id)?;
            let addresses = match address {
                Some(address) => vec![address],
                None => addresses(task.as_deref().unwrap_or(""), call).await?,
            };
            let correct = async |it: Predictor| it.correct(id.clone().into(), &class).await;
            let reply = first(&addresses, "the correction was refused", correct).await?;
            told(&prediction_id, &class, &reply, call)
        }
        Command::List { task } => list_all(&task, call).await,
    }
}

/// The bytes of an id as it was printed.
pub(super) fn parse(text: &str) -> Result<Vec<u8>, Failure> {
    let id = runtime::secret::unhex(text.trim()).filter(|id| id.len() == ID_BYTES);
    id.ok_or_else(|| {
        Failure::usage(format!("{text:?} is not a prediction id"))
            .hint("it is the 32 hexadecimal digits that `sensemble predict` prints")
    })
}

/// Where the answer may have been given: where the task is served now, then anywhere else, since
/// it may have moved.
pub(super) async fn addresses(task: &str, call: &Call) -> Result<Vec<String>, Failure> {
    let doing = || "the devices that may have answered are not known".to_owned();
    let admin = call.admin().await.doing(doing)?;
    let mut addresses = found::addresses(&admin.placements(task).await.doing(doing)?);
    for device in admin.devices().await.doing(doing)? {
        let address = device.serving_address;
        if device.alive && !address.is_empty() && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(Failure::new("no device is there that could know this answer")
            .hint("see `sensemble device list`"));
    }
    Ok(addresses)
}

/// Asks one after the other, until one knows the answer.
pub(super) async fn first<T>(
    addresses: &[String],
    refused: &'static str,
    ask: impl AsyncFn(Predictor) -> Result<T, ClientError>,
) -> Result<T, Failure> {
    let mut away = Vec::new();
    for address in addresses {
        let asked = match Predictor::connect(address).await {
            Ok(predictor) => ask(predictor).await,
            Err(error) => Err(error),
        };
        match asked {
            Ok(reply) => return Ok(reply),
            Err(error) if error.is_not_found() => {}
            Err(error) if error.code() == Code::Unavailable => away.push(address.as_str()),
            Err(error) => return Err(error).doing(|| refused.to_owned()),
        }
    }
    if away.is_empty() {
        return Err(Failure::not_found("no device knows this prediction id")
            .hint("answers are remembered for a while only: predict again and use that one's"));
    }
    Err(Failure::new(format!("nobody answers at {}", away.join(", ")))
        .hint("the device that gave the answer may be away: try again when it is back"))
}

fn told(id: &str, class: &str, reply: &v1::CorrectReply, call: &Call) -> Result<Outcome, Failure> {
    if call.json() {
        output::json(&json!({
            "prediction_id": id, "task": reply.task, "given": reply.given, "label": class,
            "first": reply.first,
        }))?;
    } else {
        let again = if reply.first { "" } else { " (corrected again)" };
        output::line(format_args!("{}: {} was {class}{again}", reply.task, reply.given))?;
    }
    Ok(Outcome::Done)
}

async fn list_all(task: &str, call: &Call) -> Result<Outcome, Failure> {
    let doing = || format!("the corrections of {task:?} are not known");
    let corrections = call.admin().await.doing(doing)?.corrections(task).await.doing(doing)?;
    if call.json() {
        output::json(&corrections.iter().map(view::correction).collect::<Value>())?;
        return Ok(Outcome::Done);
    }
    let mut table = Table::new(&["when", "answered", "should be", ">revision", "prediction id"]);
    for it in &corrections {
        table.row([
            output::time(it.at_ms),
            it.given.clone(),
            it.label.clone(),
            view::revision(it.revision),
            runtime::secret::hex(&it.prediction_id),
        ]);
    }
    table.print("nobody has corrected an answer of it")?;
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_was_printed() {
        let id = [7_u8; ID_BYTES];
        assert_eq!(parse(&runtime::secret::hex(&id)).unwrap(), id);
        for text in ["", "07", "zz", &"0".repeat(31), &"0".repeat(34)] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
