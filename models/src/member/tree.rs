//! Decision trees as flat arrays.

use super::ModelError;
use crate::check;

/// Leaf mark in [`Trees::feature`].
pub const LEAF: u32 = u32::MAX;

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
    /// The payload index of the leaf that `x` reaches from `root`.
    #[inline]
    #[must_use]
    pub fn leaf(&self, root: u32, x: &[f32]) -> usize {
        let mut node = root as usize;
        loop {
            let feature = self.feature[node];
            let child = self.child[node];
            if feature == LEAF {
                return child as usize;
            }
            // Both are finite, so this is "not at most".
            let right = self.threshold[node] < x[feature as usize];
            node = child as usize + usize::from(right);
        }
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
