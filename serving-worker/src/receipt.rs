//! What is remembered of an answer: enough to turn a user's word into a correction.

use models::{Answer, Stage};
use prost::Message as _;
use prost::bytes::Bytes;

use crate::served::Served;

/// One answer. Written as a Protocol Buffers message, so that a newer worker reads older receipts.
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
    /// 1 the gate, 2 the vote.
    #[prost(uint32, tag = "5")]
    pub(crate) stage: u32,
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
}

impl Receipt {
    pub(crate) fn new(
        served: &Served,
        answer: &Answer,
        row: &[f32],
        [gate_us, vote_us]: [u32; 2],
        at_ms: u64,
    ) -> Self {
        Self {
            task: served.wanted.task.clone(),
            revision: served.wanted.revision,
            generation: served.wanted.generation,
            class: served.schema().classes()[answer.class.index()].clone(),
            stage: match answer.stage {
                Stage::Gate => 1,
                Stage::Vote => 2,
            },
            confidence: answer.confidence,
            asked: answer.votes.asked().0,
            votes: answer.votes.iter().map(|(_, class)| u32::from(class.0)).collect(),
            gate_us,
            vote_us,
            at_ms,
            features: proto::parse::pack(row),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        self.encode_to_vec()
    }

    /// The receipt in `bytes`; `None` when they are none.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        Self::decode(bytes).ok()
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
