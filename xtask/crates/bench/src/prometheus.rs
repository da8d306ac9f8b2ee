//! Parser for counters and histograms in the Prometheus text format:
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

/// Histogram, or counter with empty `buckets` whose value is in `count`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub count: f64,
    pub sum: f64,
    /// Upper bounds with cumulative counts; `count` is that of the last bucket without bound.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<(f64, f64)>,
}

/// Parses the series of the metrics `names`.
pub fn parse(text: &str, names: &[&str]) -> Result<Vec<Series>> {
    let mut found: BTreeMap<(String, BTreeMap<String, String>), Series> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let Some((name, part)) = names.iter().find_map(|name| Some((*name, part_of(line.strip_prefix(*name)?)?)))
        else {
            continue;
        };
        let read = || sample(line).with_context(|| format!("`{line}` is not a line of Prometheus' text format"));
        let (mut labels, value) = read()?;
        let end = labels.remove("le");
        let series = found.entry((name.to_owned(), labels.clone())).or_insert_with(|| Series {
            name: name.to_owned(),
            labels,
            ..Series::default()
        });
        match (part, end) {
            (Part::Sum, _) => series.sum = value,
            (Part::Count, _) => series.count = value,
            (Part::Bucket, Some(end)) if end != "+Inf" => {
                series.buckets.push((end.parse().with_context(|| format!("`{end}` in `{line}` is no number"))?, value));
            }
            (Part::Bucket, Some(_)) => {}
            (Part::Bucket, None) => bail!("`{line}` is a bucket without an end"),
        }
    }
    let mut all: Vec<Series> = found.into_values().collect();
    all.iter_mut().for_each(|series| series.buckets.sort_by(|a, b| a.0.total_cmp(&b.0)));
    Ok(all)
}

#[derive(Clone, Copy)]
enum Part {
    Sum,
    Count,
    Bucket,
}

/// Returns the suffix after a metric's name; `None` if it is the name of another metric.
fn part_of(rest: &str) -> Option<Part> {
    let suffix = &rest[..rest.find(['{', ' ']).unwrap_or(rest.len())];
    match suffix {
        "_bucket" => Some(Part::Bucket),
        "_sum" => Some(Part::Sum),
        "_count" | "" => Some(Part::Count),
        _ => None,
    }
}

fn sample(line: &str) -> Option<(BTreeMap<String, String>, f64)> {
    let Some((_, rest)) = line.split_once('{') else {
        return Some((BTreeMap::new(), line.split(' ').nth(1)?.parse().ok()?));
    };
    let mut labels = BTreeMap::new();
    let mut rest = rest;
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(value) = rest.strip_prefix('}') {
            return Some((labels, value.split_whitespace().next()?.parse().ok()?));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let mut text = String::new();
        let mut characters = quoted.char_indices();
        let end = loop {
            match characters.next()? {
                (at, '"') => break at,
                (_, '\\') => text.push(match characters.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => text.push(other),
            }
        };
        labels.insert(name.to_owned(), text);
        rest = &quoted[end + 1..];
    }
}

/// Returns the increase between two scrapes. A series that is missing in the first one was zero.
pub fn between(before: &[Series], after: Vec<Series>) -> Result<Vec<Series>> {
    let mut grown = Vec::new();
    for mut series in after {
        if let Some(old) = before.iter().find(|old| old.name == series.name && old.labels == series.labels) {
            if series.count < old.count || series.buckets.len() != old.buckets.len() {
                bail!("`{}` has become less: the application was started anew meanwhile", series.name);
            }
            series.count -= old.count;
            series.sum -= old.sum;
            series.buckets.iter_mut().zip(&old.buckets).for_each(|(new, old)| new.1 -= old.1);
        }
        if series.count > 0.0 {
            grown.push(series);
        }
    }
    Ok(grown)
}

/// Merges series that have the same buckets.
pub fn merged<'s>(series: impl Iterator<Item = &'s Series>) -> Option<Series> {
    series.cloned().reduce(|mut one, other| {
        one.count += other.count;
        one.sum += other.sum;
        match one.buckets.len() == other.buckets.len() {
            true => one.buckets.iter_mut().zip(&other.buckets).for_each(|(one, other)| one.1 += other.1),
            false => one.buckets.clear(),
        }
        one
    })
}

/// Adds series of the same name and labels.
pub fn sums(all: Vec<Series>) -> Vec<Series> {
    let mut groups: BTreeMap<(String, BTreeMap<String, String>), Vec<Series>> = BTreeMap::new();
    for series in all {
        groups.entry((series.name.clone(), series.labels.clone())).or_default().push(series);
    }
    groups.into_values().filter_map(|group| merged(group.iter())).collect()
}

impl Series {
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0.0).then(|| self.sum / self.count)
    }

    /// Returns a quantile like Prometheus' `histogram_quantile`, with linear interpolation within a bucket; `None`
    /// beyond the last bound.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let rank = share * self.count;
        let (mut low, mut below) = (0.0, 0.0);
        for (end, upto) in &self.buckets {
            if *upto >= rank && *upto > below {
                return Some(low + (end - low) * (rank - below) / (upto - below));
            }
            (low, below) = (*end, *upto);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# HELP took_seconds How long.
# TYPE took_seconds histogram
took_seconds_bucket{mode=\"a\",le=\"0.1\"} 10.0
took_seconds_bucket{mode=\"a\",le=\"0.2\"} 30
took_seconds_bucket{le=\"+Inf\",mode=\"a\"} 40
took_seconds_sum{mode=\"a\"} 8.5
took_seconds_count{mode=\"a\"} 40
took_seconds_more_count{mode=\"a\"} 99
asked_total{status=\"ok\",said=\"a \\\"b\\\", {c}\"} 7 1700000000
alone 3
";

    #[test]
    fn series_are_read() {
        let found = parse(TEXT, &["took_seconds", "asked_total", "alone"]).unwrap();
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!((found[0].count, found[2].count), (3.0, 40.0));
        assert_eq!(found[1].labels["said"], "a \"b\", {c}");
        assert_eq!(found[2].buckets, [(0.1, 10.0), (0.2, 30.0)]);
        assert_eq!(found[2].mean(), Some(0.2125));
        assert!(parse("took_seconds_count{a=\"b} 1\n", &["took_seconds"]).is_err());
        assert!(parse("took_seconds_bucket{a=\"b\"} 1\n", &["took_seconds"]).is_err());
    }

    #[test]
    fn quantiles_are_those_of_prometheus() {
        let found = parse(TEXT, &["took_seconds"]).unwrap().remove(0);
        assert_eq!(found.quantile(0.25), Some(0.1));
        assert_eq!(found.quantile(0.5), Some(0.15000000000000002));
        assert_eq!(found.quantile(0.95), None, "beyond the last bucket");
        assert_eq!(Series::default().quantile(0.5), None);
    }

    #[test]
    fn growth_and_sums() {
        let one = parse(TEXT, &["took_seconds", "asked_total"]).unwrap();
        assert_eq!(between(&one, one.clone()).unwrap(), []);
        assert_eq!(between(&[], one.clone()).unwrap(), one);
        let mut more = one.clone();
        more[1].count += 2.0;
        more[1].buckets[1].1 += 2.0;
        let grown = between(&one, more.clone()).unwrap();
        assert_eq!((grown.len(), grown[0].count, grown[0].buckets[1].1), (1, 2.0, 2.0));
        let error = between(&more, one.clone()).unwrap_err().to_string();
        assert!(error.contains("started anew"), "{error}");
        let both = merged([&one[1], &one[1]].into_iter()).unwrap();
        assert_eq!((both.count, both.buckets[0].1), (80.0, 20.0));
        let sums = sums([one.clone(), one.clone()].concat());
        assert_eq!(sums.iter().map(|one| one.count).collect::<Vec<_>>(), [14.0, 80.0]);
    }
}
