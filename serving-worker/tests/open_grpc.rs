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
use tonic::{Code, Status, transport::Channel};

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
