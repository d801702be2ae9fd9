//! The report of a demo: one self-contained page, plots and tables, no scripts.
//!
//! [`render`] is a function of its argument: no clock, no files. Everything that came from outside
//! (class names, device names, errors) is escaped.

mod charts;
mod confusion;
mod page;
mod svg;

/// Everything that the page says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Report {
    /// The heading.
    pub(crate) title: String,
    /// One sentence under it.
    pub(crate) subtitle: String,
    /// Facts about the run: name and value.
    pub(crate) facts: Vec<(String, String)>,
    /// What was done when: seconds since the beginning, and what.
    pub(crate) story: Vec<(f64, String)>,
    /// Accuracy as members came.
    pub(crate) lazy: Vec<LazyPoint>,
    /// The classes, in order; the rows and columns of the confusions.
    pub(crate) classes: Vec<String>,
    /// From asking for a training to its first answer, in seconds.
    pub(crate) first_answer_s: Option<f64>,
    /// From asking for a training to its last revision, in seconds.
    pub(crate) all_members_s: Option<f64>,
    /// What was answered right before the corrections.
    pub(crate) before: Outcome,
    /// The same after them.
    pub(crate) after: Outcome,
    /// Where the time of an answer went, for each device that served.
    pub(crate) latency: Vec<Latency>,
    /// What each policy was offered and what it chose.
    pub(crate) policies: Vec<Policy>,
    /// The members of the ensemble that serves at the end.
    pub(crate) members: Vec<Member>,
    /// What a reader should know to judge the numbers.
    pub(crate) notes: Vec<String>,
}

/// One revision of a lazy training.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LazyPoint {
    /// Since the training began.
    pub(crate) seconds: f64,
    /// The revision that was released then.
    pub(crate) revision: u64,
    /// Members in it.
    pub(crate) members: usize,
    /// The family of the member that came with it.
    pub(crate) family: String,
    /// Its accuracy on held-out rows.
    pub(crate) accuracy: f64,
    /// The interval of that accuracy.
    pub(crate) interval: (f64, f64),
}

/// How well held-out rows were answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    /// The revision that answered.
    pub(crate) revision: u64,
    /// Share of right answers.
    pub(crate) accuracy: f64,
    /// The interval of that accuracy.
    pub(crate) interval: (f64, f64),
    /// Share of events that were called background; absent without a background class.
    pub(crate) missed_events: Option<f64>,
    /// Answers.
    pub(crate) rows: u64,
    /// Row-major, true class × answered class.
    pub(crate) confusion: Vec<u64>,
    /// Parts of the held-out rows: name, right answers, answers.
    pub(crate) parts: Vec<(String, u64, u64)>,
}

/// Where the time of an answer went: medians, in microseconds, as the app saw them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Latency {
    /// The device that answered.
    pub(crate) device: String,
    /// The policy it served under.
    pub(crate) policy: String,
    /// Answers that were measured.
    pub(crate) answers: usize,
    /// Voters there.
    pub(crate) voters: usize,
    /// In the gate.
    pub(crate) gate_us: f64,
    /// In the vote; of the answers that reached it.
    pub(crate) vote_us: f64,
    /// Everything else: the network, queues, gRPC.
    pub(crate) transport_us: f64,
    /// The whole, as the app saw it.
    pub(crate) p50_us: f64,
    /// The slowest of a hundred.
    pub(crate) p99_us: f64,
}

/// A policy and what it led to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Policy {
    /// Its name.
    pub(crate) name: String,
    /// What it asks for, in words.
    pub(crate) asks: String,
    /// The latency it allows.
    pub(crate) latency_max_us: f64,
    /// The devices that were considered.
    pub(crate) candidates: Vec<Candidate>,
    /// Why it was chosen so, in the scheduler's words.
    pub(crate) why: Vec<String>,
}

/// A device under a policy.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Candidate {
    /// Its name.
    pub(crate) device: String,
    /// Whether it serves.
    pub(crate) chosen: bool,
    /// Families of the members that would vote there.
    pub(crate) families: Vec<String>,
    /// The accuracy of that subset on validation rows.
    pub(crate) accuracy: f64,
    /// Predicted: the way there and back, …
    pub(crate) rtt_us: f64,
    /// … the bytes, …
    pub(crate) transfer_us: f64,
    /// … waiting, …
    pub(crate) queue_us: f64,
    /// … and computing.
    pub(crate) service_us: f64,
    /// Their sum.
    pub(crate) total_us: f64,
    /// What was measured at the 99th percentile; only of a device that served.
    pub(crate) measured_us: Option<f64>,
    /// Why it was not chosen.
    pub(crate) refused: String,
}

/// A member of the ensemble.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Member {
    /// Its family.
    pub(crate) family: String,
    /// What its vote counts.
    pub(crate) weight: f64,
    /// Alone, on validation rows.
    pub(crate) accuracy: f64,
    /// What it took to fit it.
    pub(crate) fit_seconds: f64,
    /// What it takes in the bundle.
    pub(crate) bytes: u64,
}

pub(crate) use self::{charts::duration, confusion::ratio as share};

/// The page.
pub(crate) fn render(report: &Report) -> String {
    page::page(report)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A report with something in every part, and text that must be escaped.
    pub(crate) fn sample() -> Report {
        let families = ["ridge", "knn", "linear-svm", "forest", "boosted", "mlp", "rbf-svm"];
        let accuracies = [0.902, 0.921, 0.934, 0.951, 0.958, 0.957, 0.961];
        let lazy = families.iter().zip(accuracies).zip([0.4, 0.6, 1.1, 2.4, 4.8, 6.5, 9.2]);
        let lazy: Vec<LazyPoint> = lazy
            .zip(1_u64..)
            .map(|(((family, accuracy), seconds), revision)| LazyPoint {
                seconds,
                revision,
                members: usize::try_from(revision).unwrap(),
                family: (*family).to_owned(),
                accuracy,
                interval: (accuracy - 0.02, accuracy + 0.015),
            })
            .collect();
        let outcome = |revision, accuracy, confusion: [u64; 25]| Outcome {
            revision,
            accuracy,
            interval: (accuracy - 0.05, accuracy + 0.04),
            missed_events: Some((1.0 - accuracy) / 2.0),
            rows: confusion.iter().sum(),
            confusion: confusion.to_vec(),
            parts: vec![("as trained".to_owned(), 38, 40), ("lighter <new>".to_owned(), 21, 40)],
        };
        let devices = ["pi4", "nuc", "vm2", "vm8", "vm16"];
        let rtts = [3_000.0, 14_000.0, 128_000.0, 64_000.0, 84_000.0];
        let policy = |name: &str, max: f64, chosen: &str, voters: usize| Policy {
            name: name.to_owned(),
            asks: format!("answers within {} ms", max / 1000.0),
            latency_max_us: max,
            candidates: devices
                .iter()
                .zip(rtts)
                .map(|(device, rtt_us)| Candidate {
                    device: (*device).to_owned(),
                    chosen: *device == chosen,
                    families: families[..voters].iter().map(ToString::to_string).collect(),
                    accuracy: accuracies[voters - 1],
                    rtt_us,
                    transfer_us: 120.0,
                    queue_us: 300.0,
                    service_us: 900.0,
                    total_us: rtt_us + 1320.0,
                    measured_us: (*device == chosen).then_some(rtt_us + 1100.0),
                    refused: if *device == chosen { "" } else { "slower & not better" }.to_owned(),
                })
                .collect(),
            why: vec!["nuc: 7 voters, <accuracy> 0.961".to_owned()],
        };
        let latency = |device: &str, policy: &str, transport_us: f64, vote_us: f64| Latency {
            device: device.to_owned(),
            policy: policy.to_owned(),
            answers: 240,
            voters: 7,
            gate_us: 14.0,
            vote_us,
            transport_us,
            p50_us: transport_us + vote_us + 14.0,
            p99_us: transport_us * 1.2 + vote_us * 2.0,
        };
        Report {
            title: "Sensemble: what is this machine doing?".to_owned(),
            subtitle: "Five workloads & one machine".to_owned(),
            facts: vec![("machine".to_owned(), "2 cores, x86_64".to_owned())],
            story: vec![
                (0.4, "the fleet is up".to_owned()),
                (42.0, "5 rounds recorded".to_owned()),
            ],
            lazy,
            first_answer_s: Some(0.6),
            all_members_s: Some(9.4),
            classes: ["idle", "cpu", "memory", "disk", "network"].map(str::to_owned).to_vec(),
            before: outcome(
                7,
                0.74,
                [16, 0, 0, 0, 0, 6, 10, 0, 0, 0, 3, 0, 12, 1, 0, 5, 0, 0, 11, 0, 0, 0, 6, 0, 10],
            ),
            after: outcome(
                8,
                0.94,
                [16, 0, 0, 0, 0, 1, 15, 0, 0, 0, 0, 1, 15, 0, 0, 2, 0, 0, 14, 0, 0, 0, 1, 0, 15],
            ),
            latency: vec![
                latency("nuc", "best-effort", 14_300.0, 820.0),
                latency("pi4", "low-latency", 3_200.0, 90.0),
            ],
            policies: vec![
                policy("best-effort", 300_000.0, "nuc", 7),
                policy("low-latency", 8_000.0, "pi4", 2),
            ],
            members: families
                .iter()
                .zip(accuracies)
                .map(|(family, accuracy)| Member {
                    family: (*family).to_owned(),
                    weight: accuracy - 0.5,
                    accuracy,
                    fit_seconds: 0.31,
                    bytes: 48_213,
                })
                .collect(),
            notes: vec!["windows <overlap>".to_owned()],
        }
    }

    #[test]
    fn the_page_stands_alone() {
        let page = render(&sample());
        for outside in ["<script", "http://", "https://", "src=", "<link", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        for part in ["lazy", "confusion", "latency", "placements", "members"] {
            assert!(page.contains(&format!("id=\"{part}\"")), "{part}");
        }
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    }

    #[test]
    fn what_came_from_outside_is_escaped() {
        let mut report = sample();
        let evil = "<b onclick='x()'>&\"";
        report.title = evil.to_owned();
        report.subtitle = evil.to_owned();
        report.classes[1] = evil.to_owned();
        report.facts.push((evil.to_owned(), evil.to_owned()));
        report.story.push((1.0, evil.to_owned()));
        report.notes.push(evil.to_owned());
        report.lazy[0].family = evil.to_owned();
        report.latency[0].device = evil.to_owned();
        report.policies[0].asks = evil.to_owned();
        report.policies[0].why.push(evil.to_owned());
        report.policies[0].candidates[0].device = evil.to_owned();
        report.policies[0].candidates[1].refused = evil.to_owned();
        report.members[0].family = evil.to_owned();
        report.before.parts[0].0 = evil.to_owned();
        assert!(!render(&report).contains("<b onclick"));
    }

    #[test]
    fn an_empty_report_and_wild_numbers_are_a_page_too() {
        let empty = render(&Report::default());
        assert!(empty.contains("</html>"));
        let mut report = sample();
        report.lazy[0].accuracy = f64::NAN;
        report.lazy[1].seconds = f64::INFINITY;
        report.latency[0].transport_us = f64::NAN;
        report.policies[0].candidates[0].total_us = f64::INFINITY;
        report.before.confusion.pop();
        report.members[0].weight = f64::NAN;
        let page = render(&report);
        assert!(!page.contains("NaN") && !page.contains("inf"), "drawn as a number");
    }
}
