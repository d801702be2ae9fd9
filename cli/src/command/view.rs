//! Messages of the scheduler as JSON. The keys are what scripts rely on: they are only ever added to.

use proto::v1;
use serde_json::{Value, json};

/// A revision number; a dash for "none yet".
pub(super) fn revision(revision: u64) -> String {
    if revision == 0 { "-".to_owned() } else { revision.to_string() }
}

/// A task.
pub(super) fn task(task: &v1::TaskView) -> Value {
    json!({
        "task": task.name, "objective": task.objective, "features": task.features,
        "classes": task.classes, "background": some(&task.background),
        "labels": task.label_ids.iter().collect::<std::collections::BTreeMap<_, _>>(),
        "samples": task.samples, "corrections": task.corrections, "revision": task.revision,
        "devices": task.devices, "unmet": task.unmet, "toml": task.toml,
    })
}

/// An event of a training.
pub(super) fn training(event: &v1::TrainingEvent) -> Value {
    json!({
        "job": event.job, "task": event.task, "kind": event.kind, "text": event.text,
        "done": event.done, "total": event.total, "seconds": event.seconds,
        "revision": (event.revision != 0).then_some(event.revision),
        "device": some(&event.device), "report": event.report.as_ref().map(report),
        "trial": event.trial.as_ref().map(trial),
    })
}

/// Settings that were tried.
pub(super) fn trial(trial: &v1::Trial) -> Value {
    let v1::Settings { family, settings } = trial.settings.clone().unwrap_or_default();
    json!({
        "number": trial.number, "family": family, "settings": named(&settings),
        "part": trial.part, "right": trial.right, "asked": trial.asked, "seconds": trial.seconds,
    })
}

fn named(settings: &[v1::Setting]) -> Value {
    settings.iter().map(|it| (it.name.clone(), json!(it.value))).collect()
}

/// What was measured of a bundle.
pub(super) fn report(report: &v1::RevisionReport) -> Value {
    let member = |member: &v1::MemberReport| {
        json!({
            "family": member.family, "imported": some(&member.imported), "weight": member.weight,
            "validation_accuracy": member.validation_accuracy,
            "fit_seconds": member.fit_seconds, "bytes": member.bytes,
            "settings": named(&member.settings),
            "work": member.work.as_ref().map(work),
        })
    };
    json!({
        "rule": report.rule,
        "members": report.members.iter().map(member).collect::<Value>(),
        "left_out": report.left_out.iter().map(member).collect::<Value>(),
        "calibration_error": report.calibration_error,
        "sets": report.sets.iter().map(|it| json!({
            "promised": it.coverage, "blocks": it.blocks, "rows": it.rows, "held": it.held,
            "interval": [it.low, it.high], "mean_size": it.mean_size,
        })).collect::<Value>(),
        "frontier": report.frontier.iter().map(|subset| json!({
            "members": (0..64).filter(|bit| subset.members >> bit & 1 == 1).collect::<Vec<u8>>(),
            "gated": subset.gated, "accuracy": subset.accuracy,
            "balanced_accuracy": subset.balanced_accuracy, "missed_events": subset.missed_events,
            "accuracy_standard_error": subset.accuracy_standard_error,
            "work": subset.work.as_ref().map(work),
        })).collect::<Value>(),
        "gate": report.gate.as_ref().map(|gate| json!({
            "threshold": gate.threshold, "stopped": gate.stopped,
            "missed_events": gate.missed_events,
            "missed_interval": [gate.missed_low, gate.missed_high],
            "missed_new_group": gate.missed_new_group,
            "work": gate.work.as_ref().map(work),
        })),
        "training_rows": report.training_rows, "validation_rows": report.validation_rows,
        "held_out_rows": report.held_out_rows, "split": report.split,
        "steps": { "computed": report.steps_computed, "kept": report.steps_kept },
        "bundle_bytes": report.bundle_bytes, "held_out": report.held_out.as_ref().map(measured),
    })
}

/// A member that was fitted elsewhere.
pub(super) fn imported(member: &v1::MemberView) -> Value {
    json!({
        "task": member.task, "name": member.name, "family": member.family,
        "source": member.source, "digest": runtime::secret::hex(&member.digest),
        "bytes": member.bundle_bytes, "samples_seen": member.samples_seen,
        "corrections_seen": member.corrections_seen, "at_ms": member.at_ms,
        "weighed": member.weighed, "weight": member.weight,
        "validation_accuracy": member.weighed.then_some(member.accuracy),
    })
}

fn work(work: &v1::WorkUnits) -> Value {
    json!({
        "madds": work.madds, "bytes": work.bytes, "nodes": work.nodes, "exps": work.exps,
        "calls": work.calls,
    })
}

fn measured(measured: &v1::Measured) -> Value {
    let classes = (0..).find(|classes| measured.confusion.len() <= classes * classes).unwrap_or(0);
    json!({
        "accuracy": measured.accuracy, "balanced_accuracy": measured.balanced_accuracy,
        "missed_events": measured.missed_events,
        "interval": [measured.interval_low, measured.interval_high], "rows": measured.rows,
        "confusion": measured.confusion.chunks(classes.max(1)).collect::<Vec<_>>(),
    })
}

/// A device.
pub(super) fn device(device: &v1::DeviceView) -> Value {
    json!({
        "device": device.device, "site": device.site, "arch": device.arch,
        "serving_address": some(&device.serving_address), "alive": device.alive,
        "seen_ms_ago": device.seen_ms_ago,
        "capacity": device.capacity.as_ref().map(|it| json!({
            "cpu_cores": it.cpu_cores, "cpu_used": it.cpu_used, "cpu_share": it.cpu_share,
            "cpu_share_by": it.cpu_share_by, "memory_bytes": it.memory_bytes,
            "memory_free_bytes": it.memory_free_bytes,
        })),
        "speed": device.speed.as_ref().map(|it| json!({
            "madd_ns": it.madd_ns, "byte_ns": it.byte_ns, "node_ns": it.node_ns,
            "exp_ns": it.exp_ns, "call_ns": it.call_ns,
        })),
        "rtt": device.rtt.iter().map(|it| json!({
            "site": it.site, "p50_us": it.p50_us, "p95_us": it.p95_us, "samples": it.samples,
        })).collect::<Value>(),
        "serving": device.serving.iter().map(served).collect::<Value>(),
        "jobs": device.jobs.iter().map(|it| json!({
            "job": it.job, "attempt": it.attempt, "state": job_state(it.state()),
            "fault": some(&it.fault),
        })).collect::<Value>(),
        "notes": device.notes,
    })
}

/// How a job is.
pub(super) fn job_state(state: v1::JobState) -> &'static str {
    match state {
        v1::JobState::Unspecified => "unknown",
        v1::JobState::Running => "running",
        v1::JobState::Done => "done",
        v1::JobState::Failed => "failed",
    }
}

fn served(served: &v1::ServedTask) -> Value {
    json!({
        "task": served.task, "generation": served.generation, "revision": served.revision,
        "digest": runtime::secret::hex(&served.digest), "members": served.members,
        "gated": served.gated, "fault": some(&served.fault),
        "service": served.service.as_ref().map(|it| json!({
            "answers": it.answers, "p50_us": it.p50_us, "p95_us": it.p95_us, "p99_us": it.p99_us,
            "gated": it.gated, "failed": it.failed,
        })),
    })
}

/// A placement.
pub(super) fn placement(placement: &v1::PlacementView) -> Value {
    json!({
        "task": placement.task, "device": placement.device,
        "serving_address": some(&placement.serving_address), "generation": placement.generation,
        "revision": placement.revision, "families": placement.families,
        "members": placement.members, "gated": placement.gated,
        "predicted_p99_us": placement.predicted_p99_us,
        "predicted_accuracy": placement.predicted_accuracy,
        "observed": placement.observed.as_ref().map(served),
    })
}

/// Why a task is placed where it is.
pub(super) fn explained(reply: &v1::ExplainPlacementReply) -> Value {
    json!({
        "task": reply.task, "objective": reply.objective, "site": reply.site,
        "latency_p99_max_us": (reply.latency_p99_max_us != 0).then_some(reply.latency_p99_max_us),
        "accuracy_min": reply.accuracy_min, "why": reply.why,
        "candidates": reply.candidates.iter().map(|it| json!({
            "device": it.device, "chosen": it.chosen, "families": it.families,
            "members": it.members, "accuracy": it.accuracy, "rtt_us": it.rtt_us,
            "transfer_us": it.transfer_us, "queue_us": it.queue_us, "service_us": it.service_us,
            "total_us": it.total_us, "refused": it.refused,
        })).collect::<Value>(),
    })
}

/// A revision.
pub(super) fn revised(it: &v1::RevisionView) -> Value {
    json!({
        "task": it.task, "revision": it.revision, "digest": runtime::secret::hex(&it.digest),
        "bundle_bytes": it.bundle_bytes, "job": it.job, "at_ms": it.at_ms, "current": it.current,
        "rollback_of": (it.rollback_of != 0).then_some(it.rollback_of),
        "report": it.report.as_ref().map(report),
        "comparison": it.comparison.as_ref().map(|it| json!({
            "rows": it.rows, "both_right": it.both_right,
            "only_candidate_right": it.only_candidate_right,
            "only_baseline_right": it.only_baseline_right,
            "class_only_candidate_right": it.class_only_candidate_right,
            "class_only_baseline_right": it.class_only_baseline_right,
            "corrections": it.corrections,
            "corrections_candidate_right": it.corrections_candidate_right,
            "corrections_baseline_right": it.corrections_baseline_right,
        })),
    })
}

/// An event of the journal.
pub(super) fn event(event: &v1::Event) -> Value {
    // Inputs and scores are JSON already; what is not is shown as it is.
    let detail = match event.detail.as_str() {
        "" => Value::Null,
        text => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())),
    };
    json!({
        "sequence": event.sequence, "at_ms": event.at_ms, "kind": event.kind,
        "task": some(&event.task), "device": some(&event.device), "job": some(&event.job),
        "text": event.text, "detail": detail,
    })
}

/// A correction.
pub(super) fn correction(it: &v1::CorrectionView) -> Value {
    json!({
        "prediction_id": runtime::secret::hex(&it.prediction_id), "task": it.task,
        "given": it.given, "label": it.label, "at_ms": it.at_ms, "revision": it.revision,
    })
}

/// Empty text means "none".
fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
