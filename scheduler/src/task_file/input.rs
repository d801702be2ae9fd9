//! The `[input]` of a task file: features as they are, or raw windows, sounds and images.
//!
//! ```text
//! kind = "window"                              kind = "audio"       kind = "image"
//! channels = ["acc_x", { name = "acc_y" }]     rate_hz = 16000      width = 28
//! rate_hz = 50                                 length_s = 5.0       height = 28
//! length_s = 2.56                              step_s = 5.0         detail = "lines"
//! step_s = 1.28                                detail = "compact"
//! detail = "full"
//! recording = "experiment"
//! label_share_min = 0.75
//! ```
//!
//! Every kind takes `group`. A key of another kind is refused by its line: it would change nothing.

use std::ops::Range;

use signals::{Detail, Image, ImageDetail, Input, Sound, SoundDetail, Window};
use toml::Spanned;

use super::{Source, TaskFileError};

/// What is written under `[input]`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawInput {
    kind: Spanned<String>,
    pub(super) group: Option<Spanned<String>>,
    pub(super) features: Option<Spanned<Vec<String>>>,
    pub(super) channels: Option<Spanned<Vec<RawChannel>>>,
    rate_hz: Option<Spanned<f64>>,
    length_s: Option<Spanned<f64>>,
    step_s: Option<Spanned<f64>>,
    width: Option<Spanned<u32>>,
    height: Option<Spanned<u32>>,
    detail: Option<Spanned<String>>,
    recording: Option<Spanned<String>>,
    label_share_min: Option<Spanned<f64>>,
}

/// A channel is a name, or a name with what it is measured in.
#[derive(serde::Deserialize)]
#[serde(untagged, expecting = "a channel is a name or { name = \"acc_x\", unit = \"g\" }")]
pub(super) enum RawChannel {
    Name(String),
    Table(RawChannelTable),
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawChannelTable {
    name: String,
    /// For the reader of the file; features are taken in whatever unit the samples have.
    #[serde(rename = "unit")]
    _unit: Option<String>,
}

impl RawChannel {
    fn name(&self) -> &String {
        match self {
            Self::Name(name) | Self::Table(RawChannelTable { name, .. }) => name,
        }
    }
}

/// How recordings are cut into labelled stretches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cutting {
    /// The column that changes where another recording begins; no stretch reaches across.
    pub recording: Option<String>,
    /// A stretch with a smaller share of its most frequent label is left out.
    pub label_share_min: f64,
}

impl RawInput {
    /// The line that says what the features are.
    pub(super) fn said(&self) -> Range<usize> {
        let features = self.features.as_ref().map(Spanned::span);
        let channels = self.channels.as_ref().map(Spanned::span);
        features.or(channels).unwrap_or(self.kind.span())
    }

    /// Makes it an input.
    pub(super) fn parse(&self, source: &Source<'_>) -> Result<(Input, Cutting), TaskFileError> {
        let kind = self.kind.get_ref().as_str();
        let keys: &[&str] = match kind {
            "features" => &["features"],
            "window" => &[
                "channels",
                "rate_hz",
                "length_s",
                "step_s",
                "detail",
                "recording",
                "label_share_min",
            ],
            "audio" => &["rate_hz", "length_s", "step_s", "detail"],
            "image" => &["width", "height", "detail"],
            _ => {
                return Err(source.wrong(
                    self.kind.span(),
                    "input.kind",
                    format!("{kind:?} is no kind of input"),
                    format!("write one of {}", Input::KINDS.join(", ")),
                ));
            }
        };
        if let Some((_, span)) = self.written().into_iter().find(|(key, _)| !keys.contains(key)) {
            return Err(source.wrong(
                span,
                "input",
                "this key belongs to another kind of input",
                format!("remove it: kind = {kind:?} takes {} and group", keys.join(", ")),
            ));
        }
        let share = match &self.label_share_min {
            None => 0.0,
            Some(share) => source.within("input.label_share_min", share, 0.0, 1.0)?,
        };
        let recording = self.recording.as_ref().map(|it| it.get_ref().clone());
        let cutting = Cutting { recording, label_share_min: share };
        let input = match kind {
            "window" => self.window(source)?,
            "audio" => self.audio(source)?,
            "image" => self.image(source)?,
            _ => Input::Features(
                self.need(
                    source,
                    &self.features,
                    "input.features",
                    "features = [\"first\", \"second\"], one name per value of a sample",
                )?
                .clone(),
            ),
        };
        Ok((input, cutting))
    }

    fn window(&self, source: &Source<'_>) -> Result<Input, TaskFileError> {
        let channels = self.need(
            source,
            &self.channels,
            "input.channels",
            "channels = [\"acc_x\", \"acc_y\", \"acc_z\"], one name per value of a sample",
        )?;
        let rate_hz = *self.need(source, &self.rate_hz, "input.rate_hz", "rate_hz = 50")?;
        let length_s = *self.need(source, &self.length_s, "input.length_s", "length_s = 2.56")?;
        let step_s = self.step_s.as_ref().map_or(length_s, |it| *it.get_ref());
        let detail = self.detail(source, Detail::parse, "full, brief")?;
        let channels = channels.iter().map(RawChannel::name).cloned().collect();
        Window::new(channels, rate_hz, length_s, step_s, detail).map(Input::Window).map_err(
            |error| {
                use signals::WindowError as E;
                let (span, key) = match &error {
                    E::Channels { .. } | E::Repeated { .. } => (self.said(), "input.channels"),
                    E::Rate { .. } => (self.at(self.rate_hz.as_ref()), "input.rate_hz"),
                    E::Stretch { what: "length_s", .. } => {
                        (self.at(self.length_s.as_ref()), "input.length_s")
                    }
                    E::Stretch { .. } => (self.at(self.step_s.as_ref()), "input.step_s"),
                };
                source.wrong(span, key, error.to_string(), "correct the value")
            },
        )
    }

    fn audio(&self, source: &Source<'_>) -> Result<Input, TaskFileError> {
        let rate_hz = self.rate_hz.as_ref().map_or(16_000.0, |it| *it.get_ref());
        let length_s = *self.need(source, &self.length_s, "input.length_s", "length_s = 5.0")?;
        let step_s = self.step_s.as_ref().map_or(length_s, |it| *it.get_ref());
        let detail = self.detail(source, SoundDetail::parse, "compact, log-mel")?;
        Sound::new(rate_hz, length_s, step_s, detail).map(Input::Audio).map_err(|error| {
            use signals::{WindowError, audio::SoundError as E};
            let (span, key) = match &error {
                E::Rate { .. } => (self.at(self.rate_hz.as_ref()), "input.rate_hz"),
                E::Stretch(WindowError::Stretch { what: "step_s", .. }) => {
                    (self.at(self.step_s.as_ref()), "input.step_s")
                }
                E::Stretch(_) | E::Short { .. } => {
                    (self.at(self.length_s.as_ref()), "input.length_s")
                }
            };
            source.wrong(span, key, error.to_string(), "correct the value")
        })
    }

    fn image(&self, source: &Source<'_>) -> Result<Input, TaskFileError> {
        let width = *self.need(source, &self.width, "input.width", "width = 28")?;
        let height = *self.need(source, &self.height, "input.height", "height = 28")?;
        let detail = self.detail(source, ImageDetail::parse, "pixels, lines")?;
        let side = |side: u32| usize::try_from(side).unwrap_or(usize::MAX);
        Image::new(side(width), side(height), detail).map(Input::Image).map_err(|error| {
            let span = self.at(self.width.as_ref());
            source.wrong(span, "input.width", error.to_string(), "correct the size")
        })
    }

    /// A value that the kind cannot do without.
    fn need<'a, T>(
        &self,
        source: &Source<'_>,
        value: &'a Option<Spanned<T>>,
        key: &'static str,
        example: &str,
    ) -> Result<&'a T, TaskFileError> {
        value.as_ref().map(Spanned::get_ref).ok_or_else(|| {
            source.wrong(self.kind.span(), key, "it is missing", format!("write {example}"))
        })
    }

    fn detail<T: Default>(
        &self,
        source: &Source<'_>,
        parse: impl FnOnce(&str) -> Option<T>,
        known: &str,
    ) -> Result<T, TaskFileError> {
        let Some(detail) = &self.detail else { return Ok(T::default()) };
        parse(detail.get_ref()).ok_or_else(|| {
            source.wrong(
                detail.span(),
                "input.detail",
                format!("{:?} is no detail of this kind of input", detail.get_ref()),
                format!("write one of {known}"),
            )
        })
    }

    fn at<T>(&self, value: Option<&Spanned<T>>) -> Range<usize> {
        value.map_or(self.kind.span(), Spanned::span)
    }

    /// The keys that are there, but for those that every kind takes.
    fn written(&self) -> Vec<(&'static str, Range<usize>)> {
        fn one<T>(
            key: &'static str,
            value: Option<&Spanned<T>>,
        ) -> Option<(&'static str, Range<usize>)> {
            value.map(|value| (key, value.span()))
        }
        [
            one("features", self.features.as_ref()),
            one("channels", self.channels.as_ref()),
            one("rate_hz", self.rate_hz.as_ref()),
            one("length_s", self.length_s.as_ref()),
            one("step_s", self.step_s.as_ref()),
            one("width", self.width.as_ref()),
            one("height", self.height.as_ref()),
            one("detail", self.detail.as_ref()),
            one("recording", self.recording.as_ref()),
            one("label_share_min", self.label_share_min.as_ref()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use signals::Stretch as _;

    use crate::task_file::Task;

    use super::*;

    const HEAD: &str = "[task]\nname = \"t\"\nclasses = [\"a\", \"b\"]\n[input]\n";
    const WINDOW: &str = "kind = \"window\"\n\
        channels = [\"acc_x\", \"acc_y\", { name = \"acc_z\", unit = \"g\" }]\n\
        rate_hz = 50\nlength_s = 2.56\nstep_s = 1.28\n\
        recording = \"experiment\"\nlabel_share_min = 0.75\n";
    const AUDIO: &str = "kind = \"audio\"\nrate_hz = 16000\nlength_s = 5\n";
    const IMAGE: &str = "kind = \"image\"\nwidth = 28\nheight = 28\ndetail = \"lines\"\n";

    fn parse(input: &str) -> Task {
        Task::parse(&format!("{HEAD}{input}")).unwrap()
    }

    #[test]
    fn features_are_named_by_what_they_are_made_of() {
        let task = parse(WINDOW);
        let Input::Window(window) = &task.input else { panic!("{:?}", task.input) };
        assert_eq!((window.length(), window.step(), window.channels().len()), (128, 64, 3));
        assert_eq!(task.schema.features(), task.input.feature_names());
        assert_eq!(task.schema.features()[0], "acc_x_mean");
        assert_eq!(task.cutting.recording.as_deref(), Some("experiment"));
        assert_eq!(task.cutting.label_share_min, 0.75);

        let task = parse(AUDIO);
        let Input::Audio(sound) = &task.input else { panic!("{:?}", task.input) };
        assert_eq!((sound.length(), sound.step()), (80_000, 80_000), "a step is a length");
        assert_eq!(task.schema.features()[0], "f00_mean");

        let task = parse(IMAGE);
        assert_eq!(task.schema.features().len(), 49 * 8);
        let pixels = parse(&IMAGE.replace("lines", "pixels"));
        assert_eq!(pixels.schema.features()[0], "r00c00");
        let brief = parse(&WINDOW.replace("rate_hz = 50", "rate_hz = 50\ndetail = \"brief\""));
        assert_eq!(brief.schema.features().len(), 21);
    }

    #[test]
    fn each_error_names_its_line_and_what_to_do() {
        let cases = [
            (WINDOW, "rate_hz = 50\n", "", "line 5", "write rate_hz = 50"),
            (WINDOW, "rate_hz = 50", "rate_hz = 0", "line 7", "above 0"),
            (WINDOW, "rate_hz = 50", "rate_hz = \"50\"", "line 7", "invalid type"),
            (WINDOW, "length_s = 2.56", "length_s = 0.01", "line 8", "no stretch"),
            (WINDOW, "step_s = 1.28", "step_s = -1", "line 9", "no stretch"),
            (WINDOW, "acc_y", "acc_x", "line 6", "acc_x"),
            (WINDOW, "unit", "units", "line 6", "a channel is a name or"),
            (WINDOW, "step_s = 1.28", "width = 28", "line 9", "another kind"),
            (WINDOW, "= 0.75", "= 75", "line 11", "from 0 to 1"),
            (WINDOW, "step_s = 1.28", "detail = \"most\"", "line 9", "full, brief"),
            (WINDOW, "channels", "chanels", "line 6", "unknown field"),
            (AUDIO, "16000", "44100", "line 6", "16000"),
            (AUDIO, "length_s = 5", "length_s = 0.001", "line 7", "shorter than one frame"),
            (AUDIO, "length_s = 5\n", "", "line 5", "write length_s"),
            (AUDIO, "rate_hz = 16000", "features = [\"a\"]", "line 6", "another kind"),
            (IMAGE, "width = 28", "width = 0", "line 6", "a side has"),
            (IMAGE, "height = 28\n", "", "line 5", "write height"),
            (IMAGE, "\"image\"", "\"picture\"", "line 5", "features, window, audio, image"),
        ];
        for (text, from, to, line, part) in cases {
            assert!(text.contains(from), "{from}");
            let text = format!("{HEAD}{}", text.replacen(from, to, 1));
            let says = Task::parse(&text).unwrap_err().to_string();
            assert!(says.contains(part), "{to}: {says}");
            assert!(says.starts_with(&format!("{line}:")), "{to}: {says}");
        }
    }
}
