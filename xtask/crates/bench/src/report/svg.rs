//! SVG charts: bars with intervals, lines, and stages in sequence. They are drawn for the width of a telephone, and
//! work in light and dark mode, in print, and for colour-blind readers: each series also has a label or a dash pattern.
//! What they show is also in their description, for readers who do not see them.

use std::fmt::Write as _;

use super::page::escaped;
use super::words::{estimate, mean, number};
use crate::infer::Estimate;

/// Palette of Okabe and Ito, which is distinguishable with any kind of colour vision.
const COLOURS: [&str; 7] = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#999999"];
/// Dash patterns for lines, which may cross.
const DASHES: [&str; 4] = ["", "8 3", "2 3", "10 3 2 3"];

const WIDTH: f64 = 400.0;
pub const LEFT: f64 = 6.0;
pub const RIGHT: f64 = 390.0;
/// Height of a bar with the line of text above it.
const ROW: f64 = 34.0;
/// Upper end of a chart below its title, and below its title and legend.
pub const TOP: f64 = 34.0;
const TOP_WITH_LEGEND: f64 = 54.0;
/// Mean width of a character.
const CHARACTER: f64 = 6.3;

/// Published figure beside a bar, in its value and in the legend.
const DIAMOND: char = '◇';

pub struct Bar {
    pub name: String,
    pub estimate: Estimate,
    /// Reference figure, drawn as a diamond.
    pub theirs: Option<f64>,
    /// Bars of the same kind have the same colour.
    pub kind: usize,
}

/// Draws horizontal bars from zero with intervals and numbers. `kinds` has the names of the kinds of bars, for the
/// legend; it is empty if there is only one.
pub fn bars((title, unit): (&str, &str), kinds: &[&str], bars: &[Bar]) -> String {
    let end = |bar: &Bar| bar.estimate.ends.map_or(bar.estimate.mean, |(_, high)| high).max(bar.theirs.unwrap_or(0.0));
    let scale = Scale::linear(0.0, bars.iter().map(end).fold(0.0, f64::max), LEFT, RIGHT - 4.0);
    let original = bars.iter().any(|bar| bar.theirs.is_some());
    let top = if original || !kinds.is_empty() { TOP_WITH_LEGEND } else { TOP };
    let bottom = top + ROW * bars.len() as f64;
    let told = bars.iter().map(|bar| {
        let theirs = bar.theirs.map_or_else(String::new, |theirs| format!(", original report {}", number(theirs)));
        format!("{}: {} {unit}{theirs}", bar.name, estimate(Some(bar.estimate)))
    });
    let mut out = open(title, &told.collect::<Vec<_>>(), bottom + 26.0);
    legend(&mut out, kinds, original);
    axis(&mut out, &scale, top, bottom, unit);
    for (index, bar) in bars.iter().enumerate() {
        let y = top + ROW * index as f64;
        let (middle, x) = (y + 22.0, scale.at(bar.estimate.mean));
        let theirs = bar.theirs.map_or_else(String::new, |theirs| format!(" {DIAMOND} {}", number(theirs)));
        label(&mut out, y, &bar.name, &format!("{} {unit}{theirs}", mean(&bar.estimate)));
        rect(&mut out, bar.kind, LEFT, x, y);
        if let Some((low, high)) = bar.estimate.ends {
            let (low, high) = (scale.at(low.max(0.0)), scale.at(high));
            let (top, bottom) = (middle - 4.0, middle + 4.0);
            let _ = writeln!(
                out,
                "<path class=\"x-ink\" d=\"M{low:.1} {middle:.1}H{high:.1}M{low:.1} {top:.1}V{bottom:.1}M{high:.1} \
                 {top:.1}V{bottom:.1}\"/>"
            );
        }
        if let Some(theirs) = bar.theirs {
            diamond(&mut out, scale.at(theirs), middle);
        }
    }
    out + "</svg>\n"
}

pub struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// Draws lines with a legend below; the horizontal axis is logarithmic if `log` is set.
pub fn lines(title: &str, (across, up): (&str, &str), log: bool, lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let most = |pick: fn(&(f64, f64)) -> f64| points().map(pick).fold(f64::MIN, f64::max);
    let least = points().map(|point| point.0).fold(f64::MAX, f64::min);
    let (left, top, bottom) = (42.0, 52.0, 262.0);
    let x = match log {
        true => Scale::logarithmic(least.max(0.01), most(|point| point.0), left, RIGHT),
        false => Scale::linear(0.0, most(|point| point.0), left, RIGHT),
    };
    let y = Scale::linear(0.0, most(|point| point.1), bottom, top);
    let told = lines.iter().filter_map(|line| {
        let (first, last) = (line.points.first()?, line.points.last()?);
        let point = |(x, y): &(f64, f64)| format!("{} {up} at {} {across}", number(*y), number(*x));
        Some(format!("{}: from {} to {}", line.name, point(first), point(last)))
    });
    let mut out = open(title, &told.collect::<Vec<_>>(), bottom + 36.0 + 18.0 * lines.len() as f64);
    axis(&mut out, &x, top, bottom, across);
    for tick in y.ticks() {
        let at = y.at(tick);
        let _ = writeln!(out, "<path class=\"x-grid\" d=\"M{left} {at:.1}H{RIGHT}\"/>");
        text(&mut out, left - 6.0, at + 4.0, "end", &short(tick));
    }
    text(&mut out, LEFT, top - 10.0, "start", up);
    for (index, line) in lines.iter().enumerate() {
        let (colour, dash) = (COLOURS[index % COLOURS.len()], DASHES[index % DASHES.len()]);
        let mut path = String::new();
        for (index, point) in line.points.iter().enumerate() {
            let _ = write!(path, "{}{:.1} {:.1}", if index == 0 { 'M' } else { 'L' }, x.at(point.0), y.at(point.1));
        }
        let style = format!("fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\"");
        let _ = writeln!(out, "<path {style} d=\"{path}\"/>");
        let at = bottom + 38.0 + 18.0 * index as f64;
        let _ = writeln!(out, "<path {style} d=\"M{LEFT} {at:.1}h36\"/>");
        text(&mut out, LEFT + 44.0, at + 4.0, "start", &fitting(&line.name, RIGHT - LEFT - 44.0));
    }
    out + "</svg>\n"
}

/// Draws stages in sequence. Charts with the same `longest` have the same scale.
pub fn waterfall((title, unit): (&str, &str), stages: &[(String, Estimate)], longest: f64) -> String {
    let scale = Scale::linear(0.0, longest, LEFT, RIGHT - 4.0);
    let bottom = TOP + ROW * stages.len() as f64;
    let told = stages.iter().map(|(stage, lasts)| format!("{stage}: {} {unit}", estimate(Some(*lasts))));
    let mut out = open(title, &told.collect::<Vec<_>>(), bottom + 26.0);
    axis(&mut out, &scale, TOP, bottom, unit);
    let mut begun = 0.0;
    for (index, (stage, lasts)) in stages.iter().enumerate() {
        let y = TOP + ROW * index as f64;
        label(&mut out, y, stage, &format!("{} {unit}", mean(lasts)));
        rect(&mut out, index, scale.at(begun), scale.at(begun + lasts.mean), y);
        begun += lasts.mean;
    }
    out + "</svg>\n"
}

/// Opens a picture with a title and a description, which browsers give to screen readers.
pub fn open(title: &str, told: &[String], height: f64) -> String {
    let (title, told) = (escaped(title), escaped(&told.join("; ")));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{}\" height=\"{}\" \
         role=\"img\" font-family=\"system-ui, sans-serif\" font-size=\"12\">\n<title>{title}</title>\n\
         <desc>{told}.</desc>\n<style>\n\
         .x-text{{fill:#1b1b1b}}.x-bold{{font-weight:600}}.x-ink{{stroke:#1b1b1b;stroke-width:1.5;fill:none}}\
         .x-grid{{stroke:#8886;stroke-width:.6;fill:none}}.x-theirs{{stroke:#1b1b1b;fill:#fff;stroke-width:1.5}}\n\
         @media (prefers-color-scheme:dark){{.x-text{{fill:#ececec}}.x-ink{{stroke:#ececec}}\
         .x-theirs{{stroke:#ececec;fill:#16181b}}}}\n\
         @media print{{.x-text{{fill:#000}}.x-ink{{stroke:#000}}.x-theirs{{stroke:#000;fill:#fff}}}}\n</style>\n\
         <text class=\"x-text x-bold\" x=\"{LEFT}\" y=\"18\" font-size=\"13\">{title}</text>\n",
        WIDTH * 1.2,
        height * 1.2,
    )
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let text = escaped(text);
    let _ = writeln!(out, "<text class=\"x-text\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
}

/// Writes the name and the value of a bar above it.
fn label(out: &mut String, y: f64, name: &str, value: &str) {
    let room = RIGHT - LEFT - CHARACTER * (value.chars().count() + 1) as f64;
    text(out, LEFT, y + 12.0, "start", &fitting(name, room));
    let (x, y, value) = (RIGHT, y + 12.0, escaped(value));
    let _ = writeln!(out, "<text class=\"x-text x-bold\" x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\">{value}</text>");
}

/// Shortens a name to a width.
fn fitting(name: &str, width: f64) -> String {
    cut(name, (width / CHARACTER) as usize)
}

/// Shortens a name to a number of characters.
pub fn cut(name: &str, most: usize) -> String {
    match name.chars().count() > most {
        true => name.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
        false => name.to_owned(),
    }
}

fn legend(out: &mut String, kinds: &[&str], original: bool) {
    let mut x = LEFT;
    for (kind, name) in kinds.iter().enumerate() {
        let colour = COLOURS[kind % COLOURS.len()];
        let _ = writeln!(out, "<rect x=\"{x:.1}\" y=\"30\" width=\"10\" height=\"10\" fill=\"{colour}\"/>");
        text(out, x + 15.0, 39.0, "start", name);
        x += 35.0 + CHARACTER * name.chars().count() as f64;
    }
    if original {
        diamond(out, x + 6.0, 35.0);
        text(out, x + 17.0, 39.0, "start", "original report");
    }
}

fn diamond(out: &mut String, x: f64, middle: f64) {
    let _ = writeln!(out, "<path class=\"x-theirs\" d=\"M{x:.1} {:.1}l5 5l-5 5l-5 -5Z\"/>", middle - 5.0);
}

/// Draws a bar in the row at `y`, with a minimum visible width.
fn rect(out: &mut String, kind: usize, from: f64, to: f64, y: f64) {
    let (top, width) = (y + 17.0, (to - from).max(1.0));
    let colour = COLOURS[kind % COLOURS.len()];
    let _ = writeln!(
        out,
        "<rect x=\"{from:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"10\" rx=\"1\" fill=\"{colour}\"/>"
    );
}

/// Formats the number of a tick: `0.5`.
fn short(tick: f64) -> String {
    let text = number(tick);
    if text.contains('.') { text.trim_end_matches('0').to_owned() } else { text }
}

fn axis(out: &mut String, scale: &Scale, top: f64, bottom: f64, unit: &str) {
    let ticks = scale.ticks();
    for (index, tick) in ticks.iter().enumerate() {
        let x = scale.at(*tick);
        let _ = writeln!(out, "<path class=\"x-grid\" d=\"M{x:.1} {top:.1}V{bottom:.1}\"/>");
        let unit = if index + 1 == ticks.len() { format!(" {unit}") } else { String::new() };
        let label = format!("{}{unit}", short(*tick));
        // The first and the last label must not leave the picture.
        let half = CHARACTER * label.chars().count() as f64 / 2.0;
        match (x - half < 0.0, x + half > WIDTH) {
            (true, _) => text(out, x, bottom + 16.0, "start", &label),
            (_, true) => text(out, WIDTH - 2.0, bottom + 16.0, "end", &label),
            _ => text(out, x, bottom + 16.0, "middle", &label),
        }
    }
}

/// Mapping from values to coordinates.
struct Scale {
    values: (f64, f64),
    places: (f64, f64),
    log: bool,
}

impl Scale {
    fn linear(low: f64, high: f64, from: f64, to: f64) -> Scale {
        // The range must not be empty.
        let high = if high > low { high } else { low + 1.0 };
        Scale { values: (low, high), places: (from, to), log: false }
    }

    fn logarithmic(low: f64, high: f64, from: f64, to: f64) -> Scale {
        let high = if high > low { high } else { low * 10.0 };
        Scale { values: (low.ln(), high.ln()), places: (from, to), log: true }
    }

    fn at(&self, value: f64) -> f64 {
        let value = if self.log { value.max(1e-9).ln() } else { value };
        let share = (value - self.values.0) / (self.values.1 - self.values.0);
        self.places.0 + share.clamp(0.0, 1.0) * (self.places.1 - self.places.0)
    }

    /// Returns about five round numbers.
    fn ticks(&self) -> Vec<f64> {
        if self.log {
            let decades = (self.values.0.exp().log10().floor() as i32)..=(self.values.1.exp().log10().ceil() as i32);
            let all = decades.flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power)));
            return all.filter(|tick| self.values.0 <= tick.ln() && tick.ln() <= self.values.1).collect();
        }
        let span = self.values.1 - self.values.0;
        let power = 10_f64.powf((span / 5.0).log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * power).into_iter().find(|step| span / step <= 6.0);
        let step = step.unwrap_or(span);
        (0..=(span / step) as usize).map(|index| self.values.0 + step * index as f64).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_have_round_ticks() {
        let scale = Scale::linear(0.0, 324.0, 0.0, 100.0);
        assert_eq!(scale.ticks(), [0.0, 100.0, 200.0, 300.0]);
        assert_eq!([short(0.5), short(1.5), short(1.0), short(200.0)], ["0.5", "1.5", "1", "200"]);
        assert_eq!((scale.at(162.0), scale.at(999.0)), (50.0, 100.0));
        assert_eq!(Scale::logarithmic(3.0, 60.0, 0.0, 1.0).ticks(), [5.0, 10.0, 20.0, 50.0]);
        assert_eq!(Scale::linear(0.0, 0.0, 0.0, 1.0).ticks().len(), 6, "of nothing");
    }

    #[test]
    fn names_cannot_leave_their_place() {
        let bar = Bar {
            name: "</text><script>".to_owned(),
            estimate: Estimate { mean: 1.0, ends: Some((0.5, 2.0)), runs: 5 },
            theirs: Some(3.0),
            kind: 9,
        };
        let drawn = bars(("a & b", "ms"), &[], &[bar]);
        assert!(!drawn.contains("<script>") && drawn.contains("a &amp; b") && drawn.contains("x-theirs"), "{drawn}");
        let told = "&lt;/text&gt;&lt;script&gt;: 1.0 (0.5–2.0) ms, original report 3.";
        assert!(drawn.contains(&format!("<desc>{told}</desc>")), "{drawn}");
    }

    #[test]
    fn long_names_are_shortened() {
        assert_eq!(fitting("a long name", 7.0 * CHARACTER), "a long…");
        assert_eq!(fitting("a name", 7.0 * CHARACTER), "a name");
    }
}
