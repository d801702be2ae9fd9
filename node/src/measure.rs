//! What this device has, and how much of it is used.

use std::{num::NonZero, time::Duration};

use sysinfo::{
    CpuRefreshKind, MemoryRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, RefreshKind,
    System,
};
use tokio::time::Instant;

/// Two readings closer than this say nothing of the CPU: the kernel counts in ticks.
const READING_AGE_MIN: Duration = Duration::from_millis(250);

/// What was declared for this device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Declared {
    /// Cores; all of the machine's when absent.
    pub(crate) cpu_cores: Option<f64>,
    /// Memory; all of the machine's when absent.
    pub(crate) memory_bytes: Option<u64>,
}

/// One reading.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Reading {
    /// 0..1 of the cores that this device may use.
    pub(crate) cpu_used: f64,
    /// Memory that this device may use.
    pub(crate) memory_bytes: u64,
    /// Of it, what is free.
    pub(crate) memory_free_bytes: u64,
}

/// Reads the machine, or, where a share was declared, our own processes: what others on the machine
/// do is no load of a device that has only a part of it.
#[derive(Debug)]
pub(crate) struct Meter {
    system: System,
    declared: Declared,
    machine_cores: f64,
    last: Option<(Instant, Reading)>,
}

/// The cores that this process may use before any share of ours is held: of the machine, of its
/// affinity, of the container around it.
pub(crate) fn machine_cores() -> f64 {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    f64::from(u32::try_from(cores).unwrap_or(u32::MAX))
}

/// The model of the processor, as it calls itself.
pub(crate) fn cpu_model() -> String {
    let cpus = RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing());
    let system = System::new_with_specifics(cpus).ok();
    let brand = system.as_ref().and_then(|system| system.cpus().first()).map(|cpu| cpu.brand());
    brand.filter(|brand| !brand.is_empty()).map_or_else(System::cpu_arch, str::to_owned)
}

impl Meter {
    /// A meter for a machine of `machine_cores` cores.
    ///
    /// # Errors
    ///
    /// When the system cannot be read at all.
    pub(crate) fn new(declared: Declared, machine_cores: f64) -> Result<Self, sysinfo::Error> {
        let mut system = System::new()?;
        system.refresh_cpu_usage();
        Ok(Self { system, declared, machine_cores, last: None })
    }

    /// Cores that this device may use.
    pub(crate) fn cpu_cores(&self) -> f64 {
        self.declared.cpu_cores.unwrap_or(self.machine_cores)
    }

    /// The declared share of the machine; 1 when none was.
    pub(crate) fn cpu_share(&self) -> f64 {
        self.cpu_cores() / self.machine_cores
    }

    /// Reads now; `ours` are the processes of this device. The last reading is given again when it
    /// is younger than the kernel's counters are fine.
    pub(crate) fn read(&mut self, ours: &[u32], now: Instant) -> Reading {
        if let Some((at, reading)) = self.last
            && now.saturating_duration_since(at) < READING_AGE_MIN
        {
            return reading;
        }
        let pids: Vec<Pid> = ours.iter().copied().map(Pid::from_u32).collect();
        self.system.refresh_cpu_usage();
        self.system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        self.system.refresh_processes_specifics(
            ProcessesToUpdate::Some(&pids),
            true,
            ProcessRefreshKind::nothing().with_cpu().with_memory().without_tasks(),
        );
        let own = || pids.iter().filter_map(|&pid| self.system.process(pid));
        let cpu_used = match self.declared.cpu_cores {
            None => f64::from(self.system.global_cpu_usage()) / 100.0,
            Some(cores) => {
                own().map(|process| f64::from(process.cpu_usage())).sum::<f64>() / 100.0 / cores
            }
        };
        let mut total = self.system.total_memory();
        let mut free = self.system.available_memory();
        if let Some(around) = self.system.cgroup_limits() {
            total = total.min(around.total_memory);
            free = free.min(around.free_memory);
        }
        if let Some(cap) = self.declared.memory_bytes {
            let used: u64 = own().map(sysinfo::Process::memory).sum();
            total = total.min(cap);
            free = free.min(total.saturating_sub(used));
        }
        let reading = Reading {
            cpu_used: if cpu_used.is_finite() { cpu_used.clamp(0.0, 1.0) } else { 0.0 },
            memory_bytes: total,
            memory_free_bytes: free,
        };
        self.last = Some((now, reading));
        reading
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_stays_within_what_was_declared() {
        let declared = Declared { cpu_cores: Some(0.5), memory_bytes: Some(1 << 30) };
        let mut meter = Meter::new(declared, 2.0).unwrap();
        assert!((meter.cpu_share() - 0.25).abs() < 1e-12);
        let ours = [std::process::id()];
        let now = Instant::now();
        let first = meter.read(&ours, now);
        assert_eq!(first.memory_bytes, 1 << 30);
        assert!(first.memory_free_bytes < 1 << 30, "this very process uses some");
        assert!((0.0..=1.0).contains(&first.cpu_used));
        assert_eq!(meter.read(&ours, now), first, "too soon to know anything new");
    }

    #[test]
    fn without_a_share_the_device_is_the_machine() {
        let declared = Declared { cpu_cores: None, memory_bytes: None };
        let mut meter = Meter::new(declared, machine_cores()).unwrap();
        assert!((meter.cpu_share() - 1.0).abs() < 1e-12);
        let reading = meter.read(&[], Instant::now());
        assert!(0 < reading.memory_bytes);
        assert!(reading.memory_free_bytes <= reading.memory_bytes);
    }
}
