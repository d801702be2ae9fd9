//! Which device trains: the one that is free for the most work.

/// What is known of a device that may train.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The device.
    pub device: String,
    /// Cores that nobody uses.
    pub cores_free: f64,
    /// Memory that nobody uses.
    pub memory_free_bytes: u64,
    /// Nanoseconds of a multiply-add.
    pub madd_ns: f64,
    /// Jobs that it trains already.
    pub jobs: usize,
}

impl Candidate {
    /// Free work × free memory: what a training needs of both. Larger is better.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a preference, not a count")]
    pub fn value(&self) -> f64 {
        // A busy machine still has something: training waits for nobody for ever.
        let cores = self.cores_free.max(0.05);
        let gib = self.memory_free_bytes as f64 / f64::from(1 << 30);
        cores / self.madd_ns.max(1e-6) * gib
    }
}

/// The candidates, best first: those with the fewest jobs, then those with the most free work ×
/// memory (so the fastest of equals), then by name.
#[must_use]
pub fn rank(mut candidates: Vec<Candidate>) -> Vec<Candidate> {
    candidates.sort_by(|a, b| {
        a.jobs
            .cmp(&b.jobs)
            .then_with(|| b.value().total_cmp(&a.value()))
            .then_with(|| a.device.cmp(&b.device))
    });
    candidates
}

/// Threads for a training on a device of so many cores: whole ones, at least one.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 1 and 1024"
)]
pub fn threads(cores: f64) -> u32 {
    cores.clamp(1.0, 1024.0).floor() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(device: &str, cores_free: f64, gib: u64, madd_ns: f64, jobs: usize) -> Candidate {
        Candidate {
            device: device.to_owned(),
            cores_free,
            memory_free_bytes: gib << 30,
            madd_ns,
            jobs,
        }
    }

    fn first(candidates: Vec<Candidate>) -> String {
        rank(candidates).remove(0).device
    }

    #[test]
    fn the_most_free_work_and_memory_trains() {
        let (pi, vm) = (candidate("pi", 4.0, 4, 2.0, 0), candidate("vm", 16.0, 32, 1.0, 0));
        assert_eq!(first(vec![pi, vm]), "vm");
    }

    #[test]
    fn of_equals_the_fastest_trains() {
        let (a, b) = (candidate("a", 4.0, 8, 2.0, 0), candidate("b", 4.0, 8, 1.0, 0));
        assert_eq!(first(vec![a, b]), "b");
    }

    #[test]
    fn a_device_that_trains_already_is_left_alone_while_another_is_free() {
        let (busy, free) = (candidate("vm", 16.0, 32, 1.0, 1), candidate("pi", 1.0, 1, 2.0, 0));
        assert_eq!(first(vec![busy, free]), "pi");
    }

    #[test]
    fn threads_are_whole() {
        assert_eq!((threads(0.3), threads(3.9), threads(f64::MAX)), (1, 3, 1024));
    }
}
