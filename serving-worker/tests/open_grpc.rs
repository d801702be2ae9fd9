//! The Open Inference Protocol over gRPC: raw to raw, typed to typed, and every trap by its name.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

mod loopback;

use bytes::Bytes;
use loopback::{CLASSES, Node, SAMPLE, Scheduler, WIDTH, Worker, ensemble, order};
use proto::{
    inference::{
        self as wire, InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse,
        grpc_inference_service_client::GrpcInferenceServiceClient,
        infer_parameter::ParameterChoice,
        model_infer_request::{InferInputTensor, InferRequestedOutputTensor},
    },
    v1,
};
use tonic::{Code, Status, codec::CompressionEncoding, transport::Channel};

type Client = GrpcInferenceServiceClient<Channel>;

async fn started(dir: &std::path::Path) -> (Worker, Node, Client) {
    let scheduler = Scheduler::default();
    let address = scheduler.start().await;
    let worker = Worker::start(dir).await;
    let mut node = worker.node(&address).await;
    let digest = scheduler.put(&ensemble("", 1));
    node.serve(order(3, 5, &digest)).await;
    let client = Client::new(worker.channel().await).max_encoding_message_size(usize::MAX);
    (worker, node, client)
}

fn packed(values: &[f32]) -> Bytes {
    proto::parse::pack(values)
}

/// `rows` samples as tritonclient sends them.
fn raw(rows: usize) -> ModelInferRequest {
    ModelInferRequest {
        model_name: "kitchen".to_owned(),
        id: "request 7".to_owned(),
        inputs: vec![InferInputTensor {
            name: "features".to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![i64::try_from(rows).unwrap(), i64::try_from(WIDTH).unwrap()],
            ..InferInputTensor::default()
        }],
        raw_input_contents: vec![packed(&SAMPLE.repeat(rows))],
        ..ModelInferRequest::default()
    }
}

/// The same as the KServe SDK sends them.
fn typed(rows: usize) -> ModelInferRequest {
    let mut request = raw(rows);
    request.raw_input_contents.clear();
    request.inputs[0].contents = Some(InferTensorContents {
        fp32_contents: SAMPLE.repeat(rows),
        ..InferTensorContents::default()
    });
    request
}

fn changed(change: impl FnOnce(&mut ModelInferRequest)) -> ModelInferRequest {
    let mut request = raw(1);
    change(&mut request);
    request
}

fn timeout(choice: ParameterChoice) -> std::collections::BTreeMap<String, InferParameter> {
    [("timeout".to_owned(), InferParameter { parameter_choice: Some(choice) })].into()
}

async fn infer(client: &mut Client, request: ModelInferRequest) -> ModelInferResponse {
    client.model_infer(request).await.unwrap().into_inner()
}

async fn refused(client: &mut Client, request: ModelInferRequest) -> Status {
    client.model_infer(request).await.unwrap_err()
}

/// Texts of BYTES, each behind its length.
fn texts(mut bytes: &[u8]) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let (text, rest) = rest.split_at(usize::try_from(u32::from_le_bytes(*length)).unwrap());
        texts.push(String::from_utf8(text.to_vec()).unwrap());
        bytes = rest;
    }
    texts
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_is_answered_raw_typed_is_answered_typed_and_both_can_be_corrected() {
    let dir = tempfile::tempdir().unwrap();
    let (worker, _node, mut client) = started(dir.path()).await;

    let answer = infer(&mut client, raw(2)).await;
    assert_eq!((&*answer.model_name, &*answer.model_version), ("kitchen", "5"));
    assert_eq!(answer.id, "request 7");
    let shapes: Vec<_> =
        answer.outputs.iter().map(|it| (&*it.name, &*it.datatype, it.shape.clone())).collect();
    assert_eq!(
        shapes,
        [
            ("label", "BYTES", vec![2]),
            ("probabilities", "FP32", vec![2, 3]),
            ("prediction_id", "BYTES", vec![2])
        ]
    );
    assert!(answer.outputs.iter().all(|it| it.contents.is_none()));
    let [labels, shares, ids] = &*answer.raw_output_contents else { panic!("three outputs") };
    assert_eq!(texts(labels), ["class1", "class1"]);
    assert_eq!(*shares, packed(&[0.0, 1.0, 0.0, 0.0, 1.0, 0.0]));
    let ids = texts(ids);

    let answer = infer(&mut client, typed(1)).await;
    assert!(answer.raw_output_contents.is_empty());
    let contents: Vec<_> = answer.outputs.iter().map(|it| it.contents.clone().unwrap()).collect();
    assert_eq!(contents[0].bytes_contents, ["class1"]);
    assert_eq!(contents[1].fp32_contents, [0.0, 1.0, 0.0]);

    // The receipt is that of any other answer: the id in hexadecimal digits is a prediction id.
    let id = String::from_utf8(contents[2].bytes_contents[0].to_vec()).unwrap();
    let mut app = worker.app().await;
    for id in [&id, &ids[1]] {
        let prediction_id = runtime::secret::unhex(id).unwrap().into();
        let label = "class2".to_owned();
        let taken = app.correct(v1::CorrectRequest { prediction_id, label }).await.unwrap();
        assert_eq!(taken.into_inner().given, "class1");
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_outputs_that_are_asked_for_come_in_the_order_they_are_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (worker, _node, mut client) = started(dir.path()).await;
    let output =
        |name: &str| InferRequestedOutputTensor { name: name.to_owned(), ..Default::default() };
    let asked = changed(|it| it.outputs = vec![output("probabilities"), output("label")]);
    let answer = infer(&mut client, asked).await;
    let names: Vec<&str> = answer.outputs.iter().map(|it| &*it.name).collect();
    assert_eq!(names, ["probabilities", "label"]);
    assert_eq!(answer.raw_output_contents[0], packed(&[0.0, 1.0, 0.0]));
    assert_eq!(texts(&answer.raw_output_contents[1]), ["class1"]);
    let status = refused(&mut client, changed(|it| it.outputs = vec![output("scores")])).await;
    assert!(status.message().contains("the outputs are `label`, `probabilities`"), "{status}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_numbers_than_fp32_are_taken_when_they_say_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (worker, _node, mut client) = started(dir.path()).await;
    let of = |datatype: &str, bytes: Vec<u8>| {
        changed(|it| {
            it.inputs[0].datatype = datatype.to_owned();
            it.raw_input_contents = vec![bytes.into()];
        })
    };
    let doubles = [0.5_f64, 2.0, -1.0].map(f64::to_le_bytes).concat();
    let whole = [0_i64, 2, -1].map(i64::to_le_bytes).concat();
    for request in [of("FP64", doubles), of("INT64", whole), of("INT8", vec![0, 2, 255])] {
        let answer = infer(&mut client, request).await;
        assert_eq!(texts(&answer.raw_output_contents[0]), ["class1"]);
    }
    // 1, 2 and -1 as halves, by the standards: the upper half of a single precision number, and binary16.
    let [bf16, fp16] = [[0x3f80_u16, 0x4000, 0xbf80], [0x3c00, 0x4000, 0xbc00]];
    for (datatype, halves) in [("BF16", bf16), ("FP16", fp16)] {
        let answer = infer(&mut client, of(datatype, halves.map(u16::to_le_bytes).concat())).await;
        let whole = [1_i64, 2, -1].map(i64::to_le_bytes).concat();
        let same = infer(&mut client, of("INT64", whole)).await;
        assert_eq!(answer.raw_output_contents[..2], same.raw_output_contents[..2]);
    }
    let mut typed = typed(1);
    typed.inputs[0].datatype = "FP16".to_owned();
    let status = refused(&mut client, typed).await;
    assert!(status.message().contains("are sent in binary"), "{status}");
    let inexact = [0_i64, 1 << 40, 1].map(i64::to_le_bytes).concat();
    let status = refused(&mut client, of("INT64", inexact)).await;
    assert!(status.message().starts_with("1099511627776 in row 0, column 1 is not exact"));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_trap_has_its_name_and_good_requests_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let (worker, _node, mut client) = started(dir.path()).await;
    let three = "must be [samples, values of a sample]";
    let cases: Vec<(ModelInferRequest, &str)> = vec![
        (changed(|it| it.inputs[0].shape = vec![3]), three),
        (changed(|it| it.inputs[0].shape = vec![1, 1, 3]), three),
        (changed(|it| it.inputs[0].shape = vec![-1, 3]), three),
        (changed(|it| it.inputs[0].shape = vec![i64::MAX, i64::MAX]), three),
        (
            changed(|it| it.inputs[0].shape = vec![2, 3]),
            "12 bytes are not the shape [2, 3] of 4-byte values",
        ),
        (changed(|it| it.inputs[0].shape = vec![3, 1]), "the task has 3 features"),
        (
            changed(|it| it.raw_input_contents = vec![packed(&[0.0, f32::NAN, 1.0])]),
            "the value in row 0, column 1 is not a finite number",
        ),
        (
            changed(|it| it.raw_input_contents = vec![Bytes::from_static(b"garbage")]),
            "7 bytes are not the shape [1, 3]",
        ),
        (changed(|it| it.inputs[0].datatype = "BYTES".to_owned()), "send FP32"),
        (changed(|it| it.inputs[0].datatype = "fp32".to_owned()), "send FP32"),
        (changed(|it| it.inputs[0].name = "input-0".to_owned()), "has one, `features`"),
        (changed(|it| it.inputs.clear()), "0 inputs were sent"),
        (changed(|it| it.inputs.push(it.inputs[0].clone())), "2 inputs were sent"),
        (changed(|it| it.raw_input_contents.clear()), "were not sent"),
        (changed(|it| it.inputs[0].contents = typed(1).inputs[0].contents.clone()), "twice"),
        (changed(|it| it.parameters = timeout(ParameterChoice::Int64Param(-5))), "`timeout` is -5"),
    ];
    for (request, message) in cases {
        let status = refused(&mut client, request).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(message), "{status}");
    }
    let status = refused(&mut client, raw(400_000)).await;
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("send at most"), "{status}");
    let status = refused(&mut client, raw(proto::MESSAGE_BYTES_MAX / 12)).await;
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    let status = refused(&mut client, changed(|it| it.model_name = "cellar".to_owned())).await;
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().contains("(served: kitchen)"), "{status}");
    let status = refused(&mut client, changed(|it| it.model_version = "4".to_owned())).await;
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(
        status.message(),
        "revision \"4\" of task kitchen is not served here; revision 5 is"
    );

    let answer = infer(&mut client, changed(|it| it.model_version = "5".to_owned())).await;
    assert_eq!(answer.model_version, "5");
    // No samples, no answers: every output is there, and empty.
    let answer = infer(&mut client, raw(0)).await;
    assert_eq!(answer.outputs[1].shape, [0, i64::try_from(CLASSES).unwrap()]);
    assert!(answer.raw_output_contents.iter().all(Bytes::is_empty));
    assert_eq!(answer.raw_output_contents.len(), 3);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_answers_each_message_in_its_turn_and_an_error_ends_it_not() {
    let dir = tempfile::tempdir().unwrap();
    let (worker, _node, mut client) = started(dir.path()).await;
    let named =
        |id: &str, request: ModelInferRequest| ModelInferRequest { id: id.to_owned(), ..request };
    let wrong = changed(|it| it.inputs[0].shape = vec![3]);
    let late =
        ModelInferRequest { parameters: timeout(ParameterChoice::Int64Param(1)), ..raw(50_000) };
    let cellar = changed(|it| it.model_name = "cellar".to_owned());
    let messages = [
        named("a", raw(2)),
        named("b", wrong),
        named("c", typed(1)),
        named("d", late),
        named("e", cellar),
        named("f", raw(1)),
    ];
    let stream = client.model_stream_infer(tokio_stream::iter(messages)).await.unwrap();
    let mut stream = stream.into_inner();
    let mut answers = Vec::new();
    while let Some(answer) = stream.message().await.unwrap() {
        answers.push((answer.error_message, answer.infer_response.unwrap()));
    }
    let ids: Vec<&str> = answers.iter().map(|(_, it)| &*it.id).collect();
    assert_eq!(ids, ["a", "b", "c", "d", "e", "f"]);
    for (at, words) in [(1, "must be [samples"), (3, "deadline has passed"), (4, "not served here")]
    {
        let (error, answer) = &answers[at];
        assert!(error.contains(words) && answer.outputs.is_empty(), "{error}");
    }
    for at in [0, 2, 5] {
        let (error, answer) = &answers[at];
        assert_eq!((&**error, &*answer.model_version, answer.outputs.len()), ("", "5", 3));
        let last = answer.parameters["triton_final_response"].parameter_choice.clone();
        assert_eq!(last, Some(ParameterChoice::BoolParam(true)));
    }
    assert_eq!(texts(&answers[0].1.raw_output_contents[0]), ["class1", "class1"]);
    assert!(answers[2].1.outputs[0].contents.is_some(), "typed as it was asked");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packed_messages_are_read_and_one_that_unpacks_to_too_much_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (worker, _node, mut plain) = started(dir.path()).await;
    let said = infer(&mut plain, raw(50)).await;
    let too_long = ModelInferRequest { id: "7".repeat(proto::MESSAGE_BYTES_MAX), ..raw(1) };
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Deflate] {
        let client = Client::new(worker.channel().await).send_compressed(encoding);
        let mut client = client.max_encoding_message_size(usize::MAX);
        let answer = infer(&mut client, raw(50)).await;
        assert_eq!(answer.raw_output_contents[..2], said.raw_output_contents[..2]);
        // Sixteen kilobytes on the way.
        let status = refused(&mut client, too_long.clone()).await;
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert!(status.message().contains("size limit"), "{status}");
        infer(&mut client, raw(1)).await;
        let messages = tokio_stream::iter([raw(50), raw(1)]);
        let mut stream = client.model_stream_infer(messages).await.unwrap().into_inner();
        let first = stream.message().await.unwrap().unwrap().infer_response.unwrap();
        assert_eq!(first.raw_output_contents[..2], said.raw_output_contents[..2]);
        assert!(stream.message().await.unwrap().is_some());
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_best_classes_are_asked_for_and_not_without_bound() {
    let dir = tempfile::tempdir().unwrap();
    let (worker, _node, mut client) = started(dir.path()).await;
    let best = |name: &str, count: i64, request: ModelInferRequest| {
        let parameter =
            InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(count)) };
        let parameters = [("classification".to_owned(), parameter)].into();
        let outputs = vec![InferRequestedOutputTensor { name: name.to_owned(), parameters }];
        ModelInferRequest { outputs, ..request }
    };
    let answer = infer(&mut client, best("probabilities", 9, raw(1))).await;
    assert_eq!(answer.outputs[0].shape, [1, i64::try_from(CLASSES).unwrap()]);
    let all = ["1.000000:1:class1", "0.000000:0:class0", "0.000000:2:class2"];
    assert_eq!(texts(&answer.raw_output_contents[0]), all);
    let answer = infer(&mut client, best("probabilities", 1, typed(2))).await;
    let contents = answer.outputs[0].contents.clone().unwrap();
    assert_eq!(contents.bytes_contents, ["1.000000:1:class1"; 2]);
    for (name, count, rows, words) in [
        ("label", 1, 1, "`classification` of \"label\" cannot be"),
        ("probabilities", 0, 1, "`classification` of \"probabilities\" cannot be"),
        ("probabilities", -1, 1, "`classification` is -1; it must be a whole number"),
        ("probabilities", 3, 30_000, "90000 classes are asked for"),
    ] {
        let status = refused(&mut client, best(name, count, raw(rows))).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(words), "{status}");
    }
    infer(&mut client, best("probabilities", 2, raw(30_000))).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_nobody_waits_for_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (worker, _node, mut client) = started(dir.path()).await;
    let late = |choice| ModelInferRequest { parameters: timeout(choice), ..raw(50_000) };
    for choice in [ParameterChoice::Int64Param(1), ParameterChoice::Uint64Param(1)] {
        // To read 600 000 bytes alone takes longer than that.
        let status = refused(&mut client, late(choice)).await;
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert_eq!(status.message(), "the deadline has passed before task kitchen was answered");
    }
    infer(&mut client, late(ParameterChoice::Int64Param(60_000_000))).await;
    infer(&mut client, late(ParameterChoice::Int64Param(0))).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_tells_what_it_serves_and_how_it_goes() {
    let dir = tempfile::tempdir().unwrap();
    let (worker, mut node, mut client) = started(dir.path()).await;
    assert!(client.server_live(wire::ServerLiveRequest {}).await.unwrap().into_inner().live);
    assert!(client.server_ready(wire::ServerReadyRequest {}).await.unwrap().into_inner().ready);
    for (name, version, ready) in [
        ("kitchen", "", true),
        ("kitchen", "5", true),
        ("kitchen", "6", false),
        ("hall", "", false),
    ] {
        let asked = wire::ModelReadyRequest { name: name.to_owned(), version: version.to_owned() };
        let answer = client.model_ready(asked).await.unwrap().into_inner();
        assert_eq!(answer.ready, ready, "{name} {version}");
    }
    let server = client.server_metadata(wire::ServerMetadataRequest {}).await.unwrap().into_inner();
    assert_eq!(server.name, "sensemble");

    let kitchen = || "kitchen".to_owned();
    let asked = wire::ModelMetadataRequest { name: kitchen(), ..Default::default() };
    let about = client.model_metadata(asked).await.unwrap().into_inner();
    assert_eq!((&*about.versions, &*about.inputs[0].name), (&["5".to_owned()][..], "features"));
    assert_eq!((&*about.inputs[0].shape, &*about.outputs[1].shape), (&[-1, 3][..], &[-1, 3][..]));
    let asked = wire::ModelConfigRequest { name: kitchen(), ..Default::default() };
    let config = client.model_config(asked).await.unwrap().into_inner().config.unwrap();
    assert_eq!(config.input[0].dims, [3]);
    assert_eq!(config.parameters["classes"].string_value, r#"["class0","class1","class2"]"#);
    assert!(1000 < config.max_batch_size);

    infer(&mut client, raw(20)).await;
    infer(&mut client, typed(1)).await;
    refused(&mut client, changed(|it| it.inputs.clear())).await;
    let asked = wire::ModelStatisticsRequest::default();
    let all = client.model_statistics(asked).await.unwrap().into_inner().model_stats;
    let [counted] = &*all else { panic!("one task") };
    assert_eq!((counted.inference_count, counted.execution_count), (21, 2));
    let times = counted.inference_stats.unwrap();
    assert_eq!((times.success.unwrap().count, times.fail.unwrap().count), (2, 1));
    assert!(0 < times.compute_infer.unwrap().ns && 0 < counted.last_inference);
    let sum = times.queue.unwrap().ns + times.compute_infer.unwrap().ns;
    assert_eq!(times.success.unwrap().ns, sum);

    // A task that cannot be loaded is in the index, and is not ready.
    let hall = v1::Assignment { task: "hall".to_owned(), ..order(1, 1, &[7; 32]) };
    node.order(vec![hall]).await;
    node.until("the fault", |it| it.tasks.iter().any(|it| !it.fault.is_empty())).await;
    let index = |ready| wire::RepositoryIndexRequest { ready, ..Default::default() };
    let models = client.repository_index(index(false)).await.unwrap().into_inner().models;
    let states: Vec<_> = models.iter().map(|it| (&*it.name, &*it.state)).collect();
    assert_eq!(states, [("hall", "UNAVAILABLE")]);
    assert!(client.repository_index(index(true)).await.unwrap().into_inner().models.is_empty());
    let ready = client.server_ready(wire::ServerReadyRequest {}).await.unwrap().into_inner().ready;
    assert!(!ready);

    let load = client.repository_model_load(wire::RepositoryModelLoadRequest {}).await;
    let status = load.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.message().contains("the scheduler decides"), "{status}");
    let unload = client.repository_model_unload(wire::RepositoryModelUnloadRequest {}).await;
    assert_eq!(unload.unwrap_err().code(), Code::Unimplemented);
    worker.stop().await;
}
