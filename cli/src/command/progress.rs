//! How far something is: a bar on a terminal, silence elsewhere.

use std::{io::IsTerminal as _, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar of bytes on standard error; hidden where nobody would see it move.
pub(super) fn of_bytes(total: u64) -> ProgressBar {
    bar(total, "{wide_bar} {bytes}/{total_bytes} {eta:>4}")
}

/// A bar of steps on standard error.
pub(super) fn of_steps(total: u64) -> ProgressBar {
    let bar = bar(total, "{bar:30} {pos}/{len} {wide_msg}");
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

fn bar(total: u64, template: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template(template).expect("the templates stand above");
    ProgressBar::new(total).with_style(style)
}
