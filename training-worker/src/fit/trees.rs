//! Trees while they grow: flat arrays, children after their parent.

use models::member::{Trees, tree::LEAF};

use super::{bins::Bins, matrix::index32};

/// Trees that grow node by node.
#[derive(Debug, Default)]
pub(super) struct Growing {
    pub(super) trees: Trees,
    /// The bin after which each node is cut; the trainer's own way to walk.
    pub(super) cut_bins: Vec<u8>,
}

impl Growing {
    /// Plants one more tree and gives its root, a leaf for now.
    pub(super) fn plant(&mut self) -> usize {
        let root = self.push();
        self.trees.roots.push(index32(root));
        root
    }

    fn push(&mut self) -> usize {
        self.trees.feature.push(LEAF);
        self.trees.threshold.push(0.0);
        self.trees.child.push(0);
        self.cut_bins.push(0);
        self.cut_bins.len() - 1
    }

    /// Cuts `node` after `bin` of `column`; gives the left child, the right one follows it.
    pub(super) fn cut(&mut self, node: usize, bins: &Bins, column: usize, bin: u8) -> usize {
        let left = self.push();
        self.push();
        self.trees.feature[node] = index32(column);
        self.trees.threshold[node] = bins.threshold(column, bin);
        self.trees.child[node] = index32(left);
        self.cut_bins[node] = bin;
        left
    }

    /// Ends the walk at `node` with `payload`.
    pub(super) fn end(&mut self, node: usize, payload: usize) {
        self.trees.child[node] = index32(payload);
    }

    /// Adds the trees of `other`, whose payload `p` becomes `payload(p)`.
    pub(super) fn append(&mut self, other: &Self, payload: impl Fn(u32) -> u32) {
        let offset = index32(self.cut_bins.len());
        self.trees.roots.extend(other.trees.roots.iter().map(|root| root + offset));
        self.trees.feature.extend(&other.trees.feature);
        self.trees.threshold.extend(&other.trees.threshold);
        let children = other.trees.child.iter().zip(&other.trees.feature);
        self.trees.child.extend(children.map(|(&child, &feature)| {
            if feature == LEAF { payload(child) } else { child + offset }
        }));
        self.cut_bins.extend(&other.cut_bins);
    }

    /// The payload that tree `tree` gives a sample of which it knows only the bins.
    #[cfg(test)]
    pub(super) fn walk_bins(&self, tree: usize, bins: &Bins, row: &[f32]) -> usize {
        let mut node = usize::try_from(self.trees.roots[tree]).unwrap();
        while self.trees.feature[node] != LEAF {
            let column = usize::try_from(self.trees.feature[node]).unwrap();
            let right = self.cut_bins[node] < bins.of(column, row[column]);
            node = usize::try_from(self.trees.child[node]).unwrap() + usize::from(right);
        }
        usize::try_from(self.trees.child[node]).unwrap()
    }
}

/// The two sides of a cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parted {
    /// How many rows went left.
    pub(super) left: usize,
    /// The highest bin of those.
    pub(super) low: u8,
    /// The lowest bin of the others.
    pub(super) high: u8,
}

/// Moves the rows whose bin is at most `bin` to the front, keeping the order on both sides.
pub(super) fn part(rows: &mut [u32], spare: &mut Vec<u32>, bins: &[u8], bin: u8) -> Parted {
    spare.clear();
    let mut parted = Parted { left: 0, low: 0, high: u8::MAX };
    for place in 0..rows.len() {
        let row = rows[place];
        let it = bins[at(row)];
        if it <= bin {
            rows[parted.left] = row;
            parted.left += 1;
            parted.low = parted.low.max(it);
        } else {
            spare.push(row);
            parted.high = parted.high.min(it);
        }
    }
    rows[parted.left..].copy_from_slice(spare);
    parted
}

/// A row number as an index.
#[inline(always)]
pub(super) fn at(row: u32) -> usize {
    row as usize
}
