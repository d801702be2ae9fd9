//! Which members are asked, and what is known of that choice before it serves.

use std::collections::BTreeSet;

use crate::{
    ensemble::Ensemble,
    gate,
    metrics::Confusion,
    recount::{Cast, Recount, in_order},
    schema::ClassId,
    work::Work,
};

/// Up to so many members every subset is measured: 511 of them.
pub const EXHAUSTIVE_MAX: usize = 9;

/// A choice of members: bit `i` set means member `i` votes. At most 64 members.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Subset(pub u64);

impl Subset {
    /// The first `members` members.
    #[must_use]
    pub fn all(members: usize) -> Self {
        if members < 64 { Self((1 << members) - 1) } else { Self(u64::MAX) }
    }

    /// Whether member `index` votes.
    #[must_use]
    pub fn has(self, index: usize) -> bool {
        index < 64 && self.0 >> index & 1 == 1
    }

    /// The members that vote, in order.
    pub fn members(self) -> impl Iterator<Item = usize> {
        (0..64).filter(move |&index| self.has(index))
    }

    /// How many members vote.
    #[must_use]
    pub fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether nobody votes.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What validation rows say of a subset, and what it costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SubsetMeasure {
    /// The members.
    pub subset: Subset,
    /// Whether the gate stands in front of them.
    pub gated: bool,
    /// Share of rows answered rightly.
    pub accuracy: f64,
    /// Mean of the recalls of the classes that occur.
    pub balanced_accuracy: f64,
    /// Share of events answered "background"; 0 without a background class.
    pub missed_events: f64,
    /// Standard error of `accuracy`.
    pub standard_error: f64,
    /// Mean work of one answer: of those members that were asked before the vote was decided, in
    /// the order of a usual machine; with a gate, weighted by how many samples pass it.
    pub work: Work,
}

/// What members said of rows whose class is known.
#[derive(Clone, Copy, Debug)]
pub struct Votes<'a> {
    /// The class of each row.
    pub truth: &'a [ClassId],
    /// `[member]`, as [`Ensemble::cast`] gives them.
    pub members: &'a [Cast],
    /// As [`Ensemble::gate_margins`] gives them; absent, no gated subset is measured.
    pub margins: Option<&'a [f32]>,
}

/// Measures subsets of the members on rows whose votes are known: no inference, so that all 511
/// subsets of nine members on some thousand rows take some tens of milliseconds.
///
/// Up to [`EXHAUSTIVE_MAX`] members, every subset; above, each member alone, the chain that adds
/// the cheapest member next, and the chain that adds the member after which the vote is best. Each
/// subset once without the gate and, if there is one, once behind it. In order of subset, ungated
/// first.
///
/// Weights, gate and work are those of `ensemble`; the vote is that of [`Ensemble::answer`], its
/// early end included.
///
/// # Panics
///
/// When `votes` are not of this ensemble: a member too few, a row too few, a class too many.
#[must_use]
pub fn measure(ensemble: &Ensemble, votes: Votes<'_>) -> Vec<SubsetMeasure> {
    let mut board = Board::new(ensemble, votes);
    let members = ensemble.members().len();
    let subsets: BTreeSet<Subset> = if members <= EXHAUSTIVE_MAX {
        (1..=Subset::all(members).0).map(Subset).collect()
    } else {
        board.chains(members)
    };
    let gated: &[bool] = if board.stopped.is_some() { &[false, true] } else { &[false] };
    let choices = subsets.into_iter().flat_map(|subset| gated.iter().map(move |&it| (subset, it)));
    choices.map(|(subset, gated)| board.measure(subset, gated)).collect()
}

/// Those that no other beats: a measure is left out when another is at least as accurate, overall
/// and per class, misses no more events, and costs no more of any unit of work. Of equal ones the
/// first stays.
///
/// Costs are compared unit by unit, so nothing is left out that some device would choose.
#[must_use]
pub fn undominated(measures: &[SubsetMeasure]) -> Vec<SubsetMeasure> {
    let kept = measures.iter().enumerate().filter(|&(at, measure)| {
        !measures.iter().enumerate().any(|(other_at, other)| {
            let as_good = measure.accuracy <= other.accuracy
                && measure.balanced_accuracy <= other.balanced_accuracy
                && other.missed_events <= measure.missed_events
                && other.work.fits_in(measure.work);
            let back = other.accuracy <= measure.accuracy
                && other.balanced_accuracy <= measure.balanced_accuracy
                && measure.missed_events <= other.missed_events
                && measure.work.fits_in(other.work);
            as_good && (!back || other_at < at)
        })
    });
    kept.map(|(_, &measure)| measure).collect()
}

/// What does not change from subset to subset.
struct Board<'a> {
    ensemble: &'a Ensemble,
    truth: &'a [ClassId],
    recount: Recount<'a>,
    /// Whether each row stops at the gate.
    stopped: Option<Vec<bool>>,
}

impl<'a> Board<'a> {
    fn new(ensemble: &'a Ensemble, votes: Votes<'a>) -> Self {
        let Votes { truth, members, margins } = votes;
        let stopped = ensemble.gate().zip(margins).map(|(gate, margins)| {
            margins.iter().map(|&margin| gate::stops(margin, gate.threshold)).collect()
        });
        Self { ensemble, truth, recount: Recount::new(ensemble, members), stopped }
    }

    fn measure(&mut self, subset: Subset, gated: bool) -> SubsetMeasure {
        let Self { ensemble, truth, recount, stopped } = self;
        let background = ensemble.schema().background();
        let members = in_order(ensemble, subset);
        let mut confusion = Confusion::new(ensemble.schema().classes().len());
        // How many votes were decided after each number of members.
        let mut ended = vec![0_u64; members.len() + 1];
        for (row, &truth) in truth.iter().enumerate() {
            let stops = gated && stopped.as_ref().is_some_and(|stopped| stopped[row]);
            let given = match background {
                Some(background) if stops => background,
                _ => {
                    let (class, asked) = recount.winner(row, &members);
                    ended[asked] += 1;
                    class
                }
            };
            confusion.add(truth, given);
        }
        let accuracy = confusion.accuracy();
        SubsetMeasure {
            subset,
            gated,
            accuracy: accuracy.value(),
            balanced_accuracy: confusion.balanced_accuracy(),
            missed_events: confusion.missed_events(background).value(),
            standard_error: accuracy.standard_error(),
            work: ensemble.mean_work(&members, &ended, gated, accuracy.of),
        }
    }

    /// Each member alone and two chains, for ensembles with too many members for every subset.
    fn chains(&mut self, members: usize) -> BTreeSet<Subset> {
        let mut subsets: BTreeSet<Subset> = (0..members).map(|it| Subset(1 << it)).collect();

        // Cheapest first, by one unit as good as another: a chain for slow devices.
        let mut cheapest: Vec<usize> = (0..members).collect();
        cheapest.sort_by_key(|&it| {
            let Work { madds, bytes, nodes, exps, calls } = self.ensemble.member_work(it);
            [madds, bytes, nodes, exps, calls].into_iter().fold(0, u64::saturating_add)
        });
        let mut chain = Subset(0);
        for member in cheapest {
            chain = Subset(chain.0 | 1 << member);
            subsets.insert(chain);
        }

        // Best next: a chain for accuracy. A tie goes to the first member.
        let mut chain = Subset(0);
        while chain.len() < Subset::all(members).len() {
            let left = (0..members).filter(|&it| !chain.has(it));
            let longer = left.map(|it| Subset(chain.0 | 1 << it));
            let measured: Vec<SubsetMeasure> = longer.map(|it| self.measure(it, false)).collect();
            let best = measured
                .iter()
                .rev()
                .max_by(|a, b| a.accuracy.total_cmp(&b.accuracy))
                .expect("a member is left");
            chain = best.subset;
            subsets.insert(chain);
        }
        subsets
    }
}
