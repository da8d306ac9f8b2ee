//! Pauses running containers and reads their processor time.

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bollard::models::ContainerStatsResponse;
use bollard::query_parameters::StatsOptionsBuilder;
use futures_util::StreamExt as _;

use crate::client::Docker;

/// How often a container is tried to be paused.
const PAUSES: u32 = 10;

impl Docker {
    /// Stops all processes of a container until [`Docker::unpause`]. They get no signal and use no processor time.
    pub fn pause(&self, name: &str) -> Result<()> {
        // On a busy machine with version 1 of cgroups, processes may start too fast for the engine to stop them all.
        let mut attempts = 1..PAUSES;
        loop {
            let paused = self.request(self.client.pause_container(name));
            if paused.is_ok() || attempts.next().is_none() {
                return paused.with_context(|| format!("cannot pause the container `{name}`"));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    pub fn unpause(&self, name: &str) -> Result<()> {
        let resumed = self.request(self.client.unpause_container(name));
        resumed.with_context(|| format!("cannot unpause the container `{name}`"))
    }

    /// Returns the processor time that all processes of a container have used, ended ones included, as the kernel
    /// accounts it to the container's cgroup. The engine reads it with version 1 and 2 of cgroups.
    pub fn processor_time(&self, name: &str) -> Result<Duration> {
        // Otherwise the engine takes a second reading, one second later.
        let options = StatsOptionsBuilder::default().stream(false).one_shot(true).build();
        let read = self.request(async {
            let mut answers = pin!(self.client.stats(name, Some(options)));
            answers.next().await.transpose()
        });
        let read = read.with_context(|| format!("cannot read the processor time of the container `{name}`"))?;
        match read.and_then(total) {
            Some(time) => Ok(time),
            None => bail!("the Docker engine reports no processor time of the container `{name}`: is it running?"),
        }
    }
}

/// Returns the total; `None` if there is none, as for a container that is not running.
fn total(answer: ContainerStatsResponse) -> Option<Duration> {
    let nanoseconds = answer.cpu_stats?.cpu_usage?.total_usage?;
    (nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_that_has_ended_has_no_processor_time() {
        let answer = |json: &str| total(serde_json::from_str(json).unwrap());
        let running = r#"{"cpu_stats": {"cpu_usage": {"total_usage": 1500000000, "usage_in_kernelmode": 1}}}"#;
        assert_eq!(answer(running), Some(Duration::from_millis(1500)));
        assert_eq!(answer(r#"{"cpu_stats": {"cpu_usage": {"total_usage": 0}}}"#), None);
        assert_eq!(answer("{}"), None);
    }
}
