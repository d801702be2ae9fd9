//! What is said to the broker: answers, errors, and what Home Assistant is to know.

use proto::v1;
use serde_json::{Value, json};

use super::ledger::Number;

/// Longest announcement to Home Assistant: a task of very many classes gets no choice of them.
const ANNOUNCEMENT_BYTES_MAX: usize = 16 << 10;

/// A message to the broker.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Letter {
    pub(super) topic: String,
    pub(super) payload: String,
    pub(super) retain: bool,
    /// The message that it answers.
    pub(super) answers: Option<Number>,
    /// What is said beside the payload: where in a trace it stands.
    pub(super) properties: Vec<(String, String)>,
}

impl Letter {
    pub(super) fn new(topic: impl Into<String>, payload: String, retain: bool) -> Self {
        let (topic, properties) = (topic.into(), Vec::new());
        Self { topic, payload, retain, answers: None, properties }
    }
}

/// What is echoed of a message.
#[derive(Clone, Debug, Default)]
pub(super) struct Echo {
    pub(super) id: Option<Value>,
    pub(super) stream: Option<String>,
}

/// An answer; the `row`th of a message with several.
pub(super) fn prediction(
    topic: &str,
    task: &str,
    device: &str,
    echo: &Echo,
    row: Option<usize>,
    reply: &v1::PredictReply,
) -> Letter {
    let stage = match reply.stage() {
        v1::Stage::Gate => "gate",
        v1::Stage::Vote => "vote",
        v1::Stage::Fallback => "fallback",
        v1::Stage::Unspecified => "unknown",
    };
    let mut said = json!({
        "prediction_id": runtime::secret::hex(&reply.prediction_id), "task": task,
        "class": reply.class, "confidence": reply.confidence, "stage": stage,
        "voted": reply.voted, "members": reply.members, "revision": reply.revision,
        "device": device,
    });
    if reply.abstained {
        // Who acts on the class must not act on a guess.
        said["class"] = Value::Null;
        said["guess"] = json!(reply.class);
        said["abstained"] = json!(true);
        said["reason"] = json!(reply.reason);
    }
    if !reply.set.is_empty() {
        said["set"] = json!(reply.set_classes);
        said["coverage"] = json!(reply.coverage);
    }
    if !reply.no_set.is_empty() {
        said["no_set"] = json!(reply.no_set);
    }
    if let Some(id) = &echo.id {
        said["id"] = id.clone();
    }
    if let Some(stream) = &echo.stream {
        said["stream"] = json!(stream);
    }
    if let Some(row) = row {
        said["row"] = json!(row);
    }
    Letter::new(topic, said.to_string(), false)
}

/// What could not be done, and why.
pub(super) fn error(topic: String, device: &str, about: &str, echo: &Echo, text: &str) -> Letter {
    let mut said = json!({ "error": text, "about": about, "device": device });
    if let Some(id) = &echo.id {
        said["id"] = id.clone();
    }
    if let Some(stream) = &echo.stream {
        said["stream"] = json!(stream);
    }
    Letter::new(topic, said.to_string(), false)
}

/// Where things are of a task, for [`announcements`].
pub(super) struct Places<'a> {
    pub(super) site: &'a str,
    pub(super) device: &'a str,
    pub(super) task: &'a str,
    pub(super) status: &'a str,
    pub(super) prediction: String,
    pub(super) right: String,
    pub(super) wrong: String,
    pub(super) class: String,
}

/// What Home Assistant is told of a task (MQTT discovery): a sensor for the class, one for the
/// confidence, a button for *right* and one for *wrong*, and a choice of what it should have been.
/// With no `classes`, that all of this is gone.
pub(super) fn announcements(places: &Places<'_>, classes: Option<&[String]>) -> Vec<Letter> {
    let Places { site, device, task, status, prediction, right, wrong, class } = places;
    let node = plain(&format!("sensemble_{site}_{device}"));
    let thing = plain(&format!("sensemble_{site}_{device}_{task}"));
    let entities = [
        (
            "sensor",
            "class",
            json!({
                "name": "Class", "state_topic": prediction, "value_template": "{{ value_json.class }}",
                "json_attributes_topic": prediction,
            }),
        ),
        (
            "sensor",
            "confidence",
            json!({
                "name": "Confidence", "state_topic": prediction, "unit_of_measurement": "%",
                "state_class": "measurement", "suggested_display_precision": 0,
                "value_template": "{{ (value_json.confidence * 100) | round(1) }}",
            }),
        ),
        (
            "button",
            "right",
            json!({ "name": "Right", "command_topic": right, "icon": "mdi:check" }),
        ),
        (
            "button",
            "wrong",
            json!({ "name": "Wrong", "command_topic": wrong, "icon": "mdi:close" }),
        ),
        (
            "select",
            "class",
            json!({
                "name": "It should have been", "command_topic": class, "options": classes,
            }),
        ),
    ];
    let letters = entities.into_iter().map(|(kind, name, mut config)| {
        let object = format!("{thing}_{kind}_{name}");
        config["unique_id"] = json!(object);
        config["availability_topic"] = json!(status);
        config["device"] = json!({
            "identifiers": [thing], "name": format!("{task} ({site})"),
            "manufacturer": "Sensemble", "model": format!("served by {device}"),
        });
        let gone = classes.is_none();
        let payload = if gone { String::new() } else { config.to_string() };
        let topic = format!("homeassistant/{kind}/{node}/{object}/config");
        Letter::new(topic, payload, true)
    });
    letters.filter(|letter| letter.payload.len() <= ANNOUNCEMENT_BYTES_MAX).collect()
}

/// A name of letters, digits and `_`. Two names that would look the same are told apart by a hash.
fn plain(name: &str) -> String {
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if plain == name {
        return plain;
    }
    // FNV-1a: the same on every machine and in every version, so that what was announced is found.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{plain}_{:08x}", hash & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places<'static> {
        let at = |end: &str| format!("sensemble/home/kitchen/{end}");
        Places {
            site: "home",
            device: "pi",
            task: "kitchen",
            status: "sensemble/home/pi/status",
            prediction: at("prediction"),
            right: at("button/right"),
            wrong: at("button/wrong"),
            class: at("button/class"),
        }
    }

    #[test]
    fn a_guess_is_no_class_and_a_set_or_why_there_is_none_stands_beside_it() {
        let said = |reply: &v1::PredictReply| -> Value {
            let letter = prediction("t", "kitchen", "pi", &Echo::default(), None, reply);
            serde_json::from_str(&letter.payload).unwrap()
        };
        let known = v1::PredictReply { class: "tap".to_owned(), ..v1::PredictReply::default() };
        let plain = said(&known);
        assert_eq!(plain["class"], "tap");
        for absent in ["guess", "abstained", "reason", "set", "coverage", "no_set"] {
            assert!(plain.get(absent).is_none(), "{absent}: {plain}");
        }
        let guess = said(&v1::PredictReply {
            abstained: true,
            reason: "unsure".to_owned(),
            set: vec![0, 1],
            set_classes: vec!["idle".to_owned(), "tap".to_owned()],
            coverage: 0.9,
            ..known.clone()
        });
        assert_eq!((&guess["class"], &guess["guess"]), (&Value::Null, &json!("tap")));
        assert_eq!((&guess["abstained"], &guess["reason"]), (&json!(true), &json!("unsure")));
        assert_eq!((&guess["set"], &guess["coverage"]), (&json!(["idle", "tap"]), &json!(0.9)));
        let cut = said(&v1::PredictReply { no_set: "too late".to_owned(), ..known });
        assert_eq!((&cut["class"], &cut["no_set"]), (&json!("tap"), &json!("too late")));
    }

    #[test]
    fn home_assistant_is_told_of_five_things_and_that_they_are_gone() {
        let classes = ["idle".to_owned(), "tap".to_owned()];
        let said = announcements(&places(), Some(&classes));
        let topics: Vec<&str> = said.iter().map(|it| it.topic.as_str()).collect();
        let at = |kind: &str, end: &str| {
            format!(
                "homeassistant/{kind}/sensemble_home_pi/sensemble_home_pi_kitchen_{kind}_{end}/config"
            )
        };
        let expected = [
            at("sensor", "class"),
            at("sensor", "confidence"),
            at("button", "right"),
            at("button", "wrong"),
            at("select", "class"),
        ];
        assert_eq!(topics, expected);
        for letter in &said {
            let config: Value = serde_json::from_str(&letter.payload).unwrap();
            assert_eq!(config["availability_topic"], "sensemble/home/pi/status");
            assert!(letter.retain && config["unique_id"].is_string());
        }
        let select: Value = serde_json::from_str(&said[4].payload).unwrap();
        assert_eq!(select["options"], json!(classes));
        let gone = announcements(&places(), None);
        assert_eq!(gone.len(), 5);
        assert!(gone.iter().all(|it| it.payload.is_empty() && it.retain));
        let many: Vec<String> = (0..9999).map(|at| format!("class {at}")).collect();
        assert_eq!(announcements(&places(), Some(&many)).len(), 4, "no choice of ten thousand");
    }

    #[test]
    fn names_that_look_the_same_are_told_apart() {
        assert_eq!(plain("a_b1"), "a_b1");
        assert_ne!(plain("a-b"), plain("a.b"));
        assert!(plain("ä/b").chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
    }
}
