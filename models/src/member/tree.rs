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
