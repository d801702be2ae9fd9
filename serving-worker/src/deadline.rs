//! Until when an answer is of use to whoever asked.

use std::time::Duration;

use tokio::time::Instant;
use tonic::{codegen::http::HeaderMap, metadata::MetadataMap};

/// What `grpc-timeout` says, counted from `since`; `None` when there is none, or none that is
/// understood.
///
/// The transport ends such a call by itself; this is for work that is not begun any more.
pub(crate) fn of_call(metadata: &MetadataMap, since: Instant) -> Option<Instant> {
    let timeout = metadata.get("grpc-timeout")?.to_str().ok()?;
    since.checked_add(parse(timeout)?)
}

/// How long the caller of a call with these headers waits, if it says so.
pub(crate) fn patience(headers: &HeaderMap) -> Option<Duration> {
    parse(headers.get("grpc-timeout")?.to_str().ok()?)
}

/// At most eight digits and a unit, as gRPC over HTTP/2 has it.
fn parse(text: &str) -> Option<Duration> {
    let unit = text.chars().next_back()?;
    let digits = text.strip_suffix(unit)?;
    let plain = (1..=8).contains(&digits.len()) && digits.bytes().all(|it| it.is_ascii_digit());
    let count: u64 = if plain { digits.parse().ok()? } else { return None };
    match unit {
        'H' => Some(Duration::from_secs(count * 3600)),
        'M' => Some(Duration::from_secs(count * 60)),
        'S' => Some(Duration::from_secs(count)),
        'm' => Some(Duration::from_millis(count)),
        'u' => Some(Duration::from_micros(count)),
        'n' => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

/// Of the time a caller waits, the part kept back for the way of the answer: a tenth.
const WAY_PART: u32 = 10;
/// … but at least and at most this.
const WAY: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(10));

/// When work for a caller who asked at `since` and waits until `deadline` must have ended, so that
/// the answer is there before its caller has gone: the caller began to wait before we knew.
pub(crate) fn work_until(deadline: Instant, since: Instant) -> Instant {
    let way = (deadline.saturating_duration_since(since) / WAY_PART).clamp(WAY.0, WAY.1);
    deadline.checked_sub(way).unwrap_or(deadline)
}

/// The earlier of two, where `None` is never.
pub(crate) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

/// Whether it is too late.
pub(crate) fn passed(deadline: Option<Instant>, now: Instant) -> bool {
    deadline.is_some_and(|deadline| deadline <= now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_digits_and_a_unit() {
        assert_eq!(parse("20m"), Some(Duration::from_millis(20)));
        assert_eq!(parse("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(parse("1u"), Some(Duration::from_micros(1)));
        for bad in ["", "m", "20", "-1m", "+1m", "1.5S", "123456789n", "20ms", "2 S", "1ü", "1s"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_call_says_its_deadline_by_how_long_it_waits() {
        let since = Instant::now();
        let mut metadata = MetadataMap::new();
        assert_eq!(of_call(&metadata, since), None);
        metadata.insert("grpc-timeout", "20m".parse().unwrap());
        assert_eq!(of_call(&metadata, since), Some(since + Duration::from_millis(20)));
        metadata.insert("grpc-timeout", "soon".parse().unwrap());
        assert_eq!(of_call(&metadata, since), None);
    }

    #[test]
    fn work_ends_early_enough_for_the_answer_to_arrive() {
        let since = Instant::now();
        let kept = |wait: Duration| since + wait - work_until(since + wait, since);
        assert_eq!(kept(Duration::from_millis(50)), Duration::from_millis(5));
        assert_eq!(kept(Duration::from_secs(60)), WAY.1);
        assert_eq!(kept(Duration::from_micros(200)), WAY.0);
        assert_eq!(kept(Duration::ZERO), WAY.0, "what is over stays over");
    }

    #[test]
    fn the_earlier_deadline_counts() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        assert_eq!(earlier(Some(later), Some(now)), Some(now));
        assert_eq!(earlier(None, Some(later)), Some(later));
        assert_eq!(earlier(None, None), None);
        assert!(passed(Some(now), now) && !passed(Some(later), now) && !passed(None, now));
    }
}
