//! Measures the load of the machine during a scenario, and assigns processors.

use std::fs;
use std::path::Path;

use crate::machine;
use crate::record::Machine;

/// CPU counters of the machine at one point in time, in clock ticks.
#[derive(Debug, Clone, Default)]
pub struct Moment {
    total: u64,
    idle: u64,
    steal: u64,
    ours: u64,
    throttled: Option<u64>,
}

impl Moment {
    /// Reads the counters. `processes` are the benchmark's processes in addition to this one and its finished
    /// children.
    pub fn now(processes: &[u32]) -> Moment {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let ours = processes.iter().map(|id| ticks(&read(&format!("/proc/{id}/stat")))).sum::<u64>();
        let own = ticks(&read("/proc/self/stat"));
        Moment { ours: ours + own, throttled: throttled(), ..of_stat(&read("/proc/stat")) }
    }

    /// Returns the load between two points in time.
    pub fn until(&self, end: &Moment) -> Machine {
        let total = (end.total - self.total.min(end.total)).max(1) as f64;
        let share = |from: u64, to: u64| to.saturating_sub(from) as f64 / total;
        let steal = share(self.steal, end.steal);
        let busy = (1.0 - share(self.idle, end.idle) - steal).max(0.0);
        Machine {
            busy,
            other: (busy - share(self.ours, end.ours)).max(0.0),
            steal,
            throttled: self.throttled.zip(end.throttled).map(|(from, to)| to.saturating_sub(from)),
            load: Some(machine::load()).filter(|load| load.is_finite()),
        }
    }
}

/// Parses the first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal (proc(5)).
fn of_stat(text: &str) -> Moment {
    let line = text.lines().next().unwrap_or_default();
    let numbers: Vec<u64> = line.split_whitespace().skip(1).take(8).filter_map(|text| text.parse().ok()).collect();
    let at = |index: usize| numbers.get(index).copied().unwrap_or_default();
    Moment { total: numbers.iter().sum(), idle: at(3) + at(4), steal: at(7), ..Moment::default() }
}

/// utime, stime, cutime and cstime of /proc/[pid]/stat. A name may contain anything, so it is left out first.
fn ticks(stat: &str) -> u64 {
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    rest.split_whitespace().skip(11).take(4).filter_map(|text| text.parse::<u64>().ok()).sum()
}

/// Returns how often the processors were throttled by temperature or the cgroup by its quota; `None` if neither is
/// counted.
fn throttled() -> Option<u64> {
    let number = |path: &Path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let mut counts = Vec::new();
    for cpu in fs::read_dir("/sys/devices/system/cpu").into_iter().flatten().flatten() {
        counts.extend(number(&cpu.path().join("thermal_throttle/core_throttle_count")));
    }
    for path in ["/sys/fs/cgroup/cpu.stat", "/sys/fs/cgroup/cpu/cpu.stat"] {
        let text = fs::read_to_string(path).unwrap_or_default();
        counts.extend(text.lines().find_map(|line| line.strip_prefix("nr_throttled ")?.parse::<u64>().ok()));
    }
    (!counts.is_empty()).then(|| counts.iter().sum())
}

/// Assigns processors to server, application and load generator if there are enough, so that server and load
/// generator are not the bottleneck.
pub fn shares(cores: usize) -> Option<[String; 3]> {
    let list = |from: usize, to: usize| if from == to { from.to_string() } else { format!("{from}-{to}") };
    let outer = match cores {
        0..4 => return None,
        4..8 => 1,
        _ => 2,
    };
    Some([list(0, outer - 1), list(outer, cores - outer - 1), list(cores - outer, cores - 1)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read() {
        let moment = of_stat("cpu  100 1 50 800 40 2 3 4 0 0\ncpu0 1 2\n");
        assert_eq!((moment.total, moment.idle, moment.steal), (1000, 840, 4));
        assert_eq!(ticks("12 (a) name) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15"), 11 + 12 + 13 + 14);
        assert_eq!(ticks(""), 0);
    }

    #[test]
    fn shares_of_the_machine() {
        let moment = |total, idle, steal, ours| Moment { total, idle, steal, ours, throttled: Some(total) };
        let machine = moment(0, 0, 0, 0).until(&moment(1000, 300, 100, 500));
        assert!((machine.busy - 0.6).abs() < 1e-9 && (machine.other - 0.1).abs() < 1e-9, "{machine:?}");
        assert_eq!((machine.steal, machine.throttled), (0.1, Some(1000)));
        // Differences between clocks must not count as load.
        assert_eq!(moment(0, 0, 0, 0).until(&moment(100, 50, 0, 60)).other, 0.0);
    }

    #[test]
    fn processors_are_shared_out() {
        assert_eq!(shares(2), None);
        assert_eq!(shares(4), Some(["0", "1-2", "3"].map(str::to_owned)));
        assert_eq!(shares(16), Some(["0-1", "2-13", "14-15"].map(str::to_owned)));
    }
}
