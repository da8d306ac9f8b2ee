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

/// Formats an estimate with its interval: `97.1 (95.2–99.0)`. Half the interval decides the digits.
pub fn estimate(found: Option<Estimate>) -> String {
    match found {
        None => "–".to_owned(),
        Some(Estimate { mean: 0.0, ends: Some((0.0, 0.0)), .. }) => "0".to_owned(),
        Some(Estimate { mean, ends: Some((low, high)), .. }) => {
            let [mean, low, high] = [mean, low, high].map(|value| rounded(value, places(mean, (low, high))));
            format!("{mean} ({low}–{high})")
        }
        Some(Estimate { mean, ends: None, .. }) => format!("{} (one run)", number(mean)),
    }
}

/// Formats the mean of an estimate with as many digits as its interval allows.
pub fn mean(found: &Estimate) -> String {
    match found.ends {
        Some(ends) => rounded(found.mean, places(found.mean, ends)),
        None => number(found.mean),
    }
}

/// Returns the number of decimal places of a figure with this interval; negative for tens and hundreds. `None` if the
/// interval is empty.
fn places(mean: f64, (low, high): (f64, f64)) -> Option<i32> {
    let half = (high - low) / 2.0;
    let magnitude = |value: f64| value.abs().log10().floor() as i32;
    // Rule of the Particle Data Group: half the interval has two digits up to 35, else one.
    let places = || {
        let digits = if half / 10_f64.powi(magnitude(half)) < 3.55 { 1 } else { 0 };
        // Four digits of the figure itself are enough, however narrow the interval is.
        (digits - magnitude(half)).min(3 - magnitude(mean))
    };
    (half > 0.0 && mean != 0.0).then(places)
}

fn rounded(value: f64, places: Option<i32>) -> String {
    let Some(places) = places else { return number(value) };
    let unit = 10_f64.powi(places.min(0).abs());
    let whole = if places < 0 { (value / unit).round() * unit } else { value };
    format!("{whole:.*}", usize::try_from(places).unwrap_or(0))
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
    }

    #[test]
    fn intervals_decide_the_digits() {
        assert_eq!(estimate(None), "–");
        for (mean, low, high, text) in [
            (2.0, 1.5, 2.25, "2.0 (1.5–2.2)"),
            (2391.4, 1787.2, 2896.9, "2400 (1800–2900)"),
            (74.4, 63.3, 89.3, "74 (63–89)"),
            (35.66, 33.61, 39.2, "35.7 (33.6–39.2)"),
            (0.001_69, 0.000_952, 0.0037, "0.0017 (0.0010–0.0037)"),
            (238.1, 228.4, 247.5, "238 (228–248)"),
            (100.0, 99.999, 100.001, "100.0 (100.0–100.0)"),
            (14.8, 14.8, 14.8, "14.8 (14.8–14.8)"),
            (0.0, 0.0, 0.0, "0"),
            (0.0, -1.0, 1.0, "0 (-1–1)"),
        ] {
            assert_eq!(estimate(Some(Estimate { mean, ends: Some((low, high)), runs: 5 })), text);
        }
        assert_eq!(estimate(Some(Estimate { mean: 2.5, ends: None, runs: 1 })), "2.50 (one run)");
        assert_eq!(super::mean(&Estimate { mean: 74.4, ends: Some((63.3, 89.3)), runs: 5 }), "74");
    }
}
