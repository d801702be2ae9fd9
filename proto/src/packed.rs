//! Requests with thousands of numbers, decoded as the block that they are on the wire.
//!
//! The generated code takes packed `float`s one by one and looks after each whether there is another:
//! under a flood of requests of eight samples that was a quarter of what the server did. These messages
//! are those of `serving.proto` in every other way, and a test holds both forms against each other.

use bytes::{Buf, BufMut, Bytes};
use prost::{
    DecodeError, Message,
    encoding::{self, DecodeContext, WireType},
};

/// `sensemble.v1.PredictRequest`: one sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PredictRequest {
    /// Who is to answer.
    pub task: String,
    /// One value per feature of the task, in the order of the task's schema. All finite.
    pub features: Vec<f32>,
    /// Also answer the set of classes that holds the true one with this probability; absent: as the
    /// policy of the task says.
    pub coverage: Option<f64>,
}

/// `sensemble.v1.PredictBatchRequest`: many samples of one task.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PredictBatchRequest {
    /// Who is to answer.
    pub task: String,
    /// Values of each sample.
    pub width: u32,
    /// Row-major: `values[row * width + column]`.
    pub values: Vec<f32>,
    /// Only this revision will do; 0 when any will.
    pub revision: u64,
    /// As in [`PredictRequest`], for every sample.
    pub coverage: Option<f64>,
}

impl Message for PredictRequest {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        put_name(&self.task, buf);
        put_floats(2, &self.features, buf);
        put_share(3, self.coverage, buf);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            1 => encoding::string::merge(wire_type, &mut self.task, buf, ctx),
            2 => take_floats(wire_type, &mut self.features, buf, ctx),
            3 => take_share(wire_type, &mut self.coverage, buf, ctx),
            _ => encoding::skip_field(wire_type, tag, buf, ctx),
        }
    }

    fn encoded_len(&self) -> usize {
        name_len(&self.task)
            + encoding::float::encoded_len_packed(2, &self.features)
            + share_len(3, self.coverage)
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Message for PredictBatchRequest {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        put_name(&self.task, buf);
        if self.width != 0 {
            encoding::uint32::encode(2, &self.width, buf);
        }
        put_floats(3, &self.values, buf);
        if self.revision != 0 {
            encoding::uint64::encode(4, &self.revision, buf);
        }
        put_share(5, self.coverage, buf);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            1 => encoding::string::merge(wire_type, &mut self.task, buf, ctx),
            2 => encoding::uint32::merge(wire_type, &mut self.width, buf, ctx),
            3 => take_floats(wire_type, &mut self.values, buf, ctx),
            4 => encoding::uint64::merge(wire_type, &mut self.revision, buf, ctx),
            5 => take_share(wire_type, &mut self.coverage, buf, ctx),
            _ => encoding::skip_field(wire_type, tag, buf, ctx),
        }
    }

    fn encoded_len(&self) -> usize {
        let width = if self.width == 0 { 0 } else { encoding::uint32::encoded_len(2, &self.width) };
        let revision =
            if self.revision == 0 { 0 } else { encoding::uint64::encoded_len(4, &self.revision) };
        name_len(&self.task)
            + width
            + encoding::float::encoded_len_packed(3, &self.values)
            + revision
            + share_len(5, self.coverage)
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

fn put_name(task: &String, buf: &mut impl BufMut) {
    if !task.is_empty() {
        encoding::string::encode(1, task, buf);
    }
}

fn name_len(task: &String) -> usize {
    if task.is_empty() { 0 } else { encoding::string::encoded_len(1, task) }
}

fn put_share(tag: u32, share: Option<f64>, buf: &mut impl BufMut) {
    if let Some(share) = share {
        encoding::double::encode(tag, &share, buf);
    }
}

fn share_len(tag: u32, share: Option<f64>) -> usize {
    share.map_or(0, |share| encoding::double::encoded_len(tag, &share))
}

fn take_share(
    wire_type: WireType,
    share: &mut Option<f64>,
    buf: &mut impl Buf,
    ctx: DecodeContext,
) -> Result<(), DecodeError> {
    encoding::double::merge(wire_type, share.get_or_insert_default(), buf, ctx)
}

fn put_floats(tag: u32, values: &[f32], buf: &mut impl BufMut) {
    if values.is_empty() {
        return;
    }
    encoding::encode_key(tag, WireType::LengthDelimited, buf);
    encoding::encode_varint(size_of_val(values) as u64, buf);
    // In pieces, because a buffer takes a slice at once and a number by itself.
    let mut piece = [0; 256];
    for values in values.chunks(piece.len() / 4) {
        for (to, value) in piece.as_chunks_mut::<4>().0.iter_mut().zip(values) {
            *to = value.to_le_bytes();
        }
        buf.put_slice(&piece[..size_of_val(values)]);
    }
}

/// Packed or one by one, as the specification of Protocol Buffers asks of who reads.
fn take_floats(
    wire_type: WireType,
    values: &mut Vec<f32>,
    buf: &mut impl Buf,
    ctx: DecodeContext,
) -> Result<(), DecodeError> {
    if wire_type != WireType::LengthDelimited {
        return encoding::float::merge_repeated(wire_type, values, buf, ctx);
    }
    let mut block = Bytes::new();
    encoding::bytes::merge(wire_type, &mut block, buf, ctx.clone())?;
    let (floats, mut rest) = block.as_chunks::<4>();
    values.extend(floats.iter().map(|&float| f32::from_le_bytes(float)));
    if rest.is_empty() {
        return Ok(());
    }
    // Half a number: the error of who reads it.
    encoding::float::merge(WireType::ThirtyTwoBit, &mut 0.0, &mut rest, ctx)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is generated for the same fields.
    #[derive(Clone, PartialEq, Message)]
    struct Generated {
        #[prost(string, tag = "1")]
        task: String,
        #[prost(float, repeated, tag = "2")]
        features: Vec<f32>,
        #[prost(double, optional, tag = "3")]
        coverage: Option<f64>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct GeneratedBatch {
        #[prost(string, tag = "1")]
        task: String,
        #[prost(uint32, tag = "2")]
        width: u32,
        #[prost(float, repeated, tag = "3")]
        values: Vec<f32>,
        #[prost(uint64, tag = "4")]
        revision: u64,
        #[prost(double, optional, tag = "5")]
        coverage: Option<f64>,
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|it| it.to_bits()).collect()
    }

    proptest! {
        #[test]
        fn both_forms_write_and_read_the_same(
            task in ".{0,9}", values in prop::collection::vec(any::<u32>(), 0..300),
            width: u32, revision: u64, coverage in prop::option::of(0.0..1.0),
        ) {
            let values: Vec<f32> = values.into_iter().map(f32::from_bits).collect();
            let one = PredictRequest { task: task.clone(), features: values.clone(), coverage };
            let plain = Generated { task: task.clone(), features: values.clone(), coverage };
            let bytes = one.encode_to_vec();
            prop_assert_eq!(one.encoded_len(), bytes.len());
            prop_assert_eq!(&bytes, &plain.encode_to_vec());
            let read = PredictRequest::decode(&*bytes).unwrap();
            prop_assert_eq!((&read.task, bits(&read.features)), (&task, bits(&values)));
            prop_assert_eq!(read.coverage, coverage);

            let task_too = task.clone();
            let many = PredictBatchRequest {
                task: task_too, width, values: values.clone(), revision, coverage,
            };
            let task_too = task.clone();
            let plain = GeneratedBatch {
                task: task_too, width, values: values.clone(), revision, coverage,
            };
            let bytes = many.encode_to_vec();
            prop_assert_eq!(many.encoded_len(), bytes.len());
            prop_assert_eq!(&bytes, &plain.encode_to_vec());
            let read = PredictBatchRequest::decode(&*bytes).unwrap();
            prop_assert_eq!((read.task, read.width, read.revision), (task, width, revision));
            prop_assert_eq!(read.coverage, coverage);
            prop_assert_eq!(bits(&read.values), bits(&values));
        }

        #[test]
        fn whatever_comes_both_read_it_or_neither(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let (one, plain) = (PredictRequest::decode(&*bytes), Generated::decode(&*bytes));
            match (one, plain) {
                (Ok(one), Ok(plain)) => {
                    prop_assert_eq!((one.task, bits(&one.features)), (plain.task, bits(&plain.features)));
                    let (one, plain) = (one.coverage, plain.coverage);
                    prop_assert_eq!(one.map(f64::to_bits), plain.map(f64::to_bits));
                }
                (one, plain) => prop_assert_eq!(one.is_ok(), plain.is_ok()),
            }
        }
    }

    #[test]
    fn numbers_one_by_one_are_read_and_half_a_number_is_not() {
        let mut apart = Vec::new();
        encoding::float::encode_repeated(2, &[1.5, -0.0], &mut apart);
        put_floats(2, &[7.0], &mut apart);
        assert_eq!(PredictRequest::decode(&*apart).unwrap().features, [1.5, -0.0, 7.0]);
        let half = [0x12, 6, 0, 0, 0x80, 0x3f, 0, 0];
        assert!(PredictRequest::decode(&half[..]).is_err());
        assert!(Generated::decode(&half[..]).is_err());
        let cut = [0x12, 200, 1, 0];
        assert!(PredictRequest::decode(&cut[..]).is_err());
    }
}
