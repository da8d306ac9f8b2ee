//! Compares two result folders and reports significant regressions.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, bail};

use crate::comparable::{self, Difference, Kind};
use crate::figures::{ALL, CPU, Figures, Subject};
use crate::record::Record;
use crate::verdict::{Good, Sides, Verdict, family};
use base::ui;

pub fn run(old: &Path, new: &Path) -> Result<()> {
    let (before, after) = (Record::read(old)?, Record::read(new)?);
    let (was, is) = (Figures::of(&before, old)?, Figures::of(&after, new)?);
    let compared = compared((&before, &was), (&after, &is));
    let Compared { rows, refused, .. } = &compared;
    if rows.is_empty() && refused.is_empty() {
        bail!("`{}` and `{}` have no complete run of the same configuration", old.display(), new.display());
    }
    for (name, record, figures) in [("first", &before, &was), ("second", &after, &is)] {
        if let Some(line) = super::mostly_errors(record, figures) {
            ui::print_result(&format!("warning: the {name} has {line}\n"))?;
        }
    }
    ui::print_result(&told(&before, &after, &compared))?;
    let worse: Vec<&str> = rows.iter().filter(|row| row.verdict.worse()).map(|row| row.name.as_str()).collect();
    match (worse.as_slice(), refused.as_slice()) {
        ([first, ..], _) => bail!("{} of {} figures are worse, the first: {first}", worse.len(), rows.len()),
        ([], [(config, _), ..]) => bail!("{} configurations cannot be compared, the first: {config}", refused.len()),
        ([], []) => Ok(()),
    }
}

/// Figure that both folders have, with the verdict on its change.
pub struct ComparedFigure {
    pub name: String,
    pub verdict: Verdict,
}

/// Comparison of two folders.
#[derive(Default)]
pub struct Compared {
    pub rows: Vec<ComparedFigure>,
    /// Configurations that were measured under different conditions, with the reason.
    pub refused: Vec<(String, String)>,
    /// What differs between the images of a configuration.
    pub differences: Vec<(String, Difference)>,
}

/// Compares each figure that both folders have. All figures of a configuration are adjusted together. A configuration
/// is compared only if nothing but its image differs.
pub fn compared((before, was): (&Record, &Figures), (after, is): (&Record, &Figures)) -> Compared {
    let mut compared = Compared::default();
    for config in &before.configs {
        let id = &config.asked.id;
        let Some(later) = after.config(id) else { continue };
        let whole = Subject::new(id, "", ALL);
        let sides = |subject: &Subject, figure: &str, good| {
            // The folders have different rounds.
            let (a, b) = (was.get(subject, figure).to_vec(), is.get(subject, figure).to_vec());
            Sides { a: a.into(), b: b.into(), good, first: None }
        };
        let mut names = vec![format!("{id}: processor time per request"), format!("{id}: requests/s")];
        let mut all = vec![sides(&whole, CPU, Good::Low), sides(&whole, "requests/s", Good::High)];
        for client in &config.asked.clients {
            for scenario in &before.load.scenarios {
                let subject = Subject::new(id, client, scenario);
                names.push(format!("{id}: p95 of {scenario}, {client}"));
                all.push(sides(&subject, "p95", Good::Low));
            }
        }
        let verdicts = names.into_iter().zip(family(&all));
        let rows = verdicts.filter_map(|(name, verdict)| Some(ComparedFigure { name, verdict: verdict? }));
        match comparable::between((before, config), (after, later)) {
            // Without complete runs there is nothing to compare.
            _ if all.iter().all(|sides| sides.a.is_empty() || sides.b.is_empty()) => {}
            Ok(difference) => {
                compared.rows.extend(rows);
                compared.differences.push((id.to_string(), difference));
            }
            Err(why) => compared.refused.push((id.to_string(), why)),
        }
    }
    compared
}

/// Formats the comparison, starting with what cannot be compared.
pub fn told(before: &Record, after: &Record, compared: &Compared) -> String {
    let mut out = String::new();
    if before.server.standin || after.server.standin {
        out.push_str("warning: a stand-in server: its speed says nothing\n");
    }
    for (name, record) in [("first", before), ("second", after)] {
        if let Some(why) = record.incomplete() {
            out.push_str(&format!("warning: the {name} is incomplete: {why}\n"));
        }
    }
    for (config, why) in &compared.refused {
        out.push_str(&format!("{config}: {why}\n"));
    }
    for (config, difference) in compared.differences.iter().filter(|(_, difference)| difference.kind != Kind::Nothing) {
        out.push_str(&format!("{config}: the difference is {}\n", difference.words));
    }
    let unknown: BTreeSet<&str> = compared.differences.iter().flat_map(|(_, one)| one.unknown.clone()).collect();
    if !unknown.is_empty() {
        let names = unknown.into_iter().collect::<Vec<_>>().join(", ");
        out.push_str(&format!("warning: not recorded, so not checked: {names}\n"));
    }
    let cells = |ComparedFigure { name, verdict }: &ComparedFigure| {
        [name.clone(), format!("{}  {}", verdict.size(), verdict.words().replace("**", ""))]
    };
    let cells: Vec<[String; 2]> = compared.rows.iter().map(cells).collect();
    out.push_str(&ui::columns(&cells, "  ", |_| false));
    out
}
