//! Statistics for few runs: confidence interval of the mean, significance test, and smallest detectable difference.
//! Each run gives one value, because requests within a run are not independent.

use crate::random::Random;

/// Significance level.
pub const ALPHA: f64 = 0.05;
/// Number of random resamples or permutations if there are too many to enumerate.
const DRAWS: usize = 20_000;
const SEED: u64 = 20_140_313;

/// Mean with its 95 % confidence interval; a single run has no interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    pub mean: f64,
    pub ends: Option<(f64, f64)>,
    /// Number of runs.
    pub runs: usize,
}

pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Returns the mean with its bootstrap interval; `None` without runs.
///
/// The percentile interval is too narrow for few values: for five, it covers the true mean in five of six cases
/// instead of 19 of 20. Its ends are therefore widened as described by Hesterberg (2014, "What teachers should know
/// about the bootstrap", 3.3), which gives a coverage of 92 % for five values; their full range would cover 94 %.
pub fn estimate(values: &[f64]) -> Option<Estimate> {
    let runs = values.len();
    let ends = || interval(resamples(values), runs);
    (runs > 0).then(|| Estimate { mean: mean(values), ends: (runs > 1).then(ends), runs })
}

/// Returns the relative change from `a` to `b` with its interval.
pub fn change(a: &[f64], b: &[f64]) -> Option<Estimate> {
    let runs = a.len().min(b.len());
    if runs == 0 || mean(a) == 0.0 {
        return None;
    }
    let ends = || {
        let mut random = Random::new(SEED);
        let mut draw = |values: &[f64]| -> f64 {
            (0..values.len()).map(|_| values[random.below(values.len())]).sum::<f64>() / values.len() as f64
        };
        let mut changes: Vec<f64> = (0..DRAWS).map(|_| draw(b) / draw(a) - 1.0).collect();
        changes.retain(|change| change.is_finite());
        changes.sort_by(f64::total_cmp);
        (!changes.is_empty()).then(|| self::ends(&changes, outside(runs)))
    };
    Some(Estimate { mean: mean(b) / mean(a) - 1.0, ends: if runs > 1 { ends() } else { None }, runs })
}

/// Returns the interval of resampled values, widened for few runs.
pub fn interval(mut values: Vec<f64>, runs: usize) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    ends(&values, outside(runs))
}

/// Returns the means of all resamples if they can be enumerated, otherwise of random ones.
fn resamples(values: &[f64]) -> Vec<f64> {
    let runs = values.len();
    let all = u32::try_from(runs).ok().and_then(|power| runs.checked_pow(power)).filter(|all| *all <= DRAWS);
    if let Some(all) = all {
        let nth = |mut number: usize| {
            let mut sum = 0.0;
            for _ in 0..runs {
                sum += values[number % runs];
                number /= runs;
            }
            sum / runs as f64
        };
        return (0..all).map(nth).collect();
    }
    let mut random = Random::new(SEED);
    (0..DRAWS).map(|_| (0..runs).map(|_| values[random.below(runs)]).sum::<f64>() / runs as f64).collect()
}

fn ends(sorted: &[f64], outside: f64) -> (f64, f64) {
    let last = sorted.len() - 1;
    let cut = ((outside * sorted.len() as f64).floor() as usize).min(last / 2);
    (sorted[cut], sorted[last - cut])
}

/// Returns the share of resamples outside each end of the interval.
fn outside(runs: usize) -> f64 {
    let runs = runs as f64;
    below_normal(-(runs / (runs - 1.0)).sqrt() * student(runs as usize - 1))
}

/// Returns the 97.5 % quantile of Student's t-distribution.
pub fn student(freedom: usize) -> f64 {
    const TABLE: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
        2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
    ];
    TABLE.get(freedom.saturating_sub(1)).copied().unwrap_or(1.96 + 2.4 / freedom as f64)
}

/// Returns the normal distribution function (Abramowitz and Stegun 26.2.17; error below 7.5e-8).
fn below_normal(z: f64) -> f64 {
    if z > 0.0 {
        return 1.0 - below_normal(-z);
    }
    let t = 1.0 / (1.0 - 0.231_641_9 * z);
    let terms = [1.330_274_429, -1.821_255_978, 1.781_477_937, -0.356_563_782, 0.319_381_530];
    let polynomial = terms.iter().fold(0.0, |sum, term| (sum + term) * t);
    polynomial * (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// Returns the two-sided p-value of a permutation test for the difference of means. Enumerates all permutations for
/// few runs, otherwise draws random ones.
pub fn permutation(a: &[f64], b: &[f64]) -> f64 {
    let all: Vec<f64> = a.iter().chain(b).copied().collect();
    let (first, total) = (a.len(), all.iter().sum::<f64>());
    if first == 0 || b.is_empty() {
        return 1.0;
    }
    let apart = |sum: f64| (sum / first as f64 - (total - sum) / b.len() as f64).abs();
    let seen = apart(a.iter().sum());
    // Tolerance for rounding errors of sums in different order.
    let digits = 1e-9 * (seen + total.abs() / all.len() as f64);
    let reached = |sum: f64| apart(sum) >= seen - digits;
    if choices(all.len(), first).is_some_and(|number| number <= DRAWS) {
        let (mut as_far, mut number) = (0_usize, 0_usize);
        each_choice(&all, first, 0.0, &mut |sum| {
            number += 1;
            as_far += usize::from(reached(sum));
        });
        return as_far as f64 / number as f64;
    }
    let (mut random, mut shuffled) = (Random::new(SEED), all);
    let as_far = (0..DRAWS).filter(|_| {
        random.shuffle(&mut shuffled);
        reached(shuffled[..first].iter().sum())
    });
    // The observed arrangement counts as well.
    (as_far.count() + 1) as f64 / (DRAWS + 1) as f64
}

fn choices(from: usize, take: usize) -> Option<usize> {
    (0..take.min(from - take)).try_fold(1_usize, |number, step| Some(number.checked_mul(from - step)? / (step + 1)))
}

fn each_choice(values: &[f64], take: usize, sum: f64, found: &mut impl FnMut(f64)) {
    match values.split_first() {
        _ if take == 0 => found(sum),
        Some((first, rest)) if rest.len() + 1 >= take => {
            each_choice(rest, take - 1, sum + first, found);
            each_choice(rest, take, sum, found);
        }
        _ => {}
    }
}

/// Returns the smallest difference of means, in the unit of the values, that could be detected with this number of
/// runs and this variance; `None` if no difference could be detected.
pub fn smallest(a: &[f64], b: &[f64]) -> Option<f64> {
    let centred = |values: &[f64]| values.iter().map(|value| value - mean(values)).collect::<Vec<f64>>();
    if a.is_empty() || b.is_empty() {
        return None;
    }
    let (a, b) = (centred(a), centred(b));
    let shows = |by: f64| permutation(&a, &b.iter().map(|value| value + by).collect::<Vec<_>>()) <= ALPHA;
    let widest = a.iter().chain(&b).fold(0.0_f64, |widest, value| widest.max(value.abs()));
    let (mut low, mut high) = (0.0, 4.0 * widest);
    if widest == 0.0 {
        return shows(1.0).then_some(0.0);
    }
    if !shows(high) {
        return None;
    }
    // The resolution of 200 permutations does not justify more iterations.
    for _ in 0..20 {
        let middle = (low + high) / 2.0;
        if shows(middle) { high = middle } else { low = middle }
    }
    Some(high)
}

/// Adjusts p-values of several tests (Benjamini and Hochberg, 1995): if nothing differs, at least one adjusted value
/// is below 0.05 in one of twenty families, however many tests they have.
pub fn adjusted(chances: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..chances.len()).collect();
    order.sort_by(|a, b| chances[*b].total_cmp(&chances[*a]));
    let mut adjusted = vec![1.0; chances.len()];
    let mut least = 1.0_f64;
    for (above, index) in order.into_iter().enumerate() {
        let rank = chances.len() - above;
        least = least.min(chances[index] * chances.len() as f64 / rank as f64);
        adjusted[index] = least;
    }
    adjusted
}

#[cfg(test)]
mod tests;
