//! First section of a report: what was found, in sentences that rules make from the record.

use super::method;
use super::page::{Block, Section};
use super::view::View;
use crate::comparable::{Comparison, comparisons};
use crate::record::Record;
use crate::verdict::{PROCESSOR_TIME, RATE, Verdict, percent};

/// Most sentences about differences.
const SENTENCES: usize = 5;
/// Most comparisons that a sentence names.
const NAMES: usize = 2;
/// Largest share of the processors that other programs may use in a comparison of wall times.
const OTHERS: f64 = 0.2;

/// A figure of two configurations, with its verdict.
struct Finding<'c> {
    comparison: &'c Comparison<'c>,
    figure: String,
    verdict: Verdict,
}

impl View<'_> {
    /// Returns the section: the largest differences that were shown, then what was not shown, then charts.
    pub fn findings(&self, charts: Vec<Block>) -> Section {
        let mut found: Vec<Finding> = Vec::new();
        let made = comparisons(self.record).made;
        for comparison in &made {
            let main = [PROCESSOR_TIME, RATE];
            let verdicts = self.verdicts(comparison.base, comparison.other).into_iter();
            let main = verdicts.filter(|(figure, _)| main.contains(&figure.as_str()));
            found.extend(main.filter_map(|(figure, verdict)| Some(Finding { comparison, figure, verdict: verdict? })));
        }
        let (disturbed, usable): (Vec<&Finding>, Vec<&Finding>) =
            found.iter().partition(|finding| finding.figure == RATE && disturbed(self.record, finding.comparison));
        let (mut shown, not): (Vec<&Finding>, Vec<&Finding>) =
            usable.into_iter().partition(|finding| finding.verdict.shown());
        shown.sort_by(|a, b| b.verdict.change.mean.abs().total_cmp(&a.verdict.change.mean.abs()));
        let mut sentences: Vec<String> = shown.iter().take(SENTENCES).map(|finding| finding.sentence()).collect();
        if shown.len() > SENTENCES {
            sentences.push(format!("{} smaller differences are in the appendix.", shown.len() - SENTENCES));
        }
        for figure in [PROCESSOR_TIME, RATE] {
            sentences.extend(not_shown(figure, &not));
        }
        if !disturbed.is_empty() {
            sentences.push(format!(
                "Nothing is said about requests/s of {}, because other programs used more than {} % of the processors \
                 meanwhile.",
                pairs(&disturbed),
                OTHERS * 100.0
            ));
        }
        if found.is_empty() {
            sentences.push(
                "There is nothing to compare: no two configurations with results differ in one thing only.".into(),
            );
        }
        let limits = method::warned(self.record, self.figures).len();
        if limits > 0 {
            let limits = if limits == 1 { "One thing limits".to_owned() } else { format!("{limits} things limit") };
            sentences.push(format!("{limits} these results; see \"{}\".", method::LIMITS));
        }
        Section::new("What was found", [vec![Block::List(sentences)], charts].concat())
    }
}

impl Finding<'_> {
    fn sentence(&self) -> String {
        let Comparison { base, other, difference } = self.comparison;
        let change = &self.verdict.change;
        let more = if change.mean > 0.0 { "more" } else { "less" };
        let (verb, what) = match self.figure == RATE {
            true => ("answers", if more == "more" { "more requests per second" } else { "fewer requests per second" }),
            false => (
                "needs",
                if more == "more" { "more processor time per request" } else { "less processor time per request" },
            ),
        };
        let size = percent(change.mean.abs()).trim_start_matches('+').to_owned();
        let interval = change.ends.map_or_else(String::new, |(low, high)| {
            format!(" (95 % interval {} to {} %)", percent(low), percent(high))
        });
        format!(
            "**{}** {verb} **{size} % {what}** than {}{interval}. They differ in: {}.",
            other.asked.title, base.asked.title, difference.words
        )
    }
}

/// Returns a sentence about the comparisons in which a figure showed no difference; `None` if there are none.
fn not_shown(figure: &str, findings: &[&Finding]) -> Option<String> {
    let of_it: Vec<&Finding> = findings.iter().filter(|finding| finding.figure == figure).copied().collect();
    let limit = detectable(of_it.iter().map(|finding| &finding.verdict));
    (!of_it.is_empty()).then(|| format!("No difference in {figure} was shown for {} ({limit}).", pairs(&of_it)))
}

/// Returns the names of the compared configurations, of many only the first.
fn pairs(findings: &[&Finding]) -> String {
    let pair = |finding: &&Finding| {
        let Comparison { base, other, .. } = finding.comparison;
        format!("{} against {}", other.asked.title, base.asked.title)
    };
    // A single one more is named, too.
    let shown = if findings.len() == NAMES + 1 { NAMES + 1 } else { NAMES };
    let mut names: Vec<String> = findings.iter().take(shown).map(pair).collect();
    if findings.len() > shown {
        names.push(format!("{} other comparisons", findings.len() - shown));
    }
    names.join("; ")
}

/// Returns whether other programs used so much of the processors that wall times say more about them.
fn disturbed(record: &Record, comparison: &Comparison) -> bool {
    let compared = [&*comparison.base.asked.id, &*comparison.other.asked.id];
    let runs = record.complete().filter(|run| compared.contains(&run.config.as_str()));
    runs.flat_map(|run| &run.phases).any(|phase| phase.machine.other > OTHERS)
}

/// Says which differences the verdicts could have shown.
pub fn detectable<'v>(verdicts: impl Iterator<Item = &'v Verdict>) -> String {
    match verdicts.filter_map(|verdict| verdict.smallest).max_by(f64::total_cmp) {
        Some(share) => {
            format!("differences of {} % or more would have been shown", percent(share).trim_start_matches('+'))
        }
        None => "so few runs cannot show any".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Figures;
    use crate::fixture;

    fn sentences(name: &str, change: impl FnOnce(&mut Record)) -> Vec<String> {
        let folder = fixture::folder(name, 1, 1.0);
        let mut record = Record::read(&folder.0).unwrap();
        let figures = Figures::of(&record, &folder.0).unwrap();
        change(&mut record);
        let section = View { record: &record, figures: &figures }.findings(Vec::new());
        match section.blocks.into_iter().next() {
            Some(Block::List(sentences)) => sentences,
            _ => panic!("the findings are a list"),
        }
    }

    #[test]
    fn sentences_have_the_direction_of_the_change() {
        let all = sentences("forward", |_| {});
        let less =
            "needs **50 % less processor time per request** than 3.11 with GIL, stages on (95 % interval −52 to −4";
        assert!(all[0].starts_with("**3.14t, acme-py only, stages on**") && all[0].contains(less), "{all:?}");
        assert!(all[1].starts_with("No difference in requests/s was shown for 3.14t, acme-py only"), "{all:?}");
        let all = sentences("backward", |record| record.configs.swap(0, 1));
        assert!(all[0].contains("% more processor time per request** than 3.14t, acme-py only"), "{all:?}");
    }

    #[test]
    fn nothing_is_said_about_wall_times_on_a_machine_that_others_use() {
        let all = sentences("others", |record| record.runs[0].phases[0].machine.other = 0.5);
        assert!(all.iter().any(|text| text.starts_with("Nothing is said about requests/s of 3.14t")), "{all:?}");
        assert!(all[0].contains("less processor time per request"), "{all:?}");
    }

    #[test]
    fn without_comparisons_the_section_says_so() {
        let all = sentences("alone", |record| record.configs.truncate(1));
        assert!(all.len() == 1 && all[0].starts_with("There is nothing to compare"), "{all:?}");
    }
}
