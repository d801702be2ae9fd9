//! The outputs of the protocol: what answers look like as tensors.

use std::num::NonZeroUsize;

use prost::bytes::Bytes;
use proto::{
    inference::{
        InferParameter, InferTensorContents, ModelInferResponse, infer_parameter::ParameterChoice,
        model_infer_response::InferOutputTensor,
    },
    v1::PredictReply,
};

use super::refusal::RequestError;
use crate::answer::{Answered, shortened};

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
    /// The classes with the largest shares, this many at most, as texts `share:class[:name]` in falling order, equal
    /// shares in class order: `probabilities` by Triton's classification extension.
    Best(NonZeroUsize),
}

/// What is known of the classes of the task that answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Classes<'a> {
    pub(super) count: usize,
    /// In class order; none where another worker has answered, which says only those that win.
    pub(super) names: &'a [String],
}

impl<'a> From<&'a Answered> for Classes<'a> {
    fn from(answered: &'a Answered) -> Self {
        let names = answered.served.as_ref().map_or(&[][..], |it| it.schema().classes());
        Self { count: answered.classes, names }
    }
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
            Self::Probabilities | Self::Best(_) => "probabilities",
            Self::PredictionId => "prediction_id",
            Self::Set => "set",
        }
    }

    pub(super) fn datatype(self) -> &'static str {
        match self {
            Self::Label | Self::PredictionId | Self::Best(_) => "BYTES",
            Self::Probabilities => "FP32",
            Self::Set => "BOOL",
        }
    }

    /// What of the shape is behind the number of samples.
    pub(super) fn dimensions(self, classes: usize) -> Vec<i64> {
        match self {
            Self::Label | Self::PredictionId => Vec::new(),
            Self::Probabilities | Self::Set => vec![signed(classes)],
            Self::Best(count) => vec![signed(count.get().min(classes))],
        }
    }

    /// The outputs of these names, each with how many classes are wanted of it where that is said, or the usual ones
    /// when none is named.
    pub(super) fn chosen<'a>(
        wanted: impl Iterator<Item = (&'a str, Option<u64>)>,
    ) -> Result<Vec<Self>, RequestError> {
        let mut chosen: Vec<Self> = Vec::new();
        for (name, best) in wanted {
            let output = Self::ALL.into_iter().find(|it| it.name() == name);
            let output = output.ok_or_else(|| RequestError::Output { name: shortened(name) })?;
            if chosen.iter().any(|it| it.name() == name) {
                return Err(RequestError::Twice { name: output.name() });
            }
            // As many as there are is as good as more of them.
            let best =
                best.map(|count| NonZeroUsize::new(usize::try_from(count).unwrap_or(usize::MAX)));
            chosen.push(match (output, best) {
                (_, None) => output,
                (Self::Probabilities, Some(Some(count))) => Self::Best(count),
                _ => return Err(RequestError::Classification { name: output.name() }),
            });
        }
        Ok(if chosen.is_empty() { Self::USUAL.to_vec() } else { chosen })
    }

    /// How many texts this is over so many answers, where it has more than one for each.
    pub(super) fn texts(self, answers: usize, classes: usize) -> usize {
        match self {
            Self::Best(count) => answers.saturating_mul(count.get().min(classes)),
            Self::Label | Self::PredictionId | Self::Probabilities | Self::Set => 0,
        }
    }

    pub(super) fn values(self, answers: &[PredictReply], classes: Classes<'_>) -> Values {
        let Classes { count: classes, names } = classes;
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
                answers.iter().for_each(|answer| put_shares(&mut shares, answer, classes));
                Values::Numbers(shares)
            }
            Self::Best(count) => {
                let mut texts = Vec::with_capacity(self.texts(answers.len(), classes));
                let mut shares = Vec::with_capacity(classes);
                for answer in answers {
                    shares.clear();
                    put_shares(&mut shares, answer, classes);
                    let mut order: Vec<usize> = (0..shares.len()).collect();
                    order.sort_by(|&a, &b| shares[b].total_cmp(&shares[a]));
                    let won = usize::try_from(answer.class_id).ok();
                    texts.extend(order.into_iter().take(count.get()).map(|class| {
                        let name =
                            names.get(class).or((won == Some(class)).then_some(&answer.class));
                        let behind = name.map(|it| format!(":{it}")).unwrap_or_default();
                        Bytes::from(format!("{:.6}:{class}{behind}", shares[class]))
                    }));
                }
                Values::Texts(texts)
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

/// Adds what each class has of the vote.
fn put_shares(shares: &mut Vec<f32>, answer: &PredictReply, classes: usize) {
    if answer.scores.is_empty() {
        // The gate has one vote, and gave it to the background.
        let given = (0..)
            .take(classes)
            .map(|class: u32| if class == answer.class_id { answer.confidence } else { 0.0 });
        shares.extend(given);
    } else {
        shares.extend_from_slice(&answer.scores);
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
    classes: Classes<'_>,
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
            shape: shape(output, answers.len(), classes.count),
            contents,
            ..InferOutputTensor::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: Classes<'static> = Classes { count: 2, names: &[] };

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
        let labels = Output::Label.values(&answers(), TWO);
        assert_eq!(&*labels.raw(), b"\x03\0\0\0tap\x04\0\0\0idle");
        let ids = Output::PredictionId.values(&answers()[..1], TWO);
        assert_eq!(ids, Values::Texts(vec!["ab".repeat(16).into()]));
    }

    #[test]
    fn what_the_gate_says_is_one_vote_for_the_background() {
        let shares = Output::Probabilities.values(&answers(), TWO);
        assert_eq!(shares, Values::Numbers(vec![0.25, 0.75, 1.0, 0.0]));
    }

    #[test]
    fn who_does_not_know_has_no_label_and_is_counted() {
        let [mut vote, gate] = answers();
        vote.abstained = true;
        let mut response = ModelInferResponse::default();
        put(&mut response, &Output::USUAL, &[vote, gate], TWO, true);
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
        let flags = Output::Set.values(&[vote, gate, cut], TWO);
        assert_eq!(flags, Values::Flags(vec![true, true, true, false, false, false]));
        assert_eq!(&*flags.raw(), [1, 1, 1, 0, 0, 0]);
        assert_eq!((Output::Set.datatype(), Output::Set.dimensions(2)), ("BOOL", vec![2]));
    }

    #[test]
    fn haste_is_said_and_nothing_is_said_without() {
        let mut response = ModelInferResponse::default();
        put(&mut response, &[Output::Label], &answers(), TWO, true);
        assert!(response.parameters.is_empty());
        let [mut vote, gate] = answers();
        (vote.cut_short, vote.voted, vote.members) = (true, 2, 7);
        put(&mut response, &[Output::Label], &[gate, vote], TWO, true);
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
        let chosen = |names: &[&'static str]| Output::chosen(names.iter().map(|&it| (it, None)));
        let two = chosen(&["probabilities", "label"]).unwrap();
        assert_eq!(two, [Output::Probabilities, Output::Label]);
        for raw in [true, false] {
            let mut response = ModelInferResponse::default();
            put(&mut response, &two, &answers(), TWO, raw);
            let names: Vec<&str> = response.outputs.iter().map(|it| &*it.name).collect();
            assert_eq!(names, ["probabilities", "label"]);
            assert_eq!(response.outputs[0].shape, [2, 2]);
            assert_eq!(response.outputs[1].shape, [2]);
            assert_eq!(response.raw_output_contents.len(), if raw { 2 } else { 0 });
            assert!(response.outputs.iter().all(|it| it.contents.is_none() == raw));
        }
        assert_eq!(chosen(&[]).unwrap(), Output::USUAL);
        assert!(chosen(&["class"]).is_err());
        assert!(chosen(&["label", "label"]).is_err());
    }

    #[test]
    fn the_best_classes_are_texts_that_say_share_class_and_name() {
        let best = |count| Output::chosen([("probabilities", Some(count))].into_iter());
        let [one, many] = [best(1).unwrap()[0], best(u64::MAX).unwrap()[0]];
        let names = ["idle".to_owned(), "tap".to_owned()];
        let classes = Classes { names: &names, ..TWO };
        let said = |output: Output, classes| match output.values(&answers(), classes) {
            Values::Texts(texts) => {
                texts.iter().map(|it| String::from_utf8_lossy(it).into_owned()).collect::<Vec<_>>()
            }
            other @ (Values::Numbers(_) | Values::Flags(_)) => panic!("{other:?}"),
        };
        assert_eq!(said(one, classes), ["0.750000:1:tap", "1.000000:0:idle"]);
        let all = ["0.750000:1:tap", "0.250000:0:idle", "1.000000:0:idle", "0.000000:1:tap"];
        assert_eq!(said(many, classes), all);
        // Whoever answered elsewhere has said who won, and no other name.
        let few = ["0.750000:1:tap", "0.250000:0", "1.000000:0:idle", "0.000000:1"];
        assert_eq!(said(many, TWO), few);
        assert_eq!((many.name(), many.datatype()), ("probabilities", "BYTES"));
        assert_eq!((one.dimensions(2), many.dimensions(2)), (vec![1], vec![2]));
        assert_eq!((many.texts(3, 2), many.texts(usize::MAX, 2)), (6, usize::MAX));
        assert!(matches!(best(0), Err(RequestError::Classification { .. })));
        for wrong in ["label", "prediction_id", "set"] {
            let refused = Output::chosen([(wrong, Some(1))].into_iter()).unwrap_err();
            assert!(matches!(refused, RequestError::Classification { .. }), "{refused}");
        }
        let twice = [("probabilities", Some(1)), ("probabilities", None)];
        assert!(matches!(Output::chosen(twice.into_iter()), Err(RequestError::Twice { .. })));
    }

    #[test]
    fn equal_shares_are_in_class_order() {
        let [vote, _] = answers();
        let even = PredictReply { scores: vec![0.25, 0.5, 0.25], ..vote };
        let classes = Classes { count: 3, names: &[] };
        let best = Output::Best(NonZeroUsize::MAX).values(&[even], classes);
        let texts = ["0.500000:1:tap", "0.250000:0", "0.250000:2"].map(Bytes::from);
        assert_eq!(best, Values::Texts(texts.to_vec()));
    }
}
