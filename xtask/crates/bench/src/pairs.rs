//! Statistics of paired rounds: the ratio of two configurations within each round, with an interval that holds for a
//! number of rounds that was decided by the variance of the first ones.
//!
//! In the two-stage procedure by Stein (1945, "A two-sample test for a linear hypothesis whose power is independent of the
//! variance"), the variance of the first rounds decides how many rounds there are, and the interval uses that variance
//! only. The mean of all rounds is independent of it, so that the interval covers the truth in exactly 95 % of cases for
//! normally distributed values, whenever it ends. Logarithms of ratios are used, so that halves and doubles weigh the same.

use crate::infer::{Estimate, mean, student};

/// Change within rounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Paired {
    /// Relative change of the second against the first.
    pub change: Estimate,
    /// Two-sided p-value of the t-test.
    pub chance: f64,
    /// Half-width of the interval, as a share; `None` for fewer than two rounds.
    pub width: Option<f64>,
}

/// Logarithms of the ratios within rounds; `None` if a value is not positive.
fn ratios(a: &[f64], b: &[f64]) -> Option<Vec<f64>> {
    let positive = |values: &[f64]| values.iter().all(|value| *value > 0.0);
    (a.len() == b.len() && !a.is_empty() && positive(a) && positive(b))
        .then(|| a.iter().zip(b).map(|(a, b)| (b / a).ln()).collect())
}

/// Standard deviation.
fn deviation(values: &[f64]) -> f64 {
    let middle = mean(values);
    (values.iter().map(|value| (value - middle).powi(2)).sum::<f64>() / (values.len() as f64 - 1.0)).sqrt()
}

/// Compares the values of rounds, of which the first `first` have decided how many there are.
pub fn compare(a: &[f64], b: &[f64], first: usize) -> Option<Paired> {
    let ratios = ratios(a, b)?;
    let (runs, middle) = (ratios.len(), mean(&ratios));
    let first = first.min(runs);
    if first < 2 {
        let change = Estimate { mean: middle.exp_m1(), ends: None, runs };
        return Some(Paired { change, chance: 1.0, width: None });
    }
    let error = deviation(&ratios[..first]) / (runs as f64).sqrt();
    let width = student(first - 1) * error;
    let ends = Some(((middle - width).exp_m1(), (middle + width).exp_m1()));
    let change = Estimate { mean: middle.exp_m1(), ends, runs };
    let chance = match error > 0.0 {
        true => two_sided(middle / error, first - 1),
        false => f64::from(u8::from(middle == 0.0)),
    };
    Some(Paired { change, chance, width: Some(width.exp_m1()) })
}

/// Returns how many rounds an interval of at most ±`precision` needs by the variance of these ones.
pub fn needed(a: &[f64], b: &[f64], precision: f64) -> Option<u64> {
    let ratios = ratios(a, b).filter(|ratios| ratios.len() > 1)?;
    let rounds = (student(ratios.len() - 1) * deviation(&ratios) / precision.ln_1p()).powi(2).ceil();
    Some((rounds as u64).max(ratios.len() as u64))
}

/// Two-sided p-value of Student's t-distribution (Abramowitz and Stegun 26.7.3 and 26.7.4).
fn two_sided(t: f64, freedom: usize) -> f64 {
    let angle = (t.abs() / (freedom as f64).sqrt()).atan();
    let (sin, cos) = angle.sin_cos();
    let odd = freedom % 2 == 1;
    let (mut term, mut sum) = (if odd { cos } else { 1.0 }, 0.0);
    let mut power = if odd { 1 } else { 0 };
    while power + 2 <= freedom {
        sum += term;
        term *= cos * cos * (power + 1) as f64 / (power + 2) as f64;
        power += 2;
    }
    let inside = if odd { std::f64::consts::FRAC_2_PI * (angle + sin * sum) } else { sin * sum };
    (1.0 - inside).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn students_distribution() {
        for (t, freedom, known) in [
            (12.706, 1, 0.05),
            (4.303, 2, 0.05),
            (3.182, 3, 0.05),
            (2.776, 4, 0.05),
            (2.571, 5, 0.05),
            (2.228, 10, 0.05),
            (4.604, 4, 0.01),
            (-2.262, 9, 0.05),
        ] {
            let found = two_sided(t, freedom);
            assert!((found - known).abs() < 5e-5, "{t}, {freedom}: {found}");
        }
        assert_eq!(two_sided(0.0, 4), 1.0);
    }

    #[test]
    fn drift_cancels_within_rounds() {
        // The machine becomes twice as slow, and the second is always 3 % slower, give or take 0.2 %.
        let a = [10.0, 12.0, 15.0, 18.0, 20.0];
        let b = [10.3, 12.38, 15.44, 18.51, 20.63];
        let found = compare(&a, &b, 5).unwrap();
        let (low, high) = found.change.ends.unwrap();
        assert!(low > 0.028 && high < 0.034 && found.chance < 0.001, "{found:?}");
        // The order of rounds does not matter, the pairing does.
        let mixed = [20.63, 18.51, 15.44, 12.38, 10.3];
        assert!(compare(&a, &mixed, 5).unwrap().chance > 0.5);
        assert_eq!(compare(&a, &b[..4], 5), None);
        assert_eq!(compare(&[0.0], &[1.0], 5), None);
        assert_eq!(compare(&a[..1], &b[..1], 5).unwrap().change.ends, None);
        assert_eq!(compare(&a, &a, 5).unwrap().chance, 1.0);
        let twice: Vec<f64> = a.iter().map(|value| value * 2.0).collect();
        assert!(compare(&a, &twice, 5).unwrap().chance < 1e-9);
    }

    /// Returns roughly normal values with the given deviation.
    fn scattered(random: &mut Random, runs: usize, spread: f64) -> Vec<f64> {
        let mut one = || (0..12).map(|_| random.below(1_000_000) as f64 / 1e6).sum::<f64>() - 6.0;
        (0..runs).map(|_| (0.03 + spread * one()).exp()).collect()
    }

    /// The interval has the intended width and holds the truth as often as it says, also if the rounds end early.
    #[test]
    fn intervals_hold_the_truth_although_the_data_decide_when_to_stop() {
        let mut random = Random::new(17);
        for (most, spread) in [(1000, 0.01), (1000, 0.04), (12, 0.04)] {
            let (mut held, times) = (0, 600);
            for _ in 0..times {
                let mut b = scattered(&mut random, 5, spread);
                let rounds = needed(&[1.0; 5], &b, 0.03).unwrap().min(most) as usize;
                b.extend(scattered(&mut random, rounds - 5, spread));
                let found = compare(&vec![1.0; rounds], &b, 5).unwrap();
                let (low, high) = found.change.ends.unwrap();
                assert!(rounds as u64 == most || found.width.unwrap() <= 0.03 + 1e-9, "{found:?}");
                held += usize::from(low.ln_1p() <= 0.03 && 0.03 <= high.ln_1p());
            }
            let share = held as f64 / f64::from(times);
            // 0.95 and three standard errors of 600 draws.
            assert!((0.923..=0.977).contains(&share), "{spread}, at most {most}: {share}");
        }
    }
}
