//! What an operator's Prometheus reads: text in base units, labelled by task and stage only, so that
//! the number of series is bounded by the number of tasks.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use models::Stage;
use runtime::exposition::{Page, escaped, seconds};

use crate::{
    admission::IN_FLIGHT_MAX,
    answer::Desk,
    correction::Corrections,
    forwarder::Counts,
    meter::{Meter, Requests},
    mqtt,
    served::Served,
};

/// Where the numbers come from.
#[derive(Clone, Debug)]
pub(crate) struct Numbers {
    pub(crate) desk: Arc<Desk>,
    pub(crate) corrections: Arc<Corrections>,
    pub(crate) forwarded: Arc<Counts>,
    /// Where a broker is named.
    pub(crate) mqtt: Option<Arc<mqtt::Counts>>,
}

/// A counter of each task: its name, what it counts, and where it stands.
type Counter = (&'static str, &'static str, fn(&Meter) -> u64);

const STAGES: [(Stage, &str); 2] = [(Stage::Gate, "gate"), (Stage::Vote, "vote")];

impl Numbers {
    /// The page at `/metrics`.
    pub(crate) fn page(&self) -> String {
        let mut page = Page::new("sensemble_");
        let set = self.desk.served();
        let tasks: Vec<(String, &Served)> =
            set.tasks.iter().map(|(task, served)| (escaped(task), &**served)).collect();

        self.answers(&mut page, &tasks);
        page.metric(
            "answer_recent_seconds",
            "gauge",
            "Quantiles of the time of an answer over the last 30 to 60 seconds.",
        );
        for (task, served) in &tasks {
            let recent = served.meter.quantiles();
            for (quantile, us) in
                [("0.5", recent.p50_us), ("0.95", recent.p95_us), ("0.99", recent.p99_us)]
            {
                let labels = format!("{{task=\"{task}\",quantile=\"{quantile}\"}}");
                page.sample("answer_recent_seconds", &labels, seconds(u64::from(us)));
            }
        }
        page.metric("task_ready", "gauge", "1 when the task is served as ordered, else 0.");
        for (task, served) in &tasks {
            let ready = u8::from(!set.missing.contains_key(&served.wanted.task));
            page.sample("task_ready", &format!("{{task=\"{task}\"}}"), ready);
        }
        for task in set.missing.keys().filter(|task| !set.tasks.contains_key(*task)) {
            page.sample("task_ready", &format!("{{task=\"{}\"}}", escaped(task)), 0);
        }
        page.metric("task_revision", "gauge", "The revision that is served.");
        for (task, served) in &tasks {
            page.sample("task_revision", &format!("{{task=\"{task}\"}}"), served.wanted.revision);
        }
        page.metric("task_members", "gauge", "Members that vote.");
        for (task, served) in &tasks {
            page.sample("task_members", &format!("{{task=\"{task}\"}}"), served.members);
        }
        requests(&mut page, &tasks);
        self.worker(&mut page);
        page.text()
    }

    fn answers(&self, page: &mut Page, tasks: &[(String, &Served)]) {
        page.metric("answer_seconds", "histogram", "Time of an answer inside the serving worker.");
        for (task, served) in tasks {
            for (stage, name) in STAGES {
                let labels = format!("task=\"{task}\",stage=\"{name}\"");
                page.histogram("answer_seconds", &labels, served.meter.totals(stage));
            }
        }
        page.metric(
            "answers_failed_total",
            "counter",
            "Requests for a task that were not answered.",
        );
        for (task, served) in tasks {
            let labels = format!("{{task=\"{task}\"}}");
            page.sample("answers_failed_total", &labels, served.meter.failures());
        }
        let counters: [Counter; 7] = [
            (
                "answers_cut_short_total",
                "Votes that a deadline ended before they were decided.",
                |meter| meter.cut_short.load(Relaxed),
            ),
            (
                "answers_fallback_total",
                "Answers that the policy names, because nobody could be heard in time.",
                |meter| meter.fallbacks.load(Relaxed),
            ),
            (
                "answers_abstained_total",
                "Answers that say that they do not know: the confidence is below the policy.",
                |meter| meter.abstained.load(Relaxed),
            ),
            (
                "answers_with_set_total",
                "Answers with a set of classes that holds the true one as often as was asked.",
                |meter| meter.sets.load(Relaxed),
            ),
            ("set_classes_total", "Classes in these sets together.", |meter| {
                meter.set_classes.load(Relaxed)
            }),
            (
                "answers_without_set_total",
                "Answers without a set although one was wanted: not every member was heard in time.",
                |meter| meter.without_set.load(Relaxed),
            ),
            (
                "requests_shed_total",
                "Requests refused because too many of their task were before them.",
                |meter| meter.shed.load(Relaxed),
            ),
        ];
        for (name, help, of) in counters {
            page.metric(name, "counter", help);
            for (task, served) in tasks {
                page.sample(name, &format!("{{task=\"{task}\"}}"), of(&served.meter));
            }
        }
        page.metric("task_requests_in_flight", "gauge", "Requests of the task in flight.");
        for (task, served) in tasks {
            let labels = format!("{{task=\"{task}\"}}");
            page.sample("task_requests_in_flight", &labels, served.meter.inside().0);
        }
    }

    fn worker(&self, page: &mut Page) {
        let Self { desk, corrections, forwarded, mqtt } = self;
        if let Some(bytes) = crate::control::resident_bytes() {
            page.single("resident_bytes", "gauge", "Memory that this process keeps.", bytes);
        }
        let waiting = corrections.outbox().waiting();
        let unkept = desk.unkept.load(Relaxed) + desk.receipts().lost();
        page.single("requests_in_flight", "gauge", "Requests in flight.", desk.in_flight());
        page.single("requests_in_flight_max", "gauge", "How many may be.", IN_FLIGHT_MAX);
        page.single(
            "requests_refused_total",
            "counter",
            "Requests refused because too many were in flight.",
            desk.busy.load(Relaxed),
        );
        page.single(
            "requests_passed_on_total",
            "counter",
            "Requests for tasks served elsewhere that were answered there.",
            desk.relay.passed_on.load(Relaxed),
        );
        page.single(
            "passing_on_failures_total",
            "counter",
            "Attempts at a place that did not answer or did not serve the task.",
            desk.relay.failures.load(Relaxed),
        );
        page.single(
            "receipts",
            "gauge",
            "Records in the ring: answers that can be corrected, and marks of those that were.",
            desk.receipts().len(),
        );
        page.single(
            "receipts_unkept_total",
            "counter",
            "Answers given that cannot be corrected, because the disk did not keep up.",
            unkept,
        );
        page.single(
            "corrections_total",
            "counter",
            "Corrections taken, durably.",
            corrections.taken.load(Relaxed),
        );
        page.single("outbox_records", "gauge", "Corrections that wait.", waiting.records);
        page.single("outbox_bytes", "gauge", "Bytes of the outbox on disk.", waiting.bytes);
        page.single(
            "corrections_forwarded_total",
            "counter",
            "Corrections that the scheduler has taken.",
            forwarded.forwarded.load(Relaxed),
        );
        page.single(
            "corrections_refused_total",
            "counter",
            "Corrections that the scheduler refused for good.",
            forwarded.refused.load(Relaxed),
        );
        page.single(
            "forward_failures_total",
            "counter",
            "Batches of corrections that were not taken and are sent again.",
            forwarded.failures.load(Relaxed),
        );
        let traces = desk.tracer.as_ref().map(|tracer| tracer.counts().all());
        for (name, help, value) in traces.into_iter().flatten() {
            page.single(name, "counter", help, value);
        }
        for (name, kind, help, value) in mqtt.iter().flat_map(|counts| counts.all()) {
            page.single(name, kind, help, value);
        }
    }
}

/// What became of requests, of one sample or of many: where their time went.
fn requests(page: &mut Page, tasks: &[(String, &Served)]) {
    let each = |page: &mut Page, name: &str, help: &str, value: &dyn Fn(&Requests) -> String| {
        page.metric(name, "counter", help);
        for (task, served) in tasks {
            page.sample(name, &format!("{{task=\"{task}\"}}"), value(served.meter.requests()));
        }
    };
    let ns = |count: &AtomicU64| seconds(count.load(Relaxed) / 1_000);
    each(page, "requests_total", "Requests answered.", &|it| it.count.load(Relaxed).to_string());
    each(
        page,
        "request_queue_seconds_total",
        "From when requests were read until they were begun.",
        &|it| ns(&it.queue_ns),
    );
    each(page, "request_compute_seconds_total", "From then until they were answered.", &|it| {
        ns(&it.compute_ns)
    });
}
