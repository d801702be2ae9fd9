//! The values of an input, in each of the forms that the protocol has, as `f32`: checked once, never a
//! panic.
//!
//! FP32 is taken as it is, and so are FP16 and BF16, of which each value is one of FP32: they come in binary only, since
//! the protocol has no field for them. FP64 is rounded to the nearest FP32, as an imported file is. Whole numbers
//! and truth values must be exact in FP32; a larger one is refused by name rather than changed.

use half::{bf16, f16};
use proto::inference::InferTensorContents;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, SeqAccess, Visitor};

use super::refusal::RequestError;

/// Kinds of values that are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Datatype {
    Bool,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Int8,
    Int16,
    Int32,
    Int64,
    Fp16,
    Bf16,
    Fp32,
    Fp64,
}

impl Datatype {
    pub(super) fn parse(name: &str) -> Result<Self, RequestError> {
        match name {
            "BOOL" => Ok(Self::Bool),
            "UINT8" => Ok(Self::Uint8),
            "UINT16" => Ok(Self::Uint16),
            "UINT32" => Ok(Self::Uint32),
            "UINT64" => Ok(Self::Uint64),
            "INT8" => Ok(Self::Int8),
            "INT16" => Ok(Self::Int16),
            "INT32" => Ok(Self::Int32),
            "INT64" => Ok(Self::Int64),
            "FP16" => Ok(Self::Fp16),
            "BF16" => Ok(Self::Bf16),
            "FP32" => Ok(Self::Fp32),
            "FP64" => Ok(Self::Fp64),
            _ => Err(RequestError::Datatype { datatype: crate::answer::shortened(name) }),
        }
    }

    /// Bytes of a raw value.
    fn bytes(self) -> usize {
        match self {
            Self::Bool | Self::Uint8 | Self::Int8 => 1,
            Self::Uint16 | Self::Int16 | Self::Fp16 | Self::Bf16 => 2,
            Self::Uint32 | Self::Int32 | Self::Fp32 => 4,
            Self::Uint64 | Self::Int64 | Self::Fp64 => 8,
        }
    }
}

/// `[rows, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) rows: usize,
    pub(super) width: usize,
    /// `rows · width`.
    values: usize,
}

impl Shape {
    /// # Errors
    ///
    /// [`RequestError::Shape`] unless there are two dimensions, neither negative, whose product is a
    /// number of values that could be there.
    pub(super) fn parse(dimensions: &[i64]) -> Result<Self, RequestError> {
        let parsed = match *dimensions {
            [rows, width] => usize::try_from(rows).ok().zip(usize::try_from(width).ok()),
            _ => None,
        };
        parsed
            .and_then(|(rows, width)| Some(Self { rows, width, values: rows.checked_mul(width)? }))
            // Rows without values would be free to claim.
            .filter(|shape| 0 < shape.width || shape.rows == 0)
            .ok_or_else(|| {
                let shown: Vec<String> =
                    dimensions.iter().take(8).map(ToString::to_string).collect();
                let more = if 8 < dimensions.len() { ", …" } else { "" };
                RequestError::Shape { shape: format!("[{}{more}]", shown.join(", ")) }
            })
    }

    fn place(self, at: usize) -> (usize, usize) {
        let width = self.width.max(1);
        (at / width, at % width)
    }

    fn filled_by(self, actual: usize) -> Result<(), RequestError> {
        let Self { rows, width, values } = self;
        if actual == values { Ok(()) } else { Err(RequestError::Values { actual, rows, width }) }
    }

    /// A whole number, unless FP32 would change it.
    fn whole<T: TryInto<i32> + Copy + ToString>(
        self,
        at: usize,
        value: T,
    ) -> Result<f32, RequestError> {
        // 2²⁴: below it FP32 has every whole number.
        let exact = value.try_into().ok().filter(|small: &i32| small.unsigned_abs() <= 1 << 24);
        #[expect(clippy::cast_precision_loss, reason = "at most 2²⁴, hence exact")]
        exact.map(|small| small as f32).ok_or_else(|| {
            let (row, column) = self.place(at);
            RequestError::Inexact { value: value.to_string(), row, column }
        })
    }

    /// The nearest FP32. What is not finite stays so, and is named with its place later.
    fn rounded(self, at: usize, value: f64) -> Result<f32, RequestError> {
        #[expect(clippy::cast_possible_truncation, reason = "rounding is what is wanted")]
        let nearest = value as f32;
        if value.is_finite() && !nearest.is_finite() {
            let (row, column) = self.place(at);
            return Err(RequestError::Beyond { value, row, column });
        }
        Ok(nearest)
    }

    fn all_whole<T: TryInto<i32> + Copy + ToString>(
        self,
        values: impl Iterator<Item = T>,
    ) -> Result<Vec<f32>, RequestError> {
        values.enumerate().map(|(at, value)| self.whole(at, value)).collect()
    }

    fn all_rounded(self, values: impl Iterator<Item = f64>) -> Result<Vec<f32>, RequestError> {
        values.enumerate().map(|(at, value)| self.rounded(at, value)).collect()
    }
}

/// Row-major little-endian values without padding.
pub(super) fn raw(
    datatype: Datatype,
    shape: Shape,
    contents: &[u8],
) -> Result<Vec<f32>, RequestError> {
    let bytes = datatype.bytes();
    if shape.values.checked_mul(bytes) != Some(contents.len()) {
        let Shape { rows, width, .. } = shape;
        return Err(RequestError::Bytes { actual: contents.len(), rows, width, bytes });
    }
    // The length fits: no chunk is broken.
    let (twos, fours) = (contents.as_chunks().0.iter(), contents.as_chunks().0.iter());
    let eights = contents.as_chunks().0.iter();
    let ones = contents.iter();
    match datatype {
        Datatype::Bool => shape.all_whole(ones.map(|&it| u8::from(it != 0))),
        Datatype::Uint8 => shape.all_whole(ones.copied()),
        Datatype::Int8 => shape.all_whole(ones.map(|&it| it.cast_signed())),
        Datatype::Uint16 => shape.all_whole(twos.map(|&it| u16::from_le_bytes(it))),
        Datatype::Int16 => shape.all_whole(twos.map(|&it| i16::from_le_bytes(it))),
        Datatype::Uint32 => shape.all_whole(fours.map(|&it| u32::from_le_bytes(it))),
        Datatype::Int32 => shape.all_whole(fours.map(|&it| i32::from_le_bytes(it))),
        Datatype::Fp16 => Ok(twos.map(|&it| f16::from_le_bytes(it).to_f32()).collect()),
        Datatype::Bf16 => Ok(twos.map(|&it| bf16::from_le_bytes(it).to_f32()).collect()),
        Datatype::Fp32 => Ok(fours.map(|&it| f32::from_le_bytes(it)).collect()),
        Datatype::Uint64 => shape.all_whole(eights.map(|&it| u64::from_le_bytes(it))),
        Datatype::Int64 => shape.all_whole(eights.map(|&it| i64::from_le_bytes(it))),
        Datatype::Fp64 => shape.all_rounded(eights.map(|&it| f64::from_le_bytes(it))),
    }
}

/// Values in the field that the datatype names.
pub(super) fn typed(
    datatype: Datatype,
    shape: Shape,
    contents: InferTensorContents,
) -> Result<Vec<f32>, RequestError> {
    let values = match datatype {
        Datatype::Bool => shape.all_whole(contents.bool_contents.into_iter().map(u8::from))?,
        Datatype::Uint8 | Datatype::Uint16 | Datatype::Uint32 => {
            shape.all_whole(contents.uint_contents.into_iter())?
        }
        Datatype::Int8 | Datatype::Int16 | Datatype::Int32 => {
            shape.all_whole(contents.int_contents.into_iter())?
        }
        Datatype::Uint64 => shape.all_whole(contents.uint64_contents.into_iter())?,
        Datatype::Int64 => shape.all_whole(contents.int64_contents.into_iter())?,
        Datatype::Fp16 | Datatype::Bf16 => return Err(RequestError::OnlyBinary),
        Datatype::Fp32 => contents.fp32_contents,
        Datatype::Fp64 => shape.all_rounded(contents.fp64_contents.into_iter())?,
    };
    shape.filled_by(values.len())?;
    Ok(values)
}

/// Values of a JSON list, flat or nested.
pub(super) fn listed(
    datatype: Datatype,
    shape: Shape,
    data: &Data,
) -> Result<Vec<f32>, RequestError> {
    let Shape { rows, width, .. } = shape;
    if data.other {
        return Err(RequestError::NotNumbers);
    }
    if let Some(first) = data.list
        && (data.uneven || data.loose || first != width || data.lists != rows)
    {
        return Err(RequestError::Nested { rows, width });
    }
    shape.filled_by(data.values.len())?;
    match datatype {
        Datatype::Fp16 | Datatype::Bf16 => Err(RequestError::OnlyBinary),
        Datatype::Fp32 | Datatype::Fp64 => shape.all_rounded(data.values.iter().copied()),
        Datatype::Bool
        | Datatype::Uint8
        | Datatype::Uint16
        | Datatype::Uint32
        | Datatype::Uint64
        | Datatype::Int8
        | Datatype::Int16
        | Datatype::Int32
        | Datatype::Int64 => {
            let exact = |(at, &value): (usize, &f64)| {
                let (row, column) = shape.place(at);
                // Above 2²⁴ a whole number may have been changed while it was read.
                if value.fract() == 0.0 && value.abs() <= f64::from(1 << 24) {
                    shape.rounded(at, value)
                } else {
                    Err(RequestError::Inexact { value: value.to_string(), row, column })
                }
            };
            data.values.iter().enumerate().map(exact).collect()
        }
    }
}

/// The numbers of a JSON list, and how they were nested.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Data {
    values: Vec<f64>,
    /// Lists within the list.
    lists: usize,
    /// Numbers in the first of them.
    list: Option<usize>,
    /// Lists of unlike length.
    uneven: bool,
    /// Numbers beside lists, or lists within lists within lists.
    loose: bool,
    /// Something that is no number.
    other: bool,
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut data = Self::default();
        Element { data: &mut data, depth: 0 }.deserialize(deserializer)?;
        Ok(data)
    }
}

/// Reads one element at a depth: 0 is the whole list.
struct Element<'a> {
    data: &'a mut Data,
    depth: u8,
}

impl Element<'_> {
    fn number(self, value: f64) {
        if self.depth == 0 {
            self.data.other = true;
        }
        self.data.loose |= self.depth == 1 && 0 < self.data.lists;
        self.data.values.push(value);
    }

    fn other(self) {
        self.data.other = true;
    }
}

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Element<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a list of numbers")
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.number(value);
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "rounded anyway, or refused above 2²⁴")]
    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.number(value as f64);
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "rounded anyway, or refused above 2²⁴")]
    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.number(value as f64);
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.number(f64::from(u8::from(value)));
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        self.other();
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.other();
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { data, depth } = self;
        let before = data.values.len();
        // The parser itself refuses to go deeper than 128.
        while list.next_element_seed(Element { data, depth: depth.saturating_add(1) })?.is_some() {}
        let numbers = data.values.len() - before;
        match depth {
            0 => {}
            1 => {
                data.loose |= data.lists == 0 && 0 < before;
                data.uneven |= *data.list.get_or_insert(numbers) != numbers;
                data.lists += 1;
            }
            2.. => data.loose = true,
        }
        Ok(())
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<serde::de::IgnoredAny, serde::de::IgnoredAny>()?.is_some() {}
        self.other();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
