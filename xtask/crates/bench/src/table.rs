//! Result table of a build benchmark, for the terminal and the documentation.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};

use crate::rows;
use crate::stats::{Samples, Spread};
use base::ui;
use matrix::BenchRow;

/// Marks between which the documentation contains the results.
const BEGIN: &str = "<!-- cargo xtask bench build --write: begin -->";
const END: &str = "<!-- cargo xtask bench build --write: end -->";

const HEAD: [&str; 7] = ["ROW", "OURS", "PLAIN", "OURS/PLAIN", "TARGET", "", "LOAD"];

/// Formats one line per row for the terminal.
pub fn text(rows: &[(BenchRow, Samples)]) -> String {
    let mut lines = vec![HEAD.map(str::to_owned)];
    lines.extend(rows.iter().map(|(row, samples)| cells(row, samples)));
    let mut out = ui::columns(&lines, "  ", |_| false);
    for (row, samples) in rows {
        if let Some(note) = note(row, samples) {
            let _ = writeln!(out, "{note}");
        }
    }
    out.push_str("median (smallest–largest); LOAD: the machine's load average when the runs began\n");
    out
}

/// Formats the machine and one line per row for the documentation. Rows that were not run keep their line in `old` if
/// it is from the same machine.
pub fn markdown(all: &[BenchRow], rows: &[(BenchRow, Samples)], machine: &str, when: &str, old: &str) -> String {
    let same_machine = old.lines().any(|line| line == machine);
    let mut out = format!("{machine}\n\n");
    out.push_str("| row | work | plain tool | ours | plain | ours / plain | target | met | load | measured |\n");
    out.push_str("|---|---|---|---|---|---|---|---|---|---|\n");
    let mut said = Vec::new();
    for row in all {
        let start = format!("| `{}` |", row.row);
        if let Some((_, samples)) = rows.iter().find(|(other, _)| *other.row == *row.row) {
            let [_, ours, plain, ratio, target, met, load] = cells(row, samples);
            let (work, tool) = (rows::work(row.measure), rows::tool(row.measure));
            let _ = writeln!(
                out,
                "{start} {work} | {tool} | {ours} | {plain} | {ratio} | {target} | {met} | {load} | {when} |"
            );
            said.extend(note(row, samples));
        } else if same_machine {
            out.extend(old.lines().filter(|line| line.starts_with(&start)).map(|line| format!("{line}\n")));
            let note = format!("{}: ", row.row);
            said.extend(
                old.lines()
                    .filter_map(|line| line.strip_prefix("- "))
                    .filter(|l| l.starts_with(&note))
                    .map(str::to_owned),
            );
        }
    }
    out.push('\n');
    said.iter().for_each(|note| {
        let _ = writeln!(out, "- {note}");
    });
    out
}

/// Replaces the table between the marks in the documentation at `path`.
pub fn write(path: &Path, all: &[BenchRow], rows: &[(BenchRow, Samples)], machine: &str, when: &str) -> Result<()> {
    let [before, old, after] = parts(path)?;
    let table = markdown(all, rows, machine, when, &old);
    build::cache::write(path, format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", table.trim_end()).as_bytes())
}

/// Returns the documentation at `path`: what is before the marks, between them, and after them.
pub fn parts(path: &Path) -> Result<[String; 3]> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let (before, rest) = text.split_once(BEGIN).with_context(|| missing(path, BEGIN))?;
    let (old, after) = rest.split_once(END).with_context(|| missing(path, END))?;
    Ok([before, old, after].map(str::to_owned))
}

fn missing(path: &Path, mark: &str) -> String {
    format!("`{}` has lost the line `{mark}`, which says where the table stands", path.display())
}

fn cells(row: &BenchRow, samples: &Samples) -> [String; 7] {
    let mut wanted = Vec::new();
    let mut met = Vec::new();
    if let Some(limit) = row.ratio {
        wanted.push(format!("≤ {limit}"));
        met.push(samples.ratio().is_some_and(|ratio| ratio.median <= limit));
    }
    if let Some(limit) = row.seconds {
        wanted.push(format!("≤ {}", time(limit)));
        met.push(samples.ours().is_some_and(|ours| ours.median <= limit));
    }
    let met = if met.is_empty() {
        "–"
    } else if met.iter().all(|met| *met) {
        "met"
    } else {
        "missed"
    };
    [
        row.row.to_string(),
        spread(samples.ours(), time),
        spread(samples.plain(), time),
        spread(samples.ratio(), ratio),
        wanted.join(", "),
        met.to_owned(),
        spread(samples.load(), |load| format!("{load:.1}")),
    ]
}

fn note(row: &BenchRow, samples: &Samples) -> Option<String> {
    let mut parts: Vec<(String, f64)> = samples.parts().into_iter().collect();
    parts.sort_by(|a, b| b.1.total_cmp(&a.1));
    let parts: Vec<String> = parts.iter().take(5).map(|(name, seconds)| format!("{name} {}", time(*seconds))).collect();
    let parts = (!parts.is_empty()).then(|| format!("ours consists of {}", parts.join(", ")));
    let received = samples.received().map(|[ours, plain, by]| {
        let bytes = |count: f64| ui::bytes(count as u64);
        format!("received from the network: ours {}, plain {}, ratio {}", bytes(ours), bytes(plain), ratio(by))
    });
    let notes: Vec<String> = [parts, received].into_iter().flatten().collect();
    (!notes.is_empty()).then(|| format!("{}: {}", row.row, notes.join("; ")))
}

fn spread(spread: Option<Spread>, show: fn(f64) -> String) -> String {
    match spread {
        None => "–".to_owned(),
        Some(Spread { median, min, max }) if min == max => show(median),
        Some(Spread { median, min, max }) => format!("{} ({}–{})", show(median), show(min), show(max)),
    }
}

fn time(seconds: f64) -> String {
    if seconds < 0.9995 { format!("{:.0} ms", seconds * 1000.0) } else { ui::seconds(seconds) }
}

/// Formats a ratio with two significant digits.
fn ratio(ratio: f64) -> String {
    let digits = if ratio > 0.0 { (1.0 - ratio.log10().floor()).clamp(2.0, 6.0) } else { 2.0 };
    format!("{ratio:.0$}", digits as usize)
}

#[cfg(test)]
mod tests;
