//! Sensors at a broker: samples are answered, corrections taken, and nothing is lost at QoS 1, whoever
//! is killed.

use std::{
    collections::BTreeMap, f64::consts::TAU, fmt::Write as _, fs, path::PathBuf, time::Duration,
};

use serde_json::{Value, json};
use stories::{Blobs, Collector, Mosquitto, Sensemble, Sensor, Task, admin, until};

const TASK: Task<'static> = Task {
    name: "kitchen",
    blobs: Blobs {
        seed: 31,
        classes: &["idle", "blender", "tap"],
        width: 6,
        rows: 40,
        groups: 4,
        distance: 5.0,
        shift: 0.0,
        mirrored: false,
    },
    policy: "train = { families = [\"ridge\"] }\nadapt = { after_corrections = 0 }",
};
/// What was acknowledged has come through within this, on a busy machine.
const THROUGH_MAX: Duration = Duration::from_secs(60);
const SAMPLE: &str = "sensemble/home/kitchen/sample";

/// A folder for a broker that outlives the story's own by nothing.
fn folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("sensemble-mqtt-{name}-{}", std::process::id()))
}

struct Kitchen {
    sensemble: Sensemble,
    broker: Mosquitto,
    sensor: Sensor,
    folder: PathBuf,
}

impl Drop for Kitchen {
    fn drop(&mut self) {
        let _left_behind = fs::remove_dir_all(&self.folder);
    }
}

impl Kitchen {
    /// A worker that serves the task at a broker, and a sensor that listens to everything.
    fn start(name: &str) -> Option<Self> {
        let folder = folder(name);
        let broker = Mosquitto::start(name, &folder)?;
        let sensemble = Sensemble::up(&["--mqtt", &broker.url()]);
        let _said = TASK.train(&sensemble);
        let sensor = Sensor::connect(broker.port(), "sensor", &["sensemble/#", "homeassistant/#"]);
        // From here on the broker brings the worker what is said.
        sensor.until_heard("_select_class/config", |it| it.said.is_object().then_some(()));
        Some(Self { sensemble, broker, sensor, folder })
    }

    fn say_samples(&self, ids: std::ops::Range<usize>) {
        let rows = TASK.blobs.table().rows;
        for (at, row) in ids.clone().zip(rows.iter().cycle()) {
            let said = json!({ "features": row.features, "id": format!("id-{at:05}") });
            self.sensor.say(SAMPLE, said.to_string());
        }
    }

    /// Every sample has its answer, at least once; how many were answered more than once.
    #[track_caller]
    fn until_all_answered(&self, ids: std::ops::Range<usize>) -> usize {
        until("every sample to be answered", THROUGH_MAX, || {
            let answered = self.sensor.answered();
            let missing = ids.clone().filter(|at| !answered.contains_key(&format!("id-{at:05}")));
            let missing = missing.count();
            let again = answered.values().filter(|times| 1 < **times).count();
            if missing == 0 { Ok(again) } else { Err(format!("{missing} are missing")) }
        })
    }

    fn corrections(&self) -> BTreeMap<String, String> {
        let listed =
            admin(
                self.sensemble.scheduler(),
                |admin| async move { admin.corrections("kitchen").await },
            );
        let hex =
            |id: &[u8]| id.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        let listed = listed.expect("the scheduler says what it has");
        listed.iter().map(|it| (hex(&it.prediction_id), it.label.clone())).collect()
    }

    #[track_caller]
    fn until_corrected(&self, id: &Value, label: &str) {
        let id = id.as_str().expect("an answer has an id");
        until("the correction to arrive", THROUGH_MAX, || {
            let there = self.corrections();
            if there.get(id).is_some_and(|it| it == label) { Ok(()) } else { Err(there) }
        });
    }
}

#[test]
fn samples_are_answered_corrections_taken_and_nonsense_refused_in_words() {
    let Some(kitchen) = Kitchen::start("mqtt-kitchen") else { return };
    let Kitchen { sensemble, sensor, .. } = &kitchen;
    let rows = Blobs { seed: 32, ..TASK.blobs }.table().rows;
    let app = sensemble.app("kitchen");
    for (at, row) in rows.iter().take(6).enumerate() {
        let id = format!("row-{at}");
        sensor.say(SAMPLE, json!({ "features": row.features, "id": id }).to_string());
        let said = sensor.until_answered(&id);
        let direct = app.predict("kitchen", &row.features).expect("it answers");
        assert_eq!(said["class"], direct.class, "{said}");
        assert_eq!((&said["revision"], &said["members"]), (&direct.revision.into(), &1.into()));
        assert!(said["confidence"].is_number() && said["stage"].is_string(), "{said}");
        assert!(said["voted"].is_number(), "{said}");
    }
    // Raw little-endian f32: two samples at once.
    let raw = rows[1].features.iter().chain(&rows[2].features);
    sensor.say(SAMPLE, raw.flat_map(|it| it.to_le_bytes()).collect::<Vec<u8>>());
    let answer = |row: u64| {
        sensor.until_heard("/prediction", |it| (it.said["row"] == row).then(|| it.said.clone()))
    };
    assert_eq!([&answer(0)["class"], &answer(1)["class"]], [&rows[1].label, &rows[2].label]);

    // A user's word, and what a button says.
    let first = sensor.until_answered("row-0");
    let correction = json!({ "prediction_id": first["prediction_id"], "label": "tap" });
    sensor.say("sensemble/home/kitchen/correction", correction.to_string());
    kitchen.until_corrected(&first["prediction_id"], "tap");
    let last = answer(1);
    sensor.say("sensemble/home/kitchen/button/right", "PRESS");
    kitchen.until_corrected(&last["prediction_id"], last["class"].as_str().expect("a class"));
    sensor.say("sensemble/home/kitchen/button/wrong", "PRESS");
    let meanwhile = json!({ "features": rows[0].features, "id": "meanwhile" });
    sensor.say(SAMPLE, meanwhile.to_string());
    let _answered = sensor.until_answered("meanwhile");
    sensor.say("sensemble/home/kitchen/button/class", "idle");
    kitchen.until_corrected(&last["prediction_id"], "idle");

    // What is wrong is said, and nothing ends.
    let before = sensor.heard("/error").len();
    assert_eq!(before, 0, "{:?}", sensor.heard("/error"));
    for (topic, payload, words) in [
        (SAMPLE, r#"{"features": [1, 2], "id": "short"}"#, "the task has 6 features"),
        (SAMPLE, r#"{"features": "#, "not understood"),
        (SAMPLE, "abc", "not a whole number of f32"),
        (SAMPLE, r#"{"channels": {"x": [1]}}"#, "takes features"),
        (
            "sensemble/home/kitchen/correction",
            r#"{"prediction_id": "00", "label": "tap"}"#,
            "id of an answer",
        ),
        ("sensemble/home/kitchen/button/class", "teapot", "the classes are idle, blender, tap"),
    ] {
        sensor.say(topic, payload);
        let error = sensor.until_heard("/error", |it| {
            let text = it.said["error"].as_str()?;
            text.contains(words).then(|| it.said.clone())
        });
        assert!(error["device"].is_string() && error["about"].is_string(), "{error}");
    }
    sensor.say(SAMPLE, vec![b'x'; 300_000]);
    sensor.until_heard("/error", |it| {
        it.said["error"].as_str()?.contains("send fewer samples").then_some(())
    });
    sensor.say(SAMPLE, json!({ "features": rows[0].features, "id": "still" }).to_string());
    let _answered = sensor.until_answered("still");
}

#[test]
fn a_killed_broker_loses_nothing_that_it_had_on_disk() {
    let Some(mut kitchen) = Kitchen::start("mqtt-broker-killed") else { return };
    kitchen.say_samples(0..20);
    let _again = kitchen.until_all_answered(0..20);
    let answered = kitchen.sensor.until_answered("id-00003");

    // The worker stands still, so that all of this is at the broker and nowhere else.
    let worker = kitchen.sensemble.processes("serving-worker").remove(0);
    worker.stop();
    kitchen.say_samples(20..220);
    let correction = json!({ "prediction_id": answered["prediction_id"], "label": "idle" });
    kitchen.sensor.say("sensemble/home/kitchen/correction", correction.to_string());
    kitchen.say_samples(220..221);
    kitchen.sensor.until_confirmed();
    until("the broker to have it on disk", THROUGH_MAX, || {
        if kitchen.broker.has_on_disk("id-00220") { Ok(()) } else { Err("not yet") }
    });
    kitchen.broker.kill_9();
    worker.go_on();
    kitchen.broker.start_again();
    let _again = kitchen.until_all_answered(0..221);
    kitchen.until_corrected(&answered["prediction_id"], "idle");

    // And once more while answers are under way: whatever the broker had not confirmed is said again.
    kitchen.say_samples(221..260);
    kitchen.broker.kill_9();
    kitchen.broker.start_again();
    kitchen.sensor.until_heard("/status", |it| (it.said == "online").then_some(()));
    kitchen.say_samples(1000..1010);
    let _again = kitchen.until_all_answered(1000..1010);
}

#[test]
fn a_killed_worker_loses_nothing_and_its_last_will_is_heard() {
    let Some(mut kitchen) = Kitchen::start("mqtt-worker-killed") else { return };
    let status = |kitchen: &Kitchen| -> Vec<Value> {
        kitchen.sensor.heard("/status").into_iter().map(|it| it.said).collect()
    };
    assert_eq!(status(&kitchen).last(), Some(&json!("online")));
    kitchen.say_samples(0..150);
    // Somewhere in the middle of them.
    let _first = kitchen.sensor.until_answered("id-00010");
    assert_eq!(kitchen.sensemble.kill_9("serving-worker"), 1);
    kitchen.say_samples(150..300);
    let _again = kitchen.until_all_answered(0..300);
    until("the last will and the return", THROUGH_MAX, || {
        let said = status(&kitchen);
        let gone = said.iter().rposition(|it| it == "offline");
        let back = said.iter().rposition(|it| it == "online");
        if gone.is_some() && gone < back { Ok(()) } else { Err(said) }
    });
}

/// A swing of `rate_hz` of one person, 400 samples of three axes at 50 Hz.
fn motion(rate_hz: f64, person: u8) -> Vec<[f64; 3]> {
    let mut state = 5 + u32::from(person);
    let mut noise = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        0.2 * (f64::from(state >> 8) / f64::from(1_u32 << 24) - 0.5)
    };
    let sample = |at: u16| {
        let swing = (TAU * rate_hz * f64::from(at) / 50.0 + f64::from(person)).sin();
        [swing + noise(), noise(), 1.0 + noise()]
    };
    (0..400).map(sample).collect()
}

#[test]
fn streams_of_raw_samples_become_windows_and_are_answered() {
    let name = "mqtt-streams";
    let folder = folder(name);
    let Some(broker) = Mosquitto::start(name, &folder) else { return };
    let sensemble = Sensemble::up(&["--mqtt", &broker.url()]);
    let mut text = "acc_x,acc_y,acc_z,label,person,run\n".to_owned();
    for person in 0..6 {
        for (label, rate_hz) in [("still", 0.0), ("slow", 1.2), ("fast", 2.8)] {
            for [x, y, z] in motion(rate_hz, person) {
                let _never_fails = writeln!(text, "{x},{y},{z},{label},p{person},{label}{person}");
            }
        }
    }
    let raw = sensemble.path("raw.csv");
    fs::write(&raw, text).expect("it is written");
    let raw = raw.display().to_string();
    let said = "task init walk --kind window --label label --group person --recording run \
                --rate-hz 50 --length-s 1.28 --step-s 0.64 --from";
    let words: Vec<&str> = said.split_whitespace().chain([raw.as_str()]).collect();
    let _written = sensemble.run(&words).good();
    let path = sensemble.path("walk.toml");
    let task = fs::read_to_string(&path).expect("init wrote it");
    let task = task.replace("families = \"all\"", "families = [\"ridge\", \"knn\"]");
    fs::write(&path, task).expect("it is edited");
    let _applied = sensemble.run(&["task", "apply", &path.display().to_string()]).good();
    let _imported = sensemble.json(&["data", "import", "walk", &raw, "--label", "label"]);
    let _trained = sensemble.run(&["train", "run", "walk", "--wait"]).good();
    let _revision = sensemble.wait_until_served("walk");

    let sensor = Sensor::connect(broker.port(), "arm", &["sensemble/#", "homeassistant/#"]);
    sensor.until_heard("_select_class/config", |it| it.said.is_object().then_some(()));
    // Seven samples at a time, of two sensors in turn.
    let as_f32 = |value: &f64| value.to_string().parse::<f32>().expect("it was a number");
    let (fast, still) = (motion(2.8, 9), motion(0.0, 9));
    for (fast, still) in fast.chunks(7).zip(still.chunks(7)) {
        let raw = fast.iter().flatten().flat_map(|it| as_f32(it).to_le_bytes());
        sensor.say("sensemble/home/walk/sample/left", raw.collect::<Vec<u8>>());
        let axis = |at: usize| -> Vec<f64> { still.iter().map(|it| it[at]).collect() };
        let channels = json!({ "acc_x": axis(0), "acc_y": axis(1), "acc_z": axis(2) });
        let said = json!({ "channels": channels, "stream": "right" });
        sensor.say("sensemble/home/walk/sample", said.to_string());
    }
    // Eleven whole windows each, as when they were learnt.
    for (stream, class) in [("left", "fast"), ("right", "still")] {
        let answers = until("eleven answers", THROUGH_MAX, || {
            let heard = sensor.heard("walk/prediction");
            let mine = heard.into_iter().filter(|it| it.said["stream"] == stream);
            let classes: Vec<Value> = mine.map(|it| it.said["class"].clone()).collect();
            if 11 <= classes.len() { Ok(classes) } else { Err(classes.len()) }
        });
        assert_eq!(answers.len(), 11);
        let right = answers.iter().filter(|it| *it == class).count();
        assert!(9 < right, "{stream}: {answers:?}");
    }
    // One whole window, and one that is not whole.
    let axis =
        |at: usize, length: usize| -> Vec<f64> { fast[..length].iter().map(|it| it[at]).collect() };
    for (length, id) in [(64, "whole"), (63, "short")] {
        let channels = json!({
            "acc_x": axis(0, length), "acc_y": axis(1, length), "acc_z": axis(2, length),
        });
        let said = json!({ "channels": channels, "id": id });
        sensor.say("sensemble/home/walk/sample", said.to_string());
    }
    assert_eq!(sensor.until_answered("whole")["class"], "fast");
    let error = sensor.until_heard("walk/error", |it| Some(it.said.clone()));
    assert_eq!(error["id"], "short", "{error}");
    let _left_behind = fs::remove_dir_all(&folder);
}

#[test]
fn a_trace_goes_on_through_the_broker() {
    use rumqttc::v5::{
        Client, Event, Incoming, MqttOptions,
        mqttbytes::{QoS, v5::PublishProperties},
    };
    let folder = folder("mqtt-trace");
    let Some(broker) = Mosquitto::start("mqtt-trace", &folder) else { return };
    let collector = Collector::start();
    let url = (broker.url(), collector.url());
    let sensemble = Sensemble::up(&["--mqtt", &url.0, "--otlp-endpoint", &url.1]);
    let _said = TASK.train(&sensemble);
    let old = Sensor::connect(broker.port(), "sensor", &["sensemble/#", "homeassistant/#"]);
    old.until_heard("_select_class/config", |it| it.said.is_object().then_some(()));

    let mut options = MqttOptions::new("tracer", "127.0.0.1", broker.port());
    options.set_keep_alive(Duration::from_secs(5));
    let (client, mut connection) = Client::new(options, 16);
    let topic = "sensemble/home/kitchen/prediction";
    client.subscribe(topic, QoS::AtLeastOnce).expect("the connection lives");
    let features = &TASK.blobs.table().rows[0].features;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut answered = Vec::new();
    for event in connection.iter() {
        match event.expect("the broker lives") {
            Event::Incoming(Incoming::SubAck(_)) => {
                for (id, said) in [("nonsense", "00-nonsense"), ("traced", parent)] {
                    let property = |name: &str, it: &str| (name.to_owned(), it.to_owned());
                    let user_properties =
                        vec![property("traceparent", said), property("tracestate", "a=b")];
                    let properties =
                        PublishProperties { user_properties, ..PublishProperties::default() };
                    let payload = json!({ "features": features, "id": id }).to_string();
                    client
                        .publish_with_properties(
                            SAMPLE,
                            QoS::AtLeastOnce,
                            false,
                            payload,
                            properties,
                        )
                        .expect("the connection lives");
                }
            }
            Event::Incoming(Incoming::Publish(publish)) => {
                let said: Value = serde_json::from_slice(&publish.payload).expect("JSON");
                let properties = publish.properties.unwrap_or_default().user_properties;
                answered.push((said, properties));
                if answered.len() == 2 {
                    break;
                }
            }
            Event::Incoming(_) | Event::Outgoing(_) => {}
        }
    }
    let [(nonsense, none), (traced, along)] = &*answered else { panic!("{answered:?}") };
    assert_eq!((&nonsense["id"], &traced["id"]), (&json!("nonsense"), &json!("traced")));
    assert_eq!(none.len(), 0, "what is no trace is not handed on");
    let [(name, context), (_, state)] = &**along else { panic!("{along:?}") };
    assert_eq!((&**name, &**state), ("traceparent", "a=b"));
    assert_eq!(context[..36], parent[..36], "the same trace");
    assert_ne!(context[36..], parent[36..], "and the part of it that answered");
    let trace = u128::from_str_radix(&parent[3..35], 16).expect("digits").to_be_bytes();
    let told = until("the trace to be told of", THROUGH_MAX, || {
        let told = collector.trace(&trace);
        let whole = told.iter().any(|it| it.span.name == "receipt") && 4 <= told.len();
        if whole { Ok(told) } else { Err(told) }
    });
    let id = |span: &[u8]| span.iter().fold(String::new(), |text, it| format!("{text}{it:02x}"));
    let process = told.iter().find(|it| it.span.kind == 5).expect("who took the message");
    assert_eq!(id(&process.span.parent_span_id), parent[36..52]);
    assert_eq!(id(&process.span.span_id), context[36..52]);
    assert_eq!(process.attributes()["messaging.system"], "mqtt");
    let parts = told.iter().filter(|it| it.span.parent_span_id == process.span.span_id);
    assert_eq!(parts.count(), told.len() - 1, "all the rest is part of it: {told:?}");
    drop(sensemble);
    let _left_behind = fs::remove_dir_all(&folder);
}
