//! Topics: what is said where.
//!
//! ```text
//! sensemble/SITE/TASK/sample            a sample or a whole window      in
//! sensemble/SITE/TASK/sample/STREAM     raw samples of one sensor       in
//! sensemble/SITE/TASK/prediction        an answer                       out
//! sensemble/SITE/TASK/correction        what an answer should have been in
//! sensemble/SITE/TASK/error             what could not be done, and why out
//! sensemble/SITE/TASK/button/right      the last answer was right       in
//! sensemble/SITE/TASK/button/wrong      the last answer was wrong       in
//! sensemble/SITE/TASK/button/class      what it should have been        in
//! sensemble/SITE/DEVICE/status          online or offline, retained     out
//! ```
//!
//! A name that has a character with a meaning in topics carries it as `%` and two hexadecimal digits.

use std::fmt::Write as _;

/// Whether Home Assistant is there, as it says itself.
pub(super) const BIRTH: &str = "homeassistant/status";

/// Longest topic that is looked at: three names of at most 200 bytes, escaped.
const TOPIC_BYTES_MAX: usize = 2048;

/// The topics of one worker.
#[derive(Clone, Debug)]
pub(super) struct Topics {
    /// `sensemble/SITE`.
    root: String,
    status: String,
}

/// What a message is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// Values to be answered; of a stream, where they are raw samples of one sensor.
    Sample { task: String, stream: Option<String> },
    /// A true label.
    Correction { task: String },
    /// A button or a choice in Home Assistant.
    Button { task: String, button: Button },
    /// Home Assistant has started.
    Birth,
}

/// What was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Button {
    Right,
    Wrong,
    Class,
}

impl Button {
    const ALL: [(Self, &str); 3] =
        [(Self::Right, "right"), (Self::Wrong, "wrong"), (Self::Class, "class")];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Wrong => "wrong",
            Self::Class => "class",
        }
    }
}

impl Topics {
    pub(super) fn new(site: &str, device: &str) -> Self {
        let root = format!("sensemble/{}", encoded(site));
        let status = format!("{root}/{}/status", encoded(device));
        Self { root, status }
    }

    pub(super) fn status(&self) -> &str {
        &self.status
    }

    fn of(&self, task: &str, end: &str) -> String {
        format!("{}/{}/{end}", self.root, encoded(task))
    }

    pub(super) fn prediction(&self, task: &str) -> String {
        self.of(task, "prediction")
    }

    pub(super) fn error(&self, task: &str) -> String {
        self.of(task, "error")
    }

    pub(super) fn button(&self, task: &str, button: Button) -> String {
        format!("{}/{}", self.of(task, "button"), button.name())
    }

    /// What is listened to for a task that is served here.
    pub(super) fn of_task(&self, task: &str) -> [String; 2] {
        [self.of(task, "sample/#"), self.of(task, "button/+")]
    }

    /// What is listened to whatever is served: who gave an answer takes its correction, also when
    /// the task has moved since.
    pub(super) fn of_worker(&self) -> [String; 2] {
        [format!("{}/+/correction", self.root), BIRTH.to_owned()]
    }

    /// What a message at `topic` is about; `None` when we do not listen there.
    pub(super) fn about(&self, topic: &[u8]) -> Option<About> {
        if TOPIC_BYTES_MAX < topic.len() {
            return None;
        }
        let topic = std::str::from_utf8(topic).ok()?;
        if topic == BIRTH {
            return Some(About::Birth);
        }
        let rest = topic.strip_prefix(&self.root)?.strip_prefix('/')?;
        let (task, rest) = rest.split_once('/')?;
        let task = decoded(task).filter(|task| !task.is_empty())?;
        match rest.split_once('/') {
            None if rest == "sample" => Some(About::Sample { task, stream: None }),
            None if rest == "correction" => Some(About::Correction { task }),
            Some(("sample", stream)) if !stream.is_empty() && !stream.contains('/') => {
                Some(About::Sample { task, stream: Some(decoded(stream)?) })
            }
            Some(("button", name)) => {
                let button = Button::ALL.into_iter().find(|(_, known)| *known == name)?.0;
                Some(About::Button { task, button })
            }
            None | Some(_) => None,
        }
    }
}

/// A name as one level of a topic.
pub(super) fn encoded(name: &str) -> String {
    let mut level = String::with_capacity(name.len());
    for character in name.chars() {
        if matches!(character, '/' | '+' | '#' | '%' | '$') || character.is_control() {
            let mut bytes = [0; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                write!(level, "%{byte:02x}").expect("writing to a string does not fail");
            }
        } else {
            level.push(character);
        }
    }
    level
}

/// The name in a level of a topic; `None` when a `%` is not followed by two digits, or the bytes are
/// no text.
pub(super) fn decoded(level: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(level.len());
    let mut rest = level.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let (high, low) = (digit()?, digit()?);
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_topic_says_what_it_is_about() {
        let topics = Topics::new("home/2", "pi");
        let about = |topic: &str| topics.about(topic.as_bytes());
        let task = || "kitchen".to_owned();
        assert_eq!(topics.status(), "sensemble/home%2f2/pi/status");
        let at = |end: &str| format!("sensemble/home%2f2/kitchen/{end}");
        assert_eq!(about(&at("sample")), Some(About::Sample { task: task(), stream: None }));
        let stream = Some("a b".to_owned());
        assert_eq!(about(&at("sample/a b")), Some(About::Sample { task: task(), stream }));
        assert_eq!(about(&at("correction")), Some(About::Correction { task: task() }));
        let right = About::Button { task: task(), button: Button::Right };
        assert_eq!(about(&at("button/right")), Some(right));
        assert_eq!(about(BIRTH), Some(About::Birth));
        for other in [
            "",
            "sensemble/home/kitchen/sample",
            &at("sample/"),
            &at("sample/a/b"),
            &at("button/no"),
            &at("prediction"),
            "sensemble/home%2f2//sample",
            &at("sample/%f"),
        ] {
            assert_eq!(about(other), None, "{other}");
        }
        assert_eq!(topics.about(b"sensemble/home%2f2/\xff/sample"), None);
    }

    proptest! {
        #[test]
        fn a_name_is_one_level_and_reads_back(name: String) {
            let level = encoded(&name);
            prop_assert!(!level.contains(['/', '+', '#', '$']));
            prop_assert_eq!(decoded(&level), Some(name));
        }

        #[test]
        fn no_topic_panics(topic: Vec<u8>) {
            let _any = Topics::new("home", "pi").about(&topic);
        }
    }
}
