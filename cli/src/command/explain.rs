//! `sensemble explain`: how an answer came about.

use client::Predictor;
use proto::v1;
use serde_json::{Value, json};

use crate::{
    command::{Call, feedback},
    failure::{Failure, Outcome},
    output::{self, Table},
};

/// Which answer, and how thoroughly.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The id that came with the answer.
    prediction_id: String,
    /// Also compute the class again, with the revision that answered, and say whether it is the same.
    #[arg(long)]
    replay: bool,
    /// The task of the answer; only saves time.
    #[arg(long)]
    task: Option<String>,
    /// The serving worker that answered, as host:port; found through the scheduler when absent.
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
}

/// Runs it.
pub(crate) async fn run(options: Options, call: &Call) -> Result<Outcome, Failure> {
    let Options { prediction_id, replay, task, address } = options;
    let id = feedback::parse(&prediction_id)?;
    let addresses = match address {
        Some(address) => vec![address],
        None => feedback::addresses(task.as_deref().unwrap_or(""), call).await?,
    };
    let explain = async |it: Predictor| it.explain(id.clone().into(), replay).await;
    let reply = feedback::first(&addresses, "the answer is not explained", explain).await?;
    if call.json() {
        output::json(&as_json(&prediction_id, &reply))?;
    } else {
        print(&reply)?;
    }
    let same = reply.replay.is_none_or(|replay| replay.same);
    Ok(if same { Outcome::Done } else { Outcome::Unsatisfied })
}

fn stage(stage: v1::Stage) -> &'static str {
    match stage {
        v1::Stage::Gate => "gate",
        v1::Stage::Vote => "vote",
        v1::Stage::Fallback => "fallback",
        v1::Stage::Unspecified => "unknown",
    }
}

fn as_json(id: &str, reply: &v1::ExplainReply) -> Value {
    let vote = |it: &v1::MemberVote| {
        json!({
            "member": it.member, "family": it.family, "class": it.class, "class_id": it.class_id,
            "weight": it.weight,
        })
    };
    let replay = |it: &v1::Replay| json!({ "class": it.class, "same": it.same, "fault": it.fault });
    json!({
        "prediction_id": id, "task": reply.task, "revision": reply.revision,
        "generation": reply.generation, "digest": runtime::secret::hex(&reply.digest),
        "at_ms": reply.at_ms, "class": reply.class, "confidence": reply.confidence,
        "stage": stage(reply.stage()), "gated": reply.gated, "assigned": reply.assigned,
        "voted": reply.votes.len(), "members": reply.assigned.len(),
        "votes": reply.votes.iter().map(vote).collect::<Value>(),
        "cut_short": reply.cut_short, "reason": reply.reason,
        "queue_us": reply.queue_us, "gate_us": reply.gate_us, "vote_us": reply.vote_us,
        "features": reply.features,
        "abstained": reply.abstained,
        "set": (!reply.set.is_empty()).then_some(&reply.set_classes),
        "coverage": (!reply.set.is_empty()).then_some(reply.coverage),
        "corrected": (!reply.corrected.is_empty()).then_some(&reply.corrected),
        "replay": reply.replay.as_ref().map(replay),
        "trace_id": (!reply.trace_id.is_empty()).then(|| runtime::secret::hex(&reply.trace_id)),
    })
}

fn print(reply: &v1::ExplainReply) -> std::io::Result<()> {
    let guess = if reply.abstained { "did not know; its guess is" } else { "answered" };
    output::line(format_args!(
        "{} {guess} {} ({} sure) at {}, by revision {}",
        reply.task,
        reply.class,
        output::percent(f64::from(reply.confidence)),
        output::time(reply.at_ms),
        reply.revision,
    ))?;
    let how = match reply.stage() {
        v1::Stage::Gate => "the gate said that nothing happened; nobody voted".to_owned(),
        v1::Stage::Fallback => format!("the policy names it: {}", reply.reason),
        v1::Stage::Vote if reply.cut_short => {
            format!("the deadline came after {} of {}", reply.votes.len(), reply.assigned.len())
        }
        v1::Stage::Vote => {
            format!("decided after {} of {} members", reply.votes.len(), reply.assigned.len())
        }
        v1::Stage::Unspecified => "how is not known".to_owned(),
    };
    output::line(format_args!(
        "{how}; waited {}, gate {}, vote {}",
        output::micros(reply.queue_us),
        output::micros(reply.gate_us),
        output::micros(reply.vote_us),
    ))?;
    let mut table = Table::new(&[">member", "family", "said", ">weight"]);
    for vote in &reply.votes {
        let class = if vote.class.is_empty() {
            format!("class {}", vote.class_id)
        } else {
            vote.class.clone()
        };
        let weight = output::percent(f64::from(vote.weight));
        table.row([vote.member.to_string(), vote.family.clone(), class, weight]);
    }
    if !reply.votes.is_empty() {
        table.print("")?;
    }
    if !reply.set.is_empty() {
        let set = output::list(&reply.set_classes);
        let coverage = output::percent(reply.coverage);
        output::line(format_args!("one of {set} in {coverage} of such answers"))?;
    }
    if !reply.trace_id.is_empty() {
        let id = runtime::secret::hex(&reply.trace_id);
        output::line(format_args!("it belonged to trace {id}"))?;
    }
    if !reply.corrected.is_empty() {
        output::line(format_args!("a user said that it was {}", reply.corrected))?;
    }
    match &reply.replay {
        None => Ok(()),
        Some(replay) if !replay.fault.is_empty() => {
            output::line(format_args!("not computed again: {}", replay.fault))
        }
        Some(replay) if replay.same => output::line("computed again: the same"),
        Some(replay) => output::line(format_args!("computed again: {}", replay.class)),
    }
}
