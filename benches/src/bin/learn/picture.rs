//! The lazy curve as a picture: accuracy against processor seconds, one panel for each data set.

use std::fmt::Write as _;

/// One data set.
pub(crate) struct Panel {
    pub(crate) title: String,
    /// Processor seconds, accuracy, and who joined; growing.
    pub(crate) points: Vec<(f64, f64, String)>,
    /// When the peers' seven members stand, and the best vote of theirs.
    pub(crate) peers: Option<(f64, f64)>,
}

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 46.0;

/// The panels side by side, as an SVG that needs no style sheet.
pub(crate) fn draw(panels: &[Panel]) -> String {
    let count = panels.len().max(1);
    let width = WIDTH * count as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {HEIGHT:.0}\" \
         font-family=\"sans-serif\" font-size=\"11\" role=\"img\" \
         aria-label=\"accuracy against processor seconds\">\n\
         <rect width=\"{width:.0}\" height=\"{HEIGHT:.0}\" fill=\"#ffffff\"/>\n"
    );
    for (at, panel) in panels.iter().enumerate() {
        let _infallible = writeln!(svg, "<g transform=\"translate({:.0} 0)\">", WIDTH * at as f64);
        svg += &self::panel(panel);
        svg += "</g>\n";
    }
    svg + "</svg>\n"
}

fn panel(panel: &Panel) -> String {
    let peers = panel.peers.iter().copied();
    let times = || panel.points.iter().map(|point| point.0).chain(peers.clone().map(|it| it.0));
    let lowest = panel.points.iter().map(|point| point.1).chain(peers.clone().map(|it| it.1));
    // Whole decades of seconds, whole hundredths of accuracy.
    let begin = times().fold(f64::INFINITY, f64::min).max(0.001).log10().floor();
    let end = times().fold(0.01, f64::max).log10().ceil().max(begin + 1.0);
    let low = (lowest.fold(1.0, f64::min) * 50.0 - 0.2).floor() / 50.0;
    let x = |seconds: f64| {
        let part = (seconds.max(0.001).log10() - begin) / (end - begin);
        LEFT + part * (WIDTH - LEFT - RIGHT)
    };
    let y = |accuracy: f64| TOP + (1.0 - accuracy) / (1.0 - low) * (HEIGHT - TOP - BOTTOM);

    let mut svg = String::new();
    let mut text = |x: f64, y: f64, anchor: &str, size: u32, words: &str| {
        let _infallible = writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\" \
             fill=\"#333333\">{words}</text>"
        );
    };
    text(LEFT, 20.0, "start", 13, &panel.title);
    text(f64::midpoint(LEFT, WIDTH - RIGHT), HEIGHT - 8.0, "middle", 11, "processor seconds");
    let mut lines = String::new();
    let mut line = |from: (f64, f64), to: (f64, f64)| {
        let _infallible = writeln!(
            lines,
            "<path d=\"M{:.1} {:.1}L{:.1} {:.1}\" stroke=\"#dddddd\"/>",
            from.0, from.1, to.0, to.1
        );
    };
    let step = if 0.3 < 1.0 - low { 0.1 } else { 0.02 };
    let mut mark = 1.0;
    while low - 1e-9 <= mark {
        line((LEFT, y(mark)), (WIDTH - RIGHT, y(mark)));
        text(LEFT - 6.0, y(mark) + 4.0, "end", 11, &format!("{:.0} %", mark * 100.0));
        mark -= step;
    }
    let mut decade = begin;
    while decade <= end + 1e-9 {
        let seconds = 10.0_f64.powf(decade);
        line((x(seconds), TOP), (x(seconds), HEIGHT - BOTTOM));
        text(x(seconds), HEIGHT - BOTTOM + 16.0, "middle", 11, &format!("{seconds} s"));
        decade += 1.0;
    }

    // A revision answers until the next one comes: steps, not slopes.
    let mut path = String::new();
    for (at, &(seconds, accuracy, _)) in panel.points.iter().enumerate() {
        let (x, y) = (x(seconds), y(accuracy));
        let _infallible =
            if at == 0 { write!(path, "M{x:.1} {y:.1}") } else { write!(path, "H{x:.1}V{y:.1}") };
    }
    let _infallible = write!(path, "H{:.1}", WIDTH - RIGHT);
    let mut dots = String::new();
    for (at, (seconds, accuracy, family)) in panel.points.iter().enumerate() {
        let (x, y) = (x(*seconds), y(*accuracy));
        let _infallible = writeln!(
            dots,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"#1f6feb\"><title>{family}: \
             {accuracy:.4} after {seconds:.2} s</title></circle>"
        );
        let below = if at % 2 == 0 { 16.0 } else { -9.0 };
        text(x, y + below, "middle", 10, family);
    }
    if let Some((seconds, accuracy)) = panel.peers {
        let (x, y) = (x(seconds), y(accuracy));
        let _infallible = writeln!(
            dots,
            "<path d=\"M{:.1} {:.1}l8 8m0 -8l-8 8\" stroke=\"#c93c37\" stroke-width=\"2\"/>",
            x - 4.0,
            y - 4.0
        );
        text(x - 8.0, y + 20.0, "end", 10, "the peers' seven");
    }
    format!(
        "{lines}<path d=\"{path}\" fill=\"none\" stroke=\"#1f6feb\" stroke-width=\"2\"/>\n{dots}{svg}"
    )
}
