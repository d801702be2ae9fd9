//! Grey images: eight-bit pixels become features between 0 and 1, and where lines lie.
//!
//! Every image of a task has the same size; colours and other sizes are refused, never guessed.

use models::ShapeError;

use crate::number::{count, narrow, share};

/// Longest side, in pixels.
pub const SIDE_MAX: usize = 1024;
/// Side of a cell in which directions are counted, in pixels.
const CELL: usize = 4;
/// Directions that are told apart in half a turn.
const DIRECTIONS: usize = 8;

/// What is said of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImageDetail {
    /// Each pixel, divided by 255: `r00c00`, `r00c01`, …
    #[default]
    Pixels,
    /// How strong lines of eight directions are in each cell of 4 × 4 pixels: `r00c00_d0`, …
    Lines,
}

impl ImageDetail {
    /// Its name in a task file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pixels => "pixels",
            Self::Lines => "lines",
        }
    }

    /// The detail with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Pixels, Self::Lines].into_iter().find(|it| it.name() == name)
    }
}

/// Grey images of one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    width: usize,
    height: usize,
    detail: ImageDetail,
}

/// Why there are no such images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// No pixels, or too many.
    #[error("{width} x {height} pixels; a side has 1 to {SIDE_MAX}")]
    Size {
        /// Pixels of a row.
        width: usize,
        /// Rows.
        height: usize,
    },
}

impl Image {
    /// Images of `height` rows of `width` pixels.
    ///
    /// # Errors
    ///
    /// [`ImageError::Size`] for a side of 0 or more than [`SIDE_MAX`].
    pub fn new(width: usize, height: usize, detail: ImageDetail) -> Result<Self, ImageError> {
        let fits = |side| (1..=SIDE_MAX).contains(&side);
        if fits(width) && fits(height) {
            Ok(Self { width, height, detail })
        } else {
            Err(ImageError::Size { width, height })
        }
    }

    /// Pixels of an image.
    #[must_use]
    pub fn pixels(&self) -> usize {
        self.width * self.height
    }

    /// The names of the features, row by row.
    #[must_use]
    pub fn feature_names(&self) -> Vec<String> {
        let grid = |width: usize, height: usize| {
            (0..height)
                .flat_map(move |row| (0..width).map(move |column| format!("r{row:02}c{column:02}")))
        };
        match self.detail {
            ImageDetail::Pixels => grid(self.width, self.height).collect(),
            ImageDetail::Lines => grid(self.width.div_ceil(CELL), self.height.div_ceil(CELL))
                .flat_map(|cell| (0..DIRECTIONS).map(move |it| format!("{cell}_d{it}")))
                .collect(),
        }
    }

    /// The features of one image.
    ///
    /// # Shapes
    ///
    /// `pixels` are `[height, width]`, row by row; the answer has one value between 0 and 1 for
    /// each of [`Image::feature_names`].
    ///
    /// # Errors
    ///
    /// [`ShapeError::Ragged`] for another number of pixels.
    pub fn features(&self, pixels: &[u8]) -> Result<Vec<f32>, ShapeError> {
        if pixels.len() != self.pixels() {
            return Err(ShapeError::Ragged { values: pixels.len(), width: self.pixels() });
        }
        Ok(match self.detail {
            ImageDetail::Pixels => pixels.iter().map(|pixel| f32::from(*pixel) / 255.0).collect(),
            ImageDetail::Lines => self.lines(pixels),
        })
    }

    /// Histograms of gradients: each pixel votes for the two directions next to its own, as much as
    /// its gradient is steep; a cell is measured against itself and the cells around it.
    ///
    /// # Source
    ///
    /// Dalal and Triggs, CVPR 2005, without their overlapping blocks.
    fn lines(&self, pixels: &[u8]) -> Vec<f32> {
        let at = |row: usize, column: usize| f64::from(pixels[row * self.width + column]) / 255.0;
        let (columns, rows) = (self.width.div_ceil(CELL), self.height.div_ceil(CELL));
        let mut cells = vec![[0.0_f64; DIRECTIONS]; columns * rows];
        for row in 0..self.height {
            for column in 0..self.width {
                let (left, right) = (column.saturating_sub(1), (column + 1).min(self.width - 1));
                let (above, below) = (row.saturating_sub(1), (row + 1).min(self.height - 1));
                let across = at(row, right) - at(row, left);
                let down = at(below, column) - at(above, column);
                let steep = across.hypot(down);
                if steep > 0.0 {
                    // Dark beside light is the same line as light beside dark: half a turn.
                    let half_turns = (down.atan2(across) / std::f64::consts::PI).rem_euclid(1.0);
                    let (first, part) = place(half_turns);
                    let cell = &mut cells[row / CELL * columns + column / CELL];
                    cell[first % DIRECTIONS] += steep * (1.0 - part);
                    cell[(first + 1) % DIRECTIONS] += steep * part;
                }
            }
        }
        let energy: Vec<f64> =
            cells.iter().map(|cell| cell.iter().map(|it| it * it).sum()).collect();
        let around = |cell: usize| -> f64 {
            let (row, column) = (cell / columns, cell % columns);
            (row.saturating_sub(1)..(row + 2).min(rows))
                .flat_map(|row| {
                    (column.saturating_sub(1)..(column + 2).min(columns))
                        .map(move |column| row * columns + column)
                })
                .map(|cell| energy[cell])
                .sum()
        };
        (0..cells.len())
            .flat_map(|cell| {
                let length = around(cell).sqrt();
                cells[cell].map(|it| narrow(share(it, length)))
            })
            .collect()
    }
}

/// The direction below `half_turns`, and how far it is to the next.
fn place(half_turns: f64) -> (usize, f64) {
    let scaled = half_turns * count(DIRECTIONS);
    let below = (0..DIRECTIONS).rev().find(|it| count(*it) <= scaled).unwrap_or(0);
    (below, (scaled - count(below)).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pixels_are_between_nothing_and_one() {
        let image = Image::new(2, 1, ImageDetail::Pixels).unwrap();
        assert_eq!(image.features(&[0, 255]), Ok(vec![0.0, 1.0]));
        assert_eq!(image.feature_names(), ["r00c00", "r00c01"]);
        assert!(matches!(image.features(&[0]), Err(ShapeError::Ragged { .. })));
    }

    #[test]
    fn an_upright_line_is_an_upright_line_on_both_sides() {
        let image = Image::new(8, 4, ImageDetail::Lines).unwrap();
        let ink = |column: usize| u8::from(column == 2) * 200;
        let pixels: Vec<u8> = (0..32).map(|at| ink(at % 8)).collect();
        let features = image.features(&pixels).unwrap();
        let names = image.feature_names();
        for (name, value) in names.iter().zip(features) {
            assert_eq!(value > 0.9, name == "r00c00_d0", "{name}: {value}");
        }
    }

    #[test]
    fn a_side_has_a_size() {
        for (width, height) in [(0, 5), (5, 0), (SIDE_MAX + 1, 5)] {
            let expected = Err(ImageError::Size { width, height });
            assert_eq!(Image::new(width, height, ImageDetail::Pixels), expected);
        }
    }

    proptest! {
        #[test]
        fn every_image_has_a_value_between_nothing_and_one_for_every_name(
            width in 1_usize..20,
            pixels in proptest::collection::vec(any::<u8>(), 1..400),
        ) {
            let height = pixels.len() / width;
            if let Ok(image) = Image::new(width, height, ImageDetail::Lines) {
                let features = image.features(&pixels[..width * height]).unwrap();
                prop_assert_eq!(features.len(), image.feature_names().len());
                prop_assert!(features.iter().all(|it| (0.0..=1.0).contains(it)));
            }
        }
    }
}
