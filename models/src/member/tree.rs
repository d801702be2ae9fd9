//! Decision trees as flat arrays.

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
