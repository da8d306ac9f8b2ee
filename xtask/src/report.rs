//! The closing table; drawn from the manifest alone.

use std::fmt::Write as _;

use anyhow::Result;

use crate::manifest::Manifest;
use crate::ui::{bytes, seconds};
use crate::{summary, ui};

/// The table for whoever has asked; on GitHub also in the job's summary.
pub fn publish(manifest: &Manifest) -> Result<()> {
    let table = table(manifest);
    summary::add(&format!("```text\n{table}```\n"))?;
    ui::out(&table)
}

/// One line per artefact, at most 80 columns wide.
pub fn table(manifest: &Manifest) -> String {
    let rows: Vec<[String; 7]> = manifest
        .artefacts
        .iter()
        .map(|entry| {
            [
                // Images are told apart by their tags alone.
                if entry.kind == "image" {
                    "image".to_owned()
                } else if entry.kind == "base" {
                    "python".to_owned()
                } else {
                    entry.name.clone()
                },
                entry.tag.clone(),
                bytes(entry.size),
                seconds(entry.seconds),
                if entry.cached { "cached" } else { "built" }.to_owned(),
                entry.sha256.chars().take(8).collect(),
                entry.notes.get("gil").cloned().unwrap_or_else(|| "-".to_owned()),
            ]
        })
        .collect();
    let head = ["ARTEFACT", "TAG", "SIZE", "TIME", "STATE", "SHA-256", "GIL"].map(str::to_owned);
    let mut out = String::new();
    let all = || std::iter::once(&head).chain(&rows);
    let width = |column: usize| all().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..7).map(width).collect();
    for row in all() {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let gap = if column == 0 { "" } else { " " };
            // Numbers are read from the right.
            let _ = if column == 2 || column == 3 {
                write!(line, "{gap}{cell:>width$}", width = widths[column])
            } else {
                write!(line, "{gap}{cell:<width$}", width = widths[column])
            };
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}
