//! Decision trees as flat arrays.

use super::ModelError;
use crate::check;

/// Leaf mark in [`Trees::feature`].
pub const LEAF: u32 = u32::MAX;

/// Trees walked side by side.
const ABREAST: usize = 8;

/// Many binary trees in one set of arrays.
///
/// At node `i`: when `feature[i] == LEAF` the walk ends and `child[i]` is the leaf's payload
/// index; else it goes to `child[i]` if `x[feature[i]] <= threshold[i]` and to `child[i] + 1` if
/// not. Children always come after their parent, so that every walk ends.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trees {
    /// The first node of each tree.
    pub roots: Vec<u32>,
    /// Column looked at, or [`LEAF`].
    pub feature: Vec<u32>,
    /// Where it is cut; 0 at a leaf.
    pub threshold: Vec<f32>,
    /// Left child (the right one follows it), or the payload index at a leaf.
    pub child: Vec<u32>,
}

impl Trees {
    /// The payload index of the leaf that `x` reaches in each of the trees from `roots`, in order.
    ///
    /// [`ABREAST`] trees are walked step by step side by side: a walk waits for memory, and while
    /// one waits the others go on.
    #[inline]
    pub(super) fn leaves(&self, roots: &[u32], x: &[f32], mut then: impl FnMut(usize)) {
        let (groups, rest) = roots.as_chunks::<ABREAST>();
        for &group in groups {
            let mut nodes = group;
            let mut walking = true;
            while walking {
                walking = false;
                for node in &mut nodes {
                    let next = self.step(*node, x);
                    walking |= next != *node;
                    *node = next;
                }
            }
            for node in nodes {
                then(self.child[node as usize] as usize);
            }
        }
        for &root in rest {
            let mut node = root;
            loop {
                let next = self.step(node, x);
                if next == node {
                    break;
                }
                node = next;
            }
            then(self.child[node as usize] as usize);
        }
    }

    /// The child of `node` that `x` goes to; `node` itself when it is a leaf.
    #[inline]
    fn step(&self, node: u32, x: &[f32]) -> u32 {
        let at = node as usize;
        let feature = self.feature[at];
        if feature == LEAF {
            return node;
        }
        // Both are finite, so this is "not at most".
        self.child[at] + u32::from(self.threshold[at] < x[feature as usize])
    }

    /// Every index points inside and downwards: features below `width`, payloads below `payloads`.
    pub(super) fn check(&self, width: usize, payloads: usize) -> Result<(), ModelError> {
        let nodes = self.feature.len();
        check::some("tree roots", self.roots.len())?;
        check::length("tree thresholds", &self.threshold, nodes)?;
        check::length("tree children", &self.child, nodes)?;
        check::finite("tree thresholds", &self.threshold)?;
        for &root in &self.roots {
            check::below("tree roots", root, nodes)?;
        }
        if self.points_downwards(width, payloads) {
            return Ok(());
        }
        for (node, (&feature, &child)) in self.feature.iter().zip(&self.child).enumerate() {
            if feature == LEAF {
                check::below("tree payloads", child, payloads)?;
                continue;
            }
            check::below("tree features", feature, width)?;
            if (child as usize) <= node {
                return Err(ModelError::Cycle { node, child });
            }
            check::below("tree children", u64::from(child) + 1, nodes)?;
        }
        Ok(())
    }

    /// Whether nothing is wrong with any node, in a loop that asks all of them side by side; what is wrong with
    /// which is found out afterwards. `false` where a number of those below does not fit in 32 bits.
    fn points_downwards(&self, width: usize, payloads: usize) -> bool {
        let short = |count: usize| u32::try_from(count).ok();
        let (Some(nodes), Some(width), Some(payloads)) =
            (short(self.feature.len()), short(width), short(payloads))
        else {
            return false;
        };
        let last = nodes.saturating_sub(1);
        let nodes = (0..nodes).zip(&self.feature).zip(&self.child);
        nodes.fold(true, |good, ((node, &feature), &child)| {
            let leaf = (feature == LEAF) & (child < payloads);
            // A right child stands behind the left one.
            let branch = (feature < width) & (node < child) & (child < last);
            good & (leaf | branch)
        })
    }

    /// Nodes visited by one sample in all trees, if every leaf of a tree were reached as often as
    /// the others: the mean depth of its leaves, rounded up, leaf included.
    ///
    /// The arrays do not say how often a leaf is reached. Deep leaves are reached less often than
    /// shallow ones, so this errs on the slow side.
    pub(super) fn visited(&self) -> u64 {
        let mut stack: Vec<(u32, u64)> = Vec::new();
        let mut visited = 0_u64;
        for &root in &self.roots {
            stack.push((root, 1));
            let (mut depths, mut leaves) = (0_u64, 0_u64);
            // A node is met once in a tree; the limit holds even where arrays share nodes so that
            // counting paths would never end.
            let mut budget = self.feature.len();
            while let Some((node, depth)) = stack.pop() {
                let at = node as usize;
                if self.feature[at] == LEAF || budget == 0 {
                    depths = depths.saturating_add(depth);
                    leaves += 1;
                    continue;
                }
                budget -= 1;
                stack.push((self.child[at], depth + 1));
                stack.push((self.child[at] + 1, depth + 1));
            }
            visited = visited.saturating_add(depths.div_ceil(leaves.max(1)));
        }
        visited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_depth_of_leaves_is_rounded_up_in_each_tree() {
        // A leaf alone; a tree whose leaves are 2, 3 and 3 deep; and a node that nothing leads to.
        let trees = Trees {
            roots: vec![0, 1],
            feature: vec![LEAF, 0, LEAF, 0, LEAF, LEAF, LEAF],
            threshold: vec![0.0; 7],
            child: vec![0, 2, 0, 4, 0, 0, 0],
        };
        assert_eq!(trees.check(1, 1), Ok(()));
        assert_eq!(trees.visited(), 1 + 3);
    }

    #[test]
    fn every_node_that_points_elsewhere_is_found_whichever_way_it_is_looked_for() {
        let good = Trees {
            roots: vec![0],
            feature: vec![1, LEAF, 0, LEAF, LEAF],
            threshold: vec![0.0; 5],
            child: vec![1, 4, 3, 0, 2],
        };
        let points = |change: fn(&mut Trees)| {
            let mut trees = good.clone();
            change(&mut trees);
            let found = trees.check(2, 5).is_ok();
            assert_eq!(trees.points_downwards(2, 5), found);
            found
        };
        assert!(points(|_| ()));
        assert!(!points(|it| it.feature[0] = 2), "a feature too many");
        assert!(!points(|it| it.child[1] = 5), "a payload too many");
        assert!(!points(|it| it.child[2] = 2), "itself");
        assert!(!points(|it| it.child[2] = 4), "no right child");
        assert!(!points(|it| it.child[2] = u32::MAX), "far away");
    }
}
