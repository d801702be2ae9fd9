//! The findings as tables, in the Markdown of benches/README.md.

use std::fmt::Write as _;

use benches::sets::Set;

use crate::figures::{Alone, Choice, Compact, Early, Findings, Single, Training};

/// A data set in a few words, by its first parting.
pub(crate) fn heading(sets: &[Set]) -> String {
    let Some(Set { meta, train, test }) = sets.first() else { return String::new() };
    let others = if sets.len() == 1 { "" } else { " and the others" };
    let mut text = format!(
        "## {}{others}\n\n{} training rows, {} test rows, {} values, {} classes.\n\n",
        meta.title,
        train.labels.len(),
        test.labels.len(),
        meta.width,
        meta.classes
    );
    if 1 < sets.len() {
        let asked: usize = sets.iter().map(|set| set.test.labels.len()).sum();
        let _infallible = writeln!(
            text,
            "{}, is the first of {} partings, which together ask each of {asked} rows once. The \
             accuracies of families, votes and choices are pooled over all of them, and so is what an \
             early end saves; a choice names whom any parting chose. All else is of the first: times, \
             memory, sizes, the course of the training, its members and its gate.\n",
            meta.title,
            sets.len()
        );
    }
    text
}

/// Everything that was found about a data set.
pub(crate) fn findings(found: &Findings) -> String {
    let mut text = String::new();
    let mut paragraph = |words: &str| text += &format!("{words}\n");
    if !found.ours.is_empty() {
        paragraph(&families(found));
    }
    if let Some(vote) = &found.our_vote {
        if let Some(saved) = vote.early {
            paragraph(&format!("Our vote of all seven: {}\n", early(saved)));
        }
        if let Some(compact) = vote.compact_us {
            paragraph(&format!(
                "With compact members to the end: {} µs.\n",
                figure(compact.median)
            ));
        }
    }
    if let Some(first) = found.first {
        paragraph(&format!(
            "First revision: {} s, {} processor s.\n",
            figure(first.wall_s),
            figure(first.cpu_s)
        ));
    }
    if let Some(training) = &found.training {
        paragraph(&course(training));
        paragraph(&format!(
            "The process took {:.0} MiB at most; the bundle has {:.0} kB.\n",
            training.peak_mib, training.kb
        ));
        paragraph(&members(training));
        paragraph(&format!(
            "A {} vote; left out: {}. The members that ship: {}\n",
            training.rule,
            if training.left_out.is_empty() {
                "nobody".to_owned()
            } else {
                training.left_out.join(", ")
            },
            early(training.early)
        ));
        paragraph(&choices(found, training));
        paragraph(&stages(training));
    }
    text
}

/// A row of cells.
fn row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

fn head(titles: &[&str]) -> String {
    let cells: Vec<String> = titles.iter().map(|&title| title.to_owned()).collect();
    format!("{}|{}\n", row(&cells), "---|".repeat(titles.len()))
}

/// Three digits that tell, whatever the size.
pub(crate) fn figure(value: f64) -> String {
    match value {
        value if 100.0 <= value => format!("{value:.0}"),
        value if 10.0 <= value => format!("{value:.1}"),
        value if 0.095 <= value => format!("{value:.2}"),
        value => format!("{value:.3}"),
    }
}

fn ratio(ours: f64, theirs: f64) -> String {
    if theirs < 0.005 { "–".to_owned() } else { figure(ours / theirs) }
}

fn single(one: Single) -> String {
    format!("{} ({})", figure(one.median), figure(one.p99))
}

fn both(ours: String, theirs: Option<String>) -> String {
    format!("{ours} / {}", theirs.unwrap_or_else(|| "–".to_owned()))
}

/// Family by family, ours / the peer's, and the sums.
fn families(found: &Findings) -> String {
    let mut text = head(&[
        "family",
        "accuracy (95 % interval), ours",
        "peer",
        "fit, processor s",
        "ratio",
        "peak MiB",
        "one sample, processor µs (p99 by the clock)",
        "kB",
    ]);
    let mut sums = [0.0; 6];
    for our in &found.ours {
        let peer = found.peers.iter().find(|peer| peer.family == our.family);
        let of = |field: &dyn Fn(&Alone) -> String| both(field(our), peer.map(field));
        text += &row(&[
            our.family.clone(),
            our.right.shown(),
            peer.map_or_else(|| "–".to_owned(), |peer| peer.right.shown()),
            of(&|it| figure(it.fit_cpu_s)),
            peer.map_or_else(|| "–".to_owned(), |peer| ratio(our.fit_cpu_s, peer.fit_cpu_s)),
            of(&|it| figure(it.peak_mib)),
            of(&|it| single(it.one_us)),
            of(&|it| figure(it.kb)),
        ]);
        if let Some(Compact { right, one_us, kb }) = our.compact {
            let none = String::new;
            let name = format!("{}, compact", our.family);
            let (right, one_us) = (right.shown(), single(one_us));
            text += &row(&[name, right, none(), none(), none(), none(), one_us, figure(kb)]);
        }
        for (at, it) in [Some(our), peer].into_iter().enumerate() {
            let Some(it) = it else { continue };
            sums[at] += it.fit_cpu_s;
            sums[2 + at] = it.peak_mib.max(sums[2 + at]);
            sums[4 + at] += it.kb;
        }
    }
    let pair = |at: usize| both(figure(sums[at]), (0.0 < sums[1]).then(|| figure(sums[at + 1])));
    let vote = match (&found.our_vote, &found.peers_vote) {
        (Some(our), peer) => both(single(our.one_us), peer.as_ref().map(|it| single(it.one_us))),
        (None, _) => "–".to_owned(),
    };
    text += &row(&[
        "**all seven**: sum, highest peak, vote".to_owned(),
        String::new(),
        String::new(),
        pair(0),
        if 0.0 < sums[1] { figure(sums[0] / sums[1]) } else { "–".to_owned() },
        pair(2),
        vote,
        pair(4),
    ]);
    text
}

/// The lines of the paper's Table 4, with the peers' votes below.
fn choices(found: &Findings, training: &Training) -> String {
    let mut text = head(&[
        "choice",
        "members",
        "accuracy (95 % interval)",
        "one sample, processor µs (p99 by the clock)",
    ]);
    for Choice { name, members, right, one_us } in &training.choices {
        let one = single(*one_us);
        text += &row(&[name.clone(), members.join(", "), right.shown(), one]);
    }
    if let Some(vote) = &found.peers_vote {
        let of = |hits| crate::figures::Count { hits, of: vote.of }.shown();
        let votes = [
            ("peers, weighted", Some(vote.weighted)),
            ("peers, unweighted", Some(vote.unweighted)),
            ("peers, soft", vote.soft),
        ];
        for (name, hits) in votes.into_iter().filter_map(|(name, hits)| Some((name, hits?))) {
            let members = format!("all {}", vote.members);
            text += &row(&[name.to_owned(), members, of(hits), single(vote.one_us)]);
        }
    }
    text
}

/// The members of the last revision, each alone.
fn members(training: &Training) -> String {
    let mut text = head(&[
        "member",
        "weight",
        "accuracy across the folds",
        "on test rows (95 % interval)",
        "one sample, processor µs (p99 by the clock)",
        "kB",
    ]);
    for member in &training.members {
        text += &row(&[
            member.family.clone(),
            format!("{:.2}", member.weight),
            format!("{:.4}", member.validation),
            member.right.shown(),
            single(member.one_us),
            figure(member.kb),
        ]);
    }
    text
}

/// What an early end saves.
fn early(early: Early) -> String {
    format!(
        "ended as soon as it is decided, {} of {} test rows have the class of the full vote, for {:.2} \
         of its work and {:.2} of its processor time.",
        early.same.hits, early.same.of, early.work, early.time
    )
}

/// How the training went.
fn course(training: &Training) -> String {
    let mut text = head(&["after, processor s", "joined", "test accuracy (95 % interval)"]);
    for point in &training.points {
        text += &row(&[figure(point.cpu_s), point.family.clone(), point.right.shown()]);
    }
    text
}

/// Two-stage serving.
fn stages(training: &Training) -> String {
    let Some(stages) = &training.stages else {
        return if training.background {
            "No gate: none paid, or no threshold kept the ceiling on missed events.\n".to_owned()
        } else {
            String::new()
        };
    };
    let mut text = head(&[
        "background",
        "mean time, gate and vote ÷ vote alone",
        "the same in work units",
        "background that the gate ends",
    ]);
    for mixture in &stages.mixtures {
        text += &row(&[
            format!("{:.0} %", mixture.background * 100.0),
            figure(mixture.time_ratio),
            figure(mixture.work_ratio),
            mixture.stopped.shown(),
        ]);
    }
    let _infallible = write!(
        text,
        "\nGate: {}. Events that it ends: {} of {}; on the rows that chose its threshold {:.4}. \
         Events answered \"background\" in the end {}, by the vote alone {}.\n",
        stages.gate,
        stages.missed.shown(),
        stages.missed.of,
        stages.missed_validation,
        stages.missed_in_the_end.shown(),
        stages.missed_by_the_vote.shown(),
    );
    text
}
