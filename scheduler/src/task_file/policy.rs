//! What an admin asks for, as it stands in `[policy]`: checked value by value, refused by line.

use models::{Coverage, Family, Schema};
use toml::Spanned;

use super::{REPLICAS_MAX, SITE_BYTES_MAX, Source, TRIALS_MAX, TaskFileError, list};
use crate::policy::{Adapt, Objective, Place, Policy, Train};

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawPolicy {
    objective: Objective,
    latency: RawLatency,
    accuracy: RawAccuracy,
    fallback: Option<Spanned<String>>,
    coverage: Option<Spanned<f64>>,
    abstain_below: Option<Spanned<f64>>,
    place: RawPlace,
    train: RawTrain,
    adapt: RawAdapt,
    label: RawLabel,
}

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawLatency {
    p99_ms: Option<Spanned<f64>>,
    site: Option<Spanned<String>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawAccuracy {
    min: Option<Spanned<f64>>,
    missed_events_max: Option<Spanned<f64>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawPlace {
    on_site: bool,
    require: RawRequire,
    replicas: Option<Spanned<u32>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawRequire {
    arch: Option<Spanned<String>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawTrain {
    budget_s: Option<Spanned<u32>>,
    families: Option<Spanned<RawFamilies>>,
    trials: Option<Spanned<u32>>,
    lazy: Option<bool>,
}

#[derive(serde::Deserialize)]
#[serde(untagged, expecting = "families is \"all\" or a list such as [\"knn\", \"ridge\"]")]
enum RawFamilies {
    Word(String),
    List(Vec<String>),
}

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawAdapt {
    after_corrections: Option<u32>,
    on_drift: Option<bool>,
    min_gain: Option<Spanned<f64>>,
    probation_s: Option<Spanned<f64>>,
    canary: Option<Spanned<Vec<f64>>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawLabel {
    auto_above: Option<Spanned<f64>>,
    review_between: Option<Spanned<[f64; 2]>>,
    questions_per_day: Option<u32>,
}

impl RawPolicy {
    /// The policy of a task of `schema`.
    pub(super) fn parse(
        self,
        source: &Source<'_>,
        schema: &Schema,
    ) -> Result<Policy, TaskFileError> {
        if let Some(class) = &self.fallback
            && schema.class(class.get_ref()).is_none()
        {
            return Err(source.wrong(
                class.span(),
                "policy.fallback",
                format!("{:?} is no class", class.get_ref()),
                format!("name one of {}", list(schema.classes())),
            ));
        }
        let default = Policy::default();
        let recorded_only = recorded_only(source, &self)?;

        let latency_us_max = match &self.latency.p99_ms {
            None => None,
            Some(p99_ms) => {
                let ms = source.within("policy.latency.p99_ms", p99_ms, 0.001, 3_600_000.0)?;
                Some(micros(ms))
            }
        };
        let site = match self.latency.site {
            None => None,
            Some(site) if site.get_ref().is_empty() || SITE_BYTES_MAX < site.get_ref().len() => {
                return Err(source.wrong(
                    site.span(),
                    "policy.latency.site",
                    format!("{:?} cannot be the name of a site", site.get_ref()),
                    format!(
                        "write 1 to {SITE_BYTES_MAX} bytes, or leave it out for the scheduler's"
                    ),
                ));
            }
            Some(site) => Some(site.into_inner()),
        };
        let accuracy_min = match &self.accuracy.min {
            None => default.accuracy_min,
            Some(min) => source.within("policy.accuracy.min", min, 0.0, 1.0)?,
        };
        let missed_events_max = match &self.accuracy.missed_events_max {
            None => default.missed_events_max,
            Some(max) => source.within("policy.accuracy.missed_events_max", max, 0.0, 1.0)?,
        };
        let coverage = match &self.coverage {
            None => None,
            Some(coverage) => {
                let (least, most) = Coverage::RANGE;
                let share = source.within("policy.coverage", coverage, least, most)?;
                Coverage::of_share(share)
            }
        };
        let abstain_below_thousandths = match &self.abstain_below {
            None => None,
            Some(below) => {
                Some(thousandths(source.within("policy.abstain_below", below, 0.001, 1.0)?))
            }
        };
        let min_gain = match &self.adapt.min_gain {
            None => default.adapt.min_gain,
            Some(gain) => source.within("policy.adapt.min_gain", gain, 0.0, 1.0)?,
        };
        let after_corrections = match self.adapt.after_corrections {
            None => default.adapt.after_corrections,
            Some(0) => None,
            Some(count) => Some(u64::from(count)),
        };
        Ok(Policy {
            objective: self.objective,
            latency_us_max,
            site,
            accuracy_min,
            missed_events_max,
            fallback: self.fallback.map(Spanned::into_inner),
            coverage,
            abstain_below_thousandths,
            place: place(source, self.place)?,
            train: train(source, self.train)?,
            adapt: Adapt { after_corrections, min_gain },
            recorded_only,
        })
    }
}

fn place(source: &Source<'_>, raw: RawPlace) -> Result<Place, TaskFileError> {
    let replicas = match raw.replicas {
        None => 1,
        Some(count) if (1..=REPLICAS_MAX).contains(count.get_ref()) => *count.get_ref(),
        Some(count) => {
            return Err(source.wrong(
                count.span(),
                "policy.place.replicas",
                format!("{} is out of range", count.get_ref()),
                format!("write a number from 1 to {REPLICAS_MAX}"),
            ));
        }
    };
    Ok(Place {
        on_site: raw.on_site,
        arch: raw.require.arch.map(Spanned::into_inner),
        replicas: usize::try_from(replicas).expect("at most REPLICAS_MAX"),
    })
}

fn train(source: &Source<'_>, raw: RawTrain) -> Result<Train, TaskFileError> {
    let default = Policy::default().train;
    let budget_s = match raw.budget_s {
        None => default.budget_s,
        Some(seconds) if (1..=86_400).contains(seconds.get_ref()) => *seconds.get_ref(),
        Some(seconds) => {
            return Err(source.wrong(
                seconds.span(),
                "policy.train.budget_s",
                format!("{} is out of range", seconds.get_ref()),
                "write seconds from 1 to 86400",
            ));
        }
    };
    let mut families = Vec::new();
    if let Some(raw) = raw.families {
        let span = raw.span();
        let known: Vec<String> =
            Family::ALL.iter().map(|family| family.name().to_owned()).collect();
        let names = match raw.into_inner() {
            RawFamilies::Word(word) if word == "all" => Vec::new(),
            RawFamilies::Word(word) => vec![word],
            RawFamilies::List(names) if names.is_empty() => {
                return Err(source.wrong(
                    span,
                    "policy.train.families",
                    "the list is empty",
                    format!("write \"all\", or some of {}", list(&known)),
                ));
            }
            RawFamilies::List(names) => names,
        };
        for name in names {
            let Some(family) = Family::parse(&name) else {
                return Err(source.wrong(
                    span,
                    "policy.train.families",
                    format!("{name:?} is no family"),
                    format!("write \"all\", or some of {}", list(&known)),
                ));
            };
            if !families.contains(&family) {
                families.push(family);
            }
        }
    }
    let trials = match raw.trials {
        None => default.trials,
        Some(trials) if *trials.get_ref() <= TRIALS_MAX => *trials.get_ref(),
        Some(trials) => {
            return Err(source.wrong(
                trials.span(),
                "policy.train.trials",
                format!("{} is out of range", trials.get_ref()),
                format!("write a number of trials from 0 (no search) to {TRIALS_MAX}"),
            ));
        }
    };
    Ok(Train { budget_s, families, trials, lazy: raw.lazy.unwrap_or(default.lazy) })
}

/// Checks what is not acted on yet, and names what of it was written.
fn recorded_only(source: &Source<'_>, raw: &RawPolicy) -> Result<Vec<&'static str>, TaskFileError> {
    let mut written = Vec::new();
    if raw.adapt.on_drift.is_some() {
        written.push("adapt.on_drift");
    }
    if let Some(seconds) = &raw.adapt.probation_s {
        source.within("policy.adapt.probation_s", seconds, 0.0, 1e9)?;
        written.push("adapt.probation_s");
    }
    if let Some(steps) = &raw.adapt.canary {
        let rising = steps.get_ref().windows(2).all(|pair| pair[0] < pair[1]);
        let shares = steps.get_ref().iter().all(|share| 0.0 < *share && *share <= 1.0);
        if !(rising && shares && steps.get_ref().last() == Some(&1.0)) {
            return Err(source.wrong(
                steps.span(),
                "policy.adapt.canary",
                format!("{:?} are no steps of a rollout", steps.get_ref()),
                "write rising shares that end with 1.0, such as [0.1, 0.5, 1.0]",
            ));
        }
        written.push("adapt.canary");
    }
    if let Some(share) = &raw.label.auto_above {
        source.within("policy.label.auto_above", share, 0.0, 1.0)?;
        written.push("label.auto_above");
    }
    if let Some(between) = &raw.label.review_between {
        let [low, high] = *between.get_ref();
        if !(0.0 <= low && low <= high && high <= 1.0) {
            return Err(source.wrong(
                between.span(),
                "policy.label.review_between",
                format!("[{low}, {high}] is no range of shares"),
                "write two shares, the smaller one first, such as [0.5, 0.97]",
            ));
        }
        written.push("label.review_between");
    }
    if raw.label.questions_per_day.is_some() {
        written.push("label.questions_per_day");
    }
    Ok(written)
}

/// At most 3,600,000 ms, checked by the caller, so that it fits.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "within 0.001 to 3,600,000 ms"
)]
fn micros(ms: f64) -> u32 {
    (ms * 1000.0).round() as u32
}

/// At most 1, checked by the caller.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0.001 to 1")]
fn thousandths(share: f64) -> u32 {
    (share * 1000.0).round() as u32
}
