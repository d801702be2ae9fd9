//! One data set, parted several times: rows that were answered rightly are added up, what else was
//! found stays that of the first parting.

use std::ops::AddAssign;

use crate::figures::{Alone, Choice, Count, Early, Findings, Training, Vote};

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.hits += other.hits;
        self.of += other.of;
    }
}

impl Findings {
    /// Takes in the rows of another parting. What one of them lacks is not measured at all: shares of
    /// fewer rows would stand beside shares of more.
    pub(crate) fn pool(&mut self, other: &Self) {
        self.partings += other.partings;
        families(&mut self.ours, &other.ours);
        families(&mut self.peers, &other.peers);
        both(&mut self.our_vote, other.our_vote.as_ref(), vote);
        both(&mut self.peers_vote, other.peers_vote.as_ref(), vote);
        both(&mut self.training, other.training.as_ref(), training);
    }
}

fn both<T>(mine: &mut Option<T>, other: Option<&T>, pool: fn(&mut T, &T)) {
    match (mine.as_mut(), other) {
        (Some(mine), Some(other)) => pool(mine, other),
        (Some(_) | None, None) | (None, Some(_)) => *mine = None,
    }
}

fn families(mine: &mut Vec<Alone>, other: &[Alone]) {
    mine.retain_mut(|mine| {
        let other = other.iter().find(|other| other.family == mine.family);
        let Some(other) = other else { return false };
        mine.right += other.right;
        both(&mut mine.compact, other.compact.as_ref(), |mine, other| mine.right += other.right);
        true
    });
}

fn vote(mine: &mut Vote, other: &Vote) {
    mine.of += other.of;
    mine.weighted += other.weighted;
    mine.unweighted += other.unweighted;
    both(&mut mine.soft, other.soft.as_ref(), |mine, other| *mine += other);
    both(&mut mine.early, other.early.as_ref(), early);
}

/// Shares of work and of time are means over rows.
fn early(mine: &mut Early, other: &Early) {
    let rows = [mine.same.of, other.same.of].map(|rows| rows as f64);
    let mean = |a: f64, b: f64| (a * rows[0] + b * rows[1]) / (rows[0] + rows[1]);
    mine.work = mean(mine.work, other.work);
    mine.time = mean(mine.time, other.time);
    mine.same += other.same;
}

/// Each parting makes its own choices: whoever was chosen in one of them is named.
fn training(mine: &mut Training, other: &Training) {
    early(&mut mine.early, &other.early);
    for mine in &mut mine.choices {
        let other = other.choices.iter().find(|other| other.name == mine.name);
        let Some(Choice { members, right, .. }) = other else { continue };
        mine.right += *right;
        let new = members.iter().filter(|member| !mine.members.contains(member));
        let new: Vec<String> = new.cloned().collect();
        mine.members.extend(new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Single;

    fn alone(family: &str, hits: u64, of: u64) -> Alone {
        Alone {
            family: family.to_owned(),
            right: Count { hits, of },
            fit_cpu_s: hits as f64,
            fit_wall_s: 0.0,
            peak_mib: 0.0,
            one_us: Single { median: 0.0, p99: 0.0 },
            kb: 0.0,
            compact: None,
        }
    }

    fn voted(of: u64) -> Vote {
        let early = Early { same: Count { hits: of, of }, work: of as f64, time: 1.0 };
        Vote {
            members: 7,
            of,
            weighted: 3,
            unweighted: 2,
            soft: Some(1),
            one_us: Single { median: of as f64, p99: 0.0 },
            compact_us: None,
            early: Some(early),
        }
    }

    fn findings(ours: Vec<Alone>, our_vote: Option<Vote>) -> Findings {
        Findings { ours, our_vote, partings: 1, ..Findings::default() }
    }

    #[test]
    fn right_rows_add_up_and_times_stay() {
        let mut whole = findings(vec![alone("knn", 8, 10)], Some(voted(10)));
        whole.pool(&findings(vec![alone("knn", 9, 30)], Some(voted(30))));
        let knn = &whole.ours[0];
        assert_eq!((knn.right.hits, knn.right.of, knn.fit_cpu_s), (17, 40, 8.0));
        let vote = whole.our_vote.expect("both have it");
        assert_eq!((vote.of, vote.weighted, vote.unweighted, vote.soft), (40, 6, 4, Some(2)));
        assert_eq!(vote.one_us.median, 10.0);
        let early = vote.early.expect("both have it");
        assert_eq!((early.same.hits, early.work, early.time), (40, 25.0, 1.0));
        assert_eq!(whole.partings, 2);
    }

    #[test]
    fn what_one_parting_lacks_is_not_measured() {
        let mut whole = findings(vec![alone("knn", 8, 10), alone("mlp", 9, 10)], Some(voted(10)));
        whole.pool(&findings(vec![alone("mlp", 9, 10)], None));
        assert_eq!(whole.ours.len(), 1);
        assert_eq!(whole.ours[0].family, "mlp");
        assert!(whole.our_vote.is_none());
    }
}
