//! Report sections about the reliability of the results: method, configurations, warnings, and runs.

use super::page::{Block, Section, Table};
use super::words::number;
use crate::figures::{Figures, Subject};
use crate::infer;
use crate::record::{Machine, Phase, Record, Run, Sequential};

/// Heading of the warnings.
pub const LIMITS: &str = "What limits these results";
/// Share of CPU time used by other processes above which a warning is shown.
const OTHER: f64 = 0.05;
const STEAL: f64 = 0.01;
/// Relative difference between load generator and application above which a warning is shown.
const APART: f64 = 0.25;

/// Returns the sections about the method, for the appendix.
pub fn sections(record: &Record) -> Vec<Section> {
    vec![
        Section::new("Configurations", vec![configurations(record)]),
        Section::new("Method", vec![Block::List(method(record))]),
        Section::new("Runs", vec![runs(record)]),
    ]
}

/// Returns the section with the warnings.
pub fn warnings(record: &Record, figures: &Figures) -> Section {
    let mut all = warned(record, figures);
    if all.is_empty() {
        all.push("Nothing that this tool checks.".to_owned());
    }
    Section::new(LIMITS, vec![Block::List(all)])
}

/// Returns the warnings, one for each kind.
pub fn warned(record: &Record, figures: &Figures) -> Vec<String> {
    let mut all = record.warnings.clone();
    let plain: Vec<&str> =
        record.configs.iter().filter(|config| !config.optimized).map(|config| &*config.asked.id).collect();
    if !plain.is_empty() {
        let mixed = if plain.len() < record.configs.len() { " while others were: they cannot be compared" } else { "" };
        all.push(format!(
            "The interpreters of {} were compiled without PGO and LTO{mixed}. With such builds, conclusions about the GIL \
             have been reversed.",
            plain.join(", ")
        ));
    }
    let (repeat, least) = (record.load.repeat, if record.load.slice.is_some() { 2 } else { 4 });
    if repeat < least {
        let least = if least == 2 { "two" } else { "four" };
        let runs = if repeat == 1 { "One run".to_owned() } else { format!("{repeat} runs") };
        all.push(format!("{runs} of each configuration cannot show any difference: it takes {least}."));
    }
    let forwarded = record.complete().filter(|run| run.forwarded).count();
    if forwarded > 0 {
        all.push(format!(
            "In {forwarded} of {} complete runs the Docker engine forwarded each request, because this machine cannot \
             reach the addresses of its containers (as with a rootless engine): latencies are longer than without it.",
            record.complete().count()
        ));
    }
    all.extend(apart(record, figures));
    let machines: Vec<(&Run, &Machine)> =
        record.complete().flat_map(|run| run.phases.iter().map(move |phase| (run, &phase.machine))).collect();
    let mut said = |what: &str, of: fn(&Machine) -> f64, limit: f64| {
        let shares = machines.iter().map(|(run, machine)| (*run, of(machine)));
        let over: Vec<(&Run, f64)> = shares.filter(|(_, share)| *share > limit).collect();
        if let Some((run, most)) = over.iter().max_by(|a, b| a.1.total_cmp(&b.1)) {
            let (times, most) = (over.len(), number(most * 100.0));
            all.push(format!("{what} in {times} measured scenarios, at most {most} % of it, in run {}.", run.id));
        }
    };
    said("Other programs used processor time", |machine| machine.other, OTHER);
    said("The host of this virtual machine took processor time away", |machine| machine.steal, STEAL);
    if machines.iter().any(|(_, machine)| machine.throttled.is_none()) {
        all.push("Whether processors were slowed down cannot be seen on this machine.".to_owned());
    }
    let slowed: u64 = machines.iter().filter_map(|(_, machine)| machine.throttled).sum();
    if slowed > 0 {
        all.push(format!("Processors were slowed down {slowed} times, by their heat or by a limit of this machine."));
    }
    all
}

/// Returns warnings about differences between load generator and application, one for each kind.
fn apart(record: &Record, figures: &Figures) -> Vec<String> {
    let (mut latencies, mut rates) = (Vec::new(), Vec::new());
    for config in &record.configs {
        for client in &config.asked.clients {
            for scenario in &record.load.scenarios {
                let subject = Subject::new(&config.asked.id, client, scenario);
                let mean = |figure: &str| {
                    let values = figures.get(&subject, figure);
                    (!values.is_empty()).then(|| infer::mean(values))
                };
                let place = || format!("{}, {client}, {scenario}", config.asked.id);
                if let (Some(outside), Some(inside)) = (mean("p95"), mean("server p95"))
                    && (outside / inside - 1.0).abs() > APART
                {
                    latencies.push((place(), outside, inside));
                }
                let both = (mean("requests/s"), mean("server requests/s"), mean("errors"));
                if let (Some(outside), Some(inside), Some(0.0)) = both
                    && (outside / inside - 1.0).abs() > 0.05
                {
                    rates.push((place(), outside, inside));
                }
            }
        }
    }
    let waiting = most_apart(&latencies).map(|(count, (place, outside, inside))| {
        let why = if outside > inside { ": requests wait before its clock starts" } else { "" };
        format!(
            "In {count} cases, k6 and the application disagree about the p95; most in {place}, where k6 saw {} ms and the \
             application {} ms{why}.",
            number(outside),
            number(inside)
        )
    });
    let counted = most_apart(&rates).map(|(count, (place, outside, inside))| {
        format!(
            "In {count} cases, k6 and the application disagree about the number of answers; most in {place}, where k6 counted \
             {} per second and the application {}.",
            number(outside),
            number(inside)
        )
    });
    waiting.into_iter().chain(counted).collect()
}

/// What k6 and the application measured in one place.
type Pair = (String, f64, f64);

/// Returns the number of pairs and the one whose values differ most; `None` if there are none.
fn most_apart(pairs: &[Pair]) -> Option<(usize, Pair)> {
    let distance = |pair: &&Pair| (pair.1 / pair.2).ln().abs();
    let most = pairs.iter().max_by(|a, b| distance(a).total_cmp(&distance(b)))?;
    Some((pairs.len(), most.clone()))
}

fn configurations(record: &Record) -> Block {
    let rows = record.configs.iter().map(|config| {
        let asked = &config.asked;
        let seen = record.complete().find(|run| run.config == *asked.id).and_then(|run| run.after.as_ref());
        let env: Vec<String> = asked.env.iter().map(|(name, value)| format!("`{name}={value}`")).collect();
        let packages: Vec<String> = config.packages.iter().map(|(name, version)| format!("{name} {version}")).collect();
        vec![
            asked.id.to_string(),
            asked.title.clone(),
            seen.map_or("–".to_owned(), |seen| seen.python.clone()),
            if config.optimized { "PGO, LTO" } else { "plain" }.to_owned(),
            asked.gil.to_string(),
            env.join(" "),
            asked.clients.iter().map(|client| client.to_string()).collect::<Vec<_>>().join(", "),
            if asked.stages { "on" } else { "off" }.to_owned(),
            packages.join(", "),
            format!("`{}`", config.digest.trim_start_matches("sha256:").get(..12).unwrap_or_default()),
            record.complete().filter(|run| run.config == *asked.id).count().to_string(),
        ]
    });
    let head = [
        "Id",
        "Configuration",
        "CPython",
        "Built",
        "GIL, asked before and after",
        "Variables",
        "Clients",
        "Stages",
        "Packages",
        "Image",
        "Runs",
    ];
    Block::Table(Table { head: head.map(str::to_owned).to_vec(), rows: rows.collect() })
}

fn method(record: &Record) -> Vec<String> {
    let load = &record.load;
    let mut all = vec![
        record.machine.clone(),
        format!("Server: {}{}", record.server.kind, image(record.server.image.as_deref())),
        format!("{} ({}, `{}`); every request that it made is in `samples`.", record.k6.version, record.k6.from, {
            record.k6.digest.trim_start_matches("sha256:").get(..12).unwrap_or_default()
        }),
        format!(
            "Scenarios: {}, {} s each, after a warm-up that does not count. {} users who wait for their answer, or {} \
             requests per second whether or not answers have come; {} records in each set.",
            load.scenarios.join(", "),
            load.seconds,
            load.vus,
            load.rate,
            load.records
        ),
        order(record),
        "A run gives one value for each figure; requests inside a run are not independent. Intervals are bootstrap \
         intervals of the mean over runs, 95 %, widened for few runs as by Hesterberg (2014); of five runs they hold \
         the truth in 92 of 100 cases."
            .to_owned(),
        match record.complete().flat_map(|run| &run.phases).any(|phase| phase.cpu.is_some()) {
            true => {
                "Processor time is what the kernel accounted to the container of the service (its cgroup), read just \
                     before and just after each load. The health check of the image was off."
                    .to_owned()
            }
            false => "Processor time was not recorded.".to_owned(),
        },
        "Only answers with status 200 have a latency; all others are counted as errors.".to_owned(),
    ];
    all.push(match &record.pinned {
        Some([server, application, k6]) => {
            format!("Processors: server {server}, application {application}, load generator {k6}.")
        }
        None => "Server, application and load generator shared all processors.".to_owned(),
    });
    if let Some(original) = &record.original {
        all.push(format!("The original is \"{}\": {}", original.title, original.note.trim()));
    }
    all
}

fn order(record: &Record) -> String {
    let (repeat, seed) = (record.load.repeat, record.seed);
    if let Some(scale) = &record.scale {
        let processors = scale.cpuset(u16::MAX);
        return format!(
            "{repeat} runs of each configuration on each number of processors, each in fresh containers, in an order drawn \
             from the seed {seed}; each has all numbers of users, in random order. The service may have the processors \
             {processors}."
        );
    }
    let Some(slice) = record.load.slice else {
        return format!(
            "{repeat} runs of each configuration, each in fresh containers, in an order drawn from the seed {seed}."
        );
    };
    let rounds = record.order.len() / record.configs.len().max(1);
    let mut said = format!(
        "{rounds} rounds, in each of which all configurations had fresh containers side by side and were loaded in turn, \
         in slices of about {slice} s, in an order drawn from the seed {seed}; all but the loaded one were paused. \
         Changes are ratios within rounds."
    );
    if let Some(Sequential { precision, first, most, needed }) = &record.sequential {
        let needed = needed.map_or("unknown".to_owned(), |needed| needed.to_string());
        said.push_str(&format!(
            " The number of rounds was decided once, by the variance of processor time per request in the first {first}: an \
             interval of ±{} % needs {needed}, and at most {most} were allowed. All intervals of changes use the \
             variance of those {first} only, so that they hold although the data decided when to stop (Stein 1945).",
            number(precision * 100.0)
        ));
    }
    said
}

fn image(id: Option<&str>) -> String {
    id.map_or(String::new(), |id| format!(" (`{}`)", id.trim_start_matches("sha256:").get(..12).unwrap_or(id)))
}

fn runs(record: &Record) -> Block {
    let rows = record.runs.iter().map(|run| {
        let counted = run.failed.is_none();
        let mean = |of: fn(&Phase) -> f64| {
            let all: Vec<f64> = run.phases.iter().map(of).collect();
            if all.is_empty() || !counted { "–".to_owned() } else { number(infer::mean(&all) * 100.0) }
        };
        vec![
            run.id.clone(),
            if counted { "complete".to_owned() } else { "**incomplete**".to_owned() },
            mean(|phase| phase.machine.busy),
            mean(|phase| phase.machine.other),
            mean(|phase| phase.machine.steal),
            run.phases.last().and_then(|phase| phase.machine.load).map_or("–".to_owned(), number),
            if counted {
                run.phases.iter().map(|phase| phase.dropped).sum::<u64>().to_string()
            } else {
                "–".to_owned()
            },
            run.failed.clone().unwrap_or_default(),
        ]
    });
    let head = [
        "Run",
        "",
        "Machine busy, %",
        "By others, %",
        "Stolen, %",
        "Load average",
        "Requests not begun in time",
        "Why",
    ];
    Block::Table(Table { head: head.map(str::to_owned).to_vec(), rows: rows.collect() })
}
