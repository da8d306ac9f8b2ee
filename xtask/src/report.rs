//! The closing table; drawn from the manifest alone.

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
    let rows = manifest.artefacts.iter().map(|entry| {
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
    });
    let head = ["ARTEFACT", "TAG", "SIZE", "TIME", "STATE", "SHA-256", "GIL"].map(str::to_owned);
    let all: Vec<[String; 7]> = std::iter::once(head).chain(rows).collect();
    // Numbers are read from the right.
    ui::columns(&all, |column| column == 2 || column == 3)
}
