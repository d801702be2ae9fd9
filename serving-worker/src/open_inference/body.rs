//! From the body of an HTTP request to a question (A-7): JSON, and behind it the binary values where
//! the request has some.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{
    outputs::Output,
    refusal::RequestError,
    request::{Asked, CLASSIFICATION, COVERAGE, named, refuse_shared_memory, set_asked},
    tensor::{self, Data, Datatype, Shape},
};
use crate::{answer::shortened, urgency::Urgency};

type Parameters = BTreeMap<String, Value>;

#[derive(Deserialize)]
struct Message {
    id: Option<String>,
    parameters: Option<Parameters>,
    inputs: Vec<Input>,
    outputs: Option<Vec<Wanted>>,
}

#[derive(Deserialize)]
struct Input {
    name: String,
    datatype: String,
    shape: Vec<i64>,
    parameters: Option<Parameters>,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Wanted {
    name: String,
    parameters: Option<Parameters>,
}

/// The question in `body` about `model`, and for each output whether its values are wanted in binary.
///
/// `header` is Inference-Header-Content-Length: where the JSON ends. Without it all is JSON.
pub(super) fn parse(
    model: String,
    version: String,
    header: Option<&[u8]>,
    body: &[u8],
) -> Result<(Asked, Vec<bool>), RequestError> {
    let (json, binary) = split(header, body)?;
    let Message { id, parameters, inputs, outputs } =
        serde_json::from_slice(json).map_err(RequestError::Json)?;
    let parameters = parameters.unwrap_or_default();
    let count = inputs.len();
    let Ok([input]) = <[Input; 1]>::try_from(inputs) else {
        return Err(RequestError::Inputs { count });
    };
    let (shape, values) = values(input, binary)?;

    let outputs = outputs.unwrap_or_default();
    let mut best = Vec::with_capacity(outputs.len());
    for Wanted { parameters, .. } in &outputs {
        refuse_shared_memory(parameters.iter().flat_map(Parameters::keys))?;
        best.push(match parameters {
            Some(parameters) => whole(CLASSIFICATION, parameters)?,
            None => None,
        });
    }
    let chosen = Output::chosen(outputs.iter().map(|it| &*it.name).zip(best))?;
    let all = is_true(&parameters, "binary_data_output");
    let mut wanted = vec![all; chosen.len()];
    for (wanted, output) in wanted.iter_mut().zip(&outputs) {
        if let Some(parameters) = &output.parameters
            && parameters.contains_key("binary_data")
        {
            *wanted = is_true(parameters, "binary_data");
        }
    }
    let asked = Asked {
        model,
        version,
        id: id.unwrap_or_default(),
        timeout_us: whole("timeout", &parameters)?.filter(|&us| us != 0),
        urgency: Urgency::of_priority(whole("priority", &parameters)?.unwrap_or(0)),
        width: shape.width,
        values,
        set: set_asked(&chosen, coverage(&parameters)?),
        outputs: chosen,
    };
    Ok((asked, wanted))
}

/// How often the set must hold the true class.
fn coverage(parameters: &Parameters) -> Result<Option<f64>, RequestError> {
    match parameters.get(COVERAGE) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_f64() {
            Some(share) => Ok(Some(share)),
            None => Err(RequestError::Coverage { value: shortened(&value.to_string()) }),
        },
    }
}

/// JSON and what follows it.
fn split<'a>(header: Option<&[u8]>, body: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), RequestError> {
    let Some(header) = header else { return Ok((body, &[])) };
    let text = std::str::from_utf8(header).unwrap_or("");
    let json: Option<usize> = text.parse().ok();
    json.and_then(|json| body.split_at_checked(json)).ok_or_else(|| RequestError::HeaderLength {
        value: shortened(&String::from_utf8_lossy(header)),
        body: body.len(),
    })
}

/// The values of the one input, wherever they are.
fn values(input: Input, binary: &[u8]) -> Result<(Shape, Vec<f32>), RequestError> {
    let Input { name, datatype, shape, parameters, data } = input;
    named(&name)?;
    let parameters = parameters.unwrap_or_default();
    refuse_shared_memory(parameters.keys())?;
    let (datatype, shape) = (Datatype::parse(&datatype)?, Shape::parse(&shape)?);
    let said = parameters.get("binary_data_size").and_then(Value::as_u64);
    let fits = |said| u64::try_from(binary.len()) == Ok(said);
    let values = match (said, data) {
        (Some(_), Some(_)) => return Err(RequestError::Both),
        (None, None) => return Err(RequestError::Neither),
        (said, _) if !fits(said.unwrap_or(0)) => {
            let said = said.unwrap_or(0);
            return Err(RequestError::BinarySize { actual: binary.len(), said });
        }
        (Some(_), None) => tensor::raw(datatype, shape, binary)?,
        (None, Some(data)) => tensor::listed(datatype, shape, &data)?,
    };
    Ok((shape, values))
}

fn is_true(parameters: &Parameters, name: &str) -> bool {
    parameters.get(name).and_then(Value::as_bool).unwrap_or(false)
}

/// A parameter that is a whole number; 0 is as good as none, as it is to Triton.
fn whole(name: &'static str, parameters: &Parameters) -> Result<Option<u64>, RequestError> {
    match parameters.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64() {
            Some(whole) => Ok(Some(whole)),
            None => Err(RequestError::Whole { name, value: shortened(&value.to_string()) }),
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(header: Option<&str>, body: &[u8]) -> Result<(Asked, Vec<bool>), RequestError> {
        super::parse("kitchen".to_owned(), String::new(), header.map(str::as_bytes), body)
    }

    fn binary(
        said: usize,
        values: &[u8],
        header: impl Fn(usize) -> usize,
    ) -> Result<Asked, String> {
        let json = format!(
            r#"{{"inputs": [{{"name": "features", "datatype": "FP32", "shape": [1, 3],
                "parameters": {{"binary_data_size": {said}}}}}]}}"#
        );
        let body = [json.as_bytes(), values].concat();
        let parsed = parse(Some(&header(json.len()).to_string()), &body);
        parsed.map(|(asked, _)| asked).map_err(|error| error.to_string())
    }

    #[test]
    fn binary_values_stand_behind_the_json_and_are_as_many_as_was_said() {
        let bytes = [1.0_f32, 2.0, 3.0].map(f32::to_le_bytes).concat();
        assert_eq!(binary(12, &bytes, |it| it).unwrap().values, [1.0, 2.0, 3.0]);
        for (said, values, wrong) in [
            (11, &bytes[..], "12 bytes follow the JSON; `binary_data_size` says 11"),
            (12, &bytes[..8], "8 bytes follow the JSON; `binary_data_size` says 12"),
            (8, &bytes[..8], "8 bytes are not the shape [1, 3] of 4-byte values"),
        ] {
            assert_eq!(binary(said, values, |it| it).unwrap_err(), wrong);
        }
        assert!(binary(12, &bytes, |it| it + 13).unwrap_err().contains("Content-Length is"));
        assert!(binary(12, &bytes, |it| it - 1).unwrap_err().contains("not a request"));
        let loose = br#"{"inputs": [{"name": "features", "datatype": "FP32", "shape": [1, 1],
            "data": [1]}]}more"#;
        let json = loose.len() - 4;
        let refused = parse(Some(&json.to_string()), loose).unwrap_err();
        assert!(matches!(refused, RequestError::BinarySize { actual: 4, said: 0 }));
        for header in ["", "-1", "1e3", "99999999999999999999"] {
            assert!(matches!(parse(Some(header), loose), Err(RequestError::HeaderLength { .. })));
        }
    }

    #[test]
    fn each_output_is_binary_or_not_as_it_says_itself_first() {
        let of = |rest: &str| {
            let json = format!(
                r#"{{"id": null, "model_name": "x", "inputs": [{{"name": "features",
                    "datatype": "FP32", "shape": [1, 1], "data": [[1.5]]}}]{rest}}}"#
            );
            parse(None, json.as_bytes()).unwrap()
        };
        assert_eq!(of("").1, [false; 3]);
        assert_eq!(of(r#", "parameters": {"binary_data_output": true}"#).1, [true; 3]);
        let (asked, wanted) = of(r#", "parameters": {"binary_data_output": true, "timeout": 7},
            "outputs": [{"name": "prediction_id", "parameters": {"binary_data": false}},
                {"name": "label"}]"#);
        assert_eq!(asked.outputs, [Output::PredictionId, Output::Label]);
        assert_eq!((wanted, asked.timeout_us), (vec![false, true], Some(7)));
        let (asked, _) = of(r#", "outputs": [{"name": "probabilities",
            "parameters": {"classification": 2}}]"#);
        assert_eq!(asked.outputs, [Output::Best(std::num::NonZeroUsize::new(2).unwrap())]);
    }

    proptest! {
        #[test]
        fn bytes_from_outside_are_a_question_or_an_error(
            header in proptest::option::of("[0-9]{0,3}"),
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let _either = parse(header.as_deref(), &bytes);
        }

        #[test]
        fn a_request_with_anything_in_its_places_is_a_question_or_an_error(
            shape in "\\[(-?[0-9]{1,19}, ?){0,2}[0-9]{1,2}\\]",
            datatype in "(FP32|FP64|INT8|UINT64|BYTES|BOOL)",
            data in "\\[((\\[|\\]|,|[0-9]{1,3}|-1e9|null|\"a\"){0,12})\\]",
            said in proptest::option::of(any::<i64>()),
            behind in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let size = said.map(|it| format!(r#", "parameters": {{"binary_data_size": {it}}}"#));
            let json = format!(
                r#"{{"inputs": [{{"name": "features", "datatype": "{datatype}", "shape": {shape},
                    "data": {data}{}}}]}}"#, size.unwrap_or_default()
            );
            let length = json.len().to_string();
            if let Ok((asked, _)) = parse(Some(&length), &[json.as_bytes(), &behind].concat()) {
                prop_assert!(asked.values.is_empty() || asked.values.len() % asked.width == 0);
            }
        }
    }
}
