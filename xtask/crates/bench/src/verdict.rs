//! Decides and describes whether two sets of runs differ.

use std::borrow::Cow;

use crate::infer::{self, ALPHA, Estimate};
use crate::pairs::{self, Paired};

/// Name of the processor time per request in comparisons.
pub const PROCESSOR_TIME: &str = "processor time per request";
/// Name of the rate of answers in comparisons.
pub const RATE: &str = "requests/s";

/// Direction of improvement of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Good {
    Low,
    High,
}

/// Result of the comparison of two sets of runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Relative change of the second set against the first.
    pub change: Estimate,
    /// p-value, adjusted for all tests of the same family.
    pub chance: f64,
    /// Smallest change that could be detected with this number of runs and this variance; `None` if none could.
    pub smallest: Option<f64>,
    pub good: Good,
}

/// Values of a figure on both sides of a comparison.
pub struct Sides<'f> {
    pub a: Cow<'f, [f64]>,
    pub b: Cow<'f, [f64]>,
    pub good: Good,
    /// For values of the same rounds: number of first rounds, whose variance counts.
    pub first: Option<usize>,
}

/// Compares sides that belong to one statement. The p-values are adjusted for the number of tests.
pub fn family(all: &[Sides]) -> Vec<Option<Verdict>> {
    let mut verdicts: Vec<Option<Verdict>> = all.iter().map(Sides::verdict).collect();
    let mut found: Vec<&mut Verdict> = verdicts.iter_mut().flatten().collect();
    let chances: Vec<f64> = found.iter().map(|verdict| verdict.chance).collect();
    found.iter_mut().zip(infer::adjusted(&chances)).for_each(|(verdict, chance)| verdict.chance = chance);
    verdicts
}

impl<'f> Sides<'f> {
    /// Returns sides whose values are from different runs.
    pub fn apart(a: &'f [f64], b: &'f [f64], good: Good) -> Sides<'f> {
        Sides { a: a.into(), b: b.into(), good, first: None }
    }

    /// Returns the verdict with a p-value that is not adjusted yet; `None` if there is nothing to compare.
    fn verdict(&self) -> Option<Verdict> {
        let Sides { a, b, good, first } = self;
        if a.is_empty() || b.is_empty() || infer::mean(a) == 0.0 {
            return None;
        }
        if let Some(first) = first {
            let Paired { change, chance, width } = pairs::compare(a, b, *first)?;
            return Some(Verdict { change, chance, smallest: width, good: *good });
        }
        let smallest = infer::smallest(a, b).map(|by| by / infer::mean(a).abs());
        Some(Verdict { change: infer::change(a, b)?, chance: infer::permutation(a, b), smallest, good: *good })
    }
}

impl Verdict {
    pub fn shown(&self) -> bool {
        self.chance <= ALPHA
    }

    /// Returns whether the second set is significantly worse.
    pub fn worse(&self) -> bool {
        self.shown() && (self.change.mean > 0.0) == (self.good == Good::Low)
    }

    /// Formats the change: `−49 % (−52 to −46)`.
    pub fn size(&self) -> String {
        match self.change.ends {
            Some((low, high)) => format!("{} % ({} to {})", percent(self.change.mean), percent(low), percent(high)),
            None => format!("{} % (one run)", percent(self.change.mean)),
        }
    }

    /// Formats the change for a sentence: `−49 % (95 % interval −52 to −46 %)`.
    pub fn size_with_interval(&self) -> String {
        let interval = self.change.ends.map_or_else(String::new, |(low, high)| {
            format!(" (95 % interval {} to {} %)", percent(low), percent(high))
        });
        format!("{} %{interval}", percent(self.change.mean))
    }

    pub fn words(&self) -> String {
        let least = |least: f64| format!("{} %", percent(least).trim_start_matches('+'));
        match (self.shown(), self.smallest) {
            (true, _) => format!("**{}**, p = {:.3}", if self.worse() { "worse" } else { "better" }, self.chance),
            (false, Some(by)) => {
                format!("no difference shown (p = {:.2}; {} would have been)", self.chance, least(by))
            }
            (false, None) => "no difference shown: so few runs cannot show any".to_owned(),
        }
    }
}

/// Formats a percentage with sign and significant digits.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let digits = usize::from(percent.abs() < 9.95);
    let text = format!("{:.digits$}", percent.abs());
    let zero = text.chars().all(|c| matches!(c, '0' | '.'));
    format!(
        "{}{text}",
        if zero {
            ""
        } else if percent < 0.0 {
            "−"
        } else {
            "+"
        }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: [f64; 5] = [100.0, 101.0, 99.0, 102.0, 98.0];
    const SLOW: [f64; 5] = [130.0, 131.0, 129.0, 132.0, 128.0];
    const SAME: [f64; 5] = [99.5, 100.5, 101.5, 98.5, 100.0];

    fn one(a: &[f64], b: &[f64], good: Good) -> Verdict {
        family(&[Sides::apart(a, b, good)]).remove(0).unwrap()
    }

    #[test]
    fn a_slowed_one_is_found_and_the_same_is_not() {
        let slow = one(&FAST, &SLOW, Good::Low);
        assert!(slow.worse() && slow.words() == "**worse**, p = 0.008", "{}", slow.words());
        assert!(slow.size().starts_with("+30 % (+"), "{}", slow.size());
        assert!(!one(&SLOW, &FAST, Good::Low).worse() && one(&SLOW, &FAST, Good::Low).shown());
        assert!(one(&SLOW, &FAST, Good::High).worse(), "less of what should be much");
        let same = one(&FAST, &SAME, Good::Low);
        let words = same.words();
        assert!(
            words.starts_with("no difference shown (p = 1.00; ") && words.ends_with("% would have been)"),
            "{words}"
        );
    }

    #[test]
    fn rounds_are_compared_within() {
        // Ten times the spread between rounds than between the sides.
        let (drift, slower) = ([100.0, 140.0, 120.0, 90.0, 130.0], [103.1, 144.0, 123.8, 92.6, 134.1]);
        let paired = |first| Sides { first, ..Sides::apart(&drift, &slower, Good::Low) };
        let found = family(&[paired(Some(5)), paired(None)]);
        assert!(found[0].as_ref().unwrap().worse() && !found[1].as_ref().unwrap().shown(), "{found:?}");
        let size = found[0].as_ref().unwrap().size();
        assert!(size.starts_with("+3.0 % (+2."), "{size}");
    }

    #[test]
    fn few_runs_say_that_they_cannot_say() {
        let few = one(&FAST[..3], &SLOW[..3], Good::Low);
        assert!(!few.worse() && few.words().ends_with("so few runs cannot show any"), "{}", few.words());
        assert_eq!(one(&FAST[..1], &SLOW[..1], Good::Low).size(), "+30 % (one run)");
    }

    #[test]
    fn what_is_not_there_has_no_verdict() {
        let low = |a| Sides::apart(a, &SLOW, Good::Low);
        let found = family(&[low(&[]), low(&[0.0]), low(&FAST)]);
        assert_eq!((found[0].is_none(), found[1].is_none(), found[2].is_some()), (true, true, true));
    }

    #[test]
    fn percents() {
        for (share, text) in [(-0.4949, "−49"), (0.0123, "+1.2"), (0.0, "0.0"), (-0.0004, "0.0"), (1.5, "+150")] {
            assert_eq!(percent(share), text);
        }
    }
}
