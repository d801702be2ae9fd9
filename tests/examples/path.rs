//! `cargo xtask bench path`: the whole path on real data, as numbers for benches/README.md.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use stories::real::{HAPT, HAPT_SIX, ROOM};

fn main() {
    println!(
        "| data | accuracy | interval | balanced | missed events | first revision s | whole s | share |\n\
         |---|---|---|---|---|---|---|---|"
    );
    for real in [ROOM, HAPT_SIX, HAPT] {
        let Some(figures) = real.walk(real.name) else { continue };
        println!(
            "| {} | {:.4} | {} | {:.4} | {} | {:.1} | {:.1} | {:.1} % |",
            real.name,
            figures.share("accuracy"),
            figures.report["interval"],
            figures.share("balanced_accuracy"),
            figures.report["missed_events"],
            figures.first_s,
            figures.whole_s,
            100.0 * figures.first_s / figures.whole_s,
        );
    }
}
