//! Scaling curves: throughput by number of users and of processors, fitted with the universal scalability law.
//!
//! X(N) = λN / (1 + σ(N − 1) + κN(N − 1)), by Gunther (2007, "Guerrilla Capacity Planning"): λ is the throughput of one
//! user, σ the contention (the share of the work that only one can do at a time) and κ the coherency (what every user
//! adds to the work of every other one).

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use crate::infer::{self, Estimate};
use crate::random::Random;
use crate::record::{Phase, Record};
use crate::samples::{self, quantile};

/// Number of resamples for intervals.
const DRAWS: usize = 2000;
const SEED: u64 = 20_070_101;
/// Number of different numbers of users that a fit of three parameters needs.
const LEAST: usize = 4;

/// Measurements with one number of users, one value for each run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Point {
    pub users: u16,
    /// Successful responses per second.
    pub throughput: Vec<f64>,
    /// 95 % quantile of latency in milliseconds.
    pub p95: Vec<f64>,
    /// Processor time per successful response in milliseconds.
    pub cpu: Vec<f64>,
    /// Number of processors that the service used on average.
    pub used: Vec<f64>,
}

/// Curve of a configuration on a number of processors.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    pub config: String,
    pub cpus: u16,
    /// By number of users, ascending.
    pub points: Vec<Point>,
}

/// Parameters of the law.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Law {
    pub lambda: f64,
    pub sigma: f64,
    pub kappa: f64,
}

/// Fitted parameters with bootstrap intervals.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fit {
    pub law: Law,
    pub lambda: Estimate,
    pub sigma: Estimate,
    pub kappa: Estimate,
}

/// Returns the curves of all complete runs.
pub fn curves(record: &Record, folder: &Path) -> Result<Vec<Curve>> {
    let mut found: BTreeMap<(usize, u16), BTreeMap<u16, Point>> = BTreeMap::new();
    for run in record.complete() {
        let place = record.configs.iter().position(|config| *config.asked.id == *run.config).unwrap_or_default();
        let points = found.entry((place, run.cpus.unwrap_or_default())).or_default();
        for phase in &run.phases {
            let users = phase.users.unwrap_or_default();
            points.entry(users).or_insert_with(|| Point { users, ..Point::default() }).add(phase, folder)?;
        }
    }
    let curve = |((place, cpus), points): ((usize, u16), BTreeMap<u16, Point>)| {
        let config = record.configs.get(place).map(|config| config.asked.id.to_string()).unwrap_or_default();
        Curve { config, cpus, points: points.into_values().collect() }
    };
    Ok(found.into_iter().map(curve).collect())
}

impl Point {
    fn add(&mut self, phase: &Phase, folder: &Path) -> Result<()> {
        let requests = samples::read(&folder.join(&phase.samples), &phase.sha256)?;
        let mut latencies: Vec<f64> = requests.iter().filter(|one| one.status == 200).map(|one| one.ms).collect();
        latencies.sort_by(f64::total_cmp);
        self.throughput.push(latencies.len() as f64 / phase.seconds);
        self.p95.push(quantile(&latencies, 0.95).unwrap_or(f64::NAN));
        let cpu = phase.cpu.unwrap_or(f64::NAN);
        self.cpu.push(cpu * 1000.0 / latencies.len() as f64);
        self.used.push(cpu / phase.seconds);
        Ok(())
    }
}

impl Law {
    pub fn throughput(&self, users: f64) -> f64 {
        self.lambda * users / (1.0 + self.sigma * (users - 1.0) + self.kappa * users * (users - 1.0))
    }

    /// Returns the number of users beyond which throughput falls; `None` if it never does.
    pub fn peak(&self) -> Option<f64> {
        (self.kappa > 0.0).then(|| ((1.0 - self.sigma).max(0.0) / self.kappa).sqrt().max(1.0))
    }

    /// Fits the law to throughputs by number of users, by least squares of relative errors of N/X, which is linear in
    /// the parameters; no parameter is negative.
    fn of(points: &[(f64, f64)]) -> Option<Law> {
        let rows: Vec<[f64; 3]> = points.iter().map(|(users, rate)| row(*users, *rate)).collect();
        let fits = [vec![0], vec![0, 1], vec![0, 2], vec![0, 1, 2]].into_iter().filter_map(|columns| {
            let found = least_squares(&rows, &columns)?;
            let valid = found[0] > 0.0 && found.iter().all(|value| *value >= 0.0);
            let error = |row: &[f64; 3]| row.iter().zip(&found).map(|(x, value)| x * value).sum::<f64>() - 1.0;
            valid.then(|| (rows.iter().map(|row| error(row).powi(2)).sum::<f64>(), found))
        });
        let (_, [one, contention, coherency]) = fits.min_by(|a, b| a.0.total_cmp(&b.0))?;
        Some(Law { lambda: 1.0 / one, sigma: contention / one, kappa: coherency / one })
    }
}

/// Returns the coefficients of 1/λ, σ/λ and κ/λ, such that their sum is 1 where the law holds.
fn row(users: f64, rate: f64) -> [f64; 3] {
    let weight = rate / users;
    [weight, weight * (users - 1.0), weight * users * (users - 1.0)]
}

/// Solves the normal equations for these columns by Gaussian elimination; other parameters are zero.
fn least_squares(rows: &[[f64; 3]], columns: &[usize]) -> Option<[f64; 3]> {
    let size = columns.len();
    let product = |a: usize, b: usize| rows.iter().map(|row| row[a] * row[b]).sum::<f64>();
    let mut matrix: Vec<Vec<f64>> = columns
        .iter()
        .map(|a| {
            let own = columns.iter().map(|b| product(*a, *b));
            own.chain([rows.iter().map(|row| row[*a]).sum()]).collect()
        })
        .collect();
    for pivot in 0..size {
        let best = (pivot..size).max_by(|a, b| matrix[*a][pivot].abs().total_cmp(&matrix[*b][pivot].abs()))?;
        matrix.swap(pivot, best);
        if matrix[pivot][pivot].abs() < 1e-12 {
            return None;
        }
        let solved = matrix[pivot].clone();
        for (_, other) in matrix.iter_mut().enumerate().filter(|(other, _)| *other != pivot) {
            let factor = other[pivot] / solved[pivot];
            other.iter_mut().zip(&solved).for_each(|(value, own)| *value -= factor * own);
        }
    }
    let mut found = [0.0; 3];
    for (index, column) in columns.iter().enumerate() {
        found[*column] = matrix[index][size] / matrix[index][index];
    }
    Some(found)
}

impl Curve {
    /// Fits the law. The intervals are bootstrap intervals over runs: each resample takes all points of the drawn runs.
    /// `None` with too few points.
    pub fn fit(&self) -> Option<Fit> {
        let runs = self.points.iter().map(|point| point.throughput.len()).min().filter(|runs| *runs > 0)?;
        if self.points.len() < LEAST {
            return None;
        }
        let of = |chosen: &[usize]| {
            let mean =
                |point: &Point| chosen.iter().map(|run| point.throughput[*run]).sum::<f64>() / chosen.len() as f64;
            Law::of(&self.points.iter().map(|point| (f64::from(point.users), mean(point))).collect::<Vec<_>>())
        };
        let law = of(&(0..runs).collect::<Vec<_>>())?;
        let mut random = Random::new(SEED);
        let mut draw = |_| of(&(0..runs).map(|_| random.below(runs)).collect::<Vec<_>>());
        let drawn: Vec<Law> = if runs > 1 { (0..DRAWS).filter_map(&mut draw).collect() } else { Vec::new() };
        let estimate = |pick: fn(&Law) -> f64| Estimate {
            mean: pick(&law),
            ends: (!drawn.is_empty()).then(|| infer::interval(drawn.iter().map(pick).collect(), runs)),
            runs,
        };
        let (lambda, sigma, kappa) = (estimate(|law| law.lambda), estimate(|law| law.sigma), estimate(|law| law.kappa));
        Some(Fit { law, lambda, sigma, kappa })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(law: Law, users: &[u16], noise: &[f64]) -> Curve {
        let points = users.iter().map(|users| {
            let exact = law.throughput(f64::from(*users));
            Point { users: *users, throughput: noise.iter().map(|noise| exact * noise).collect(), ..Point::default() }
        });
        Curve { config: "x".to_owned(), cpus: 1, points: points.collect() }
    }

    #[test]
    fn known_parameters_are_found() {
        for law in [
            Law { lambda: 40.0, sigma: 0.2, kappa: 0.01 },
            Law { lambda: 40.0, sigma: 1.0, kappa: 0.0 },
            Law { lambda: 7.0, sigma: 0.0, kappa: 0.002 },
            Law { lambda: 7.0, sigma: 0.0, kappa: 0.0 },
        ] {
            let fit = curve(law, &[1, 2, 4, 8, 16], &[1.0]).fit().unwrap();
            for (found, known) in [(fit.law.lambda, law.lambda), (fit.law.sigma, law.sigma), (fit.law.kappa, law.kappa)]
            {
                assert!((found - known).abs() < 1e-6 * known.max(1.0), "{fit:?}, not {law:?}");
            }
            assert_eq!(fit.sigma.ends, None, "one run has no interval");
        }
        let peak = Law { lambda: 1.0, sigma: 0.19, kappa: 0.01 }.peak();
        assert!((peak.unwrap() - 9.0).abs() < 1e-9);
        assert_eq!(Law { lambda: 1.0, sigma: 0.5, kappa: 0.0 }.peak(), None);
    }

    #[test]
    fn no_parameter_is_negative() {
        // Faster than linear, which the law does not know.
        let points = [1.0, 2.5, 6.0, 14.0].iter().zip([1, 2, 4, 8]);
        let points = points.map(|(rate, users)| Point { users, throughput: vec![*rate], ..Point::default() });
        let curve = Curve { config: "x".to_owned(), cpus: 1, points: points.collect() };
        let law = curve.fit().unwrap().law;
        assert_eq!((law.sigma, law.kappa), (0.0, 0.0));
    }

    #[test]
    fn intervals_and_too_few_points() {
        let law = Law { lambda: 40.0, sigma: 0.2, kappa: 0.01 };
        let users = [1, 2, 4, 8];
        let mut noisy = curve(law, &users, &[0.97, 1.0, 1.03]);
        // The runs differ in how they scale, not only in speed.
        noisy.points[3].throughput = vec![law.throughput(8.0) * 0.95, law.throughput(8.0), law.throughput(8.0) * 1.05];
        let fit = noisy.fit().unwrap();
        let (low, high) = fit.sigma.ends.unwrap();
        assert!(low < 0.2 && 0.2 < high && fit.lambda.runs == 3, "{fit:?}");
        assert_eq!(curve(law, &users[..3], &[1.0]).fit(), None);
        assert_eq!(Curve { points: Vec::new(), ..noisy }.fit(), None);
    }
}
