//! The long part of a bundle: named arrays in the form of safetensors.
//!
//! Numbers are little-endian on every machine, and are read one by one: no alignment is relied on.

use std::borrow::Cow;

use safetensors::{Dtype, SafeTensors, View};

use super::BundleError;
use crate::precision::{self, Precision};

/// What is wrong with an array.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArrayFault {
    /// It is not there.
    #[error("is missing")]
    Missing,
    /// It holds numbers of another kind.
    #[error("holds {found} where {expected} is needed")]
    Kind {
        /// What is needed.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Its numbers cannot be shared out evenly.
    #[error("has {values} numbers, which are not {parts} parts of one length")]
    Parts {
        /// How many numbers.
        values: usize,
        /// How many parts.
        parts: usize,
    },
}

/// Numbers of the kinds that models are made of.
#[derive(Clone, Copy)]
pub(super) enum Values<'a> {
    F32(&'a [f32]),
    /// Numbers that half precision has.
    F16(&'a [f32]),
    U64(&'a [u64]),
    U32(&'a [u32]),
    U16(&'a [u16]),
    U8(&'a [u8]),
}

/// The arrays of a bundle that is being written.
#[derive(Default)]
pub(super) struct Writer<'a> {
    arrays: Vec<(String, Array<'a>)>,
}

struct Array<'a> {
    shape: [usize; 1],
    values: Values<'a>,
}

impl<'a> Values<'a> {
    /// Numbers of this precision.
    pub(super) fn floats(values: &'a [f32], precision: Precision) -> Self {
        match precision {
            Precision::Single => Self::F32(values),
            Precision::Half => Self::F16(values),
        }
    }
}

impl<'a> Writer<'a> {
    pub(super) fn put(&mut self, name: String, values: Values<'a>) {
        let len = match values {
            Values::F32(values) | Values::F16(values) => values.len(),
            Values::U64(values) => values.len(),
            Values::U32(values) => values.len(),
            Values::U16(values) => values.len(),
            Values::U8(values) => values.len(),
        };
        self.arrays.push((name, Array { shape: [len], values }));
    }

    /// All arrays as safetensors, which orders them by kind and name.
    pub(super) fn write(self) -> Vec<u8> {
        safetensors::serialize(self.arrays, None)
            .expect("names are distinct and every array is as long as its shape")
    }
}

impl View for Array<'_> {
    fn dtype(&self) -> Dtype {
        match self.values {
            Values::F32(_) => Dtype::F32,
            Values::F16(_) => Dtype::F16,
            Values::U64(_) => Dtype::U64,
            Values::U32(_) => Dtype::U32,
            Values::U16(_) => Dtype::U16,
            Values::U8(_) => Dtype::U8,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(match self.values {
            Values::F32(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Values::F16(values) => precision::to_bytes(values),
            Values::U64(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Values::U32(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Values::U16(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Values::U8(values) => return Cow::Borrowed(values),
        })
    }

    fn data_len(&self) -> usize {
        match self.values {
            Values::F32(values) => size_of_val(values),
            Values::F16(values) => size_of_val(values) / 2,
            Values::U64(values) => size_of_val(values),
            Values::U32(values) => size_of_val(values),
            Values::U16(values) => size_of_val(values),
            Values::U8(values) => values.len(),
        }
    }
}

/// The arrays of a bundle that is being read; each is taken once, and none may be left.
pub(super) struct Reader<'a> {
    arrays: SafeTensors<'a>,
    taken: usize,
    /// Called before each array is taken.
    pause: &'a dyn Fn(),
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], pause: &'a dyn Fn()) -> Result<Self, BundleError> {
        let arrays = SafeTensors::deserialize(bytes).map_err(BundleError::Arrays)?;
        Ok(Self { arrays, taken: 0, pause })
    }

    pub(super) fn f32(&mut self, name: &str) -> Result<Vec<f32>, BundleError> {
        let (numbers, _) = self.take(name, Dtype::F32)?.as_chunks();
        Ok(numbers.iter().copied().map(f32::from_le_bytes).collect())
    }

    /// Numbers of either precision.
    pub(super) fn floats(
        &mut self,
        name: &str,
        precision: Precision,
    ) -> Result<Vec<f32>, BundleError> {
        match precision {
            Precision::Single => self.f32(name),
            Precision::Half => Ok(precision::from_bytes(self.take(name, Dtype::F16)?)),
        }
    }

    pub(super) fn u64(&mut self, name: &str) -> Result<Vec<u64>, BundleError> {
        let (numbers, _) = self.take(name, Dtype::U64)?.as_chunks();
        Ok(numbers.iter().copied().map(u64::from_le_bytes).collect())
    }

    pub(super) fn u32(&mut self, name: &str) -> Result<Vec<u32>, BundleError> {
        let (numbers, _) = self.take(name, Dtype::U32)?.as_chunks();
        Ok(numbers.iter().copied().map(u32::from_le_bytes).collect())
    }

    pub(super) fn u16(&mut self, name: &str) -> Result<Vec<u16>, BundleError> {
        let (numbers, _) = self.take(name, Dtype::U16)?.as_chunks();
        Ok(numbers.iter().copied().map(u16::from_le_bytes).collect())
    }

    pub(super) fn u8(&mut self, name: &str) -> Result<Vec<u8>, BundleError> {
        Ok(self.take(name, Dtype::U8)?.to_vec())
    }

    /// Nothing is left that nothing asked for.
    pub(super) fn finish(self) -> Result<(), BundleError> {
        match self.arrays.len().saturating_sub(self.taken) {
            0 => Ok(()),
            count => Err(BundleError::Unused { count }),
        }
    }

    fn take(&mut self, name: &str, kind: Dtype) -> Result<&'a [u8], BundleError> {
        (self.pause)();
        let fault = |fault| BundleError::Array { name: name.to_owned(), fault };
        let array = self.arrays.tensor(name).map_err(|_| fault(ArrayFault::Missing))?;
        if array.dtype() != kind {
            return Err(fault(ArrayFault::Kind {
                expected: kind.to_string(),
                found: array.dtype().to_string(),
            }));
        }
        self.taken += 1;
        Ok(array.data())
    }
}
