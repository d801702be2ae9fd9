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
