//! The page: headings, tiles and tables around the charts.

use std::fmt::Write as _;

use super::{
    Outcome, Policy, Report, charts,
    confusion::{self, ratio},
    svg::escape,
};

const STYLE: &str = include_str!("page.css");

/// The whole page.
pub(super) fn page(report: &Report) -> String {
    let title = escape(&report.title);
    let sections = [
        lazy(report),
        confusion(report),
        placements(report),
        latency(report),
        members(report),
        story(report),
    ]
    .concat();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <header><h1>{title}</h1><p class=\"lead\">{}</p>{}</header>\n{}{sections}\
         </main>\n</body>\n</html>\n",
        escape(&report.subtitle),
        facts(report),
        tiles(report),
    )
}

fn percent(share: f64) -> String {
    if share.is_finite() { format!("{:.1} %", share * 100.0) } else { "–".to_owned() }
}

fn number(value: f64, digits: usize) -> String {
    if value.is_finite() { format!("{value:.digits$}") } else { "–".to_owned() }
}

fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} kB", bytes / 1_000),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10),
    }
}

fn facts(report: &Report) -> String {
    let rows: String = report
        .facts
        .iter()
        .map(|(name, value)| {
            format!("<div><dt>{}</dt><dd>{}</dd></div>", escape(name), escape(value))
        })
        .collect();
    if rows.is_empty() { rows } else { format!("<dl class=\"facts\">{rows}</dl>") }
}

fn tile(label: &str, value: &str, detail: &str) -> String {
    format!(
        "<div class=\"tile\"><div class=\"tile-label\">{}</div><div class=\"tile-value\">{}</div>\
         <div class=\"tile-detail\">{}</div></div>",
        escape(label),
        escape(value),
        escape(detail)
    )
}

fn tiles(report: &Report) -> String {
    let mut tiles = String::new();
    if let Some(first) = report.first_answer_s {
        let all = report.all_members_s.unwrap_or(first);
        tiles += &tile(
            "first answer after",
            &format!("{} s", number(first, 1)),
            &format!("of training; the last revision after {} s", number(all, 1)),
        );
    }
    for (label, outcome) in
        [("before corrections", &report.before), ("after corrections", &report.after)]
    {
        if outcome.rows > 0 {
            tiles += &tile(label, &percent(outcome.accuracy), &interval(outcome));
        }
    }
    let fastest = report.latency.iter().min_by(|a, b| a.p50_us.total_cmp(&b.p50_us));
    if let Some(fastest) = fastest {
        tiles += &tile(
            "fastest answers (median)",
            &charts::duration(fastest.p50_us),
            &format!("{} under {}", fastest.device, fastest.policy),
        );
    }
    if tiles.is_empty() { tiles } else { format!("<div class=\"tiles\">{tiles}</div>\n") }
}

fn interval(outcome: &Outcome) -> String {
    format!(
        "95 % interval {} to {}, {} held-out rows",
        percent(outcome.interval.0),
        percent(outcome.interval.1),
        outcome.rows
    )
}

fn section(id: &str, heading: &str, lead: &str, body: &str) -> String {
    format!(
        "<section id=\"{id}\"><h2>{}</h2><p>{}</p>\n{body}</section>\n",
        escape(heading),
        escape(lead)
    )
}

fn table(head: &[&str], rows: &[Vec<String>], classes: &[&str]) -> String {
    let mut table = String::from("<div class=\"scroll\"><table><thead><tr>");
    for cell in head {
        write!(table, "<th>{}</th>", escape(cell)).expect("writing to a string does not fail");
    }
    table.push_str("</tr></thead><tbody>");
    for (index, row) in rows.iter().enumerate() {
        let class = classes.get(index).copied().unwrap_or_default();
        write!(table, "<tr class=\"{class}\">").expect("writing to a string does not fail");
        for cell in row {
            write!(table, "<td>{}</td>", escape(cell)).expect("writing to a string does not fail");
        }
        table.push_str("</tr>");
    }
    table.push_str("</tbody></table></div>\n");
    table
}

fn legend(entries: &[(&str, &str)]) -> String {
    let keys: String = entries
        .iter()
        .map(|(class, text)| {
            format!("<span class=\"key\"><i class=\"{class}\"></i>{}</span>", escape(text))
        })
        .collect();
    format!("<div class=\"legend\">{keys}</div>")
}

fn lazy(report: &Report) -> String {
    if report.lazy.is_empty() {
        return String::new();
    }
    section(
        "lazy",
        "Lazy training: answering while still learning",
        "Each dot is a revision that was released and served as soon as its newest member stood. \
         The band is the 95 % interval of its accuracy on held-out rows.",
        &charts::lazy(&report.lazy),
    )
}

fn confusion(report: &Report) -> String {
    let halves: String = [("Before", &report.before), ("After", &report.after)]
        .into_iter()
        .filter(|(_, outcome)| outcome.rows > 0)
        .map(|(name, outcome)| {
            let missed = outcome
                .missed_events
                .map(|missed| format!(" · missed events {}", percent(missed)))
                .unwrap_or_default();
            let parts: Vec<Vec<String>> = outcome
                .parts
                .iter()
                .map(|(part, right, rows)| {
                    vec![part.clone(), percent(ratio(*right, *rows)), format!("{right} of {rows}")]
                })
                .collect();
            format!(
                "<figure><figcaption><b>{name}</b> · revision {} · {}{}</figcaption>{}{}</figure>",
                outcome.revision,
                escape(&percent(outcome.accuracy)),
                escape(&missed),
                confusion::chart(outcome, &report.classes),
                if parts.is_empty() {
                    String::new()
                } else {
                    table(&["held-out rows", "right", ""], &parts, &[])
                }
            )
        })
        .collect();
    if halves.is_empty() {
        return String::new();
    }
    // Many classes need the whole width.
    let layout = if report.classes.len() > 8 { "stack" } else { "pair" };
    section(
        "confusion",
        "Corrections: before and after",
        "The same held-out rows, answered by the revision before the corrections and by the one \
         after. None of them was ever trained on or corrected.",
        &format!("<div class=\"{layout}\">{halves}</div>"),
    )
}

fn placements(report: &Report) -> String {
    if report.policies.is_empty() {
        return String::new();
    }
    let keys = legend(&[
        ("transport", "round trip (p95)"),
        ("transfer", "transfer"),
        ("queue", "queue"),
        ("vote", "service (p99)"),
        ("marker", "measured p99"),
    ]);
    let policies: String = report.policies.iter().map(policy).collect();
    section(
        "placements",
        "Placement: the policy decides where, and how many vote",
        "Predicted latency of every device under each policy, the best subset of members that it \
         could serve, and what was measured where it served.",
        &format!("{keys}{policies}"),
    )
}

fn policy(policy: &Policy) -> String {
    let rows: Vec<Vec<String>> = policy
        .candidates
        .iter()
        .map(|it| {
            vec![
                it.device.clone(),
                if it.chosen { "chosen".to_owned() } else { it.refused.clone() },
                it.families.join(", "),
                if it.families.is_empty() { "–".to_owned() } else { percent(it.accuracy) },
                charts::duration(it.total_us),
                it.measured_us.map_or("–".to_owned(), charts::duration),
            ]
        })
        .collect();
    let classes: Vec<&str> =
        policy.candidates.iter().map(|it| if it.chosen { "chosen" } else { "" }).collect();
    let why: String = policy.why.iter().map(|line| format!("<li>{}</li>", escape(line))).collect();
    format!(
        "<h3>{}</h3><p class=\"asks\">{}</p>{}{}{}",
        escape(&policy.name),
        escape(&policy.asks),
        charts::candidates(policy),
        table(
            &["device", "why", "voters", "accuracy", "predicted p99", "measured p99"],
            &rows,
            &classes
        ),
        if why.is_empty() {
            String::new()
        } else {
            format!("<details><summary>in the scheduler's words</summary><ul>{why}</ul></details>")
        }
    )
}

fn latency(report: &Report) -> String {
    if report.latency.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = report
        .latency
        .iter()
        .map(|row| {
            vec![
                row.device.clone(),
                row.policy.clone(),
                row.voters.to_string(),
                row.answers.to_string(),
                charts::duration(row.gate_us),
                charts::duration(row.vote_us),
                charts::duration(row.transport_us),
                charts::duration(row.p50_us),
                charts::duration(row.p99_us),
            ]
        })
        .collect();
    let keys =
        legend(&[("transport", "network, queues, gRPC"), ("gate", "gate"), ("vote", "vote")]);
    let head = ["device", "policy", "voters", "answers", "gate", "vote", "the rest", "p50", "p99"];
    section(
        "latency",
        "Latency by stage",
        "Medians as the app saw them. Gate and vote are measured inside the serving worker, the \
         rest is the way there and back.",
        &format!("{keys}{}{}", charts::latency(&report.latency), table(&head, &rows, &[])),
    )
}

fn members(report: &Report) -> String {
    if report.members.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = report
        .members
        .iter()
        .map(|member| {
            vec![
                member.family.clone(),
                number(member.weight, 3),
                percent(member.accuracy),
                format!("{} s", number(member.fit_seconds, 2)),
                bytes(member.bytes),
            ]
        })
        .collect();
    section(
        "members",
        "Members of the ensemble",
        "As they stand in the revision that serves at the end; accuracy on validation rows, each \
         member alone.",
        &table(&["family", "weight", "accuracy", "fitted in", "size"], &rows, &[]),
    )
}

fn story(report: &Report) -> String {
    let rows: Vec<Vec<String>> = report
        .story
        .iter()
        .map(|(seconds, text)| vec![format!("{} s", number(*seconds, 1)), text.clone()])
        .collect();
    let notes: String =
        report.notes.iter().map(|note| format!("<li>{}</li>", escape(note))).collect();
    let notes = if notes.is_empty() {
        notes
    } else {
        format!("<h3>To judge the numbers</h3><ul>{notes}</ul>")
    };
    if rows.is_empty() && notes.is_empty() {
        return String::new();
    }
    section(
        "story",
        "What happened when",
        "Every arrow between processes was a gRPC call, every number was measured.",
        &format!("{}{notes}", table(&["at", "what"], &rows, &[])),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_a_unit_for_people() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(48_213), "48 kB");
        assert_eq!(bytes(2_350_000), "2.3 MB");
    }

    #[test]
    fn accuracy_before_and_after_stand_side_by_side() {
        let page = page(&super::super::tests::sample());
        let (before, after) = (page.find("74.0 %"), page.find("94.0 %"));
        assert!(before.is_some() && before < after);
        assert!(page.contains("21 of 40"));
        assert!(page.contains("missed events 13.0 %"));
    }
}
