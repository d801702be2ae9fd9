//! Streams of raw samples, each with the window that slides over it.
//!
//! What a window of the task is comes with the orders, as JSON ([`window`]). A stream begins with
//! its first message, and begins anew after a silence longer than its window: no window reaches
//! across the gap. There is room for so many streams; the one that was silent longest makes room.

use std::{collections::BTreeMap, time::Duration};

use models::ShapeError;
use signals::{Detail, Slide, Stretch as _, Window};
use tokio::time::Instant;

/// Streams at the same time.
const STREAMS_MAX: usize = 256;
/// What all streams together may hold, in values: two windows each, and a stream of a task with
/// long windows counts for what it is.
const VALUES_MAX: usize = 32 << 20;
/// A silence up to this is no gap, however short the window is: a broker may be away for a moment.
const SILENCE_MIN: Duration = Duration::from_secs(10);

/// A window as it is written in orders.
#[derive(serde::Deserialize)]
struct Written {
    kind: String,
    #[serde(default)]
    channels: Vec<String>,
    #[serde(default)]
    rate_hz: f64,
    #[serde(default)]
    length_s: f64,
    #[serde(default)]
    step_s: f64,
    #[serde(default)]
    detail: String,
}

/// The window that `input` describes; `None` for another kind of input, or one that is not
/// understood.
pub(super) fn window(input: &str) -> Option<Window> {
    let Written { kind, channels, rate_hz, length_s, step_s, detail } =
        serde_json::from_str(input).ok()?;
    if kind != "window" {
        return None;
    }
    Window::new(channels, rate_hz, length_s, step_s, Detail::parse(&detail)?).ok()
}

struct Stream {
    slide: Slide,
    /// What the window was made from.
    input: String,
    last: Instant,
}

/// The streams of all tasks.
#[derive(Default)]
pub(super) struct Streams {
    /// By task and name.
    streams: BTreeMap<(String, String), Stream>,
}

impl Streams {
    /// Takes `samples`, row after row; the features of each window that they complete, row after row.
    ///
    /// # Errors
    ///
    /// [`ShapeError`]; then none of the samples is taken.
    pub(super) fn push(
        &mut self,
        task: &str,
        name: &str,
        (input, window): (&str, &Window),
        samples: &[f32],
        now: Instant,
    ) -> Result<Vec<f32>, ShapeError> {
        let width = window.channels().len();
        if samples.is_empty() || !samples.len().is_multiple_of(width) {
            return Err(ShapeError::Ragged { values: samples.len(), width });
        }
        if let Some(at) = samples.iter().position(|value| !value.is_finite()) {
            return Err(ShapeError::NotFinite { row: at / width, column: at % width });
        }
        let key = (task.to_owned(), name.to_owned());
        let known = self.streams.get(&key).is_some_and(|stream| stream.input == input);
        if !known {
            self.streams.remove(&key);
            self.make_room(values(window));
            let slide = Slide::new(window.clone());
            self.streams.insert(key.clone(), Stream { slide, input: input.to_owned(), last: now });
        }
        let Some(stream) = self.streams.get_mut(&key) else { return Ok(Vec::new()) };
        if silence_max(window) < now.saturating_duration_since(stream.last) {
            stream.slide.reset();
        }
        stream.last = now;
        let mut features = Vec::new();
        for row in samples.chunks_exact(width) {
            if let Some(window) = stream.slide.push(row)? {
                features.extend(window);
            }
        }
        Ok(features)
    }

    /// Forgets the streams of tasks that are not served any more.
    pub(super) fn keep(&mut self, served: impl Fn(&str) -> bool) {
        self.streams.retain(|(task, _), _| served(task));
    }

    fn make_room(&mut self, wanted: usize) {
        loop {
            let held: usize =
                self.streams.values().map(|stream| values(stream.slide.window())).sum();
            if self.streams.len() < STREAMS_MAX && held.saturating_add(wanted) <= VALUES_MAX {
                return;
            }
            let oldest = self.streams.iter().min_by_key(|(_, stream)| stream.last);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else { return };
            self.streams.remove(&oldest);
        }
    }
}

/// What a slide may hold.
fn values(window: &Window) -> usize {
    2 * window.length() * window.channels().len()
}

/// The longest silence that is no gap.
fn silence_max(window: &Window) -> Duration {
    let length = u32::try_from(window.length()).unwrap_or(u32::MAX);
    let window = Duration::try_from_secs_f64(f64::from(length) / window.rate_hz());
    window.unwrap_or(Duration::MAX).max(SILENCE_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUT: &str = r#"{"kind":"window","channels":["a","b"],"rate_hz":1,"length_s":4,"step_s":2,"detail":"brief"}"#;

    #[test]
    fn a_stream_goes_on_where_its_last_message_ended_and_not_across_a_gap() {
        let window = window(INPUT).unwrap();
        let mut streams = Streams::default();
        let now = Instant::now();
        let mut push = |name: &str, samples: &[f32], now| {
            streams.push("t", name, (INPUT, &window), samples, now).unwrap().len() / window.width()
        };
        assert_eq!(push("one", &[0.0; 6], now), 0);
        assert_eq!(push("two", &[0.0; 2], now), 0, "another stream");
        assert_eq!(push("one", &[0.0; 2], now), 1);
        assert_eq!(push("one", &[0.0; 8], now), 2);
        assert_eq!(push("one", &[0.0; 4], now + Duration::from_secs(60)), 0, "after a gap");
        assert_eq!(push("one", &[0.0; 4], now + Duration::from_secs(61)), 1);
    }

    #[test]
    fn samples_that_are_none_change_nothing() {
        let window = window(INPUT).unwrap();
        let mut streams = Streams::default();
        let mut push =
            |samples: &[f32]| streams.push("t", "s", (INPUT, &window), samples, Instant::now());
        assert!(matches!(push(&[0.0; 3]), Err(ShapeError::Ragged { .. })));
        assert!(matches!(push(&[]), Err(ShapeError::Ragged { .. })));
        assert!(push(&[0.0; 6]).unwrap().is_empty());
        let wrong = push(&[0.0, 0.0, 0.0, f32::NAN]);
        assert_eq!(wrong, Err(ShapeError::NotFinite { row: 1, column: 1 }));
        assert_eq!(push(&[0.0; 2]).unwrap().len(), window.width());
    }

    #[test]
    fn the_number_of_streams_is_bounded_and_the_longest_silent_one_goes() {
        let window = window(INPUT).unwrap();
        let mut streams = Streams::default();
        let begin = Instant::now();
        for at in 0..=STREAMS_MAX {
            let now = begin + Duration::from_millis(u64::try_from(at).unwrap());
            streams.push("t", &at.to_string(), (INPUT, &window), &[0.0; 2], now).unwrap();
        }
        assert_eq!(streams.streams.len(), STREAMS_MAX);
        assert!(!streams.streams.contains_key(&("t".to_owned(), "0".to_owned())));
        streams.keep(|_| false);
        assert!(streams.streams.is_empty());
    }

    #[test]
    fn another_kind_of_input_is_no_window() {
        for other in
            ["", "{}", r#"{"kind":"audio"}"#, &INPUT.replace("\"rate_hz\":1", "\"rate_hz\":0")]
        {
            assert!(window(other).is_none(), "{other}");
        }
    }
}
