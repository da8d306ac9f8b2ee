//! Reads the requests of a scenario from k6's output, and writes and reads them as a compressed file.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use chrono::DateTime;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::Deserialize;

use base::digest;
use build::cache;

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Start time in seconds since the start of the first request.
    pub at: f64,
    pub client: String,
    /// HTTP status; 0 if there was no response.
    pub status: u16,
    /// Time from the first byte sent to the last byte received, in milliseconds.
    pub ms: f64,
}

/// Output of k6 for one scenario.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Output {
    pub requests: Vec<Request>,
    pub iterations: u64,
    pub dropped: u64,
}

/// Line of `k6 run --out json`: <https://grafana.com/docs/k6/latest/results-output/real-time/json/>.
#[derive(Deserialize)]
struct Line {
    metric: String,
    #[serde(rename = "type")]
    kind: String,
    data: Point,
}

#[derive(Deserialize)]
struct Point {
    time: Option<String>,
    value: Option<f64>,
    tags: Option<Tags>,
}

#[derive(Deserialize)]
struct Tags {
    client: Option<String>,
    status: Option<String>,
}

/// Parses k6's output. Ignores all but three metrics.
pub fn of_k6(reader: impl BufRead) -> Result<Output> {
    let mut output = Output::default();
    for line in reader.lines() {
        let line = line.context("k6's output cannot be read")?;
        // Most lines belong to other metrics.
        if !["\"http_req_duration\"", "\"iterations\"", "\"dropped_iterations\""].iter().any(|name| line.contains(name))
        {
            continue;
        }
        let read: Line = serde_json::from_str(&line).with_context(|| format!("k6 wrote `{line}`"))?;
        let (true, Some(value)) = (read.kind == "Point", read.data.value) else { continue };
        match read.metric.as_str() {
            "iterations" => output.iterations += value as u64,
            "dropped_iterations" => output.dropped += value as u64,
            "http_req_duration" => {
                let time = read.data.time.as_deref().and_then(epoch);
                let time = time.with_context(|| format!("k6 wrote an invalid time: `{line}`"))?;
                let tags = read.data.tags.unwrap_or(Tags { client: None, status: None });
                output.requests.push(Request {
                    at: time - value / 1000.0,
                    client: tags.client.context("a request without the tag `client`: the scripts set it")?,
                    status: tags.status.and_then(|status| status.parse().ok()).unwrap_or(0),
                    ms: value,
                });
            }
            _ => {}
        }
    }
    output.requests.sort_by(|a, b| a.at.total_cmp(&b.at));
    let first = output.requests.first().map_or(0.0, |request| request.at);
    output.requests.iter_mut().for_each(|request| request.at -= first);
    Ok(output)
}

/// Converts an RFC 3339 timestamp to seconds since 1970.
fn epoch(text: &str) -> Option<f64> {
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    Some(time.timestamp() as f64 + f64::from(time.timestamp_subsec_nanos()) / 1e9)
}

const HEAD: &str = "seconds,client,status,milliseconds";

/// Writes the requests as a compressed file and returns its SHA-256.
pub fn write(path: &Path, requests: &[Request]) -> Result<String> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    writeln!(encoder, "{HEAD}")?;
    for Request { at, client, status, ms } in requests {
        writeln!(encoder, "{at:.6},{client},{status},{ms:.3}")?;
    }
    let bytes = encoder.finish()?;
    cache::write(path, &bytes)?;
    Ok(digest::of(&bytes))
}

/// Reads the requests and checks the digest of the file.
pub fn read(path: &Path, sha256: &str) -> Result<Vec<Request>> {
    let found = digest::of_file(path)?;
    if found != sha256 {
        bail!("`{}` has changed: its SHA-256 is `{found}`, but `{sha256}` is recorded", path.display());
    }
    let mut text = String::new();
    let file = BufReader::new(File::open(path)?);
    GzDecoder::new(file).read_to_string(&mut text).with_context(|| format!("cannot read `{}`", path.display()))?;
    let request = |line: &str| {
        let mut fields = line.split(',');
        let mut next = || fields.next().context("a field is missing");
        Ok(Request { at: next()?.parse()?, client: next()?.to_owned(), status: next()?.parse()?, ms: next()?.parse()? })
    };
    let read: Result<Vec<Request>> = text.lines().skip(1).map(request).collect();
    read.with_context(|| format!("`{}` is damaged", path.display()))
}

/// Returns a quantile with linear interpolation; `None` for an empty slice.
pub fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let place = share * (sorted.len().checked_sub(1)?) as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    Some(low + (high - low) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    const K6: &str = r#"
{"metric":"http_req_duration","type":"Metric","data":{"name":"http_req_duration","type":"trend","contains":"time","thresholds":[],"submetrics":null}}
{"metric":"http_reqs","type":"Point","data":{"time":"2026-11-23T00:59:59.5+02:00","value":1,"tags":{"client":"b","status":"200"}}}
{"metric":"http_req_duration","type":"Point","data":{"time":"2026-11-22T23:00:00.25Z","value":250,"tags":{"client":"b","status":"200"}}}
{"metric":"http_req_duration","type":"Point","data":{"time":"2026-11-23T00:59:59.5+02:00","value":500,"tags":{"client":"a","status":"0","error":"refused"}}}
{"metric":"iterations","type":"Point","data":{"time":"2026-11-22T23:00:00Z","value":1,"tags":null}}
{"metric":"dropped_iterations","type":"Point","data":{"time":"2026-11-22T23:00:00Z","value":3,"tags":{"scenario":"x"}}}
"#;

    #[test]
    fn k6_is_read_in_the_order_of_sending() {
        let output = of_k6(K6.as_bytes()).unwrap();
        assert_eq!((output.iterations, output.dropped), (1, 3));
        let found: Vec<_> =
            output.requests.iter().map(|one| (one.at, one.client.as_str(), one.status, one.ms)).collect();
        assert_eq!(found, [(0.0, "a", 0, 500.0), (1.0, "b", 200, 250.0)]);
        let untagged = K6.replace("\"client\":\"a\",", "");
        assert!(of_k6(untagged.as_bytes()).unwrap_err().to_string().contains("tag `client`"));
        assert!(of_k6("{\"metric\":\"iterations\"".as_bytes()).is_err());
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(epoch("1970-01-01T00:00:00Z"), Some(0.0));
        assert_eq!(epoch("2024-02-29T12:00:00.5-01:30"), Some(1_709_213_400.5));
        assert_eq!(epoch("2026-12-31T23:59:59Z"), Some(1_798_761_599.0));
        assert_eq!(epoch("2026-12-31 23:59:59"), None);
    }

    #[test]
    fn files_are_checked_when_they_are_read() {
        let path = std::env::temp_dir().join(format!("xtask-samples-{}.csv.gz", std::process::id()));
        let requests = of_k6(K6.as_bytes()).unwrap().requests;
        let sha256 = write(&path, &requests).unwrap();
        assert_eq!(read(&path, &sha256).unwrap(), requests);
        std::fs::write(&path, b"another").unwrap();
        assert!(read(&path, &sha256).unwrap_err().to_string().contains("has changed"));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn quantiles_lie_between_values() {
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[4.0], 0.95), Some(4.0));
        assert_eq!(quantile(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.95), Some(4.8));
    }
}
