//! Report section about where the time of a request goes: processor time, stages and parts.

use super::page::{Block, Chart, Section};
use super::svg::{self, Bar};
use super::view::{ORIGINAL, View, measured, section, text};
use super::words::{mean, number, theirs};
use crate::comparable;
use crate::figures::{ALL, CPU, Subject};
use crate::infer::Estimate;
use crate::record::Config;
use crate::verdict::{Good, Sides, Verdict, family};

/// Verdict about each stage of two configurations, or why they are not comparable.
type StageVerdicts = Result<Vec<Option<Verdict>>, String>;

impl View<'_> {
    /// Returns the section: sentences about stages first, then charts and tables.
    pub fn why(&self) -> Option<Section> {
        let (mut blocks, stages) = (self.processor_time(), self.stages());
        let heading = if stages.is_empty() { "Where the time goes" } else { "What gets faster, and why" };
        blocks.extend(stages);
        blocks.extend(self.parts());
        section(heading, blocks)
    }

    fn processor_time(&self) -> Vec<Block> {
        let bars: Vec<Bar> = self.record.configs.iter().filter_map(|config| self.bar(config, "", ALL, CPU)).collect();
        if bars.is_empty() {
            return Vec::new();
        }
        let said = "Processor time that the kernel accounted to the container of the service, in milliseconds per answer \
                    with status 200. It hardly depends on what else the machine does.";
        let caption = "Over all scenarios, with its 95 % interval.";
        let chart = self.bar_chart("processor-time", caption, ("Processor time per request", "ms"), &bars);
        let scenarios: Vec<&str> = [ALL].into_iter().chain(self.scenarios()).collect();
        let rows = self.record.configs.iter().map(|config| {
            let figures = scenarios.iter().map(|scenario| self.show(config, "", scenario, CPU));
            [config.asked.title.clone()].into_iter().chain(figures).collect()
        });
        let mut head = vec!["Configuration".to_owned(), "All scenarios, ms".to_owned()];
        head.extend(self.scenarios().map(|scenario| format!("{scenario}, ms")));
        // With a single scenario, the table has only what the chart has.
        let table = (scenarios.len() > 2).then(|| measured(1, head, rows.collect()));
        let heading = Block::Heading("Processor time per request".to_owned());
        [heading, text(said)].into_iter().chain(chart).chain(table).collect()
    }

    /// Returns the stages of the configurations with stage metrics, compared with the first of them.
    fn stages(&self) -> Vec<Block> {
        let Some(stages) = self.record.stages() else { return Vec::new() };
        let has = |config: &&Config| {
            config.asked.stages && stages.order.iter().any(|stage| self.stage(config, stage).is_some())
        };
        let staged: Vec<&Config> = self.record.configs.iter().filter(has).collect();
        let Some((first, others)) = staged.split_first() else { return Vec::new() };
        let happened = |stage: &&str| staged.iter().any(|config| self.stage(config, stage).is_some());
        let order: Vec<&str> = stages.order.iter().map(|stage| &**stage).filter(happened).collect();
        let verdicts: Vec<(&Config, StageVerdicts)> =
            others.iter().map(|other| (*other, self.stage_verdicts(first, other, &order))).collect();
        let compared = verdicts.iter().map(|(other, verdicts)| match verdicts {
            Ok(verdicts) => self.shortened((first, other), &order, verdicts),
            Err(why) => format!("The stages of {} and {} are {why}.", first.asked.title, other.asked.title),
        });
        let said = "Means over all scenarios of the stages of a call, as the client itself counts them. The charts have the \
                    same scale and draw one stage after the other; stages may overlap in truth.";
        let mut blocks = vec![Block::Heading("Stages".to_owned())];
        blocks.push(Block::List(
            compared.chain(staged.iter().filter_map(|config| self.longest(config, &order))).collect(),
        ));
        blocks.push(text(said));
        blocks.extend(self.waterfalls(&staged, &order));
        blocks.push(self.stage_table(&staged, &order, &verdicts));
        blocks
    }

    /// Returns the duration of a stage in milliseconds; `None` if it was not measured.
    fn stage(&self, config: &Config, stage: &str) -> Option<Estimate> {
        self.figures.estimate(&Subject::new(&config.asked.id, "", ALL), &figure(stage))
    }

    /// Returns all stages of a configuration that were measured.
    fn all_stages(&self, config: &Config, order: &[&str]) -> Vec<(String, Estimate)> {
        order.iter().filter_map(|stage| Some((stage.to_string(), self.stage(config, stage)?))).collect()
    }

    fn stage_verdicts(&self, first: &Config, other: &Config, order: &[&str]) -> StageVerdicts {
        comparable::within(self.record, first, other)?;
        let whole = |config: &Config| Subject::new(&config.asked.id, "", ALL);
        let pair = (whole(first), whole(other));
        let sides = |stage: &&str| self.figures.sides(self.record, (&pair.0, &pair.1), &figure(stage), Good::Low);
        let all: Vec<Sides> = order.iter().map(sides).collect();
        Ok(family(&all))
    }

    /// Says which stage became shorter by most milliseconds.
    fn shortened(&self, (first, other): (&Config, &Config), order: &[&str], verdicts: &[Option<Verdict>]) -> String {
        let shorter = order.iter().zip(verdicts).filter_map(|(stage, verdict)| {
            let verdict = verdict.as_ref().filter(|verdict| verdict.shown() && !verdict.worse())?;
            Some((stage, self.stage(first, stage)?, self.stage(other, stage)?, verdict))
        });
        let (before, after) = (&first.asked.title, &other.asked.title);
        match shorter.max_by(|a, b| (a.1.mean - a.2.mean).total_cmp(&(b.1.mean - b.2.mean))) {
            Some((stage, was, is, verdict)) => format!(
                "From {before} to **{after}**, **`{stage}` shrank most**: from {} to {} ms, {}.",
                mean(&was),
                mean(&is),
                verdict.size_with_interval()
            ),
            None => format!("No stage was shown to be shorter with **{after}** than with {before}."),
        }
    }

    /// Says which stage takes most of the time.
    fn longest(&self, config: &Config, order: &[&str]) -> Option<String> {
        let all = self.all_stages(config, order);
        let (stage, lasts) = all.iter().max_by(|a, b| a.1.mean.total_cmp(&b.1.mean))?;
        let (title, lasts, all) = (&config.asked.title, mean(lasts), number(whole(&all)));
        Some(format!("With **{title}**, `{stage}` takes most of the time: {lasts} of {all} ms."))
    }

    fn waterfalls(&self, staged: &[&Config], order: &[&str]) -> Vec<Block> {
        let all: Vec<_> = staged.iter().map(|config| self.all_stages(config, order)).collect();
        let longest = all.iter().map(|stages| whole(stages)).fold(0.0, f64::max);
        let charts = staged.iter().zip(&all).enumerate().map(|(index, (config, stages))| {
            let config = &config.asked.title;
            let title = self.title(&format!("Stages, {config}"));
            let caption = format!("{} ms in all stages of {config}.", number(whole(stages)));
            let svg = svg::waterfall((&title, "ms"), stages, longest);
            Block::Chart(Chart { name: format!("stages-{index}"), caption, svg })
        });
        charts.collect()
    }

    fn stage_table(&self, staged: &[&Config], order: &[&str], verdicts: &[(&Config, StageVerdicts)]) -> Block {
        let compared: Vec<_> =
            verdicts.iter().filter_map(|(other, verdicts)| Some((other, verdicts.as_ref().ok()?))).collect();
        let meaning = self.record.stages().map(|stages| &stages.meaning);
        let mut head = vec!["Stage".to_owned(), "What happens".to_owned()];
        for config in staged {
            head.extend([format!("{}, ms", config.asked.title), format!("{ORIGINAL}, ms")]);
        }
        head.extend(compared.iter().map(|(other, _)| format!("Change: {}", other.asked.title)));
        let rows = order.iter().enumerate().map(|(index, stage)| {
            let meaning = meaning.and_then(|meaning| meaning.get(*stage));
            let mut row = vec![format!("`{stage}`"), meaning.map_or("–".to_owned(), Clone::clone)];
            for config in staged {
                let figure = figure(stage);
                row.extend([self.show(config, "", ALL, &figure), theirs(self.theirs(config, "", ALL, &figure))]);
            }
            row.extend(compared.iter().map(|(_, verdicts)| {
                verdicts[index]
                    .as_ref()
                    .map_or("–".to_owned(), |found| format!("{}: {}", found.size(), found.words()))
            }));
            row
        });
        measured(1, head, rows.collect())
    }

    /// Returns the parts of a request that the application counts.
    fn parts(&self) -> Vec<Block> {
        let parts = self.record.parts();
        let rows = self.record.configs.iter().map(|config| {
            let mut row = vec![config.asked.title.clone()];
            for part in &parts {
                let figure = format!("{part} mean");
                row.extend([self.show(config, "", ALL, &figure), theirs(self.theirs(config, "", ALL, &figure))]);
            }
            row
        });
        let mut head = vec!["Configuration".to_owned()];
        parts.iter().for_each(|part| head.extend([format!("{part}, ms"), format!("{ORIGINAL}, ms")]));
        let table = measured(1, head, rows.collect());
        let said = "Means over all scenarios, as the application counts them. A part in which no client takes part is the \
                    control: it shows what the interpreter alone changes.";
        match &table {
            Block::Table(table) if table.rows.is_empty() => Vec::new(),
            _ => vec![Block::Heading("Parts of a request".to_owned()), text(said), table],
        }
    }
}

/// Returns the sum of the means of stages.
fn whole(stages: &[(String, Estimate)]) -> f64 {
    stages.iter().map(|(_, lasts)| lasts.mean).sum()
}

/// Returns the name of the figure of a stage.
fn figure(stage: &str) -> String {
    format!("stage {stage}")
}
