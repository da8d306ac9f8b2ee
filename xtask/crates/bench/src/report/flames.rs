//! Flame graphs (Gregg 2016) as SVG, drawn downwards: each row has the functions that those above it called, and their
//! width is their share of the samples.

use std::fmt::Write as _;

use super::page::escaped;
use super::svg::{LEFT, RIGHT, TOP, cut, open};
use crate::profile::Call;

const ROW: f64 = 13.0;
/// Most rows of a graph; what is called further in is left out.
const ROWS: usize = 40;
/// Calls that are narrower are left out.
const NARROWEST: f64 = 1.0;
/// Mean width of a character, smaller than that of other charts.
const CHARACTER: f64 = 5.2;

/// Tints on which dark text can be read: Python's library and other packages.
const TINTS: [&str; 2] = ["#cfe2f0", "#fbe3b5"];

struct Graph {
    out: String,
    /// Number of samples of the whole graph.
    all: u64,
    rows: usize,
}

/// Draws the calls below `top`.
pub fn flames(title: &str, top: &Call, told: &[String]) -> String {
    let (outer, skipped) = common(top);
    let mut graph = Graph { out: String::new(), all: top.samples, rows: 0 };
    let first = usize::from(skipped > 0);
    if skipped > 0 {
        let name = format!("{skipped} functions that are on all stacks");
        graph.call(&name, top.samples, (LEFT, 0));
    }
    graph.calls(outer, LEFT, first);
    let bottom = TOP + ROW * graph.rows as f64 + 6.0;
    let style = "<style>.x-call{stroke:#fff;stroke-width:.5}.x-name{fill:#1b1b1b;font-size:8.5px}\
                 @media (prefers-color-scheme:dark){.x-call{stroke:#16181b}}</style>\n";
    format!("{}{style}{}</svg>\n", open(title, told, bottom), graph.out)
}

/// Returns the innermost function that is on all stacks, and the number of functions above it and itself.
fn common(top: &Call) -> (&Call, usize) {
    let (mut at, mut skipped) = (top, 0);
    while at.calls.len() == 1
        && let Some(only) = at.calls.values().next()
        && only.samples == at.samples
        && !only.calls.is_empty()
    {
        (at, skipped) = (only, skipped + 1);
    }
    (at, skipped)
}

impl Graph {
    fn width(&self, samples: u64) -> f64 {
        (RIGHT - LEFT) * samples as f64 / self.all.max(1) as f64
    }

    /// Draws the functions that `caller` called, the most frequent first.
    fn calls(&mut self, caller: &Call, mut x: f64, row: usize) {
        let mut calls: Vec<_> = caller.calls.iter().collect();
        calls.sort_by_key(|(_, call)| std::cmp::Reverse(call.samples));
        for (name, call) in calls {
            let width = self.width(call.samples);
            if width < NARROWEST || row == ROWS {
                break;
            }
            self.call(name, call.samples, (x, row));
            self.calls(call, x, row + 1);
            x += width;
        }
    }

    fn call(&mut self, name: &str, samples: u64, (x, row): (f64, usize)) {
        let (width, y, tint) = (self.width(samples), TOP + ROW * row as f64, tint(name));
        let share = 100.0 * samples as f64 / self.all.max(1) as f64;
        let told = escaped(&format!("{name}: {share:.1} %"));
        let _ = writeln!(
            self.out,
            "<g><title>{told}</title><rect class=\"x-call\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" \
             height=\"{ROW}\" fill=\"{tint}\"/>"
        );
        let room = ((width - 3.0) / CHARACTER) as usize;
        if room >= 4 {
            let (x, y) = (x + 2.0, y + ROW - 3.5);
            let text = escaped(&shortened(name, room));
            let _ = writeln!(self.out, "<text class=\"x-name\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>");
        }
        self.out.push_str("</g>\n");
        self.rows = self.rows.max(row + 1);
    }
}

/// Leaves out the file of `name (file)` if there is no room for it, then the end of the name.
fn shortened(name: &str, room: usize) -> String {
    let function = name.split(" (").next().unwrap_or(name);
    if name.chars().count() <= room { name.to_owned() } else { cut(function, room) }
}

/// Files of packages lie in folders; those of Python's library do not, except the packages that are named here.
fn tint(name: &str) -> &'static str {
    let file = name.rsplit_once(" (").map_or("", |(_, file)| file.trim_end_matches(')'));
    let packages = ["asyncio/", "concurrent/", "json/", "importlib/", "http/", "logging/"];
    let library = !file.contains('/') || packages.iter().any(|package| file.starts_with(package));
    TINTS[usize::from(!library)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::tree;

    fn drawn(stacks: &[(&str, u64)]) -> String {
        let stacks = stacks.iter().map(|(stack, samples)| ((*stack).to_owned(), *samples)).collect();
        flames("Stacks", &tree(&stacks), &[])
    }

    #[test]
    fn the_width_of_a_call_is_its_share() {
        let svg = drawn(&[("main (a/m.py);one (a/m.py)", 3), ("main (a/m.py);two (<b>.py)", 1)]);
        assert!(svg.contains("<title>1 functions that are on all stacks: 100.0 %</title>"), "{svg}");
        assert!(svg.contains("<title>one (a/m.py): 75.0 %</title>"), "{svg}");
        assert!(svg.contains("two (&lt;b&gt;.py): 25.0 %"), "{svg}");
        assert!(
            svg.contains("width=\"288.0\"") && svg.contains("x=\"294.0\"") && svg.contains("width=\"96.0\""),
            "{svg}"
        );
    }

    #[test]
    fn narrow_and_deep_calls_are_left_out() {
        let deep = (0..90).map(|depth| format!("f{depth}")).collect::<Vec<_>>().join(";");
        let svg = drawn(&[(&deep, 999), ("narrow", 1)]);
        assert!(svg.contains("f39") && !svg.contains("f40") && !svg.contains("narrow"), "{svg}");
        assert!(drawn(&[]).ends_with("</svg>\n"));
    }

    #[test]
    fn files_are_left_out_before_names_are_shortened() {
        assert_eq!(shortened("get (client.py)", 20), "get (client.py)");
        assert_eq!(shortened("get (client.py)", 9), "get");
        assert_eq!(shortened("get_many (client.py)", 5), "get_…");
    }
}
