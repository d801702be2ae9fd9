//! The first stage: background or not.

use std::collections::BTreeMap;

use crate::{
    kernel::finite,
    member::Member,
    metrics::Share,
    work::{Speed, Work},
};

/// A cheap member with two classes, 0 for background and 1 for event, and a threshold.
///
/// A sample is answered "background" without a vote when `score[1] - score[0] < threshold`.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// The binary member.
    pub member: Member,
    /// Chosen on validation rows so that the share of events below it keeps the policy's ceiling.
    pub threshold: f32,
}

impl Gate {
    /// Whether a sample with this margin is answered "background" without a vote.
    ///
    /// A margin that is not a number stops nothing: when in doubt, the members are asked.
    #[must_use]
    pub fn stops(&self, margin: f32) -> bool {
        stops(margin, self.threshold)
    }
}

/// The rule of [`Gate::stops`], for margins that were computed before.
#[must_use]
pub fn stops(margin: f32, threshold: f32) -> bool {
    margin < threshold
}

/// A threshold and what it does to validation rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// For [`Gate::threshold`].
    pub value: f32,
    /// Events that stop at the gate, of all events.
    pub missed: Share,
    /// Rows that stop at the gate, of all rows.
    pub stopped: Share,
}

/// Validation rows as a threshold is chosen on them.
#[derive(Clone, Copy, Debug)]
pub struct Margins<'a> {
    /// `score[1] - score[0]` of each row.
    pub margins: &'a [f32],
    /// Whether each row is an event.
    pub events: &'a [bool],
    /// The person, day or device of each row; empty when the data has none.
    pub groups: &'a [u32],
}

/// The largest threshold that misses at most a share of `ceiling` of the events, and can be
/// believed to do so on rows that nobody has seen yet. `None` when there is no such threshold:
/// then there is no gate.
///
/// A threshold that kept 98 % of the events of validation people kept 96 % of those of new people
/// (HAPT, real background): chosen on the point estimate it breaks its promise where it counts. So
/// two things are asked instead:
///
/// - of all events together, the upper end of the one-sided 95 % interval of the missed share is at
///   most `ceiling`. With none missed that takes about `2.7 / ceiling` events: 133 for 2 %.
/// - in *every* group, the missed share is at most `ceiling`. If groups are alike, a new one is then
///   worse than all of `g` groups with probability `1 / (g + 1)`. Groups with fewer than
///   `1 / ceiling` events cannot show such a share, and are taken together as one.
///
/// # Source
///
/// Both rules are ours; the slides of MLIoT do not say how the first stage's threshold is chosen.
#[must_use]
pub fn choose_threshold(rows: Margins<'_>, ceiling: f64) -> Option<Threshold> {
    let Margins { margins, events, groups } = rows;
    // What is not a number never stops: it counts as the largest margin.
    let margin = |row: usize| if margins[row].is_nan() { f32::MAX } else { finite(margins[row]) };
    let event_rows = || (0..margins.len().min(events.len())).filter(|&row| events[row]);

    let mut all: Vec<f32> = event_rows().map(margin).collect();
    all.sort_unstable_by(f32::total_cmp);
    let mut value = largest(&all, |missed| missed.at_most() <= ceiling)?;

    let mut by_group: BTreeMap<u32, Vec<f32>> = BTreeMap::new();
    for row in event_rows().filter(|&row| row < groups.len()) {
        by_group.entry(groups[row]).or_default().push(margin(row));
    }
    let mut rest = Vec::new();
    for (_, mut group) in by_group {
        group.sort_unstable_by(f32::total_cmp);
        if share(1, group.len()).value() <= ceiling {
            value = value.min(largest(&group, |missed| missed.value() <= ceiling)?);
        } else {
            rest.append(&mut group);
        }
    }
    rest.sort_unstable_by(f32::total_cmp);
    if !rest.is_empty() {
        value = value.min(largest(&rest, |missed| missed.value() <= ceiling)?);
    }

    let below = |margins: &[f32]| margins.iter().filter(|&&margin| stops(margin, value)).count();
    Some(Threshold {
        value,
        missed: share(below(&all), all.len()),
        stopped: share(below(margins), margins.len()),
    })
}

/// The largest threshold whose missed share of the sorted margins of events is `allowed`, which
/// holds for fewer missed whenever it holds for more.
fn largest(events: &[f32], allowed: impl Fn(Share) -> bool) -> Option<f32> {
    // A threshold at the margin of event number m misses at most the m before it.
    let allowed = |missed: usize| allowed(share(missed, events.len()));
    if events.is_empty() || !allowed(0) {
        return None;
    }
    let (mut yes, mut no) = (0, events.len());
    while yes + 1 < no {
        let middle = usize::midpoint(yes, no);
        if allowed(middle) { yes = middle } else { no = middle }
    }
    Some(events[yes])
}

fn share(hits: usize, of: usize) -> Share {
    let count = |count| u64::try_from(count).unwrap_or(u64::MAX);
    Share { hits: count(hits), of: count(of) }
}

/// Whether a gate saves more than it costs: it stops a share of `stopped` of the samples, each of
/// which then needs no vote. One that does not is left out.
///
/// `stopped` is what real traffic does, as far as validation rows show it: a task whose background
/// is rare gains nothing from a gate.
#[must_use]
pub fn pays(stopped: f64, gate: Work, vote: Work, speed: &Speed) -> bool {
    speed.micros(gate) < stopped * speed.micros(vote)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 1 000 events with margins 0, 1, 2, … and as many background rows from -500 on.
    fn rows() -> (Vec<f32>, Vec<bool>) {
        let events = (0_u16..1000).map(|margin| (f32::from(margin), true));
        let background = (0_u16..1000).map(|margin| (f32::from(margin) - 500.0, false));
        events.chain(background).unzip()
    }

    #[test]
    fn the_bound_and_not_the_estimate_keeps_the_ceiling() {
        let (margins, events) = rows();
        let rows = Margins { margins: &margins, events: &events, groups: &[] };
        let chosen = choose_threshold(rows, 0.02).unwrap();
        // 12 of 1 000: at most 1.91 %; 13 of 1 000: at most 2.03 %.
        assert_eq!(chosen.value, 12.0);
        assert_eq!(chosen.missed, Share { hits: 12, of: 1000 });
        assert_eq!(chosen.stopped, Share { hits: 12 + 512, of: 2000 });
    }

    #[test]
    fn the_worst_group_decides() {
        let (margins, events) = rows();
        // The events with the smallest margins are all of one person.
        let groups: Vec<u32> = (0..2000).map(|row| u32::from(100 <= row)).collect();
        let rows = Margins { margins: &margins, events: &events, groups: &groups };
        let chosen = choose_threshold(rows, 0.02).unwrap();
        assert_eq!(chosen.missed, Share { hits: 2, of: 1000 });
    }

    #[test]
    fn too_few_events_choose_no_threshold() {
        let margins = vec![1.0; 132];
        let events = vec![true; 132];
        let rows = Margins { margins: &margins, events: &events, groups: &[] };
        assert_eq!(choose_threshold(rows, 0.02), None);
        let (margins, events) = (vec![1.0; 140], vec![true; 140]);
        let rows = Margins { margins: &margins, events: &events, groups: &[] };
        assert!(choose_threshold(rows, 0.02).is_some());
        assert_eq!(
            choose_threshold(Margins { margins: &[], events: &[], groups: &[] }, 0.02),
            None
        );
    }

    #[test]
    fn a_gate_pays_when_it_stops_more_than_it_costs() {
        let speed = Speed { madd_ns: 1.0, byte_ns: 1.0, node_ns: 1.0, exp_ns: 1.0, call_ns: 1.0 };
        let work = |madds| Work { madds, ..Work::default() };
        assert!(pays(0.5, work(10), work(21), &speed));
        assert!(!pays(0.5, work(10), work(20), &speed));
        assert!(!pays(0.0, work(0), work(20), &speed));
    }

    proptest! {
        #[test]
        fn no_group_and_no_whole_misses_more_than_the_ceiling(
            rows in prop::collection::vec((-3.0_f32..3.0, any::<bool>(), 0_u32..4), 0..900),
            ceiling in 0.01_f64..0.3,
        ) {
            let margins: Vec<f32> = rows.iter().map(|row| row.0).collect();
            let events: Vec<bool> = rows.iter().map(|row| row.1).collect();
            let groups: Vec<u32> = rows.iter().map(|row| row.2).collect();
            let rows = Margins { margins: &margins, events: &events, groups: &groups };
            let Some(Threshold { value, missed, .. }) = choose_threshold(rows, ceiling) else {
                return Ok(());
            };
            prop_assert!(missed.at_most() <= ceiling);
            for group in 0..4 {
                let margins_of = || {
                    (0..margins.len()).filter(|&row| events[row] && groups[row] == group)
                };
                let of = margins_of().count();
                let hits = margins_of().filter(|&row| stops(margins[row], value)).count();
                // Groups too small to show the ceiling are bounded together, not one by one.
                prop_assert!(1.0 > ceiling * of as f64 || share(hits, of).value() <= ceiling);
            }
        }
    }
}
