//! Images: rows of eight-bit pixels, from a matrix or a table.

use signals::Image;

use super::SampleReader;
use crate::table_file::{Problem, Row, TableError};

/// Rows of pixels that become features while they are read.
pub(crate) struct Images {
    pixels: SampleReader,
    image: Image,
    bytes: Vec<u8>,
    row: Row,
}

impl Images {
    /// Reads images from `pixels`.
    pub(super) fn new(pixels: SampleReader, image: Image) -> Self {
        Self { pixels, image, bytes: Vec::new(), row: Row::default() }
    }

    /// Where the pixels come from.
    pub(super) fn pixels(&self) -> &SampleReader {
        &self.pixels
    }

    /// The next image.
    pub(super) fn next_row(&mut self) -> Result<Option<&Row>, TableError> {
        let Some(row) = self.pixels.next_row()? else { return Ok(None) };
        self.bytes.clear();
        let mut wrong = None;
        for &value in &row.values {
            match pixel(value) {
                Some(pixel) => self.bytes.push(pixel),
                None => wrong = wrong.or(Some(value)),
            }
        }
        let (line, actual) = (row.line, row.values.len());
        self.row.line = line;
        self.row.number = row.number;
        self.row.label.clone_from(&row.label);
        self.row.group.clone_from(&row.group);
        if let Some(value) = wrong {
            return Err(self.pixels.error(Problem::Pixel { line, value }));
        }
        match self.image.features(&self.bytes) {
            Ok(features) => self.row.values = features,
            Err(_) => {
                let expected = self.image.pixels();
                return Err(self.pixels.error(Problem::Width { expected, actual }));
            }
        }
        Ok(Some(&self.row))
    }
}

/// A whole number from 0 to 255.
fn pixel(value: f32) -> Option<u8> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "compared with what it was made from"
    )]
    let pixel = value.clamp(0.0, 255.0) as u8;
    (f32::from(pixel) == value).then_some(pixel)
}
