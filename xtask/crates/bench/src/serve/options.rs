//! Options of `cargo xtask bench serve`.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use super::scale::Numbers;
use super::vary::Variation;
use base::UsageError;

#[derive(Debug, Args)]
pub struct Options {
    /// Only these configurations; default: all in the matrix
    #[arg(long = "config", value_name = "ID", value_delimiter = ',')]
    pub configs: Vec<String>,
    /// Also measure each configuration with each of these values of an environment variable of its service, one at a
    /// time, as THREADS=2,16 (repeatable)
    #[arg(long, value_name = "NAME=VALUE,VALUE")]
    pub vary: Vec<Variation>,
    /// Only these scenarios; default: all in the matrix
    #[arg(long = "scenario", value_name = "NAME", value_delimiter = ',')]
    pub scenarios: Vec<String>,
    /// Number of runs of each configuration
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub repeat: u16,
    /// Load the configurations of a round in turn, in short slices: their containers run side by side, and all but
    /// the loaded one are paused
    #[arg(long, conflicts_with = "port")]
    pub paired: bool,
    /// Duration of a slice of --paired
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = seconds, requires = "paired")]
    pub slice: u64,
    /// Add rounds after those of --repeat until the interval of a change of processor time is at most this wide, such
    /// as 3%
    #[arg(long, value_name = "PERCENT", value_parser = percent, requires = "paired")]
    pub precision: Option<f64>,
    /// Largest number of rounds with --precision
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=1000),
        requires = "precision")]
    pub max_repeat: u16,
    /// Measure a scaling curve: the first scenario with each of these numbers of users, as `users=1,2,4,8`
    #[arg(long, value_name = "users=N,N", conflicts_with_all = ["paired", "vus"])]
    pub scale: Option<Numbers>,
    /// Numbers of processors of the service for --scale; default: all that it can have
    #[arg(long, value_name = "N,N", requires = "scale")]
    pub cpus: Option<Numbers>,
    /// Duration of each scenario, such as 60s or 5m
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = seconds)]
    pub duration: u64,
    /// After the measurements, load each configuration once more and record what its threads do, for flame graphs; with
    /// the GIL this needs py-spy in PATH
    #[arg(long)]
    pub profile: bool,
    /// Virtual users of the closed-loop scenarios
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub vus: u16,
    /// Request rate of the open-loop scenarios, per second
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub rate: u16,
    /// `image`, `standin` or HOST:PORT; default: same as for `up`
    #[arg(long, value_name = "SERVER")]
    pub server: Option<service::ServerChoice>,
    /// Number of records in each set
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub records: u64,
    /// Seed of the random order of runs; default: a new one each time
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Port on the loopback interface; default: any free port
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// New folder for the results; default: a folder in bench-results/
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Install and start what is missing with apt, as root or with sudo
    #[arg(long)]
    pub yes: bool,
}

fn seconds(text: &str) -> Result<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = match unit {
        "" | "s" => 1,
        "m" => 60,
        _ => 0,
    };
    let found = number.parse::<u64>().ok().map(|number| number.saturating_mul(unit));
    found.filter(|seconds| (1..=86_400).contains(seconds)).context("write seconds or minutes, as 60s or 5m")
}

/// Parses a percentage as a share.
fn percent(text: &str) -> Result<f64> {
    let number = text.strip_suffix('%').unwrap_or(text).trim().parse::<f64>().ok();
    number.filter(|share| (0.1..=50.0).contains(share)).map(|share| share / 100.0).context("write 0.1% to 50%, as 3%")
}

impl Options {
    /// Checks options that depend on each other.
    pub fn check(&self) -> Result<()> {
        if self.precision.is_some() {
            let Options { repeat, max_repeat, .. } = self;
            let why = "--precision needs the variance of at least 5 rounds: set --repeat 5 or more";
            ensure!(*repeat >= 5, UsageError(why.to_owned()));
            let why = format!("--max-repeat {max_repeat} is less than --repeat {repeat}");
            ensure!(repeat <= max_repeat, UsageError(why));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_minutes() {
        assert_eq!([seconds("60s").unwrap(), seconds("5m").unwrap(), seconds("7").unwrap()], [60, 300, 7]);
        for wrong in ["", "0s", "1h", "s", "-1s", "1.5s", "99999999999m"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn percentages_are_shares() {
        assert_eq!([percent("3%").unwrap(), percent("0.5").unwrap(), percent("50 %").unwrap()], [0.03, 0.005, 0.5]);
        for wrong in ["", "%", "0", "-3%", "51%", "three", "NaN"] {
            assert!(percent(wrong).is_err(), "{wrong}");
        }
    }
}
