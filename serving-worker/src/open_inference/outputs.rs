//! The outputs of the protocol: what answers look like as tensors.

use prost::bytes::Bytes;
use proto::{
    inference::{
        InferParameter, InferTensorContents, ModelInferResponse, infer_parameter::ParameterChoice,
        model_infer_response::InferOutputTensor,
    },
    v1::PredictReply,
};

use super::refusal::RequestError;
use crate::answer::shortened;

/// An output that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// The name of the class; empty where the answer is that nobody knows.
    Label,
    /// The share of the vote of each class, in class order.
    Probabilities,
    /// The id of the receipt, as 32 hexadecimal digits.
    PredictionId,
    /// Whether each class is in the set that holds the true one as often as was asked, in class order;
    /// no class is where there is no set.
    Set,
}

/// The values of one output over all answers, row-major.
#[derive(Debug, PartialEq)]
pub(super) enum Values {
    Texts(Vec<Bytes>),
    Numbers(Vec<f32>),
    Flags(Vec<bool>),
}

impl Output {
    /// Those that are given to who names none.
    pub(super) const USUAL: [Self; 3] = [Self::Label, Self::Probabilities, Self::PredictionId];
    pub(super) const ALL: [Self; 4] =
        [Self::Label, Self::Probabilities, Self::PredictionId, Self::Set];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Label => "label",
            Self::Probabilities => "probabilities",
            Self::PredictionId => "prediction_id",
            Self::Set => "set",
        }
    }

    pub(super) fn datatype(self) -> &'static str {
        match self {
            Self::Label | Self::PredictionId => "BYTES",
            Self::Probabilities => "FP32",
            Self::Set => "BOOL",
        }
    }

    /// What of the shape is behind the number of samples.
    pub(super) fn dimensions(self, classes: usize) -> Vec<i64> {
        match self {
            Self::Label | Self::PredictionId => Vec::new(),
            Self::Probabilities | Self::Set => vec![signed(classes)],
        }
    }

    /// The outputs of these names, or the usual ones when none is named.
    pub(super) fn chosen<'a>(
        names: impl Iterator<Item = &'a str>,
    ) -> Result<Vec<Self>, RequestError> {
        let mut chosen = Vec::new();
        for name in names {
            let output = Self::ALL.into_iter().find(|it| it.name() == name);
            let output = output.ok_or_else(|| RequestError::Output { name: shortened(name) })?;
            if chosen.contains(&output) {
                return Err(RequestError::Twice { name: output.name() });
            }
            chosen.push(output);
        }
        Ok(if chosen.is_empty() { Self::USUAL.to_vec() } else { chosen })
    }

    pub(super) fn values(self, answers: &[PredictReply], classes: usize) -> Values {
        match self {
            Self::Label => {
                // Who acts on a label must not act on a guess.
                let label = |it: &PredictReply| {
                    if it.abstained { Bytes::new() } else { it.class.clone().into() }
                };
                Values::Texts(answers.iter().map(label).collect())
            }
            Self::PredictionId => {
                let hex = |it: &PredictReply| runtime::secret::hex(&it.prediction_id).into();
                Values::Texts(answers.iter().map(hex).collect())
            }
            Self::Probabilities => {
                let mut shares = Vec::with_capacity(answers.len() * classes);
                for answer in answers {
                    if answer.scores.is_empty() {
                        // The gate has one vote, and gave it to the background.
                        let given = (0..).take(classes).map(|class: u32| {
                            if class == answer.class_id { answer.confidence } else { 0.0 }
                        });
                        shares.extend(given);
                    } else {
                        shares.extend_from_slice(&answer.scores);
                    }
                }
                Values::Numbers(shares)
            }
            Self::Set => {
                let mut flags = vec![false; answers.len() * classes];
                for (flags, answer) in flags.chunks_mut(classes.max(1)).zip(answers) {
                    let set = answer.set.iter().filter_map(|&it| usize::try_from(it).ok());
                    // Who answered elsewhere may say what it likes.
                    set.filter(|&it| it < classes).for_each(|class| flags[class] = true);
                }
                Values::Flags(flags)
            }
        }
    }
}

impl Values {
    /// Little-endian without padding; each text behind its length in 4 bytes.
    pub(super) fn raw(&self) -> Bytes {
        match self {
            Self::Numbers(numbers) => proto::parse::pack(numbers),
            Self::Flags(flags) => flags.iter().copied().map(u8::from).collect(),
            Self::Texts(texts) => {
                let bytes = texts.iter().map(|it| 4 + it.len()).sum();
                let mut packed = Vec::with_capacity(bytes);
                for text in texts {
                    let length = u32::try_from(text.len()).expect("names and ids are short");
                    packed.extend_from_slice(&length.to_le_bytes());
                    packed.extend_from_slice(text);
                }
                packed.into()
            }
        }
    }

    fn typed(self) -> InferTensorContents {
        match self {
            Self::Texts(bytes_contents) => {
                InferTensorContents { bytes_contents, ..InferTensorContents::default() }
            }
            Self::Numbers(fp32_contents) => {
                InferTensorContents { fp32_contents, ..InferTensorContents::default() }
            }
            Self::Flags(bool_contents) => {
                InferTensorContents { bool_contents, ..InferTensorContents::default() }
            }
        }
    }
}

/// What a client must know of answers that came about in haste; nothing of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Haste {
    /// The fewest members that were heard of any answer.
    pub(super) voted: u32,
    /// Of so many.
    pub(super) members: u32,
}

impl Haste {
    /// `None` when every vote was decided.
    pub(super) fn of(answers: &[PredictReply]) -> Option<Self> {
        let hasty = answers.iter().filter(|it| it.cut_short);
        let least = hasty.min_by_key(|it| it.voted)?;
        Some(Self { voted: least.voted, members: least.members })
    }
}

/// How many answers say that nobody knows; `None` when all know.
pub(super) fn abstained(answers: &[PredictReply]) -> Option<i64> {
    let count = answers.iter().filter(|it| it.abstained).count();
    (count != 0).then(|| signed(count))
}

/// The shape of an output of so many answers.
pub(super) fn shape(output: Output, answers: usize, classes: usize) -> Vec<i64> {
    let mut shape = vec![signed(answers)];
    shape.extend(output.dimensions(classes));
    shape
}

/// A count, as the protocol has it.
pub(super) fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Adds the outputs to `response`: raw for who asked raw, else typed.
pub(super) fn put(
    response: &mut ModelInferResponse,
    outputs: &[Output],
    answers: &[PredictReply],
    classes: usize,
    raw: bool,
) {
    if let Some(Haste { voted, members }) = Haste::of(answers) {
        let parameter = |choice| InferParameter { parameter_choice: Some(choice) };
        let count = |count: u32| parameter(ParameterChoice::Int64Param(i64::from(count)));
        let said = [
            ("cut_short", parameter(ParameterChoice::BoolParam(true))),
            ("voted", count(voted)),
            ("members", count(members)),
        ];
        response.parameters.extend(said.map(|(name, it)| (name.to_owned(), it)));
    }
    if let Some(count) = abstained(answers) {
        let parameter_choice = Some(ParameterChoice::Int64Param(count));
        response.parameters.insert("abstained".to_owned(), InferParameter { parameter_choice });
    }
    for &output in outputs {
        let values = output.values(answers, classes);
        let contents = if raw {
            response.raw_output_contents.push(values.raw());
            None
        } else {
            Some(values.typed())
        };
        response.outputs.push(InferOutputTensor {
            name: output.name().to_owned(),
            datatype: output.datatype().to_owned(),
            shape: shape(output, answers.len(), classes),
            contents,
            ..InferOutputTensor::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers() -> [PredictReply; 2] {
        let vote = PredictReply {
            prediction_id: vec![0xab; 16].into(),
            class: "tap".to_owned(),
            class_id: 1,
            confidence: 0.75,
            scores: vec![0.25, 0.75],
            ..PredictReply::default()
        };
        let gate = PredictReply {
            class: "idle".to_owned(),
            class_id: 0,
            confidence: 1.0,
            scores: Vec::new(),
            ..vote.clone()
        };
        [vote, gate]
    }

    #[test]
    fn a_text_stands_behind_its_length_in_four_little_endian_bytes() {
        let labels = Output::Label.values(&answers(), 2);
        assert_eq!(&*labels.raw(), b"\x03\0\0\0tap\x04\0\0\0idle");
        let ids = Output::PredictionId.values(&answers()[..1], 2);
        assert_eq!(ids, Values::Texts(vec!["ab".repeat(16).into()]));
    }

    #[test]
    fn what_the_gate_says_is_one_vote_for_the_background() {
        let shares = Output::Probabilities.values(&answers(), 2);
        assert_eq!(shares, Values::Numbers(vec![0.25, 0.75, 1.0, 0.0]));
    }

    #[test]
    fn who_does_not_know_has_no_label_and_is_counted() {
        let [mut vote, gate] = answers();
        vote.abstained = true;
        let mut response = ModelInferResponse::default();
        put(&mut response, &Output::USUAL, &[vote, gate], 2, true);
        assert_eq!(&*response.raw_output_contents[0], b"\0\0\0\0\x04\0\0\0idle");
        let count = response.parameters["abstained"].parameter_choice.clone();
        assert_eq!(count, Some(ParameterChoice::Int64Param(1)));
        assert_eq!(response.parameters.len(), 1);
    }

    #[test]
    fn a_set_is_a_flag_for_each_class_and_none_where_there_is_no_set() {
        let [mut vote, mut gate] = answers();
        vote.set = vec![0, 1];
        gate.set = vec![0, 7];
        let cut = PredictReply { set: Vec::new(), ..vote.clone() };
        let flags = Output::Set.values(&[vote, gate, cut], 2);
        assert_eq!(flags, Values::Flags(vec![true, true, true, false, false, false]));
        assert_eq!(&*flags.raw(), [1, 1, 1, 0, 0, 0]);
        assert_eq!((Output::Set.datatype(), Output::Set.dimensions(2)), ("BOOL", vec![2]));
    }

    #[test]
    fn haste_is_said_and_nothing_is_said_without() {
        let mut response = ModelInferResponse::default();
        put(&mut response, &[Output::Label], &answers(), 2, true);
        assert!(response.parameters.is_empty());
        let [mut vote, gate] = answers();
        (vote.cut_short, vote.voted, vote.members) = (true, 2, 7);
        put(&mut response, &[Output::Label], &[gate, vote], 2, true);
        let choices: Vec<_> = response
            .parameters
            .iter()
            .map(|(name, it)| (&**name, it.parameter_choice.clone().unwrap()))
            .collect();
        let count = ParameterChoice::Int64Param;
        let yes = ParameterChoice::BoolParam(true);
        assert_eq!(choices, [("cut_short", yes), ("members", count(7)), ("voted", count(2))]);
    }

    #[test]
    fn only_what_is_asked_for_is_given_and_in_that_order() {
        let chosen = Output::chosen(["probabilities", "label"].into_iter()).unwrap();
        assert_eq!(chosen, [Output::Probabilities, Output::Label]);
        for raw in [true, false] {
            let mut response = ModelInferResponse::default();
            put(&mut response, &chosen, &answers(), 2, raw);
            let names: Vec<&str> = response.outputs.iter().map(|it| &*it.name).collect();
            assert_eq!(names, ["probabilities", "label"]);
            assert_eq!(response.outputs[0].shape, [2, 2]);
            assert_eq!(response.outputs[1].shape, [2]);
            assert_eq!(response.raw_output_contents.len(), if raw { 2 } else { 0 });
            assert!(response.outputs.iter().all(|it| it.contents.is_none() == raw));
        }
        assert_eq!(Output::chosen([].into_iter()).unwrap(), Output::USUAL);
        assert!(Output::chosen(["class"].into_iter()).is_err());
        assert!(Output::chosen(["label", "label"].into_iter()).is_err());
    }
}
