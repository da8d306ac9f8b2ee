//! Report section about environment variables that were varied.

use super::page::Section;
use super::view::{View, measured, section, text};
use crate::comparable::{Comparison, Kind, comparisons};
use crate::verdict::{PROCESSOR_TIME, RATE, Verdict};

/// Comparison of a configuration with its variation.
struct Row {
    names: Vec<String>,
    verdicts: Vec<(String, Verdict)>,
}

impl View<'_> {
    /// Returns the section; `None` if no two configurations differ in environment variables only.
    pub fn varied(&self) -> Option<Section> {
        let first = self.scenarios().next().map(|scenario| format!(" p95 of {scenario}"))?;
        let mut head = vec!["Configuration".to_owned(), "Varied".to_owned()];
        let mut found: Vec<Row> = Vec::new();
        for Comparison { base, other, difference } in
            comparisons(self.record).made.iter().filter(|one| one.difference.kind == Kind::Variables)
        {
            let shown = |name: &str| [PROCESSOR_TIME, RATE].contains(&name) || name.ends_with(&first);
            let verdicts = self.verdicts(base, other).into_iter().filter(|(name, _)| shown(name));
            let verdicts: Vec<_> = verdicts.filter_map(|(name, verdict)| Some((name, verdict?))).collect();
            let new = verdicts.iter().map(|(name, _)| name).filter(|name| !head.contains(name));
            let new: Vec<String> = new.cloned().collect();
            head.extend(new);
            found.push(Row { names: vec![base.asked.title.clone(), difference.words.clone()], verdicts });
        }
        let rows = found.into_iter().map(|Row { names, verdicts }| {
            let figures = head[2..].iter().map(|figure| {
                let verdict = verdicts.iter().find(|(name, _)| name == figure);
                verdict.map_or("–".to_owned(), |(_, verdict)| cell(verdict))
            });
            names.into_iter().chain(figures).collect()
        });
        let rows = rows.collect();
        let said = "Changes against the same configuration without the variation, with 95 % intervals. Where a difference was \
                    shown, the word says in which direction.";
        section("What of the environment decides", vec![text(said), measured(2, head, rows)])
    }
}

/// Formats a change, with a word if it was shown.
fn cell(verdict: &Verdict) -> String {
    let size = verdict.size();
    match (verdict.shown(), verdict.worse()) {
        (false, _) => size,
        (true, true) => format!("{size} **worse**"),
        (true, false) => format!("{size} **better**"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Figures;
    use crate::fixture;
    use crate::record::Record;
    use crate::report::page::Block;

    fn rows(name: &str, change: impl FnOnce(&mut Record)) -> Option<(Vec<String>, Vec<Vec<String>>)> {
        let folder = fixture::folder(name, 1, 1.0);
        let mut record = Record::read(&folder.0).unwrap();
        change(&mut record);
        let figures = Figures::of(&record, &folder.0).unwrap();
        let section = View { record: &record, figures: &figures }.varied()?;
        section.blocks.into_iter().find_map(|block| match block {
            Block::Table(table) => Some((table.head, table.rows)),
            _ => None,
        })
    }

    #[test]
    fn a_varied_variable_has_a_row() {
        assert_eq!(rows("not-varied", |_| {}), None);
        let (head, rows) = rows("varied", |record| {
            let id = record.configs[1].asked.id.clone();
            record.configs[1] = record.configs[0].clone();
            let other = &mut record.configs[1];
            other.asked.id = id;
            other.asked.env.insert("THREADS".to_owned(), "4".to_owned());
            other.variables = Some(other.asked.env.clone());
        })
        .unwrap();
        assert_eq!(head[2..], [PROCESSOR_TIME, RATE, "async, p95 of single"]);
        let [row] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!(row[1], "environment (none → THREADS=4)");
        assert!(row[2].starts_with("−50 % (") && row[2].ends_with(" **better**"), "{row:?}");
        assert!(!row[3].contains("**"), "{row:?}");
    }
}
