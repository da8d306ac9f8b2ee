//! Formats numbers with significant digits and confidence intervals.

use crate::infer::Estimate;

/// Formats a number with three significant digits.
pub fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 99.95 || size == 0.0 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        size => (2.0 - size.log10().floor()).clamp(2.0, 6.0) as usize,
    };
    let text = format!("{value:.digits$}");
    // Axis labels such as `5.00` are shortened to `5`.
    match text.split_once('.') {
        Some((whole, fraction)) if fraction.chars().all(|c| c == '0') => whole.to_owned(),
        _ => text,
    }
}

/// Formats an estimate with its interval: `97.1 (95.2–99)`.
pub fn estimate(found: Option<Estimate>) -> String {
    match found {
        None => "–".to_owned(),
        Some(Estimate { mean, ends: Some((low, high)), .. }) => {
            format!("{} ({}–{})", number(mean), number(low), number(high))
        }
        Some(Estimate { mean, ends: None, .. }) => format!("{} (one run)", number(mean)),
    }
}

/// Formats a published reference figure.
pub fn theirs(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits() {
        for (value, text) in [
            (0.0, "0"),
            (323.6, "324"),
            (97.12, "97.1"),
            (7.512, "7.51"),
            (0.1249, "0.125"),
            (0.00356, "0.00356"),
            (5.0, "5"),
            (100.0, "100"),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!(estimate(None), "–");
        assert_eq!(estimate(Some(Estimate { mean: 2.0, ends: Some((1.5, 2.25)), runs: 5 })), "2 (1.50–2.25)");
        assert_eq!(estimate(Some(Estimate { mean: 2.5, ends: None, runs: 1 })), "2.50 (one run)");
    }
}
