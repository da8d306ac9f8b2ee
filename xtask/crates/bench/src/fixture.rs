//! Synthetic, reproducible folder of results for tests of reports and comparisons, and the comparison with snapshots.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::prometheus::Series;
use crate::random::Random;
use crate::record::{Config, K6, Load, Machine, MeasuredServer, Phase, Record, Run, Runtime, Setup};
use crate::samples::{self, Request};
use matrix::Matrix;

/// Temporary folder, removed on drop.
pub struct Folder(pub PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Creates results of two configurations of the matrix, the second slower by a given factor.
pub fn folder(name: &str, seed: u64, slower: f64) -> Folder {
    let folder = Folder(std::env::temp_dir().join(format!("xtask-fixture-{}-{name}", std::process::id())));
    std::fs::create_dir_all(folder.0.join("samples")).unwrap();
    record(&folder.0, seed, slower).write(&folder.0).unwrap();
    folder
}

pub fn record(folder: &Path, seed: u64, slower: f64) -> Record {
    let matrix = Matrix::parse(fixture::MATRIX, "matrix.yaml").unwrap();
    let mut serve = matrix.bench.unwrap().serve.unwrap();
    let stages = serve.metrics.as_mut().unwrap().stages.as_mut().unwrap();
    stages.meaning.insert("io".to_owned(), "the request and its answer".to_owned());
    let text = std::fs::read_to_string(fixture::invented().join("results/original.yaml")).unwrap();
    let original = Matrix::read_beside(&text, "original.yaml").unwrap();
    let chosen = ["311-stages", "314t-stages"];
    let configs = serve.configs.iter().filter(|config| chosen.contains(&&*config.id)).map(|config| Config {
        asked: config.clone(),
        digest: format!("sha256:{:064x}", config.id.len()),
        key: "k".repeat(64),
        optimized: true,
        packages: BTreeMap::from([("a-client".to_owned(), "1.2.3".to_owned())]),
        abi: config.id.split('-').next().map(|version| format!("cp{version}")),
        interpreter: Some("optimized".to_owned()),
        quick: Some(String::new()),
        variables: Some(config.env.clone()),
    });
    let load = Load {
        repeat: 5,
        seconds: 4,
        vus: 10,
        rate: 20,
        records: 200,
        scenarios: scenarios(),
        open: Some("stress".to_owned()),
        slice: None,
    };
    let server = MeasuredServer { kind: "the stand-in".to_owned(), image: None, standin: true };
    let k6 = K6 { version: "k6 v0".to_owned(), from: "made up".to_owned(), digest: "sha256:00".to_owned() };
    let order: Vec<String> = (0..5).flat_map(|_| chosen.map(str::to_owned)).collect();
    let mut record = Record::new(Setup {
        when: "2026-11-22, abc1234".to_owned(),
        machine: "Two cores, made up.".to_owned(),
        seed,
        load,
        server,
        k6,
        scripts: BTreeMap::from([("single.js".to_owned(), "1".repeat(64))]),
        configs: configs.collect(),
        metrics: serve.metrics,
        original: Some(original),
        order: order.clone(),
    });
    let mut random = Random::new(seed);
    for (number, config) in order.iter().enumerate() {
        let free = config.starts_with("314t");
        let pace = if free { 100.0 * slower } else { 200.0 };
        let mut run = run(folder, &mut random, &format!("{:02}-{config}", number + 1), config, pace);
        run.round = u16::try_from(number / 2 + 1).unwrap();
        record.runs.push(run);
    }
    record
}

fn scenarios() -> Vec<String> {
    ["single", "stress"].map(str::to_owned).to_vec()
}

fn run(folder: &Path, random: &mut Random, id: &str, config: &str, pace: f64) -> Run {
    let gil = !config.starts_with("314t");
    let seen = Runtime { python: "3.14.7".to_owned(), gil, forced_off: false, versions: BTreeMap::new() };
    // Runs differ more from each other than the requests within a run.
    let pace = pace * (0.97 + 0.06 * random.below(1000) as f64 / 1000.0);
    let phases = scenarios().into_iter().map(|scenario| {
        let requests: Vec<Request> = (0..60)
            .map(|number| Request {
                at: f64::from(number) / 15.0,
                client: "async".to_owned(),
                status: if number == 30 { 503 } else { 200 },
                ms: pace * (0.6 + 0.4 * random.below(1000) as f64 / 1000.0),
            })
            .collect();
        let samples = format!("samples/{id}-{scenario}.csv.gz");
        let sha256 = samples::write(&folder.join(&samples), &requests).unwrap();
        let machine = Machine { busy: 0.8, other: 0.02, steal: 0.0, throttled: Some(0), load: Some(1.5) };
        let server = series(&requests, pace);
        Phase {
            scenario,
            seconds: 4.0,
            iterations: 60,
            dropped: 0,
            samples,
            sha256,
            server,
            machine,
            cpu: Some(60.0 * pace / 50_000.0),
            slices: Vec::new(),
            users: None,
        }
    });
    Run {
        id: id.to_owned(),
        config: config.to_owned(),
        round: 0,
        began: 1_790_000_000,
        before: Some(seen.clone()),
        after: Some(seen),
        phases: phases.collect(),
        cpus: None,
        forwarded: false,
        failed: None,
    }
}

/// Returns metrics as if the application had counted the same requests, and its client two stages.
fn series(requests: &[Request], pace: f64) -> Vec<Series> {
    let client = BTreeMap::from([("client_type".to_owned(), "async".to_owned())]);
    let under = |end: f64| requests.iter().filter(|one| one.ms <= end * 1000.0).count() as f64;
    let buckets = (1..=60).map(|step| f64::from(step) * 0.005).map(|end| (end, under(end))).collect();
    let sum = requests.iter().map(|one| one.ms / 1000.0).sum();
    let whole = Series {
        name: "predict_duration_seconds".to_owned(),
        labels: client,
        count: requests.len() as f64,
        sum,
        buckets,
    };
    let stage = |name: &str, ms: f64| Series {
        name: "client_stage_seconds".to_owned(),
        labels: BTreeMap::from([("stage".to_owned(), name.to_owned())]),
        count: 60.0,
        sum: 60.0 * ms / 1000.0,
        buckets: Vec::new(),
    };
    vec![whole, stage("io", pace / 20.0), stage("spawn_blocking_delay", (pace - 90.0).max(0.1))]
}
