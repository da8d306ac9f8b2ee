//! Upper confidence bound of a failure rate.

/// Returns the upper limit of the one-sided 95 % confidence interval of a failure rate (Clopper and Pearson). Returns
/// 1.0 if `runs` is 0.
pub fn upper(failed: u32, runs: u32) -> f64 {
    if failed >= runs {
        return 1.0;
    }
    // The probability of so few failures decreases with the rate, so bisection finds the bound.
    let (mut low, mut high) = (0.0_f64, 1.0_f64);
    for _ in 0..100 {
        let middle = (low + high) / 2.0;
        if at_most(failed, runs, middle) > 0.05 {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// Returns the probability of at most `failed` failures in `runs` at this rate (binomial distribution).
fn at_most(failed: u32, runs: u32, rate: f64) -> f64 {
    if rate <= 0.0 {
        return 1.0;
    }
    let (rate, runs) = (rate.min(1.0 - f64::EPSILON), f64::from(runs));
    // Use logarithms, because the first term of a long series underflows.
    let mut term = runs * (1.0 - rate).ln();
    let mut sum = term.exp();
    for count in 1..=failed {
        let count = f64::from(count);
        term += ((runs - count + 1.0) / count).ln() + (rate / (1.0 - rate)).ln();
        sum += term.exp();
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        // Without failures: 1 - 0.05^(1/n). Others: tables of Clopper and Pearson, one-sided 95 %.
        for (failed, runs, bound) in [
            (0, 25, 1.0 - 0.05_f64.powf(1.0 / 25.0)),
            (0, 100, 0.029_513),
            (0, 1, 0.95),
            (1, 10, 0.394_163),
            (2, 20, 0.282_619),
            (7, 25, 0.462_209),
            (9, 10, 0.994_884),
            (0, 100_000, 1.0 - 0.05_f64.powf(1e-5)),
        ] {
            let found = upper(failed, runs);
            assert!((found - bound).abs() < 1e-5, "{failed} of {runs}: {found}, not {bound}");
        }
        assert_eq!(upper(5, 5), 1.0);
        assert_eq!(upper(0, 0), 1.0);
    }
}
