//! Samples with their median, minimum and maximum.

use std::collections::BTreeMap;

use serde::Serialize;

/// One measured run.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    /// Wall time in seconds.
    pub seconds: f64,
    /// One-minute load average at the start, which shows other activity of the machine.
    pub load: f64,
    /// Seconds spent in individual steps, by name, if known.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<String, f64>,
    /// Bytes that the network interfaces of the machine received meanwhile, if the row downloads something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received: Option<u64>,
}

/// All runs of one row in order; `plain` is empty if there is no tool to compare with.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Samples {
    pub ours: Vec<Sample>,
    pub plain: Vec<Sample>,
}

/// Median, minimum and maximum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// Returns `None` for an empty sequence.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let (low, high) = (values.get((values.len() - 1) / 2)?, values.get(values.len() / 2)?);
        Some(Spread { median: (low + high) / 2.0, min, max })
    }
}

impl Samples {
    pub fn ours(&self) -> Option<Spread> {
        Spread::of(self.ours.iter().map(|sample| sample.seconds))
    }

    pub fn plain(&self) -> Option<Spread> {
        Spread::of(self.plain.iter().map(|sample| sample.seconds))
    }

    /// Returns the ratio of this tool to the plain tools, computed for each pair of consecutive runs, which ran under
    /// similar conditions.
    pub fn ratio(&self) -> Option<Spread> {
        let pairs = self.ours.iter().zip(&self.plain);
        Spread::of(pairs.map(|(ours, plain)| ours.seconds / plain.seconds))
    }

    pub fn load(&self) -> Option<Spread> {
        Spread::of(self.ours.iter().chain(&self.plain).map(|sample| sample.load))
    }

    /// Returns the medians of the received bytes: of this tool, of the plain tools, and of their ratio.
    pub fn received(&self) -> Option<[f64; 3]> {
        let bytes = |sample: &Sample| sample.received.map(|bytes| bytes as f64);
        let pairs: Vec<(f64, f64)> =
            self.ours.iter().zip(&self.plain).filter_map(|(ours, plain)| bytes(ours).zip(bytes(plain))).collect();
        let median = |value: fn(&(f64, f64)) -> f64| Some(Spread::of(pairs.iter().map(value))?.median);
        Some([median(|pair| pair.0)?, median(|pair| pair.1)?, median(|pair| pair.0 / pair.1)?])
    }

    /// Returns the medians of this tool's individual steps.
    pub fn parts(&self) -> BTreeMap<String, f64> {
        let mut parts: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (name, seconds) in self.ours.iter().flat_map(|sample| &sample.parts) {
            parts.entry(name.clone()).or_default().push(*seconds);
        }
        parts.into_iter().filter_map(|(name, values)| Some((name, Spread::of(values)?.median))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(seconds: f64, load: f64) -> Sample {
        Sample { seconds, load, parts: BTreeMap::from([("a".to_owned(), seconds / 2.0)]), received: None }
    }

    #[test]
    fn median_and_ends() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([2.0]), Some(Spread { median: 2.0, min: 2.0, max: 2.0 }));
        assert_eq!(Spread::of([9.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 9.0 }));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 9.0]), Some(Spread { median: 3.0, min: 1.0, max: 9.0 }));
    }

    #[test]
    fn ratios_are_of_pairs() {
        let samples = Samples {
            ours: vec![sample(1.0, 0.5), sample(3.0, 2.0), sample(2.0, 1.0)],
            plain: vec![sample(2.0, 0.1), sample(4.0, 0.1), sample(8.0, 0.1)],
        };
        // The ratio of the medians would be 2 / 4.
        assert_eq!(samples.ratio(), Some(Spread { median: 0.5, min: 0.25, max: 0.75 }));
        assert_eq!(samples.load(), Some(Spread { median: 0.3, min: 0.1, max: 2.0 }));
        assert_eq!(samples.parts(), BTreeMap::from([("a".to_owned(), 1.0)]));
        assert_eq!(Samples { plain: Vec::new(), ..samples }.ratio(), None);
    }
}
