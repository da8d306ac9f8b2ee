//! Report section about what the threads did: flame graphs, and the functions in which the time was spent.

use std::path::Path;

use anyhow::Result;

use super::flames::flames;
use super::page::{Block, Chart, Section};
use super::view::{section, table, text};
use crate::profile::{self, Samples};
use crate::record::{Profile, Record, Stacks};

/// Number of functions in the table of a configuration.
const FUNCTIONS: usize = 8;

/// Profile with its stacks; `None` if the service could not be read.
pub struct Profiled {
    profile: Profile,
    samples: Option<Samples>,
}

/// Reads the stacks of all profiles in a result folder.
pub fn read(folder: &Path, record: &Record) -> Result<Vec<Profiled>> {
    let read = |profile: &Profile| {
        let samples = profile.stacks.as_ref().ok().map(|stacks| profile::read(folder, stacks)).transpose()?;
        Ok(Profiled { profile: profile.clone(), samples })
    };
    record.profiles.iter().map(read).collect()
}

/// Returns the section; `None` without profiles.
pub fn section_of(record: &Record, profiles: &[Profiled]) -> Option<Section> {
    let scenario = &profiles.first()?.profile.scenario;
    let said = format!(
        "In a further run of each configuration, which is not measured, all threads of the service were looked at \
         regularly while it was loaded with `{scenario}`. A function is as wide as its share of the running threads, and \
         stands below the function that called it. Time in which no thread runs is not shown. Of free-threaded \
         interpreters, only the functions up to the last call from C code are known, and a thread runs if the kernel \
         says so; of others, if it is not in a call that waits. So compare shares rather than numbers of threads. The \
         stacks are in the folder `profiles`, in the collapsed format of flame graphs.",
    );
    let mut list = Vec::new();
    let mut rows = Vec::new();
    let mut charts = Vec::new();
    for (index, Profiled { profile, samples }) in profiles.iter().enumerate() {
        let title = record.config(&profile.config).map_or(&profile.config, |config| &config.asked.title);
        match (&profile.stacks, samples) {
            (Ok(stacks), Some(samples)) => {
                list.push(threads(title, stacks));
                rows.extend(functions(title, stacks, samples));
                charts.push(chart(index, title, stacks, samples));
            }
            (Err(why), _) => list.push(format!("**{title}** has no flame graph: {why}.")),
            (Ok(_), None) => {}
        }
    }
    let mut blocks = vec![Block::List(list), text(&said)];
    blocks.extend(charts);
    blocks.push(Block::Heading("Functions in which the time was spent".to_owned()));
    blocks.push(table(&["Configuration", "Function", "Share of the running threads"], rows));
    section("What the threads do", blocks)
}

/// Says how many threads ran and waited at a time.
fn threads(title: &str, stacks: &Stacks) -> String {
    let mean = |count: u64| format!("{:.1}", count as f64 / stacks.looks.max(1) as f64);
    let waits = match stacks.gil_waits {
        Some(waits) => format!(", and **{}** waited for the GIL", mean(waits)),
        None => String::new(),
    };
    format!("**{title}**: **{}** threads ran at a time on average{waits}.", mean(stacks.running))
}

fn functions(title: &str, stacks: &Stacks, samples: &Samples) -> Vec<Vec<String>> {
    let row = |(function, samples): (&str, u64)| {
        let share = 100.0 * samples as f64 / stacks.running.max(1) as f64;
        vec![title.to_owned(), format!("`{function}`"), format!("{share:.0} %")]
    };
    profile::innermost(samples).into_iter().take(FUNCTIONS).map(row).collect()
}

fn chart(index: usize, title: &str, stacks: &Stacks, samples: &Samples) -> Block {
    let told: Vec<String> = functions(title, stacks, samples).iter().map(|row| row[1..].join(": ")).collect();
    let failed = match stacks.failed {
        0 => String::new(),
        1 => " One read failed.".to_owned(),
        failed => format!(" {failed} reads failed."),
    };
    Block::Chart(Chart {
        name: format!("flames-{index}"),
        caption: format!(
            "{title}: {} samples of running threads at {} looks by {}.{failed}",
            stacks.running, stacks.looks, stacks.tool
        ),
        svg: flames(&format!("Running threads, {title}"), &profile::tree(samples), &told),
    })
}
