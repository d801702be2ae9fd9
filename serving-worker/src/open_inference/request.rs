//! From a gRPC message of the protocol to a question, once, at the boundary.

use std::collections::BTreeMap;

use proto::inference::{
    InferParameter, ModelInferRequest, infer_parameter::ParameterChoice,
    model_infer_request::InferInputTensor,
};

use super::{
    INPUT,
    outputs::Output,
    refusal::RequestError,
    tensor::{self, Datatype, Shape},
};
use crate::{
    answer::{SetAsked, shortened},
    urgency::Urgency,
};

/// What a client asks, whichever way it came.
#[derive(Debug, PartialEq)]
pub(super) struct Asked {
    /// The task.
    pub(super) model: String,
    /// The revision, when only one will do; else empty.
    pub(super) version: String,
    /// What the client calls this request; given back as it is.
    pub(super) id: String,
    /// Microseconds after which the answer is of no use.
    pub(super) timeout_us: Option<u64>,
    pub(super) urgency: Urgency,
    pub(super) width: usize,
    /// Row-major.
    pub(super) values: Vec<f32>,
    /// Each at most once, in the order of the answer.
    pub(super) outputs: Vec<Output>,
    /// The set of classes, if it is among them.
    pub(super) set: SetAsked,
}

/// The question in `message`, and whether it was raw: then the answer must be, because such a client
/// reads nothing else.
pub(super) fn parse(message: ModelInferRequest) -> Result<(Asked, bool), RequestError> {
    let ModelInferRequest {
        model_name,
        model_version,
        id,
        parameters,
        inputs,
        outputs,
        raw_input_contents,
    } = message;
    let count = inputs.len();
    let Ok([input]) = <[InferInputTensor; 1]>::try_from(inputs) else {
        return Err(RequestError::Inputs { count });
    };
    let InferInputTensor { name, datatype, shape, parameters: of_input, contents } = input;
    named(&name)?;
    refuse_shared_memory(of_input.keys())?;
    let (datatype, shape) = (Datatype::parse(&datatype)?, Shape::parse(&shape)?);
    let raw = !raw_input_contents.is_empty();
    let values = match (contents, &*raw_input_contents) {
        (Some(_), [_, ..]) => return Err(RequestError::Both),
        (None, [bytes]) => tensor::raw(datatype, shape, bytes)?,
        (None, [_, _, ..]) => {
            return Err(RequestError::Raw { raw: raw_input_contents.len(), inputs: count });
        }
        (Some(contents), []) => tensor::typed(datatype, shape, contents)?,
        (None, []) if shape.rows == 0 => Vec::new(),
        (None, []) => return Err(RequestError::Neither),
    };
    for output in &outputs {
        refuse_shared_memory(output.parameters.keys())?;
    }
    let best = outputs.iter().map(|it| whole(CLASSIFICATION, &it.parameters));
    let best: Vec<_> = best.collect::<Result<_, _>>()?;
    let outputs = Output::chosen(outputs.iter().map(|it| &*it.name).zip(best))?;
    let timeout_us = whole("timeout", &parameters)?.filter(|&us| us != 0);
    let urgency = Urgency::of_priority(whole("priority", &parameters)?.unwrap_or(0));
    let (model, version, width) = (model_name, model_version, shape.width);
    let set = set_asked(&outputs, coverage(&parameters)?);
    Ok((Asked { model, version, id, timeout_us, urgency, width, values, outputs, set }, raw))
}

/// A set is computed where it is among the outputs, and else a coverage means nothing.
pub(super) fn set_asked(outputs: &[Output], coverage: Option<f64>) -> SetAsked {
    let needed = outputs.contains(&Output::Set);
    SetAsked { coverage: coverage.filter(|_| needed), needed }
}

/// How often the set must hold the true class; whether that can be is for who answers to say.
fn coverage(parameters: &BTreeMap<String, InferParameter>) -> Result<Option<f64>, RequestError> {
    match parameters.get(COVERAGE).map(|it| &it.parameter_choice) {
        None => Ok(None),
        Some(Some(ParameterChoice::DoubleParam(share))) => Ok(Some(*share)),
        Some(other) => Err(RequestError::Coverage { value: shortened(&format!("{other:?}")) }),
    }
}

/// The parameter that says how often a set must hold the true class.
pub(super) const COVERAGE: &str = "coverage";

/// The parameter of an output that says how many of its classes are wanted.
pub(super) const CLASSIFICATION: &str = "classification";

/// The one input has one name.
pub(super) fn named(name: &str) -> Result<(), RequestError> {
    if name == INPUT { Ok(()) } else { Err(RequestError::Input { name: shortened(name) }) }
}

/// Values that lie in memory which we do not share.
pub(super) fn refuse_shared_memory<'a>(
    mut parameters: impl Iterator<Item = &'a String>,
) -> Result<(), RequestError> {
    if parameters.any(|it| it.starts_with("shared_memory")) {
        let instead = "send and read values in the messages themselves";
        return Err(RequestError::Parameter { name: "shared_memory_region", instead });
    }
    Ok(())
}

/// A parameter that is a whole number; 0 is as good as none, as it is to Triton.
fn whole(
    name: &'static str,
    parameters: &BTreeMap<String, InferParameter>,
) -> Result<Option<u64>, RequestError> {
    let Some(parameter) = parameters.get(name) else { return Ok(None) };
    let (whole, value) = match &parameter.parameter_choice {
        Some(ParameterChoice::Int64Param(it)) => (u64::try_from(*it).ok(), it.to_string()),
        Some(ParameterChoice::Uint64Param(it)) => (Some(*it), it.to_string()),
        Some(ParameterChoice::StringParam(text)) => (None, format!("{:?}", shortened(text))),
        Some(ParameterChoice::BoolParam(it)) => (None, it.to_string()),
        Some(ParameterChoice::DoubleParam(it)) => (None, it.to_string()),
        None => (None, "empty".to_owned()),
    };
    match whole {
        Some(whole) => Ok(Some(whole)),
        None => Err(RequestError::Whole { name, value }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::{Message as _, bytes::Bytes};
    use proto::inference::{InferTensorContents, model_infer_request::InferRequestedOutputTensor};

    use super::*;

    fn message(shape: Vec<i64>) -> ModelInferRequest {
        ModelInferRequest {
            model_name: "kitchen".to_owned(),
            id: "7".to_owned(),
            inputs: vec![InferInputTensor {
                name: "features".to_owned(),
                datatype: "FP32".to_owned(),
                shape,
                ..InferInputTensor::default()
            }],
            ..ModelInferRequest::default()
        }
    }

    fn with_timeout(choice: ParameterChoice) -> Result<(Asked, bool), RequestError> {
        let mut message = message(vec![0, 3]);
        let parameter = InferParameter { parameter_choice: Some(choice) };
        message.parameters.insert("timeout".to_owned(), parameter);
        parse(message)
    }

    #[test]
    fn a_timeout_is_a_whole_number_of_microseconds_and_zero_is_none() {
        let of = |choice| with_timeout(choice).unwrap().0.timeout_us;
        assert_eq!(of(ParameterChoice::Int64Param(5)), Some(5));
        assert_eq!(of(ParameterChoice::Uint64Param(u64::MAX)), Some(u64::MAX));
        assert_eq!(of(ParameterChoice::Int64Param(0)), None);
        for bad in [
            ParameterChoice::Int64Param(-1),
            ParameterChoice::StringParam("5".to_owned()),
            ParameterChoice::BoolParam(true),
            ParameterChoice::DoubleParam(5.0),
        ] {
            assert!(matches!(with_timeout(bad), Err(RequestError::Whole { .. })));
        }
    }

    #[test]
    fn a_coverage_is_a_number_and_means_something_only_beside_the_set() {
        let of = |choice, output: &str| {
            let mut message = message(vec![0, 3]);
            let parameter = InferParameter { parameter_choice: Some(choice) };
            message.parameters.insert("coverage".to_owned(), parameter);
            let name = output.to_owned();
            message.outputs = vec![InferRequestedOutputTensor { name, parameters: [].into() }];
            parse(message).map(|(asked, _)| asked.set)
        };
        let share = || ParameterChoice::DoubleParam(0.9);
        let asked = SetAsked { coverage: Some(0.9), needed: true };
        assert_eq!(of(share(), "set").unwrap(), asked);
        assert_eq!(of(share(), "label").unwrap(), SetAsked::default());
        let text = ParameterChoice::StringParam("0.9".to_owned());
        assert!(matches!(of(text, "set"), Err(RequestError::Coverage { .. })));
    }

    #[test]
    fn values_are_sent_once_and_in_one_way() {
        let typed = || {
            Some(InferTensorContents {
                fp32_contents: vec![1.0, 2.0, 3.0],
                ..InferTensorContents::default()
            })
        };
        let raw = Bytes::from_static(&[0; 12]);
        let mut both = message(vec![1, 3]);
        both.inputs[0].contents = typed();
        assert_eq!(parse(both.clone()).unwrap().0.values, [1.0, 2.0, 3.0]);
        both.raw_input_contents.push(raw.clone());
        assert!(matches!(parse(both), Err(RequestError::Both)));
        assert!(matches!(parse(message(vec![1, 3])), Err(RequestError::Neither)));
        let mut twice = message(vec![1, 3]);
        twice.raw_input_contents = vec![raw.clone(), raw.clone()];
        assert!(matches!(parse(twice), Err(RequestError::Raw { raw: 2, inputs: 1 })));
        let mut once = message(vec![1, 3]);
        once.raw_input_contents = vec![raw];
        let (asked, raw) = parse(once).unwrap();
        assert!(raw && asked.values == [0.0; 3] && asked.outputs == Output::USUAL);
    }

    #[test]
    fn what_is_not_done_is_refused_by_name() {
        let parameter = InferParameter { parameter_choice: None };
        for name in ["shared_memory_region", "classification"] {
            let mut message = message(vec![0, 3]);
            message.outputs.push(InferRequestedOutputTensor {
                name: "label".to_owned(),
                parameters: [(name.to_owned(), parameter.clone())].into(),
            });
            let refused = parse(message).unwrap_err().to_string();
            assert!(refused.contains(name), "{refused}");
        }
        let mut words = message(vec![0, 3]);
        words.inputs[0].datatype = "BYTES".to_owned();
        assert!(matches!(parse(words), Err(RequestError::Datatype { .. })));
        let mut other = message(vec![0, 3]);
        other.inputs[0].name = "input-0".to_owned();
        assert!(matches!(parse(other), Err(RequestError::Input { .. })));
        let mut none = message(vec![0, 3]);
        none.inputs.clear();
        assert!(matches!(parse(none), Err(RequestError::Inputs { count: 0 })));
    }

    #[test]
    fn the_best_classes_are_asked_for_by_a_number() {
        let of = |choice| {
            let mut message = message(vec![0, 3]);
            let parameter = InferParameter { parameter_choice: Some(choice) };
            let parameters = [("classification".to_owned(), parameter)].into();
            let name = "probabilities".to_owned();
            message.outputs = vec![InferRequestedOutputTensor { name, parameters }];
            parse(message).map(|(asked, _)| asked.outputs)
        };
        let two = [Output::Best(std::num::NonZeroUsize::new(2).unwrap())];
        assert_eq!(of(ParameterChoice::Int64Param(2)).unwrap(), two);
        assert_eq!(of(ParameterChoice::Uint64Param(2)).unwrap(), two);
        let none = of(ParameterChoice::Int64Param(0)).unwrap_err();
        assert!(matches!(none, RequestError::Classification { .. }));
        let text = of(ParameterChoice::StringParam("2".to_owned())).unwrap_err().to_string();
        assert_eq!(text, "`classification` is \"2\"; it must be a whole number");
    }

    proptest! {
        #[test]
        fn bytes_from_outside_are_a_question_or_an_error(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            shape in proptest::collection::vec(any::<i64>(), 0..4),
            raw in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            if let Ok(message) = ModelInferRequest::decode(&*bytes) {
                let _either = parse(message);
            }
            let mut message = message(shape);
            message.raw_input_contents.push(raw.into());
            if let Ok((asked, _)) = parse(message) {
                prop_assert!(asked.values.is_empty() || asked.values.len() % asked.width == 0);
            }
        }
    }
}
