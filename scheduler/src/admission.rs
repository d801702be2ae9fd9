//! Admission: a task whose policy cannot be met anywhere is refused, with the numbers of each
//! device that say why.
//!
//! Refused is only what no revision could ever meet on the devices that are there: the latency is
//! compared with a lower bound. What may yet be met (an accuracy that a training might reach, a
//! replica on a device that may join) is admitted and reported as unmet.

use std::fmt;

use crate::{
    latency::{self, least_service_us, least_work, millis},
    placement::{Problem, Reach, TaskFacts, problem::Device},
};

/// What became of a wish to admit a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Some device may hold it.
    Admitted,
    /// No device is there that could say anything.
    NoDevice,
    /// Some device has not been measured yet, and no other can hold it: ask again soon.
    Unmeasured,
    /// No device can hold it.
    Refused(Refusal),
}

/// Why no device can hold a task, device by device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The task.
    pub task: String,
    /// What was asked for, in microseconds; `None` when it was not about time.
    pub latency_us_max: Option<u32>,
    /// From where.
    pub site: String,
    /// One line for each device.
    pub devices: Vec<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.latency_us_max {
            Some(max) => write!(
                f,
                "no device can answer {:?} within {} as seen from {:?}",
                self.task,
                millis(max),
                self.site
            )?,
            None => write!(f, "no device may serve {:?}", self.task)?,
        }
        for line in &self.devices {
            write!(f, "\n  {line}")?;
        }
        write!(f, "\nloosen the policy, or add a device")
    }
}

/// Whether `task` could be met on any device of `problem`.
#[must_use]
pub fn admit(problem: &Problem, name: &str, task: &TaskFacts) -> Admission {
    if problem.devices.is_empty() {
        return Admission::NoDevice;
    }
    let mut unmeasured = false;
    let mut lines = Vec::new();
    for (device_name, device) in &problem.devices {
        match judge(problem, task, device) {
            Ok(()) => return Admission::Admitted,
            Err(No::Unmeasured) => {
                unmeasured = true;
                lines.push(format!("{device_name}: not measured yet"));
            }
            Err(No::Never(why)) => lines.push(format!("{device_name}: {why}")),
        }
    }
    if unmeasured {
        return Admission::Unmeasured;
    }
    Admission::Refused(Refusal {
        task: name.to_owned(),
        latency_us_max: task.policy.latency_us_max,
        site: task.site(problem).to_owned(),
        devices: lines,
    })
}

enum No {
    Unmeasured,
    Never(String),
}

fn judge(problem: &Problem, task: &TaskFacts, device: &Device) -> Result<(), No> {
    let site = task.site(problem);
    let place = &task.policy.place;
    if place.on_site && device.site != site {
        return Err(No::Never(format!(
            "stands at {:?}, and the policy keeps to {site:?}",
            device.site
        )));
    }
    if let Some(arch) = place.arch.as_ref().filter(|arch| **arch != device.arch) {
        return Err(No::Never(format!("is {}, and the policy requires {arch}", device.arch)));
    }
    let Some(max) = task.policy.latency_us_max else { return Ok(()) };
    let rtt = match device.reach(site) {
        Reach::Unmeasured => return Err(No::Unmeasured),
        Reach::Silent => return Err(No::Never(format!("does not answer {site:?}"))),
        Reach::Measured(rtt) => rtt,
    };
    // What was trained says more than what could be conceived.
    let (works, bound) = match &task.offer {
        Some(offer) => (offer.frontier.iter().map(|measure| measure.work).collect(), ""),
        None => (vec![least_work(task.classes)], "≥ "),
    };
    let service = works.into_iter().map(|work| least_service_us(&device.speed, work)).min();
    let Some(service_us) = service else { return Ok(()) };
    let transfer_us = latency::transfer_us(task.width, task.classes);
    let total = rtt.p95_us.saturating_add(transfer_us).saturating_add(service_us);
    if total <= max {
        return Ok(());
    }
    Err(No::Never(format!(
        "rtt p95 {} + transfer {} + service {bound}{} = {} > {}",
        millis(rtt.p95_us),
        millis(transfer_us),
        millis(service_us),
        millis(total),
        millis(max)
    )))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        placement::cases::{device, measure, problem, problems, task},
        policy::Policy,
    };

    fn within(ms: u32) -> Policy {
        Policy { latency_us_max: Some(ms * 1000), ..Policy::default() }
    }

    #[test]
    fn a_refusal_has_the_numbers_of_each_device() {
        let mut far = task(within(2), vec![]);
        far.offer = None;
        let devices = [("nuc", device(1.0, 14_000)), ("pi4", device(1.0, 3_100))];
        let problem = problem(devices, [("t", far.clone())]);
        let Admission::Refused(refusal) = admit(&problem, "t", &far) else { panic!("admitted") };
        assert_eq!(
            refusal.to_string(),
            "no device can answer \"t\" within 2 ms as seen from \"home\"\n  \
             nuc: rtt p95 14 ms + transfer 0.018 ms + service ≥ 0.001 ms = 14 ms > 2 ms\n  \
             pi4: rtt p95 3.1 ms + transfer 0.018 ms + service ≥ 0.001 ms = 3.119 ms > 2 ms\n\
             loosen the policy, or add a device"
        );
    }

    #[test]
    fn what_was_trained_says_more_than_what_could_be_conceived() {
        let heavy = vec![measure(1, 0.9, 5_000)];
        let trained = task(within(4), heavy);
        let untrained = crate::placement::TaskFacts { offer: None, ..trained.clone() };
        let problem = problem([("pi", device(1.0, 500))], []);
        assert_eq!(admit(&problem, "t", &untrained), Admission::Admitted);
        assert!(matches!(admit(&problem, "t", &trained), Admission::Refused(_)));
    }

    #[test]
    fn nobody_is_refused_before_the_devices_were_measured() {
        let mut task = task(within(4), vec![]);
        task.offer = None;
        let mut unknown = device(1.0, 500);
        unknown.reach.clear();
        assert_eq!(admit(&problem([], []), "t", &task), Admission::NoDevice);
        let problem = problem([("a", device(1.0, 9_000)), ("b", unknown)], []);
        assert_eq!(admit(&problem, "t", &task), Admission::Unmeasured);
    }

    proptest! {
        #[test]
        fn what_can_be_placed_within_its_promise_is_never_refused(problem in problems()) {
            for (name, task) in &problem.tasks {
                let alone = Problem { tasks: [(name.clone(), task.clone())].into(), ..problem.clone() };
                let plan = crate::placement::solve(&alone, &Default::default());
                let max = task.policy.latency_us_max.unwrap_or(u32::MAX);
                let kept = plan.verdicts[name].chosen.iter().any(|it| it.cost.total_us() <= max);
                if kept {
                    prop_assert_eq!(admit(&problem, name, task), Admission::Admitted);
                }
            }
        }
    }
}
