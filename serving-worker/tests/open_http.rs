//! The Open Inference Protocol over HTTP: JSON, the binary extension, and every trap by its name.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

mod loopback;

use std::io::Read as _;

use loopback::{Node, Page, SAMPLE, Scheduler, Worker, ensemble, order};
use serde_json::{Value, json};

const INFER: &str = "/v2/models/kitchen/infer";

async fn started(dir: &std::path::Path) -> (Worker, Node, Scheduler) {
    let scheduler = Scheduler::default();
    let address = scheduler.start().await;
    let worker = Worker::start(dir).await;
    let mut node = worker.node(&address).await;
    let digest = scheduler.put(&ensemble("", 1));
    node.serve(order(3, 5, &digest)).await;
    (worker, node, scheduler)
}

fn input(shape: Value, data: Value) -> Value {
    json!({"name": "features", "datatype": "FP32", "shape": shape, "data": data})
}

async fn post(worker: &Worker, path: &str, message: &Value) -> Page {
    worker.http("POST", path, "", message.to_string().as_bytes()).await
}

/// Everything that is refused is so in JSON, with one key.
fn error(page: &Page) -> String {
    let Value::Object(fields) = page.json() else { panic!("{page:?}") };
    assert_eq!(fields.len(), 1);
    fields["error"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn json_in_json_out_flat_or_nested() {
    let dir = tempfile::tempdir().unwrap();
    let (worker, _node, _scheduler) = started(dir.path()).await;
    let nested = json!([[0.5, 2, -1], [9, 0, 0]]);
    let flat = json!([0.5, 2, -1, 9, 0, 0]);
    for data in [nested, flat] {
        let message = json!({"id": "7", "inputs": [input(json!([2, 3]), data)]});
        let page = post(&worker, "/v2/models/kitchen/versions/5/infer", &message).await;
        assert_eq!((page.status, &*page.headers["content-type"]), (200, "application/json"));
        let answer = page.json();
        assert_eq!(
            (&answer["model_name"], &answer["model_version"]),
            (&json!("kitchen"), &json!("5"))
        );
        assert_eq!(answer["id"], "7");
        assert_eq!(
            answer["outputs"][0],
            json!({"name": "label", "datatype": "BYTES", "shape": [2], "data": ["class1", "class0"]})
        );
        assert_eq!(answer["outputs"][1]["shape"], json!([2, 3]));
        assert_eq!(answer["outputs"][1]["data"], json!([0.0, 1.0, 0.0, 1.0, 0.0, 0.0]));
        assert_eq!(answer["outputs"][2]["data"][0].as_str().unwrap().len(), 32);
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn binary_tensors_stand_behind_the_json_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let (worker, _node, _scheduler) = started(dir.path()).await;
    let bytes = SAMPLE.map(f32::to_le_bytes).concat();
    let json = json!({
        "inputs": [{"name": "features", "datatype": "FP32", "shape": [1, 3],
            "parameters": {"binary_data_size": 12}}],
        "outputs": [{"name": "probabilities", "parameters": {"binary_data": true}},
            {"name": "label", "parameters": {"binary_data": true}}, {"name": "prediction_id"}],
    })
    .to_string();
    let header = format!("Inference-Header-Content-Length: {}\r\n", json.len());
    let page = worker.http("POST", INFER, &header, &[json.as_bytes(), &bytes].concat()).await;
    assert_eq!(page.status, 200, "{page:?}");
    let length: usize = page.headers["inference-header-content-length"].parse().unwrap();
    let (head, binary) = page.body.split_at(length);
    let answer: Value = serde_json::from_slice(head).unwrap();
    assert_eq!(answer["outputs"][0]["parameters"]["binary_data_size"], 12);
    assert_eq!(answer["outputs"][1]["parameters"]["binary_data_size"], 10);
    assert_eq!(answer["outputs"][2]["data"][0].as_str().unwrap().len(), 32);
    let shares = [0.0_f32, 1.0, 0.0].map(f32::to_le_bytes).concat();
    assert_eq!(binary, [&shares[..], b"\x06\0\0\0class1"].concat());

    let wrong = worker.http("POST", INFER, &header, json.as_bytes()).await;
    assert_eq!(
        (wrong.status, &*error(&wrong)),
        (400, "0 bytes follow the JSON; `binary_data_size` says 12")
    );
    let header = "Inference-Header-Content-Length: 99999\r\n";
    let wrong = worker.http("POST", INFER, header, json.as_bytes()).await;
    assert!(error(&wrong).contains("must be the bytes of the JSON"), "{wrong:?}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packed_body_is_read_and_the_best_classes_are_texts() {
    let dir = tempfile::tempdir().unwrap();
    let (worker, _node, _scheduler) = started(dir.path()).await;
    let message = json!({
        "inputs": [input(json!([1, 3]), json!(SAMPLE))],
        "outputs": [{"name": "probabilities", "parameters": {"classification": 2}}],
    })
    .to_string();
    let mut packed = Vec::new();
    let level = flate2::Compression::default();
    flate2::read::GzEncoder::new(message.as_bytes(), level).read_to_end(&mut packed).unwrap();
    let page = worker.http("POST", INFER, "Content-Encoding: gzip\r\n", &packed).await;
    assert_eq!(page.status, 200, "{page:?}");
    let best = json!({"name": "probabilities", "datatype": "BYTES", "shape": [1, 2],
        "data": ["1.000000:1:class1", "0.000000:0:class0"]});
    assert_eq!(page.json()["outputs"], json!([best]));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_trap_has_its_name_and_its_status() {
    let dir = tempfile::tempdir().unwrap();
    let (worker, _node, _scheduler) = started(dir.path()).await;
    let good = || json!([0.5, 2, -1]);
    let of = |input: Value| json!({"inputs": [input]});
    let one = |shape: Value, data: Value| of(input(shape, data));
    let kind = |datatype: &str| {
        of(json!({"name": "features", "datatype": datatype, "shape": [1, 3], "data": good()}))
    };
    for (path, message, status, text) in [
        (INFER, one(json!([3]), good()), 400, "must be [samples, values of a sample]"),
        (INFER, one(json!([2, 3]), good()), 400, "3 values do not fill the shape [2, 3]"),
        (INFER, one(json!([3, 1]), good()), 400, "the task has 3 features"),
        (INFER, one(json!([1, 3]), json!([[0.5], [2], [1]])), 400, "not of the shape [1, 3]"),
        (INFER, one(json!([1, 3]), json!([0, null, 0])), 400, "something else than numbers"),
        (INFER, one(json!([1, 3]), json!([0, "2", 0])), 400, "something else than numbers"),
        (INFER, one(json!([1, 3]), json!([0, 1e300, 0])), 400, "beyond FP32"),
        (INFER, kind("BYTES"), 400, "send FP32"),
        (INFER, kind("FP16"), 400, "FP16 and BF16 are sent in binary"),
        (INFER, kind("INT32"), 400, "0.5 in row 0, column 0 is not exact"),
        (INFER, json!({}), 400, "missing field `inputs`"),
        (INFER, json!({"inputs": []}), 400, "0 inputs were sent"),
        ("/v2/models/cellar/infer", one(json!([1, 3]), good()), 404, "not served here"),
        ("/v2/models/kitchen/versions/6/infer", one(json!([1, 3]), good()), 404, "revision 5 is"),
        ("/v2/models/kitchen/guess", json!({}), 404, "there is nothing at"),
        ("/v2/health/live", json!({}), 405, "is not answered to POST"),
        ("/v2/repository/models/kitchen/load", json!({}), 501, "the scheduler decides"),
    ] {
        let page = post(&worker, path, &message).await;
        assert_eq!(page.status, status, "{path} {message} {page:?}");
        assert!(error(&page).contains(text), "{page:?}");
    }
    for body in [&b""[..], b"{", b"\xff\xfe\0", b"[1, 2]", b"{\"inputs\": NaN}"] {
        let page = worker.http("POST", INFER, "", body).await;
        assert_eq!(page.status, 400);
        assert!(error(&page).starts_with("the body is not a request of the protocol"));
    }
    for (encoding, status) in [("gzip", 400), ("deflate", 400), ("br", 415)] {
        let header = format!("Content-Encoding: {encoding}\r\n");
        let page = worker.http("POST", INFER, &header, b"{}").await;
        assert_eq!(page.status, status, "{page:?}");
        assert!(error(&page).contains("packed"), "{page:?}");
    }
    let gibibyte = format!(
        "POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\nConnection: close\r\n\r\n"
    );
    let page = worker.exchange(gibibyte.as_bytes()).await;
    assert_eq!(page.status, 413);
    assert!(error(&page).contains("send fewer samples"));
    let mut late = one(json!([5000, 3]), json!(SAMPLE.repeat(5000)));
    late["parameters"] = json!({"timeout": 1});
    let page = post(&worker, INFER, &late).await;
    assert_eq!(page.status, 504);
    late["parameters"] = json!({"timeout": -1});
    assert!(error(&post(&worker, INFER, &late).await).starts_with("`timeout` is -1"));
    late["parameters"] = json!({"timeout": 60_000_000});
    assert_eq!(post(&worker, INFER, &late).await.status, 200);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_tells_over_http_what_it_serves() {
    let dir = tempfile::tempdir().unwrap();
    let (worker, mut node, scheduler) = started(dir.path()).await;
    let get = async |path: &str| {
        let page = worker.http("GET", path, "", b"").await;
        (page.status, page.json())
    };
    assert_eq!(get("/v2/health/live").await, (200, json!({"live": true})));
    assert_eq!(get("/v2/health/ready").await, (200, json!({"ready": true})));
    let ready = json!({"name": "kitchen", "ready": true});
    assert_eq!(get("/v2/models/kitchen/ready").await, (200, ready.clone()));
    assert_eq!(get("/v2/models/kitchen/versions/5/ready").await, (200, ready));
    assert_eq!(get("/v2/models/kitchen/versions/6/ready").await.0, 404);
    assert_eq!(get("/v2/models/cellar/ready").await.0, 404);
    assert_eq!(get("/v2").await.1["name"], "sensemble");
    let (_, about) = get("/v2/models/kitchen").await;
    assert_eq!(
        about["inputs"],
        json!([{"name": "features", "datatype": "FP32", "shape": [-1, 3]}])
    );
    assert_eq!(about["outputs"][0], json!({"name": "label", "datatype": "BYTES", "shape": [-1]}));
    let (_, config) = get("/v2/models/kitchen/config").await;
    assert_eq!(
        config["input"],
        json!([{"name": "features", "data_type": "TYPE_FP32", "dims": [3]}])
    );
    assert_eq!(config["parameters"]["features"]["string_value"], r#"["f0","f1","f2"]"#);

    let message = json!({"inputs": [input(json!([2, 3]), json!(SAMPLE.repeat(2)))]});
    assert_eq!(post(&worker, INFER, &message).await.status, 200);
    for path in ["/v2/models/stats", "/v2/models/kitchen/stats"] {
        let (_, all) = get(path).await;
        let counted = &all["model_stats"][0];
        assert_eq!(
            (&counted["inference_count"], &counted["execution_count"]),
            (&json!(2), &json!(1))
        );
        assert_eq!(counted["inference_stats"]["success"]["count"], 1);
    }

    // A task that is ordered and does not come.
    scheduler.set_down(true);
    let hall = proto::v1::Assignment { task: "hall".to_owned(), ..order(1, 1, &[7; 32]) };
    node.order(vec![hall]).await;
    node.until("the fault", |it| it.tasks.iter().any(|it| !it.fault.is_empty())).await;
    assert_eq!(get("/v2/health/ready").await, (503, json!({"ready": false})));
    let page = worker.http("GET", "/v2/models/hall/ready", "", b"").await;
    assert_eq!((page.status, &*page.headers["retry-after"]), (503, "1"));
    assert!(error(&page).starts_with("task hall is not loaded yet"));
    let index = post(&worker, "/v2/repository/index", &json!({"ready": false})).await;
    assert_eq!(index.json()[0]["state"], "UNAVAILABLE");
    assert_eq!(worker.http("POST", "/v2/repository/index", "", b"").await.json(), index.json());
    let ready = post(&worker, "/v2/repository/index", &json!({"ready": true})).await;
    assert_eq!(ready.json(), json!([]));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_says_back_over_http_is_a_correction() {
    let dir = tempfile::tempdir().unwrap();
    let (worker, _node, scheduler) = started(dir.path()).await;
    let message = json!({"inputs": [input(json!([1, 3]), json!(SAMPLE))],
        "outputs": [{"name": "prediction_id"}]});
    let answer = post(&worker, INFER, &message).await.json();
    let id = answer["outputs"][0]["data"][0].clone();
    let say = async |id: &Value, label: &str| {
        post(&worker, "/v1/feedback", &json!({"prediction_id": id, "label": label})).await
    };
    let page = say(&id, "class2").await;
    assert_eq!(
        (page.status, page.json()),
        (200, json!({"task": "kitchen", "given": "class1", "first": true}))
    );
    assert_eq!(say(&id, "class0").await.json()["first"], false);
    let taken = loopback::until("the scheduler to have it", || async {
        scheduler.corrections().into_values().find(|label| label == "class0")
    });
    taken.await;

    let page = say(&id, "unicorn").await;
    assert_eq!(page.status, 400);
    assert!(error(&page).contains("the classes are class0, class1, class2"));
    assert_eq!(say(&json!("ab".repeat(16)), "class2").await.status, 404);
    for bad in ["", "zz", "abc"] {
        let page = say(&json!(bad), "class2").await;
        assert_eq!(page.status, 400);
        assert!(error(&page).contains("16 bytes (32 hexadecimal digits)"), "{page:?}");
    }
    let page = post(&worker, "/v1/feedback", &json!({"label": "class2"})).await;
    assert!(error(&page).starts_with("send {prediction_id, label}"), "{page:?}");
    worker.stop().await;
}
