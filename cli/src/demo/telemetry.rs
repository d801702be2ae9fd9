//! This machine as a sensor: what the kernel counts, as a stream of samples.
//!
//! Everything comes from `/proc`. Counters become rates, so that a sample says what happened since
//! the one before; rates reach over many orders of magnitude and are therefore given as logarithms.
//! What a machine does not offer (pressure on Raspberry Pi OS, disks in a container) is left out
//! and said. Without `/proc` a few channels from sysinfo take its place.

use std::{collections::BTreeMap, fs, thread, time::Duration};

use tokio::{sync::mpsc, time::Instant};

/// Samples a second.
pub(crate) const RATE_HZ: f64 = 10.0;
/// Time between two samples; 1 / [`RATE_HZ`].
const PERIOD: Duration = Duration::from_millis(100);
/// Samples that wait for a reader; what comes when it is full is dropped.
const WAITING_MAX: usize = 64;

/// How a channel is made of what the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A counter, as ln(1 + counts per second).
    Rate,
    /// A counter of clock ticks, as the share of all ticks since the last sample.
    Ticks,
    /// A counter of microseconds, as the share of the time since the last sample.
    Micros,
    /// A level in KiB, as asinh(change in MiB per second): the level itself would tell a model
    /// what was running *before*.
    Swing,
    /// A level, as ln(1 + level).
    Level,
}

/// What is recorded where the kernel offers it: the file it stands in, the channel, its form.
///
/// Load averages are not here: they remember the minute before.
const CHANNELS: &[(&str, &str, Form)] = &[
    ("stat", "cpu_user", Form::Ticks),
    ("stat", "cpu_system", Form::Ticks),
    ("stat", "cpu_idle", Form::Ticks),
    ("stat", "cpu_iowait", Form::Ticks),
    ("stat", "cpu_irq", Form::Ticks),
    ("stat", "context_switches", Form::Rate),
    ("stat", "interrupts", Form::Rate),
    ("stat", "softirq_net", Form::Rate),
    ("stat", "softirq_block", Form::Rate),
    ("stat", "forks", Form::Rate),
    ("vmstat", "page_faults", Form::Rate),
    ("vmstat", "pages_freed", Form::Rate),
    ("vmstat", "paged_in", Form::Rate),
    ("vmstat", "paged_out", Form::Rate),
    ("meminfo", "memory_free", Form::Swing),
    ("meminfo", "memory_cached", Form::Swing),
    ("meminfo", "memory_dirty", Form::Swing),
    ("net/dev", "loopback_bytes", Form::Rate),
    ("net/dev", "loopback_packets", Form::Rate),
    ("diskstats", "disk_reads", Form::Rate),
    ("diskstats", "disk_writes", Form::Rate),
    ("diskstats", "disk_sectors_read", Form::Rate),
    ("diskstats", "disk_sectors_written", Form::Rate),
    ("loadavg", "running", Form::Level),
    ("pressure/cpu", "pressure_cpu", Form::Micros),
    ("pressure/io", "pressure_io", Form::Micros),
    ("pressure/memory", "pressure_memory", Form::Micros),
];

/// What was read at one moment, by channel.
type Reading = BTreeMap<&'static str, f64>;

/// Reads the machine and turns counters into rates.
#[derive(Debug)]
pub(crate) struct Probe {
    source: Source,
    channels: Vec<(&'static str, Form)>,
    missing: Vec<&'static str>,
    last: Option<(Instant, Reading)>,
}

#[derive(Debug)]
enum Source {
    Proc,
    Sysinfo(Box<sysinfo::System>, sysinfo::Networks),
}

impl Probe {
    /// Looks at what this machine offers.
    ///
    /// # Errors
    ///
    /// When there is neither `/proc` nor anything that sysinfo knows.
    pub(crate) fn open() -> Result<Self, sysinfo::Error> {
        let mut source = if fs::metadata("/proc/stat").is_ok() {
            Source::Proc
        } else {
            let networks = sysinfo::Networks::new_with_refreshed_list()?;
            Source::Sysinfo(Box::new(sysinfo::System::new()?), networks)
        };
        let offered = source.read();
        let (there, missing): (Vec<_>, Vec<_>) =
            CHANNELS.iter().partition(|(_, name, _)| offered.contains_key(name));
        Ok(Self {
            source,
            channels: there.into_iter().map(|&(_, name, form)| (name, form)).collect(),
            missing: missing.into_iter().map(|&(_, name, _)| name).collect(),
            last: None,
        })
    }

    /// The names of the channels, in the order of a sample's values.
    pub(crate) fn channels(&self) -> Vec<String> {
        self.channels.iter().map(|(name, _)| (*name).to_owned()).collect()
    }

    /// What this machine does not offer.
    pub(crate) fn missing(&self) -> &[&'static str] {
        &self.missing
    }

    /// What happened since the last call; nothing at the first one.
    pub(crate) fn sample(&mut self, now: Instant) -> Option<Vec<f32>> {
        let reading = self.source.read();
        let last = self.last.replace((now, reading));
        let (before, old) = last?;
        let (_, new) = self.last.as_ref()?;
        let seconds = now.duration_since(before).as_secs_f64().max(1e-3);
        Some(values(&self.channels, &old, new, seconds))
    }
}

/// One sample from two readings that lie `seconds` apart. Every value is finite.
fn values(
    channels: &[(&'static str, Form)],
    old: &Reading,
    new: &Reading,
    seconds: f64,
) -> Vec<f32> {
    let step = |name: &str| match (old.get(name), new.get(name)) {
        (Some(old), Some(new)) => new - old,
        _ => 0.0,
    };
    let ticks: f64 = channels
        .iter()
        .filter(|(_, form)| *form == Form::Ticks)
        .map(|(name, _)| step(name).max(0.0))
        .sum();
    channels
        .iter()
        .map(|&(name, form)| {
            let value = match form {
                // A counter that went back (it wrapped, a disk was pulled) counts as standing still.
                Form::Rate => (step(name).max(0.0) / seconds).ln_1p(),
                Form::Ticks => step(name).max(0.0) / ticks.max(1.0),
                Form::Micros => (step(name).max(0.0) / (seconds * 1e6)).min(1.0),
                Form::Swing => (step(name) / 1024.0 / seconds).asinh(),
                Form::Level => new.get(name).copied().unwrap_or(0.0).max(0.0).ln_1p(),
            };
            narrow(value)
        })
        .collect()
}

#[expect(clippy::cast_possible_truncation, reason = "shares and logarithms of 64-bit counters")]
fn narrow(value: f64) -> f32 {
    if value.is_finite() { value as f32 } else { 0.0 }
}

impl Source {
    fn read(&mut self) -> Reading {
        let mut reading = Reading::new();
        match self {
            Self::Proc => {
                for (file, parse) in FILES {
                    if let Ok(text) = fs::read_to_string(format!("/proc/{file}")) {
                        parse(&text, &mut reading);
                    }
                }
            }
            Self::Sysinfo(system, networks) => {
                system.refresh_cpu_usage();
                system.refresh_memory();
                networks.refresh(true);
                // A usage is a share of the last stretch; as a level it needs no second reading.
                reading.insert("running", f64::from(system.global_cpu_usage()));
                reading.insert("memory_free", kib(system.free_memory()));
                let loopback =
                    networks.iter().find(|(name, _)| name.to_string_lossy().starts_with("lo"));
                if let Some((_, network)) = loopback {
                    reading.insert("loopback_bytes", wide(network.total_received()));
                    reading.insert("loopback_packets", wide(network.total_packets_received()));
                }
            }
        }
        reading
    }
}

#[expect(clippy::cast_precision_loss, reason = "a counter's difference is far below 2^52")]
fn wide(count: u64) -> f64 {
    count as f64
}

fn kib(bytes: u64) -> f64 {
    wide(bytes) / 1024.0
}

/// Reads what one file of `/proc` says.
type Parse = fn(&str, &mut Reading);

/// What each file of `/proc` says, by channel.
const FILES: &[(&str, Parse)] = &[
    ("stat", stat),
    ("vmstat", vmstat),
    ("meminfo", meminfo),
    ("net/dev", net_dev),
    ("diskstats", diskstats),
    ("loadavg", loadavg),
    ("pressure/cpu", |text, reading| pressure("pressure_cpu", text, reading)),
    ("pressure/io", |text, reading| pressure("pressure_io", text, reading)),
    ("pressure/memory", |text, reading| pressure("pressure_memory", text, reading)),
];

/// The numbers of a line after its first word.
fn numbers(line: &str) -> Vec<f64> {
    line.split_whitespace().skip(1).map_while(|word| word.parse().ok()).collect()
}

fn sum(numbers: &[f64], at: &[usize]) -> f64 {
    at.iter().filter_map(|&at| numbers.get(at)).sum()
}

fn stat(text: &str, reading: &mut Reading) {
    for line in text.lines() {
        let Some(key) = line.split_whitespace().next() else { continue };
        let numbers = numbers(line);
        match key {
            // user nice system idle iowait irq softirq …
            "cpu" if numbers.len() >= 4 => {
                reading.insert("cpu_user", sum(&numbers, &[0, 1]));
                reading.insert("cpu_system", sum(&numbers, &[2]));
                reading.insert("cpu_idle", sum(&numbers, &[3]));
                reading.insert("cpu_iowait", sum(&numbers, &[4]));
                reading.insert("cpu_irq", sum(&numbers, &[5, 6]));
            }
            "ctxt" => drop(reading.insert("context_switches", sum(&numbers, &[0]))),
            "intr" => drop(reading.insert("interrupts", sum(&numbers, &[0]))),
            "processes" => drop(reading.insert("forks", sum(&numbers, &[0]))),
            // total HI TIMER NET_TX NET_RX BLOCK …
            "softirq" if numbers.len() >= 6 => {
                reading.insert("softirq_net", sum(&numbers, &[3, 4]));
                reading.insert("softirq_block", sum(&numbers, &[5]));
            }
            _ => {}
        }
    }
}

fn vmstat(text: &str, reading: &mut Reading) {
    for line in text.lines() {
        let name = match line.split_whitespace().next() {
            Some("pgfault") => "page_faults",
            Some("pgfree") => "pages_freed",
            Some("pgpgin") => "paged_in",
            Some("pgpgout") => "paged_out",
            _ => continue,
        };
        reading.insert(name, sum(&numbers(line), &[0]));
    }
}

fn meminfo(text: &str, reading: &mut Reading) {
    for line in text.lines() {
        let name = match line.split_whitespace().next() {
            Some("MemFree:") => "memory_free",
            Some("Cached:") => "memory_cached",
            Some("Dirty:") => "memory_dirty",
            _ => continue,
        };
        reading.insert(name, sum(&numbers(line), &[0]));
    }
}

fn net_dev(text: &str, reading: &mut Reading) {
    let loopback = text.lines().find_map(|line| line.trim_start().strip_prefix("lo:"));
    if let Some(columns) = loopback {
        let columns: Vec<f64> =
            columns.split_whitespace().map_while(|word| word.parse().ok()).collect();
        reading.insert("loopback_bytes", sum(&columns, &[0]));
        reading.insert("loopback_packets", sum(&columns, &[1]));
    }
}

/// The sum over whole disks; partitions would count everything twice.
fn diskstats(text: &str, reading: &mut Reading) {
    let mut disks: Vec<&str> = Vec::new();
    let mut totals = [0.0; 4];
    for line in text.lines() {
        let mut words = line.split_whitespace().skip(2);
        let Some(name) = words.next() else { continue };
        let virtual_disk =
            ["loop", "ram", "zram", "dm-", "md"].iter().any(|kind| name.starts_with(kind));
        if virtual_disk || disks.iter().any(|disk| is_partition(name, disk)) {
            continue;
        }
        disks.push(name);
        // reads merged sectors ms writes merged sectors ms …
        let columns: Vec<f64> = words.map_while(|word| word.parse().ok()).collect();
        for (total, at) in totals.iter_mut().zip([0, 4, 2, 6]) {
            *total += sum(&columns, &[at]);
        }
    }
    if !disks.is_empty() {
        reading.insert("disk_reads", totals[0]);
        reading.insert("disk_writes", totals[1]);
        reading.insert("disk_sectors_read", totals[2]);
        reading.insert("disk_sectors_written", totals[3]);
    }
}

/// `sda1` of `sda`, `mmcblk0p2` of `mmcblk0`.
fn is_partition(name: &str, disk: &str) -> bool {
    name.strip_prefix(disk).is_some_and(|rest| {
        let digits = rest.strip_prefix('p').unwrap_or(rest);
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// `0.10 0.20 0.30 2/95 1234`: two are running.
fn loadavg(text: &str, reading: &mut Reading) {
    let running = text
        .split_whitespace()
        .nth(3)
        .and_then(|word| word.split_once('/'))
        .and_then(|(running, _)| running.parse().ok());
    if let Some(running) = running {
        reading.insert("running", running);
    }
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=1234`, in microseconds.
fn pressure(name: &'static str, text: &str, reading: &mut Reading) {
    let total = text
        .lines()
        .find(|line| line.starts_with("some"))
        .and_then(|line| line.rsplit_once("total="))
        .and_then(|(_, total)| total.trim().parse().ok());
    if let Some(total) = total {
        reading.insert(name, total);
    }
}

/// The samples of a thread that does nothing but take them.
#[derive(Debug)]
pub(crate) struct Stream {
    samples: mpsc::Receiver<Vec<f32>>,
}

impl Stream {
    /// Starts to sample, [`RATE_HZ`] times a second, until the stream is dropped.
    ///
    /// # Errors
    ///
    /// When no thread can be had.
    pub(crate) fn start(mut probe: Probe) -> std::io::Result<Self> {
        let (sender, samples) = mpsc::channel(WAITING_MAX);
        thread::Builder::new().name("telemetry".to_owned()).spawn(move || {
            let mut due = Instant::now();
            while !sender.is_closed() {
                if let Some(sample) = probe.sample(Instant::now()) {
                    // A reader that is busy elsewhere calls `fresh` when it comes back.
                    let _full = sender.try_send(sample);
                }
                due += PERIOD;
                let now = Instant::now();
                match due.checked_duration_since(now) {
                    Some(wait) => thread::sleep(wait),
                    // Late by more than a period: do not catch up with a burst.
                    None => due = now,
                }
            }
        })?;
        Ok(Self { samples })
    }

    /// Forgets what has waited: the next sample is of now.
    pub(crate) fn fresh(&mut self) {
        while self.samples.try_recv().is_ok() {}
    }

    /// The next sample; `None` when the thread has ended.
    pub(crate) async fn next(&mut self) -> Option<Vec<f32>> {
        self.samples.recv().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  100 10 50 800 20 3 7 0 0 0\ncpu0 1 2 3\nintr 500 1 2\nctxt 900\n\
                        btime 1\nprocesses 42\nsoftirq 99 1 2 3 4 5 6\n";
    const DISKS: &str = "   7 0 loop0 9 9 9 9 9 9 9\n 8 0 sda 10 0 80 5 20 0 160 7 0 0 0\n \
                         8 1 sda1 10 0 80 5 20 0 160 7 0 0 0\n 179 0 mmcblk0 1 0 2 0 3 0 4 0\n \
                         179 1 mmcblk0p1 1 0 2 0 3 0 4 0\n";

    fn read(parse: fn(&str, &mut Reading), text: &str) -> Reading {
        let mut reading = Reading::new();
        parse(text, &mut reading);
        reading
    }

    #[test]
    fn the_files_of_proc_are_read_as_the_kernel_writes_them() {
        let reading = read(stat, STAT);
        assert_eq!(reading["cpu_user"], 110.0);
        assert_eq!(reading["cpu_irq"], 10.0);
        assert_eq!(reading["context_switches"], 900.0);
        assert_eq!(reading["interrupts"], 500.0);
        assert_eq!(reading["softirq_net"], 7.0);
        assert_eq!(reading["softirq_block"], 5.0);
        assert_eq!(read(vmstat, "pgpgin 5\npgfault 7\n")["page_faults"], 7.0);
        assert_eq!(read(meminfo, "MemFree:  2048 kB\nDirty: 4 kB\n")["memory_free"], 2048.0);
        let net = read(net_dev, "Inter-|\n face |\n    lo:    3193      29    0\n eth0: 9 9 9\n");
        assert_eq!(net["loopback_bytes"], 3193.0);
        assert_eq!(net["loopback_packets"], 29.0);
        assert_eq!(read(loadavg, "2.11 2.24 1.58 3/95 24353\n")["running"], 3.0);
        let some = "some avg10=0.00 avg60=0.00 avg300=0.00 total=77\nfull avg10=0.00 total=1\n";
        assert_eq!(read(FILES[6].1, some)["pressure_cpu"], 77.0);
    }

    #[test]
    fn a_partition_is_not_counted_beside_its_disk() {
        let reading = read(diskstats, DISKS);
        assert_eq!(reading["disk_reads"], 11.0);
        assert_eq!(reading["disk_writes"], 23.0);
        assert_eq!(reading["disk_sectors_read"], 82.0);
        assert_eq!(reading["disk_sectors_written"], 164.0);
    }

    #[test]
    fn counters_become_rates_and_shares() {
        let channels = [
            ("cpu_user", Form::Ticks),
            ("cpu_idle", Form::Ticks),
            ("page_faults", Form::Rate),
            ("memory_free", Form::Swing),
            ("pressure_cpu", Form::Micros),
            ("running", Form::Level),
        ];
        let old = Reading::from([
            ("cpu_user", 100.0),
            ("cpu_idle", 100.0),
            ("page_faults", 1000.0),
            ("memory_free", 4096.0),
            ("pressure_cpu", 0.0),
            ("running", 1.0),
        ]);
        let new = Reading::from([
            ("cpu_user", 105.0),
            ("cpu_idle", 115.0),
            ("page_faults", 1500.0),
            ("memory_free", 3072.0),
            ("pressure_cpu", 250_000.0),
            ("running", 3.0),
        ]);
        let sample = values(&channels, &old, &new, 0.5);
        let expected = [0.25, 0.75, 1000.0_f32.ln_1p(), (-2.0_f32).asinh(), 0.5, 3.0_f32.ln_1p()];
        for (value, expected) in sample.iter().zip(expected) {
            assert!((value - expected).abs() < 1e-5, "{sample:?}");
        }
    }

    #[test]
    fn a_counter_that_goes_back_or_away_stands_still() {
        let channels = [("page_faults", Form::Rate), ("cpu_user", Form::Ticks)];
        let old = Reading::from([("page_faults", 10.0), ("cpu_user", 5.0)]);
        let new = Reading::from([("page_faults", 3.0)]);
        assert_eq!(values(&channels, &old, &new, 0.1), [0.0, 0.0]);
    }

    #[test]
    fn garbage_is_left_out() {
        for (_, parse) in FILES {
            for text in ["", "\n\n", "cpu\n", "cpu x y z\nsoftirq 1\n", "lo:\n", "some total=x"] {
                let reading = read(*parse, text);
                assert!(reading.values().all(|value| value.is_finite()));
            }
        }
    }

    #[test]
    fn this_machine_is_a_sensor_or_says_what_is_missing() {
        let mut probe = Probe::open().unwrap();
        assert!(!probe.channels().is_empty());
        assert_eq!(probe.channels().len() + probe.missing().len(), CHANNELS.len());
        let now = Instant::now();
        assert_eq!(probe.sample(now), None);
        let sample = probe.sample(now + PERIOD).expect("a second reading makes a sample");
        assert_eq!(sample.len(), probe.channels().len());
        assert!(sample.iter().all(|value| value.is_finite()));
    }
}
