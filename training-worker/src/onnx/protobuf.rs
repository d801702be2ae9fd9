//! The wire format of Protocol Buffers: the fields of a message, borrowed from its bytes.
//!
//! Nothing is allocated and nothing is believed: a message of a message is read when somebody asks
//! for it, so that a few bytes that claim a million parts cost a few bytes.

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Field<'a> {
    /// A whole number, an enum, a truth value.
    Number(u64),
    /// Text, bytes, a message, or packed numbers.
    Bytes(&'a [u8]),
    /// Four bytes: an `f32`.
    Four([u8; 4]),
    /// Eight bytes: an `f64`.
    Eight([u8; 8]),
}

/// The bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are no protocol buffer")]
pub struct Broken;

/// The fields of a message, with their numbers, in the order of the bytes.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn read(&mut self) -> Result<(u64, Field<'a>), Broken> {
        let key = varint(&mut self.rest)?;
        let field = match key & 7 {
            0 => Field::Number(varint(&mut self.rest)?),
            1 => Field::Eight(*taken(&mut self.rest)?),
            2 => {
                let length = usize::try_from(varint(&mut self.rest)?).map_err(|_| Broken)?;
                let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Broken)?;
                self.rest = rest;
                Field::Bytes(bytes)
            }
            5 => Field::Four(*taken(&mut self.rest)?),
            // Groups are older than ONNX.
            _ => return Err(Broken),
        };
        match key >> 3 {
            0 => Err(Broken),
            number => Ok((number, field)),
        }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Field<'a>), Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// The next whole number of packed ones.
pub(super) fn varint(bytes: &mut &[u8]) -> Result<u64, Broken> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(Broken)?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && 1 < bits {
            return Err(Broken);
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Broken)
}

fn taken<'a, const N: usize>(bytes: &mut &'a [u8]) -> Result<&'a [u8; N], Broken> {
    let (taken, rest) = bytes.split_first_chunk().ok_or(Broken)?;
    *bytes = rest;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    #[test]
    fn fields_are_those_that_prost_writes() {
        let written = proto::v1::BeginRequest {
            job: "kitchen-1".to_owned(),
            attempt: u64::MAX,
            device: "pi".to_owned(),
        }
        .encode_to_vec();
        let read: Vec<_> = Fields::of(&written).collect::<Result<_, _>>().unwrap();
        let expected = [
            (1, Field::Bytes(b"kitchen-1")),
            (2, Field::Number(u64::MAX)),
            (3, Field::Bytes(b"pi")),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn what_ends_early_is_broken_once() {
        let written = [0x0a, 5, b'a'];
        let read: Vec<_> = Fields::of(&written).collect();
        assert_eq!(read, [Err(Broken)]);
        assert_eq!(varint(&mut &[0xff; 10][..]), Err(Broken));
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes: Vec<u8>) {
            prop_assert!(Fields::of(&bytes).count() <= bytes.len());
        }
    }
}
