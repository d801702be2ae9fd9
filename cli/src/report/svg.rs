//! Drawings as text: the few shapes that the charts need.

use std::fmt::{Display, Write as _};

/// `text` so that it means itself in HTML and SVG, in attributes too.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // Not allowed in a page, however it is written.
            control if control.is_control() && control != '\n' && control != '\t' => {
                safe.push('\u{fffd}');
            }
            other => safe.push(other),
        }
    }
    safe
}

/// Where a text is anchored.
#[derive(Clone, Copy, Debug)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Anchor {
    fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

/// A drawing of a fixed size that scales with the page. Classes are styled by the page.
#[derive(Debug)]
pub(super) struct Svg {
    width: f64,
    height: f64,
    label: String,
    body: String,
}

/// A coordinate with one digit after the point; what is no number is drawn at 0.
fn coordinate(value: f64) -> String {
    if value.is_finite() { format!("{value:.1}") } else { "0".to_owned() }
}

impl Svg {
    /// An empty drawing; `label` says what it shows to those who cannot see it.
    pub(super) fn new(width: f64, height: f64, label: &str) -> Self {
        Self { width, height, label: escape(label), body: String::new() }
    }

    fn add(&mut self, element: impl Display) {
        writeln!(self.body, "{element}").expect("writing to a string does not fail");
    }

    pub(super) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let [x1, y1, x2, y2] = [from.0, from.1, to.0, to.1].map(coordinate);
        self.add(format_args!(
            r#"<line class="{class}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>"#
        ));
    }

    pub(super) fn text(&mut self, class: &str, at: (f64, f64), anchor: Anchor, text: &str) {
        let [x, y] = [at.0, at.1].map(coordinate);
        let (anchor, text) = (anchor.name(), escape(text));
        self.add(format_args!(
            r#"<text class="{class}" x="{x}" y="{y}" text-anchor="{anchor}">{text}</text>"#
        ));
    }

    /// A text that leans to the left, so that its neighbours have room.
    pub(super) fn slanted(&mut self, class: &str, at: (f64, f64), text: &str) {
        let [x, y] = [at.0, at.1].map(coordinate);
        let text = escape(text);
        self.add(format_args!(
            r#"<text class="{class}" x="{x}" y="{y}" text-anchor="end" transform="rotate(-40 {x} {y})">{text}</text>"#
        ));
    }

    /// A rectangle; `hint` is shown when the pointer rests on it.
    pub(super) fn rect(&mut self, class: &str, at: (f64, f64), size: (f64, f64), hint: &str) {
        self.shade(class, at, size, 1.0, hint);
    }

    /// A rectangle of some opacity.
    pub(super) fn shade(
        &mut self,
        class: &str,
        at: (f64, f64),
        size: (f64, f64),
        opacity: f64,
        hint: &str,
    ) {
        let [x, y, width, height] = [at.0, at.1, size.0.max(0.0), size.1.max(0.0)].map(coordinate);
        let opacity = if opacity.is_finite() { opacity.clamp(0.0, 1.0) } else { 0.0 };
        let hint = escape(hint);
        self.add(format_args!(
            r#"<rect class="{class}" x="{x}" y="{y}" width="{width}" height="{height}" rx="2" fill-opacity="{opacity:.3}"><title>{hint}</title></rect>"#
        ));
    }

    pub(super) fn circle(&mut self, class: &str, at: (f64, f64), radius: f64, hint: &str) {
        let [x, y, radius] = [at.0, at.1, radius].map(coordinate);
        let hint = escape(hint);
        self.add(format_args!(
            r#"<circle class="{class}" cx="{x}" cy="{y}" r="{radius}"><title>{hint}</title></circle>"#
        ));
    }

    /// A path through `points`, closed or not.
    pub(super) fn path(&mut self, class: &str, points: &[(f64, f64)], closed: bool) {
        let mut commands = String::new();
        for (index, point) in points.iter().enumerate() {
            let command = if index == 0 { 'M' } else { 'L' };
            let [x, y] = [point.0, point.1].map(coordinate);
            write!(commands, "{command}{x} {y} ").expect("writing to a string does not fail");
        }
        if closed {
            commands.push('Z');
        }
        let commands = commands.trim_end();
        self.add(format_args!(r#"<path class="{class}" d="{commands}"/>"#));
    }

    /// The drawing.
    pub(super) fn finish(self) -> String {
        let Self { width, height, label, body } = self;
        format!(
            "<svg viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{label}\" \
             style=\"max-width:{width:.0}px\">\n{body}</svg>"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_means_itself() {
        assert_eq!(escape("a<b & 'c' > \"d\""), "a&lt;b &amp; &#39;c&#39; &gt; &quot;d&quot;");
        assert_eq!(escape("bell\u{7}"), "bell\u{fffd}");
    }

    #[test]
    fn what_is_no_number_is_drawn_somewhere() {
        let mut svg = Svg::new(10.0, 10.0, "test");
        svg.line("a", (f64::NAN, 0.0), (f64::INFINITY, 1.0));
        svg.shade("a", (0.0, 0.0), (-1.0, f64::NAN), f64::NAN, "");
        let text = svg.finish();
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    }
}
