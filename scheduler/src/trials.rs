//! Trials of a search as the journal keeps them: told once, read again by the next attempt.

use proto::v1::{Setting, Settings, Trial};
use serde_json::{Value, json};

/// The kind of their events.
pub const KIND: &str = "training.trial";
/// Most settings of one family.
const SETTINGS_MAX: usize = 16;
/// Longest name of a family or a setting, in bytes.
const NAME_MAX: usize = 32;

/// Whether what a training worker says of a trial may be kept.
///
/// # Errors
///
/// In words, what is wrong with it.
pub fn check(trial: &Trial) -> Result<(), String> {
    let named = |name: &str| !name.is_empty() && name.len() <= NAME_MAX;
    let Some(Settings { family, settings }) = &trial.settings else {
        return Err("a trial without settings".to_owned());
    };
    if SETTINGS_MAX < settings.len() {
        return Err(format!("a trial of {} settings; {SETTINGS_MAX} are the most", settings.len()));
    }
    if !named(family) || !settings.iter().all(|it| named(&it.name) && it.value.is_finite()) {
        return Err("a trial needs a family, and names and finite values of settings".to_owned());
    }
    if trial.asked < trial.right || !trial.seconds.is_finite() {
        return Err(format!("a trial with {} of {} rows right", trial.right, trial.asked));
    }
    Ok(())
}

/// In words: `trial 3: ridge (alpha 0.01) on a part of the rows: .9312 of 1200`.
#[must_use]
pub fn text(trial: &Trial) -> String {
    let Settings { family, settings } = trial.settings.clone().unwrap_or_default();
    let settings: Vec<String> =
        settings.iter().map(|it| format!("{} {}", it.name, short(it.value))).collect();
    let rows = if trial.part { " on a part of the rows" } else { "" };
    let score = if trial.asked == 0 {
        "not fitted".to_owned()
    } else {
        #[expect(clippy::cast_precision_loss, reason = "counts of rows")]
        let share = trial.right as f64 / trial.asked as f64;
        format!("{share:.4} of {}", trial.asked)
    };
    format!("trial {}: {family} ({}){rows}: {score}", trial.number, settings.join(", "))
}

/// As JSON, for the detail of an event.
#[must_use]
pub fn detail(trial: &Trial) -> Value {
    let Settings { family, settings } = trial.settings.clone().unwrap_or_default();
    let settings: Vec<Value> = settings.iter().map(|it| json!([it.name, it.value])).collect();
    json!({
        "number": trial.number, "family": family, "settings": settings, "part": trial.part,
        "right": trial.right, "asked": trial.asked, "seconds": trial.seconds,
    })
}

/// The trial of an event's detail; `None` when there is none.
#[must_use]
pub fn of_detail(detail: &Value) -> Option<Trial> {
    let trial = detail.get("trial")?;
    let number = |key: &str| trial.get(key).and_then(Value::as_u64);
    let settings = trial.get("settings")?.as_array()?.iter().map(|pair| {
        Some(Setting { name: pair.get(0)?.as_str()?.to_owned(), value: pair.get(1)?.as_f64()? })
    });
    Some(Trial {
        number: u32::try_from(number("number")?).ok()?,
        settings: Some(Settings {
            family: trial.get("family")?.as_str()?.to_owned(),
            settings: settings.collect::<Option<_>>()?,
        }),
        part: trial.get("part")?.as_bool()?,
        right: number("right")?,
        asked: number("asked")?,
        seconds: trial.get("seconds")?.as_f64()?,
    })
}

/// Three digits are enough to say what a setting was.
fn short(value: f64) -> String {
    if value == 0.0 || (0.01..10_000.0).contains(&value.abs()) {
        let text = format!("{value:.3}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        format!("{value:.1e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial() -> Trial {
        let setting = |name: &str, value| Setting { name: name.to_owned(), value };
        Trial {
            number: 3,
            settings: Some(Settings {
                family: "rbf-svm".to_owned(),
                settings: vec![setting("cost", 5.25), setting("gamma", 1e-3)],
            }),
            part: true,
            right: 930,
            asked: 1000,
            seconds: 0.25,
        }
    }

    #[test]
    fn a_trial_survives_the_journal() {
        let detail = json!({ "trial": detail(&trial()) });
        let read: Value = serde_json::from_str(&detail.to_string()).unwrap();
        assert_eq!(of_detail(&read), Some(trial()));
        assert_eq!(of_detail(&json!({ "trial": { "number": 3 } })), None);
    }

    #[test]
    fn it_is_said_in_words() {
        assert_eq!(
            text(&trial()),
            "trial 3: rbf-svm (cost 5.25, gamma 1.0e-3) on a part of the rows: 0.9300 of 1000"
        );
        let unfit = Trial { asked: 0, right: 0, part: false, ..trial() };
        assert!(text(&unfit).ends_with("1.0e-3): not fitted"));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert_eq!(check(&trial()), Ok(()));
        let more = Trial { right: 1001, ..trial() };
        let nothing = Trial { settings: None, ..trial() };
        let mut endless = trial();
        if let Some(it) = &mut endless.settings {
            it.settings[0].value = f64::NAN;
        }
        for wrong in [more, nothing, endless] {
            assert!(check(&wrong).is_err(), "{wrong:?}");
        }
    }
}
