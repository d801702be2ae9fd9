//! What is written to `--json FILE`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    kernels::{Gated, Kernels},
    load::Found,
};

/// The figures that the project promises, flat. What was not measured is `null`.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Summary {
    /// One client, seven members: p50 over (p50 of an empty server + p50 of the kernels).
    pub(crate) overhead_p50_ratio: Option<f64>,
    pub(crate) overhead_p99_ratio: Option<f64>,
    /// The same of three members.
    pub(crate) overhead_p50_ratio_3: Option<f64>,
    pub(crate) overhead_p99_ratio_3: Option<f64>,
    /// Answers a second over the peer's: server and one client on one core.
    pub(crate) rps_vs_mlserver_7: Option<f64>,
    /// 99th percentile over the peer's there.
    pub(crate) p99_vs_mlserver_7: Option<f64>,
    pub(crate) rps_vs_best_python_7: Option<f64>,
    pub(crate) rps_vs_mlserver_3: Option<f64>,
    pub(crate) rps_vs_onnx_3: Option<f64>,
    /// Open loop at 70 % of the peak: p99 over p50.
    pub(crate) open_p99_over_p50: Option<f64>,
    /// Mean time of gate and vote over that of the vote alone, kernels only, at 70 % background.
    pub(crate) two_stage_ratio_70: Option<f64>,
    /// … over that of a vote that asks every member, as the paper's does.
    pub(crate) two_stage_ratio_70_to_full_vote: Option<f64>,
    /// As `two_stage_ratio_70`, of the processor time of the whole server.
    pub(crate) two_stage_server_ratio_70: Option<f64>,
    /// Answers in time a second under ten times the peak, over the peak.
    pub(crate) overload_goodput: Option<f64>,
    /// Growth of the server's memory in that time.
    pub(crate) overload_rss_growth: Option<f64>,
    pub(crate) overload_recovery_s: Option<f64>,
    /// p99 of a polite client beside rude ones, over that without them.
    pub(crate) rude_p99_ratio: Option<f64>,
    pub(crate) swaps: Option<u64>,
    pub(crate) swap_p99_ratio: Option<f64>,
    pub(crate) swap_failed: Option<u64>,
    pub(crate) swap_mixed: Option<u64>,
    pub(crate) drains: Option<u64>,
    /// Requests that failed after one retry.
    pub(crate) drain_failed: Option<u64>,
    /// p99 of a task while others are loaded, over that before.
    pub(crate) loading_p99_ratio: Option<f64>,
    /// p99 of a task beside one whose requests take long, over that alone.
    pub(crate) slow_neighbour_p99_ratio: Option<f64>,
    pub(crate) tasks_100_rss_mib: Option<f64>,
    pub(crate) tasks_100_p99_us: Option<f64>,
    /// Processor time of an answer of a worker that has a collector nobody asks for, over one without.
    pub(crate) unsampled_cpu_ratio: Option<f64>,
    /// … of one that tells of every request.
    pub(crate) traced_cpu_ratio: Option<f64>,
    /// … and the median of its latency.
    pub(crate) traced_p50_ratio: Option<f64>,
    pub(crate) cold_start_ms: Option<f64>,
    /// With the seven members, after load.
    pub(crate) rss_mib: Option<f64>,
    pub(crate) soak_minutes: Option<f64>,
    pub(crate) soak_rss_mib_per_hour: Option<f64>,
    pub(crate) soak_descriptors_growth: Option<i64>,
}

/// Everything.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) quick: bool,
    /// Idle cores were left to the machine, which may stop them.
    pub(crate) cores_may_sleep: bool,
    pub(crate) machine: String,
    pub(crate) skipped: Vec<String>,
    /// Loads by name, in the order in which they were run.
    pub(crate) loads: Vec<(String, Found)>,
    pub(crate) kernels: BTreeMap<String, Kernels>,
    pub(crate) gated: Vec<Gated>,
    pub(crate) summary: Summary,
}
