//! Compares two result folders and reports significant regressions.

use std::path::Path;

use anyhow::{Result, bail};

use crate::figures::{ALL, Figures, Subject};
use crate::record::Record;
use crate::verdict::{Good, Verdict, family};
use base::ui;

pub fn run(old: &Path, new: &Path) -> Result<()> {
    let (before, after) = (Record::read(old)?, Record::read(new)?);
    let (was, is) = (Figures::of(&before, old)?, Figures::of(&after, new)?);
    let rows = rows(&before, &was, &is);
    if rows.is_empty() {
        bail!("`{}` and `{}` have no complete run of the same configuration", old.display(), new.display());
    }
    for (name, record, figures) in [("first", &before, &was), ("second", &after, &is)] {
        if let Some(line) = super::mostly_errors(record, figures) {
            ui::print_result(&format!("warning: the {name} has {line}\n"))?;
        }
    }
    ui::print_result(&told(&before, &after, &rows))?;
    let worse: Vec<&str> = rows.iter().filter(|row| row.verdict.worse()).map(|row| row.name.as_str()).collect();
    match worse.as_slice() {
        [] => Ok(()),
        [first, ..] => bail!("{} of {} figures are worse, the first: {first}", worse.len(), rows.len()),
    }
}

/// Figure that both folders have, with the verdict on its change.
pub struct ComparedFigure {
    pub name: String,
    pub verdict: Verdict,
}

/// Returns the comparison of each figure that both folders have. All figures of a configuration are adjusted
/// together.
pub fn rows(before: &Record, was: &Figures, is: &Figures) -> Vec<ComparedFigure> {
    let mut rows = Vec::new();
    for config in &before.configs {
        let id = &config.asked.id;
        let mut names = vec![format!("{id}: requests/s")];
        let whole = Subject::new(id, "", ALL);
        let mut pairs = vec![(was.get(&whole, "requests/s"), is.get(&whole, "requests/s"), Good::High)];
        for client in &config.asked.clients {
            for scenario in &before.load.scenarios {
                let subject = Subject::new(id, client, scenario);
                names.push(format!("{id}: p95 of {scenario}, {client}"));
                pairs.push((was.get(&subject, "p95"), is.get(&subject, "p95"), Good::Low));
            }
        }
        let verdicts = names.into_iter().zip(family(&pairs));
        rows.extend(verdicts.filter_map(|(name, verdict)| Some(ComparedFigure { name, verdict: verdict? })));
    }
    rows
}

/// Formats the comparison, starting with unintended differences between the folders.
pub fn told(before: &Record, after: &Record, rows: &[ComparedFigure]) -> String {
    let mut out = String::new();
    let mut differ = |what: &str, differs: bool| {
        if differs {
            out.push_str(&format!("warning: {what}\n"));
        }
    };
    differ("they were not measured on the same machine", before.machine != after.machine);
    differ("they were not measured with the same load", before.load != after.load);
    differ("they were not measured with the same load scripts", before.scripts != after.scripts);
    differ("they were not measured with the same load generator", before.k6.digest != after.k6.digest);
    differ("they were not measured with the same server", before.server != after.server);
    differ("a stand-in server: its speed says nothing", before.server.standin || after.server.standin);
    for (name, record) in [("first", before), ("second", after)] {
        if let Some(why) = record.incomplete() {
            out.push_str(&format!("warning: the {name} is incomplete: {why}\n"));
        }
    }
    let cells = |ComparedFigure { name, verdict }: &ComparedFigure| {
        [name.clone(), format!("{}  {}", verdict.size(), verdict.words().replace("**", ""))]
    };
    let cells: Vec<[String; 2]> = rows.iter().map(cells).collect();
    out.push_str(&ui::columns(&cells, "  ", |_| false));
    out
}
