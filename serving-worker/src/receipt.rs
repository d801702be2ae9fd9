//! What is remembered of an answer: enough to turn a user's word into a correction, to say how the
//! answer came about, and to give it again.

use models::{Subset, Votes};
use prost::{
    Message as _,
    bytes::{BufMut as _, Bytes},
    encoding::{self, WireType},
};
use proto::{trace::TraceId, v1};

use crate::served::Served;

/// One answer. Written as a Protocol Buffers message, so that a newer worker reads older receipts:
/// what they do not have is empty.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Receipt {
    #[prost(string, tag = "1")]
    pub(crate) task: String,
    #[prost(uint64, tag = "2")]
    pub(crate) revision: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) generation: u64,
    /// The name of the class that was answered.
    #[prost(string, tag = "4")]
    pub(crate) class: String,
    #[prost(enumeration = "v1::Stage", tag = "5")]
    pub(crate) stage: i32,
    #[prost(float, tag = "6")]
    pub(crate) confidence: f32,
    /// Bit i set: member i was asked.
    #[prost(uint64, tag = "7")]
    pub(crate) asked: u64,
    /// What each member that was asked voted for, in the order of members.
    #[prost(uint32, repeated, tag = "8")]
    pub(crate) votes: Vec<u32>,
    #[prost(uint32, tag = "9")]
    pub(crate) gate_us: u32,
    #[prost(uint32, tag = "10")]
    pub(crate) vote_us: u32,
    /// When it was given, Unix milliseconds.
    #[prost(uint64, tag = "11")]
    pub(crate) at_ms: u64,
    /// The sample, little-endian `f32`.
    #[prost(bytes = "bytes", tag = "12")]
    pub(crate) features: Bytes,
    /// SHA-256 of the bundle.
    #[prost(bytes = "bytes", tag = "13")]
    pub(crate) digest: Bytes,
    /// Bit i set: member i could have been asked.
    #[prost(uint64, tag = "14")]
    pub(crate) assigned: u64,
    /// Whether the gate was asked first.
    #[prost(bool, tag = "15")]
    pub(crate) gated: bool,
    /// From when the request was read until it was begun.
    #[prost(uint32, tag = "16")]
    pub(crate) queue_us: u32,
    /// Whether a deadline ended the vote before it was decided.
    #[prost(bool, tag = "17")]
    pub(crate) cut_short: bool,
    /// Why the answer is the one that the policy names, or no more than a guess.
    #[prost(string, tag = "18")]
    pub(crate) reason: String,
    /// The classes of the set, where there was one.
    #[prost(uint32, repeated, tag = "19")]
    pub(crate) set: Vec<u32>,
    /// How often such a set holds the true class.
    #[prost(double, tag = "20")]
    pub(crate) coverage: f64,
    /// Whether the answer said that it does not know.
    #[prost(bool, tag = "21")]
    pub(crate) abstained: bool,
    /// The trace that the request belonged to.
    #[prost(bytes = "bytes", tag = "22")]
    pub(crate) trace_id: Bytes,
}

/// An answer as it was given, to be written down.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) served: &'a Served,
    pub(crate) row: &'a [f32],
    pub(crate) reply: &'a v1::PredictReply,
    /// Of those who were heard; `None` when nobody was.
    pub(crate) votes: Option<&'a Votes>,
    pub(crate) queue_us: u32,
    pub(crate) at_ms: u64,
    pub(crate) trace: Option<TraceId>,
}

impl Entry<'_> {
    /// The bytes of the [`Receipt`], written straight from where its parts lie: this is done for
    /// every answer.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Self { served, row, reply, votes, queue_us, at_ms, trace } = *self;
        let wanted = &served.wanted;
        let names = wanted.task.len() + reply.class.len() + reply.reason.len();
        let heard = votes.map_or(Subset(0), Votes::asked);
        // Everything else takes less than 180 bytes, and a vote at most 3.
        let out = &mut Vec::with_capacity(
            180 + names + 3 * usize_of(heard.len()) + 4 * row.len() + 5 * reply.set.len(),
        );
        encoding::string::encode(1, &wanted.task, out);
        encoding::uint64::encode(2, &wanted.revision, out);
        encoding::uint64::encode(3, &wanted.generation, out);
        encoding::string::encode(4, &reply.class, out);
        encoding::int32::encode(5, &reply.stage, out);
        encoding::float::encode(6, &reply.confidence, out);
        encoding::uint64::encode(7, &heard.0, out);
        for (_, class) in votes.into_iter().flat_map(Votes::iter) {
            encoding::uint32::encode(8, &u32::from(class.0), out);
        }
        encoding::uint32::encode(9, &reply.gate_us, out);
        encoding::uint32::encode(10, &reply.vote_us, out);
        encoding::uint64::encode(11, &at_ms, out);
        head(12, 4 * row.len(), out);
        for value in row {
            out.put_f32_le(*value);
        }
        head(13, wanted.digest.len(), out);
        out.put_slice(&wanted.digest);
        encoding::uint64::encode(14, &wanted.subset.0, out);
        encoding::bool::encode(15, &wanted.gated, out);
        encoding::uint32::encode(16, &queue_us, out);
        encoding::bool::encode(17, &reply.cut_short, out);
        if !reply.reason.is_empty() {
            encoding::string::encode(18, &reply.reason, out);
        }
        if !reply.set.is_empty() {
            encoding::uint32::encode_packed(19, &reply.set, out);
            encoding::double::encode(20, &reply.coverage, out);
        }
        if reply.abstained {
            encoding::bool::encode(21, &true, out);
        }
        if let Some(trace) = trace {
            head(22, trace.bytes().len(), out);
            out.put_slice(trace.bytes());
        }
        std::mem::take(out)
    }
}

/// What stands before so many bytes.
fn head(tag: u32, bytes: usize, out: &mut Vec<u8>) {
    encoding::encode_key(tag, WireType::LengthDelimited, out);
    encoding::encode_varint(u64::try_from(bytes).unwrap_or(u64::MAX), out);
}

fn usize_of(count: u32) -> usize {
    usize::try_from(count).expect("32 bits fit in a usize on every target")
}

impl Receipt {
    /// The receipt in `bytes`; `None` when they are none.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        // A mark is a message too, but has no sample.
        Self::decode(bytes).ok().filter(|receipt| !receipt.features.is_empty())
    }

    /// The sample; `None` when its bytes are none.
    pub(crate) fn row(&self) -> Option<Vec<f32>> {
        let (values, rest) = self.features.as_chunks::<4>();
        rest.is_empty().then(|| values.iter().map(|value| f32::from_le_bytes(*value)).collect())
    }

    /// Members that were asked and what each voted for.
    pub(crate) fn heard(&self) -> impl Iterator<Item = (usize, u32)> {
        Subset(self.asked).members().zip(self.votes.iter().copied())
    }
}

/// That an answer was corrected, and how: what the newest word of a user was.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Mark {
    #[prost(string, tag = "1")]
    pub(crate) label: String,
    #[prost(uint64, tag = "2")]
    pub(crate) at_ms: u64,
}

impl Mark {
    /// Where the mark of an answer is kept: beside its receipt, never under the key of another's.
    ///
    /// Ids begin with a random half, so that the bits of one turned around are no other's.
    pub(crate) fn key(prediction_id: [u8; 16]) -> [u8; 16] {
        prediction_id.map(|byte| !byte)
    }
}

#[cfg(test)]
mod tests {
    use models::{Family, synthetic};

    use super::*;
    use crate::{orders::Wanted, served::tests::served};

    /// What workers wrote before receipts could be replayed.
    #[derive(Clone, PartialEq, prost::Message)]
    struct Before {
        #[prost(string, tag = "1")]
        task: String,
        #[prost(uint32, tag = "5")]
        stage: u32,
        #[prost(uint64, tag = "7")]
        asked: u64,
        #[prost(uint32, repeated, tag = "8")]
        votes: Vec<u32>,
        #[prost(bytes = "bytes", tag = "12")]
        features: Bytes,
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let served = served(&[Family::Ridge, Family::Knn, Family::Mlp], false);
        let Wanted { task, revision, generation, digest, subset, gated, .. } = &served.wanted;
        let row = synthetic::rows(served.schema().width(), 1, 3).remove(0);
        let mut scratch = served.ensemble.scratch();
        let asking = served.asking.clone().to_the_end();
        let answer = served.ensemble.answer_timed(&row, &asking, false, &mut scratch, |_| ());
        let votes = answer.unwrap().votes;
        let reply = v1::PredictReply {
            class: "class-1".to_owned(),
            confidence: 0.75,
            stage: v1::Stage::Vote.into(),
            gate_us: 3,
            vote_us: 400,
            cut_short: true,
            reason: "a reason".to_owned(),
            set: vec![0, 1, 300],
            coverage: 0.9,
            abstained: true,
            ..v1::PredictReply::default()
        };
        let entry = Entry {
            served: &served,
            row: &row,
            reply: &reply,
            votes: Some(&votes),
            queue_us: 70_000,
            at_ms: u64::MAX,
            trace: TraceId::new([7; 16]),
        };
        let receipt = Receipt {
            task: task.clone(),
            revision: *revision,
            generation: *generation,
            class: reply.class.clone(),
            stage: reply.stage,
            confidence: reply.confidence,
            asked: 0b111,
            votes: votes.iter().map(|(_, class)| u32::from(class.0)).collect(),
            gate_us: 3,
            vote_us: 400,
            at_ms: u64::MAX,
            features: proto::parse::pack(&row),
            digest: digest.to_vec().into(),
            assigned: subset.0,
            gated: *gated,
            queue_us: 70_000,
            cut_short: true,
            reason: reply.reason.clone(),
            set: reply.set.clone(),
            coverage: reply.coverage,
            abstained: true,
            trace_id: vec![7; 16].into(),
        };
        let bytes = entry.encode();
        assert_eq!(Receipt::parse(&bytes), Some(receipt.clone()));
        assert_eq!(receipt.row(), Some(row.clone()));
        assert_eq!(receipt.heard().count(), 3);
        // And nobody heard.
        let nobody = Entry { votes: None, trace: None, ..entry }.encode();
        let nobody = Receipt::parse(&nobody).unwrap();
        assert_eq!((nobody.asked, nobody.heard().count()), (0, 0));
        assert!(nobody.trace_id.is_empty());
    }

    #[test]
    fn older_receipts_are_read_and_marks_are_none() {
        let before = Before {
            task: "kitchen".to_owned(),
            stage: 2,
            asked: 0b101,
            votes: vec![1, 2],
            features: proto::parse::pack(&[1.0, 2.0]),
        };
        let receipt = Receipt::parse(&before.encode_to_vec()).unwrap();
        assert_eq!((receipt.stage(), &*receipt.task), (v1::Stage::Vote, "kitchen"));
        assert_eq!(receipt.heard().collect::<Vec<_>>(), [(0, 1), (2, 2)]);
        assert_eq!(receipt.row(), Some(vec![1.0, 2.0]));
        assert!(receipt.digest.is_empty(), "what is not known is not made up");
        let mark = Mark { label: "tap".to_owned(), at_ms: 7 }.encode_to_vec();
        assert_eq!(Receipt::parse(&mark), None);
    }
}
