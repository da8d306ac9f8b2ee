//! SVG charts: bars with intervals, lines, and stages in sequence. They work in light and dark mode, in print, and
//! for colour-blind readers: each series also has a label or a dash pattern.

use std::fmt::Write as _;

use super::page::escaped;
use super::words::number;
use crate::infer::Estimate;

/// Palette of Okabe and Ito, which is distinguishable with any kind of colour vision.
const COLOURS: [&str; 7] = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#999999"];
/// Dash patterns for lines, which may cross.
const DASHES: [&str; 4] = ["", "8 3", "2 3", "10 3 2 3"];

const WIDTH: f64 = 720.0;
/// Width of the labels on the left.
const LEFT: f64 = 250.0;
const RIGHT: f64 = 110.0;
const ROW: f64 = 26.0;

pub struct Bar {
    pub name: String,
    pub estimate: Estimate,
    /// Reference figure, drawn as a diamond.
    pub theirs: Option<f64>,
    /// Bars of the same kind have the same colour.
    pub kind: usize,
}

/// Draws horizontal bars from zero with intervals and numbers.
pub fn bars(title: &str, unit: &str, bars: &[Bar]) -> String {
    let end = |bar: &Bar| bar.estimate.ends.map_or(bar.estimate.mean, |(_, high)| high).max(bar.theirs.unwrap_or(0.0));
    let scale = Scale::linear(0.0, bars.iter().map(end).fold(0.0, f64::max), LEFT, WIDTH - RIGHT);
    let mut out = open(title, 40.0 + ROW * bars.len() as f64 + 30.0);
    for (index, bar) in bars.iter().enumerate() {
        let y = 40.0 + ROW * index as f64;
        let (middle, x) = (y + ROW / 2.0, scale.at(bar.estimate.mean));
        text(&mut out, LEFT - 8.0, middle + 4.0, "end", &bar.name);
        rect(&mut out, bar.kind, LEFT, x, y);
        if let Some((low, high)) = bar.estimate.ends {
            let (low, high) = (scale.at(low.max(0.0)), scale.at(high));
            let (top, bottom) = (middle - 5.0, middle + 5.0);
            let _ = writeln!(
                out,
                "<path class=\"x-ink\" d=\"M{low:.1} {middle:.1}H{high:.1}M{low:.1} {top:.1}V{bottom:.1}M{high:.1} \
                 {top:.1}V{bottom:.1}\"/>"
            );
        }
        if let Some(theirs) = bar.theirs {
            let x = scale.at(theirs);
            let _ = writeln!(out, "<path class=\"x-theirs\" d=\"M{x:.1} {:.1}l6 6l-6 6l-6 -6Z\"/>", middle - 6.0);
        }
        text(&mut out, WIDTH - RIGHT + 12.0, middle + 4.0, "start", &format!("{} {unit}", number(bar.estimate.mean)));
    }
    axis(&mut out, &scale, 40.0, 40.0 + ROW * bars.len() as f64, unit);
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
    let (left, top, bottom) = (60.0, 56.0, 316.0);
    let right = WIDTH - 20.0;
    let x = match log {
        true => Scale::logarithmic(least.max(0.01), most(|point| point.0), left, right),
        false => Scale::linear(0.0, most(|point| point.0), left, right),
    };
    let y = Scale::linear(0.0, most(|point| point.1), bottom, top);
    let mut out = open(title, bottom + 50.0 + 20.0 * lines.len() as f64);
    axis(&mut out, &x, top, bottom, across);
    for tick in y.ticks() {
        let at = y.at(tick);
        let _ = writeln!(out, "<path class=\"x-grid\" d=\"M{left} {at:.1}H{right}\"/>");
        text(&mut out, left - 6.0, at + 4.0, "end", &number(tick));
    }
    text(&mut out, left, top - 8.0, "start", up);
    for (index, line) in lines.iter().enumerate() {
        let (colour, dash) = (COLOURS[index % COLOURS.len()], DASHES[index % DASHES.len()]);
        let mut path = String::new();
        for (index, point) in line.points.iter().enumerate() {
            let _ = write!(path, "{}{:.1} {:.1}", if index == 0 { 'M' } else { 'L' }, x.at(point.0), y.at(point.1));
        }
        let style = format!("fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\"");
        let _ = writeln!(out, "<path {style} d=\"{path}\"/>");
        let at = bottom + 48.0 + 20.0 * index as f64;
        let _ = writeln!(out, "<path {style} d=\"M{left} {at:.1}h44\"/>");
        text(&mut out, left + 54.0, at + 4.0, "start", &line.name);
    }
    out + "</svg>\n"
}

/// Draws the stages of each group in sequence on a common axis.
pub fn waterfall(title: &str, unit: &str, groups: &[(String, Vec<(String, f64)>)]) -> String {
    let whole = |stages: &[(String, f64)]| stages.iter().map(|stage| stage.1).sum::<f64>();
    let longest = groups.iter().map(|(_, stages)| whole(stages)).fold(0.0, f64::max);
    let scale = Scale::linear(0.0, longest, LEFT, WIDTH - RIGHT);
    let rows: usize = groups.iter().map(|(_, stages)| stages.len() + 1).sum();
    let bottom = 40.0 + ROW * rows as f64;
    let mut out = open(title, bottom + 30.0);
    let mut y = 40.0;
    for (name, stages) in groups {
        let _ = writeln!(
            out,
            "<text class=\"x-text x-bold\" x=\"8\" y=\"{:.1}\">{}: {} {unit}</text>",
            y + 17.0,
            escaped(name),
            number(whole(stages))
        );
        y += ROW;
        let mut begun = 0.0;
        for (index, (stage, lasts)) in stages.iter().enumerate() {
            let (from, to) = (scale.at(begun), scale.at(begun + lasts));
            text(&mut out, LEFT - 8.0, y + 17.0, "end", stage);
            rect(&mut out, index, from, to, y);
            text(&mut out, WIDTH - RIGHT + 8.0, y + 17.0, "start", &format!("{} {unit}", number(*lasts)));
            begun += lasts;
            y += ROW;
        }
    }
    axis(&mut out, &scale, 40.0, bottom, unit);
    out + "</svg>\n"
}

fn open(title: &str, height: f64) -> String {
    let title = escaped(title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"13\">\n<style>\n\
         .x-text{{fill:#1b1b1b}}.x-bold{{font-weight:600}}.x-ink{{stroke:#1b1b1b;stroke-width:1.5;fill:none}}\
         .x-grid{{stroke:#8888;stroke-width:.6;fill:none}}.x-theirs{{stroke:#1b1b1b;fill:#fff;stroke-width:1.5}}\n\
         @media (prefers-color-scheme:dark){{.x-text{{fill:#ececec}}.x-ink{{stroke:#ececec}}\
         .x-theirs{{stroke:#ececec;fill:#16181b}}}}\n\
         @media print{{.x-text{{fill:#000}}.x-ink{{stroke:#000}}.x-theirs{{stroke:#000;fill:#fff}}}}\n</style>\n\
         <text class=\"x-text x-bold\" x=\"8\" y=\"20\">{title}</text>\n"
    )
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let text = escaped(text);
    let _ = writeln!(out, "<text class=\"x-text\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
}

/// Draws a bar in the row at `y`, with a minimum visible width.
fn rect(out: &mut String, kind: usize, from: f64, to: f64, y: f64) {
    let (top, width, height) = (y + 5.0, (to - from).max(0.8), ROW - 10.0);
    let colour = COLOURS[kind % COLOURS.len()];
    let _ = writeln!(
        out,
        "<rect x=\"{from:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>"
    );
}

fn axis(out: &mut String, scale: &Scale, top: f64, bottom: f64, unit: &str) {
    let ticks = scale.ticks();
    for (index, tick) in ticks.iter().enumerate() {
        let x = scale.at(*tick);
        let _ = writeln!(out, "<path class=\"x-grid\" d=\"M{x:.1} {top:.1}V{bottom:.1}\"/>");
        let unit = if index + 1 == ticks.len() { format!(" {unit}") } else { String::new() };
        text(out, x, bottom + 16.0, "middle", &format!("{}{unit}", number(*tick)));
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
        let drawn = bars("a & b", "ms", &[bar]);
        assert!(!drawn.contains("<script>") && drawn.contains("a &amp; b") && drawn.contains("x-theirs"), "{drawn}");
    }
}
