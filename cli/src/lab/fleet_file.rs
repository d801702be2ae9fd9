//! A fleet from a TOML file.
//!
//! ```toml
//! [[device]]
//! name = "pi-4"
//! rtt_ms = 3
//! cpu_cores = 0.25
//! memory_mib = 1024
//! site = "home"      # optional: where `up` stands when absent
//! ```

use std::{collections::BTreeSet, io, path::PathBuf, time::Duration};

use super::{Fleet, LabDevice};

/// More nodes than one machine can be.
const DEVICES_MAX: usize = 64;
/// Further away than the moon.
const RTT_MS_MAX: f64 = 60_000.0;

/// Why a file is no fleet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FleetFileError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It is not TOML, or says something that is not known.
    #[error("not a fleet")]
    Parse(#[from] toml::de::Error),
    /// None, or too many.
    #[error("{devices} devices; a lab has 1 to {DEVICES_MAX}")]
    Count {
        /// How many there are.
        devices: usize,
    },
    /// A name that would not do.
    #[error("{name:?} is no name for a device: use letters, digits, dots, dashes and underscores")]
    Name {
        /// What was given.
        name: String,
    },
    /// The same name twice.
    #[error("device {name:?} is there twice")]
    Twice {
        /// The name.
        name: String,
    },
    /// A number out of its range.
    #[error("{what} = {value} of device {name:?} must be {range}")]
    Range {
        /// The device.
        name: String,
        /// The key.
        what: &'static str,
        /// What was given.
        value: f64,
        /// What may be given.
        range: &'static str,
    },
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    device: Vec<RawDevice>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDevice {
    name: String,
    rtt_ms: f64,
    cpu_cores: f64,
    memory_mib: u32,
    site: Option<String>,
}

impl Fleet {
    /// Reads the fleet in the file at `path`.
    ///
    /// # Errors
    ///
    /// Every variant of [`FleetFileError`].
    pub(crate) fn read(path: PathBuf) -> Result<Self, FleetFileError> {
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text),
            Err(source) => Err(FleetFileError::Unreadable { path, source }),
        }
    }

    /// Reads a fleet.
    ///
    /// # Errors
    ///
    /// Every variant of [`FleetFileError`] but [`FleetFileError::Unreadable`].
    pub(crate) fn parse(text: &str) -> Result<Self, FleetFileError> {
        let Raw { device: raw } = toml::from_str(text)?;
        if raw.is_empty() || DEVICES_MAX < raw.len() {
            return Err(FleetFileError::Count { devices: raw.len() });
        }
        let mut names = BTreeSet::new();
        let devices = raw.into_iter().map(|raw| {
            let RawDevice { name, rtt_ms, cpu_cores, memory_mib, site } = raw;
            let range = |what, value, holds: bool, range| {
                let name = name.clone();
                if holds { Ok(()) } else { Err(FleetFileError::Range { name, what, value, range }) }
            };
            if !node::config::is_name(&name) {
                return Err(FleetFileError::Name { name });
            }
            if !names.insert(name.clone()) {
                return Err(FleetFileError::Twice { name });
            }
            let near = (0.0..=RTT_MS_MAX).contains(&rtt_ms);
            range("rtt_ms", rtt_ms, near, "between 0 and 60000")?;
            range(
                "cpu_cores",
                cpu_cores,
                0.01 <= cpu_cores && cpu_cores.is_finite(),
                "0.01 or more",
            )?;
            range("memory_mib", f64::from(memory_mib), 0 < memory_mib, "1 or more")?;
            Ok(LabDevice {
                rtt: Duration::from_secs_f64(rtt_ms / 1_000.0),
                cpu_cores,
                memory_bytes: u64::from(memory_mib) << 20,
                site,
                name,
            })
        });
        Ok(Self { devices: devices.collect::<Result<_, _>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PI: &str = "[[device]]\nname = \"pi\"\nrtt_ms = 2.5\ncpu_cores = 0.5\nmemory_mib = 512\n";

    #[test]
    fn a_fleet_is_what_its_file_says() {
        let fleet = Fleet::parse(&format!("{PI}site = \"shed\"\n")).unwrap();
        let expected = LabDevice {
            name: "pi".to_owned(),
            rtt: Duration::from_micros(2_500),
            cpu_cores: 0.5,
            memory_bytes: 512 << 20,
            site: Some("shed".to_owned()),
        };
        assert_eq!(fleet.devices, [expected]);
    }

    #[test]
    fn each_way_of_being_wrong_has_its_error() {
        let error = |text: &str| Fleet::parse(text).unwrap_err();
        assert!(matches!(error(""), FleetFileError::Count { devices: 0 }));
        assert!(matches!(error("[[device]]\n"), FleetFileError::Parse(_)));
        assert!(matches!(error(&format!("{PI}cores = 2\n")), FleetFileError::Parse(_)));
        assert!(matches!(error(&format!("{PI}{PI}")), FleetFileError::Twice { .. }));
        assert!(matches!(error(&PI.replace("pi", "../pi")), FleetFileError::Name { .. }));
        for (from, to) in [("2.5", "-1.0"), ("2.5", "nan"), ("0.5", "0.0"), ("512", "0")] {
            assert!(matches!(error(&PI.replace(from, to)), FleetFileError::Range { .. }), "{to}");
        }
        let many: String =
            (0..=DEVICES_MAX).map(|at| PI.replace("pi", &format!("pi-{at}"))).collect();
        assert!(matches!(error(&many), FleetFileError::Count { .. }));
    }
}
