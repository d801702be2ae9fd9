//! The lazy curve, latency by stage, and what each policy was offered.

use super::{
    Latency, LazyPoint, Policy,
    confusion::small,
    svg::{Anchor, Svg},
};

const WIDTH: f64 = 760.0;
const LEFT: f64 = 150.0;
const BAR: f64 = 18.0;
const ROW: f64 = 34.0;

/// A length of time for people: `840 µs`, `3.2 ms`, `1.5 s`.
pub(crate) fn duration(us: f64) -> String {
    match us {
        us if !us.is_finite() => "–".to_owned(),
        us if us < 999.5 => format!("{us:.0} µs"),
        us if us < 99_950.0 => format!("{:.1} ms", us / 1e3),
        us if us < 999_500.0 => format!("{:.0} ms", us / 1e3),
        us => format!("{:.1} s", us / 1e6),
    }
}

/// The accuracy of each revision against the time at which it was released.
pub(super) fn lazy(points: &[LazyPoint]) -> String {
    let points: Vec<&LazyPoint> = points
        .iter()
        .filter(|point| {
            [point.seconds, point.accuracy, point.interval.0, point.interval.1]
                .iter()
                .all(|value| value.is_finite())
        })
        .collect();
    let Some(last) = points.last() else { return String::new() };
    let (left, right, top, bottom) = (56.0, WIDTH - 24.0, 18.0, 300.0);
    let mut svg = Svg::new(WIDTH, 344.0, "accuracy against seconds since the training began");

    let x_step = step(last.seconds.max(0.1) / 6.0);
    let x_max = (last.seconds * 1.06 / x_step).ceil().max(1.0) * x_step;
    let lowest = points.iter().map(|point| point.interval.0).fold(1.0, f64::min);
    let y_step = if lowest < 0.6 {
        0.1
    } else if lowest < 0.85 {
        0.05
    } else {
        0.02
    };
    let y_min = ((lowest / y_step).floor() * y_step).clamp(0.0, 1.0 - y_step);
    let x = |seconds: f64| left + (right - left) * seconds / x_max;
    let y = |accuracy: f64| bottom - (bottom - top) * (accuracy - y_min) / (1.0 - y_min);

    let mut mark = y_min;
    while mark <= 1.0 + 1e-9 {
        svg.line("grid", (left, y(mark)), (right, y(mark)));
        let at = (left - 8.0, y(mark) + 4.0);
        svg.text("axis", at, Anchor::End, &format!("{:.0} %", mark * 100.0));
        mark += y_step;
    }
    let mut mark = 0.0;
    while mark <= x_max + 1e-9 {
        let text = if x_step < 1.0 { format!("{mark:.1} s") } else { format!("{mark:.0} s") };
        svg.text("axis", (x(mark), bottom + 18.0), Anchor::Middle, &text);
        mark += x_step;
    }
    svg.line("base", (left, bottom), (right, bottom));
    svg.text(
        "axis",
        (f64::midpoint(left, right), bottom + 38.0),
        Anchor::Middle,
        "seconds since the training began",
    );

    // A revision answers until the next one comes: steps, not slopes.
    let end = right.min(x(last.seconds) + 14.0);
    let stairs = |of: &dyn Fn(&LazyPoint) -> f64| -> Vec<(f64, f64)> {
        let mut corners = Vec::new();
        for (index, point) in points.iter().enumerate() {
            let until = points.get(index + 1).map_or(end, |next| x(next.seconds));
            corners.extend([(x(point.seconds), y(of(point))), (until, y(of(point)))]);
        }
        corners
    };
    let mut band = stairs(&|point| point.interval.1.min(1.0));
    let mut under = stairs(&|point| point.interval.0);
    under.reverse();
    band.extend(under);
    svg.path("band", &band, true);
    svg.path("curve", &stairs(&|point| point.accuracy), false);
    // Labels take the side that is free of their neighbours.
    let mut free_from = [f64::NEG_INFINITY; 2];
    for point in &points {
        let at = (x(point.seconds), y(point.accuracy));
        let hint = format!(
            "revision {}: {} members, {} joined, {:.1} % [{:.1}, {:.1}] after {:.2} s",
            point.revision,
            point.members,
            point.family,
            point.accuracy * 100.0,
            point.interval.0 * 100.0,
            point.interval.1 * 100.0,
            point.seconds
        );
        svg.circle("dot", at, 4.5, &hint);
        let text = format!("+{}", point.family);
        let width = 6.4 * small(text.chars().count());
        let middle = at.0.max(left + width / 2.0).min(right - width / 2.0);
        let begin = middle - width / 2.0;
        if let Some(side) = (0..2).find(|&side| free_from[side] < begin) {
            let offset = if side == 0 { -12.0 } else { 20.0 };
            svg.text("label", (middle, at.1 + offset), Anchor::Middle, &text);
            free_from[side] = begin + width + 4.0;
        }
    }
    svg.finish()
}

/// A round step of about `about`: 1, 2 or 5 times a power of ten.
fn step(about: f64) -> f64 {
    let power = 10.0_f64.powf(about.max(1e-3).log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| about <= factor * power * 1.0001);
    factor.unwrap_or(10.0) * power
}

/// A bar made of parts, with the whole beside it.
struct Bar<'a> {
    name: String,
    emphasis: bool,
    /// Class and microseconds.
    parts: Vec<(&'a str, &'a str, f64)>,
    value: String,
    /// Drawn as a tick: what was measured.
    marker: Option<f64>,
}

/// Bars on one scale; `limit` is drawn as a line across all of them.
fn bars(label: &str, bars: &[Bar<'_>], limit: Option<f64>) -> String {
    let longest = bars
        .iter()
        .flat_map(|bar| {
            [bar.parts.iter().map(|(_, _, us)| finite(*us)).sum(), bar.marker.map_or(0.0, finite)]
        })
        .fold(1.0, f64::max);
    // A limit far beyond every bar is said at the edge instead of squeezing the bars.
    let scale_max = limit.map_or(longest, |limit| longest.max(limit.min(longest * 1.3)));
    let right = WIDTH - 170.0;
    let scale = (right - LEFT) / scale_max;
    let top = if limit.is_some() { 26.0 } else { 6.0 };
    let bottom = top + ROW * small(bars.len());
    let mut svg = Svg::new(WIDTH, bottom + 6.0, label);
    for (index, bar) in bars.iter().enumerate() {
        let y = top + ROW * small(index) + (ROW - BAR) / 2.0;
        let class = if bar.emphasis { "name strong" } else { "name" };
        svg.text(class, (LEFT - 12.0, y + 13.5), Anchor::End, &bar.name);
        let mut x = LEFT;
        for (class, what, us) in &bar.parts {
            let width = finite(*us) * scale;
            let class = if bar.emphasis { (*class).to_owned() } else { format!("{class} dim") };
            // A gap of the surface keeps neighbours apart.
            svg.rect(
                &class,
                (x, y),
                ((width - 2.0).max(0.8), BAR),
                &format!("{what}: {}", duration(*us)),
            );
            x += width;
        }
        if let Some(marker) = bar.marker {
            let at = LEFT + finite(marker) * scale;
            svg.line("marker", (at, y - 4.0), (at, y + BAR + 4.0));
            x = x.max(at + 2.0);
        }
        svg.text("value", (x + 8.0, y + 13.5), Anchor::Start, &bar.value);
    }
    if let Some(limit) = limit {
        let beyond = limit > scale_max;
        let at = LEFT + limit.min(scale_max) * scale;
        let text = format!("limit {}{}", duration(limit), if beyond { " →" } else { "" });
        svg.text("limit-text", (at, 14.0), Anchor::Middle, &text);
        if !beyond {
            svg.line("limit", (at, 20.0), (at, bottom));
        }
    }
    svg.finish()
}

fn finite(us: f64) -> f64 {
    if us.is_finite() { us.max(0.0) } else { 0.0 }
}

/// Where the time of an answer went, for each device that served.
pub(super) fn latency(rows: &[Latency]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let both: Vec<Bar<'_>> = rows
        .iter()
        .map(|row| Bar {
            name: format!("{} · {}", row.device, row.policy),
            emphasis: true,
            parts: vec![
                ("transport", "network, queues and gRPC", row.transport_us),
                ("gate", "gate", row.gate_us),
                ("vote", "vote", row.vote_us),
            ],
            value: format!("{} (p99 {})", duration(row.p50_us), duration(row.p99_us)),
            marker: None,
        })
        .collect();
    let inside: Vec<Bar<'_>> = rows
        .iter()
        .map(|row| Bar {
            name: format!("{} · {}", row.device, row.policy),
            emphasis: true,
            parts: vec![("gate", "gate", row.gate_us), ("vote", "vote", row.vote_us)],
            value: format!("{} + {}", duration(row.gate_us), duration(row.vote_us)),
            marker: None,
        })
        .collect();
    format!(
        "{}<h3>Inside the serving worker</h3>{}",
        bars("latency of an answer by stage", &both, None),
        bars("time in gate and vote", &inside, None)
    )
}

/// The predicted latency of every device under `policy`, its limit, and what was measured.
pub(super) fn candidates(policy: &Policy) -> String {
    if policy.candidates.is_empty() {
        return String::new();
    }
    let rows: Vec<Bar<'_>> = policy
        .candidates
        .iter()
        .map(|candidate| Bar {
            name: if candidate.chosen {
                format!("✓ {}", candidate.device)
            } else {
                candidate.device.clone()
            },
            emphasis: candidate.chosen,
            parts: vec![
                ("transport", "round trip", candidate.rtt_us),
                ("transfer", "transfer", candidate.transfer_us),
                ("queue", "queue", candidate.queue_us),
                ("vote", "service", candidate.service_us),
            ],
            value: match candidate.families.len() {
                0 => duration(candidate.total_us),
                voters => format!("{}, {voters} voting", duration(candidate.total_us)),
            },
            marker: candidate.measured_us,
        })
        .collect();
    let limit = (policy.latency_max_us > 0.0).then_some(policy.latency_max_us);
    bars(&format!("predicted latency of each device under {}", policy.name), &rows, limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_has_a_unit_for_people() {
        assert_eq!(duration(12.4), "12 µs");
        assert_eq!(duration(3_240.0), "3.2 ms");
        assert_eq!(duration(128_400.0), "128 ms");
        assert_eq!(duration(1_500_000.0), "1.5 s");
        assert_eq!(duration(f64::NAN), "–");
    }

    #[test]
    fn steps_are_round() {
        for (about, expected) in [(0.03, 0.05), (0.9, 1.0), (1.2, 2.0), (4.0, 5.0), (70.0, 100.0)] {
            assert!((step(about) - expected).abs() < 1e-9, "{about}: {}", step(about));
        }
    }

    #[test]
    fn a_single_revision_is_a_curve_too() {
        let point =
            LazyPoint { seconds: 0.0, accuracy: 1.0, interval: (1.0, 1.0), ..LazyPoint::default() };
        let chart = lazy(&[point]);
        assert_eq!(chart.matches("class=\"dot\"").count(), 1);
        assert_eq!(lazy(&[]), "");
    }

    #[test]
    fn a_limit_far_away_does_not_squeeze_the_bars() {
        let candidate =
            super::super::Candidate { total_us: 10.0, rtt_us: 10.0, ..Default::default() };
        let policy = |latency_max_us| Policy {
            latency_max_us,
            candidates: vec![candidate.clone()],
            ..Policy::default()
        };
        assert!(candidates(&policy(12.0)).contains("class=\"limit\""));
        let far = candidates(&policy(1e6));
        assert!(!far.contains("class=\"limit\"") && far.contains("limit 1.0 s →"), "{far}");
    }
}
