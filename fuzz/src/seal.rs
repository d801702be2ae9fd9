//! Behind a checksum: a bundle whose head is right whatever was changed in it.
//!
//! Who changes bytes at random never guesses a SHA-256, so that nothing behind the digest would be read. Whoever
//! means harm computes it. So do we, and with it all that follows from the rest: lengths, the schema's hash, and where
//! in the arrays each one lies. Names, shapes, kinds and numbers stay as they were changed.

use models::{ClassId, Schema, bundle};
use serde_json::{Map, Value};

/// Bytes of magic and version, in front of the digest.
const BEFORE_DIGEST: usize = 8;
/// Where the schema's hash lies in the head.
const SCHEMA: std::ops::Range<usize> = 40..72;
/// What stands in front of the names of arrays: the length of their JSON, which is shorter than 16 MiB.
const ARRAYS_BEGIN: &[u8] = b"\0\0\0\0\0{\"";
/// Most bytes of arrays that are made up: shapes may promise any number.
const ARRAYS_BYTES_MAX: usize = 1 << 20;

/// `bytes` as a bundle, as far as that follows from them.
#[must_use]
pub fn sealed(bytes: &[u8]) -> Vec<u8> {
    let Some((head, body)) = bytes.split_at_checked(bundle::HEAD_BYTES) else {
        return bytes.to_vec();
    };
    // Changed bytes move what stands behind them: where the arrays begin is looked for, not believed.
    let begin = body.windows(ARRAYS_BEGIN.len()).position(|it| it == ARRAYS_BEGIN);
    let (manifest, arrays) = body.split_at(begin.map_or(body.len(), |it| it.saturating_sub(3)));
    let arrays = arranged(arrays).unwrap_or_else(|| arrays.to_vec());

    let mut rest = schema_hash(manifest).map_or_else(|| head[SCHEMA].to_vec(), Vec::from);
    for length in [manifest.len(), arrays.len()] {
        rest.extend_from_slice(&u64::try_from(length).unwrap_or(u64::MAX).to_le_bytes());
    }
    rest.extend_from_slice(manifest);
    rest.extend_from_slice(&arrays);
    let digest = bundle::digest(&rest);
    [&bundle::MAGIC[..], &head[4..BEFORE_DIGEST], &digest, &rest].concat()
}

/// The hash of the schema that the manifest begins with, if it holds one.
fn schema_hash(manifest: &[u8]) -> Option<[u8; 32]> {
    type Names = (Vec<String>, Vec<String>, Option<u16>);
    let ((features, classes, background), _) = postcard::take_from_bytes::<Names>(manifest).ok()?;
    Some(Schema::new(features, classes, background.map(ClassId)).ok()?.hash())
}

/// Arrays as safetensors: one behind the other, each as long as its kind and shape say.
fn arranged(arrays: &[u8]) -> Option<Vec<u8>> {
    let json = arrays.get(8..)?;
    let mut names = serde_json::Deserializer::from_slice(json).into_iter::<Map<String, Value>>();
    let mut entries = names.next()?.ok()?;
    let mut data = json.get(names.byte_offset()..)?.iter().copied().skip_while(|it| *it == b' ');

    // In the order in which they lie; a name that is no array stays what it is.
    let mut order: Vec<(u64, String)> = entries
        .iter()
        .filter_map(|(name, entry)| Some((entry["data_offsets"][0].as_u64()?, name.clone())))
        .collect();
    order.sort();
    let mut values = Vec::new();
    for (_, name) in order {
        let entry = entries.get_mut(&name)?;
        let bytes = bytes_of(entry)?;
        let begin = values.len();
        if ARRAYS_BYTES_MAX < begin + bytes {
            return None;
        }
        values.extend(data.by_ref().chain(std::iter::repeat(0)).take(bytes));
        entry["data_offsets"] = serde_json::json!([begin, begin + bytes]);
    }
    let names = serde_json::to_vec(&entries).ok()?;
    let length = u64::try_from(names.len()).ok()?.to_le_bytes();
    Some([&length[..], &names, &values].concat())
}

/// How many bytes an array of this kind and shape has.
fn bytes_of(entry: &Value) -> Option<usize> {
    let bits: String = entry["dtype"].as_str()?.chars().filter(char::is_ascii_digit).collect();
    let width = bits.parse::<usize>().ok()? / 8;
    let shape = entry["shape"].as_array()?;
    let mut lengths = shape.iter().map(|it| usize::try_from(it.as_u64()?).ok());
    let bytes = lengths.try_fold(width, |bytes, it| bytes.checked_mul(it?))?;
    (bytes <= ARRAYS_BYTES_MAX).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden() -> Vec<Vec<u8>> {
        let bundles = crate::TARGETS.iter().find(|it| it.name == "bundle");
        (bundles.expect("bundles are read").seeds)()
    }

    #[test]
    fn what_was_a_bundle_stays_the_same_ensemble() {
        for bytes in golden() {
            let ensemble = bundle::decode(&bytes).expect("it is golden");
            let sealed = bundle::decode(&sealed(&bytes)).expect("it was sealed");
            assert_eq!(bundle::encode(&ensemble), bundle::encode(&sealed));
        }
    }

    #[test]
    fn what_lies_behind_the_digest_is_read_and_judged() {
        for mut bytes in golden() {
            // A feature's name becomes longer: all lengths, the schema's hash and the digest are another.
            let first = bundle::HEAD_BYTES + 1;
            let length = usize::from(bytes[first]);
            bytes[first] += 1;
            bytes.insert(first + 1 + length, b'x');
            assert!(bundle::decode(&bytes).is_err(), "what was changed does not go unnoticed");
            let ensemble = bundle::decode(&sealed(&bytes)).expect("only a name is another");
            assert!(ensemble.schema().features()[0].ends_with('x'));
        }
    }

    #[test]
    fn an_array_is_as_long_as_its_shape_says() {
        let ridge = |bytes: &Vec<u8>| at(bytes, b"\"m0.bias\":{\"dtype\":\"F32\",\"shape\":[3]");
        let (mut bytes, begin) =
            golden().into_iter().find_map(|it| ridge(&it).map(|at| (it, at))).expect("a ridge");
        let three = begin + at(&bytes[begin..], b"[3]").expect("it was found") + 1;
        bytes[three] = b'4';
        let error = bundle::decode(&sealed(&bytes)).expect_err("four biases of three classes");
        assert!(matches!(error, bundle::BundleError::Model(_)), "arrays were read: {error:?}");
    }

    fn at(bytes: &[u8], text: &[u8]) -> Option<usize> {
        bytes.windows(text.len()).position(|it| it == text)
    }
}
