//! A fleet on one machine: devices with a declared share of it, and a declared distance.
//!
//! By default the five machines that MLIoT's slides measure (Boovaraghavan et al., IoTDI 2021): a
//! Raspberry Pi 4, an Intel NUC, and cloud VMs of 2, 8 and 16 cores, with the round trips that the
//! slides give. The shares are ours, see [`Fleet::paper`].

mod fleet_file;
pub(crate) mod proxy;

use std::time::Duration;

/// The least share of the machine that a device of the lab gets, in cores: with less it spends its
/// time on being a device.
const CORES_MIN: f64 = 0.1;

/// Where the virtual machines stand.
const CLOUD: &str = "cloud";

/// A device of the lab.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LabDevice {
    /// Its name in the fleet.
    pub(crate) name: String,
    /// How far it is from the apps: what a round trip takes at least.
    pub(crate) rtt: Duration,
    /// The share of this machine that it gets.
    pub(crate) cpu_cores: f64,
    /// The memory that it says it has.
    pub(crate) memory_bytes: u64,
    /// Where it stands; where `up` does when absent.
    pub(crate) site: Option<String>,
}

/// The devices of a lab, in the order in which they are shown.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fleet {
    /// At least one; each name once.
    pub(crate) devices: Vec<LabDevice>,
}

impl Fleet {
    /// The five machines of the paper on a machine of `cores` cores and `memory_bytes`.
    ///
    /// Each counts as many *units* as it has cores, a core of the Pi counting a quarter of the
    /// others' (our estimate); together they are 31 units, and a unit is a 31st of the cores that
    /// are here. No device gets less than 0.1 cores, so on a small machine the smallest get a little
    /// more than their due:
    ///
    /// ```text
    ///          RTT  units   of 2 cores   of 16 cores
    /// pi-4    3 ms      1         0.10          0.52
    /// nuc    14 ms      4         0.26          2.06
    /// vm-2  128 ms      2         0.13          1.03
    /// vm-8   64 ms      8         0.52          4.13
    /// vm-16  84 ms     16         1.03          8.26
    /// ```
    ///
    /// The Pi and the NUC stand where the apps are; the VMs are in the cloud. Memory is declared as
    /// 4 GB, 8, 8, 32 and 64, scaled so that the largest is what is here.
    #[must_use]
    pub(crate) fn paper(cores: f64, memory_bytes: u64) -> Self {
        let device = |name: &str, rtt_ms, units: f64, gb: u64, site: Option<&str>| LabDevice {
            name: name.to_owned(),
            rtt: Duration::from_millis(rtt_ms),
            cpu_cores: (units * cores / 31.0).max(CORES_MIN),
            memory_bytes: (memory_bytes / 64).saturating_mul(gb),
            site: site.map(str::to_owned),
        };
        Self {
            devices: vec![
                device("pi-4", 3, 1.0, 4, None),
                device("nuc", 14, 4.0, 8, None),
                device("vm-2", 128, 2.0, 8, Some(CLOUD)),
                device("vm-8", 64, 8.0, 32, Some(CLOUD)),
                device("vm-16", 84, 16.0, 64, Some(CLOUD)),
            ],
        }
    }

    /// [`Fleet::paper`] for the machine that this runs on.
    #[must_use]
    pub(crate) fn paper_here() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let cores = f64::from(u32::try_from(cores).unwrap_or(u32::MAX));
        // Unknown memory is no reason to have no lab.
        let memory = sysinfo::System::new().map_or(8 << 30, |mut system| {
            system.refresh_memory();
            system.total_memory()
        });
        Self::paper(cores, memory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_of_the_paper_share_what_is_here() {
        let fleet = Fleet::paper(16.0, 64 << 30);
        let total: f64 = fleet.devices.iter().map(|device| device.cpu_cores).sum();
        assert!((total - 16.0).abs() < 1e-9, "{total}");
        let rtt: Vec<u128> = fleet.devices.iter().map(|device| device.rtt.as_millis()).collect();
        assert_eq!(rtt, [3, 14, 128, 64, 84]);
        assert_eq!(fleet.devices[4].memory_bytes, 64 << 30);
    }

    #[test]
    fn on_a_small_machine_the_smallest_is_still_a_device() {
        let fleet = Fleet::paper(2.0, 8 << 30);
        assert!(fleet.devices.iter().all(|device| CORES_MIN <= device.cpu_cores));
        let total: f64 = fleet.devices.iter().map(|device| device.cpu_cores).sum();
        assert!(total < 2.1, "hardly more than there is: {total}");
    }
}
