//! Votes that were cast before, counted again for other members: no inference, so that every subset
//! of seven members is measured on some thousand rows within some milliseconds.

use crate::{
    ensemble::Ensemble,
    frontier::Subset,
    schema::ClassId,
    vote::{Tally, VOTE},
};

/// What a member gave to the count of each row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cast {
    /// `[row]`: its whole vote to a class.
    Classes(Vec<ClassId>),
    /// `[row, class]`: a share of [`VOTE`] to each.
    Shares(Vec<u32>),
}

/// How a count stands, or ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counted {
    /// The winner: that of [`Ensemble::answer`] for the same row and members.
    pub class: ClassId,
    /// After how many members.
    pub asked: usize,
    /// The share of their weight that the winner had.
    pub share: f32,
}

/// Counts the votes of an ensemble's members, row by row.
#[derive(Debug)]
pub struct Recount<'a> {
    ensemble: &'a Ensemble,
    casts: &'a [Cast],
    tally: Tally,
    /// Of a hard vote, row by row, the classes that somebody voted for, and class 0, growing: a
    /// count goes over these few and not over all ten thousand. Class 0 stands for those that
    /// nobody voted for: what matters of them is whether one comes before the winner.
    voted: Vec<ClassId>,
    /// Where the classes of a row begin in `voted`; one more than there are rows.
    starts: Vec<usize>,
    /// `[member][row]`, an index into the classes of the row.
    short: Vec<Vec<u16>>,
}

impl<'a> Recount<'a> {
    /// Counts `casts`, one of each member of `ensemble`.
    ///
    /// # Panics
    ///
    /// When there is not one of each member, or they are not of the same rows.
    #[must_use]
    pub fn new(ensemble: &'a Ensemble, casts: &'a [Cast]) -> Self {
        assert_eq!(casts.len(), ensemble.members().len(), "the votes of each member");
        let mut recount = Self {
            ensemble,
            casts,
            tally: Tally::default(),
            voted: Vec::new(),
            starts: vec![0],
            short: Vec::new(),
        };
        let hard: Vec<&[ClassId]> = casts
            .iter()
            .filter_map(|cast| match cast {
                Cast::Classes(classes) => Some(classes.as_slice()),
                Cast::Shares(_) => None,
            })
            .collect();
        if hard.len() == casts.len() {
            recount.shorten(&hard);
        }
        recount
    }

    fn shorten(&mut self, votes: &[&[ClassId]]) {
        let rows = votes.first().map_or(0, |votes| votes.len());
        self.short = vec![Vec::with_capacity(rows); votes.len()];
        let mut classes = Vec::with_capacity(votes.len() + 1);
        for row in 0..rows {
            classes.clear();
            classes.push(ClassId(0));
            classes.extend(votes.iter().map(|votes| votes[row]));
            classes.sort_unstable();
            classes.dedup();
            for (short, votes) in self.short.iter_mut().zip(votes) {
                let at = classes.binary_search(&votes[row]).expect("it is one of them");
                short.push(u16::try_from(at).expect("at most 65 classes"));
            }
            self.voted.extend_from_slice(&classes);
            self.starts.push(self.voted.len());
        }
    }

    /// Counts the votes of `members` for `row`, in this order, until the vote is decided.
    ///
    /// # Panics
    ///
    /// When there is no such member or row, or a class too many.
    pub fn count(&mut self, row: usize, members: &[usize]) -> Counted {
        let mut last = Counted { class: ClassId(0), asked: 0, share: 0.0 };
        self.counting::<false>(row, members, |class, asked, share| {
            last = Counted { class, asked, share: share() };
        });
        last
    }

    /// [`Recount::count`] without how surely it was won: the winner, and after how many members.
    ///
    /// # Panics
    ///
    /// As [`Recount::count`].
    pub fn winner(&mut self, row: usize, members: &[usize]) -> (ClassId, usize) {
        let mut last = (ClassId(0), 0);
        self.counting::<false>(row, members, |class, asked, _| last = (class, asked));
        last
    }

    /// [`Recount::count`], and how the count stood after each member before: what a vote answers that
    /// is stopped there.
    ///
    /// # Panics
    ///
    /// As [`Recount::count`].
    pub fn count_each(&mut self, row: usize, members: &[usize], mut seen: impl FnMut(Counted)) {
        self.counting::<true>(row, members, |class, asked, share| {
            seen(Counted { class, asked, share: share() });
        });
    }

    /// Each standing is `seen`, or only the last: thousands of choices of members ask for no other, and not for
    /// the share of the winner.
    fn counting<const EACH: bool>(
        &mut self,
        row: usize,
        members: &[usize],
        mut seen: impl FnMut(ClassId, usize, &dyn Fn() -> f32),
    ) {
        let Self { ensemble, casts, tally, voted, starts, short } = self;
        let classes = ensemble.schema().classes().len();
        let known =
            if short.is_empty() { None } else { Some(&voted[starts[row]..starts[row + 1]]) };
        let pool = ensemble.parts.voting.rule.pool();
        tally.begin(known.map_or(classes, <[ClassId]>::len), pool);
        let mut left: u64 = members.iter().map(|&member| ensemble.counts[member]).sum();
        let mut of = 0;
        for (at, &member) in members.iter().enumerate() {
            let count = ensemble.counts[member];
            left -= count;
            of += count;
            match &casts[member] {
                Cast::Classes(classes) if known.is_none() => tally.cast(classes[row], count),
                Cast::Classes(_) => tally.cast(ClassId(short[member][row]), count),
                Cast::Shares(shares) => {
                    tally.share_out(&shares[row * classes..][..classes], count);
                }
            }
            let decided = tally.decided(left);
            let leader = if EACH { decided.or_else(|| tally.decided(0)) } else { decided };
            if let Some(leader) = leader {
                let class = known.map_or(leader, |known| known[leader.index()]);
                seen(class, at + 1, &|| tally.share(leader, of, 0));
            }
            if decided.is_some() {
                break;
            }
        }
    }
}

/// Counts the full vote of `members` for `row` into `sums`, one for each class, if member `i` counts
/// `counts[i]`; what they count together, for [`parts`](crate::vote::parts).
///
/// # Panics
///
/// When there is no such member or row, or a class too many.
pub fn full_vote(
    (casts, counts): (&[Cast], &[u64]),
    members: Subset,
    row: usize,
    sums: &mut [u64],
) -> u64 {
    sums.fill(0);
    let mut of = 0;
    for member in members.members() {
        let count = counts[member];
        of += count;
        match &casts[member] {
            Cast::Classes(votes) => sums[votes[row].index()] += count * u64::from(VOTE),
            Cast::Shares(shares) => {
                let shares = &shares[row * sums.len()..][..sums.len()];
                let both = sums.iter_mut().zip(shares);
                both.for_each(|(sum, &share)| *sum += count * u64::from(share));
            }
        }
    }
    of
}

/// The members of `subset` in the order in which `ensemble` asks them on a usual machine.
#[must_use]
pub fn in_order(ensemble: &Ensemble, subset: Subset) -> Vec<usize> {
    let order = ensemble.order.iter().copied().map(usize::from);
    order.filter(|&member| subset.has(member)).collect()
}
