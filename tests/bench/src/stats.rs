//! Times, and what a process has used.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde::Serialize;

/// A distribution of durations, exact to three digits.
pub(crate) struct Times(Histogram<u64>);

impl Times {
    pub(crate) fn new() -> Self {
        const LONGEST_US: u64 = 600_000_000;
        Self(Histogram::new_with_max(LONGEST_US, 3).expect("the bounds are sound"))
    }

    pub(crate) fn record(&mut self, time: Duration) {
        self.0
            .saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    pub(crate) fn summary(&self) -> Summary {
        let at = |quantile| Duration::from_micros(self.0.value_at_quantile(quantile));
        Summary {
            samples: self.0.len(),
            p50_ms: ms(at(0.5)),
            p99_ms: ms(at(0.99)),
            max_ms: ms(Duration::from_micros(self.0.max())),
        }
    }
}

/// What is said of a distribution.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) samples: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

impl Summary {
    /// For people.
    pub(crate) fn line(&self) -> String {
        let Self {
            samples,
            p50_ms,
            p99_ms,
            max_ms,
        } = self;
        format!("p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms, max {max_ms:.2} ms ({samples} samples)")
    }
}

/// Milliseconds.
pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// What a process has used since it began.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    cpu_seconds: f64,
    by_thread: BTreeMap<String, f64>,
    written_bytes: u64,
}

impl Usage {
    /// Reads it. A process that is gone has used nothing.
    pub(crate) fn of(pid: u32) -> Self {
        let mut usage = Self {
            cpu_seconds: cpu(&format!("/proc/{pid}/stat")).map_or(0.0, |(_, seconds)| seconds),
            ..Self::default()
        };
        let tasks = fs::read_dir(format!("/proc/{pid}/task"));
        for task in tasks.into_iter().flatten().flatten() {
            if let Some((name, seconds)) = cpu(&task.path().join("stat").display().to_string()) {
                *usage.by_thread.entry(name).or_default() += seconds;
            }
        }
        let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
        usage.written_bytes = number(&io, "write_bytes:");
        usage
    }

    /// What was used between `earlier` and this, in a window of this length.
    pub(crate) fn since(&self, earlier: &Self, window: Duration) -> Used {
        let seconds = window.as_secs_f64();
        let by_thread = self
            .by_thread
            .iter()
            .map(|(name, now)| {
                let before = earlier.by_thread.get(name).copied().unwrap_or(0.0);
                (name.clone(), (now - before) / seconds)
            })
            .filter(|(_, cores)| *cores >= 0.005)
            .collect();
        Used {
            cores: (self.cpu_seconds - earlier.cpu_seconds) / seconds,
            cores_by_thread: by_thread,
            written_bytes: self.written_bytes.saturating_sub(earlier.written_bytes),
        }
    }
}

/// What a process used in a window.
#[derive(Debug, Serialize)]
pub(crate) struct Used {
    pub(crate) cores: f64,
    /// By thread name; threads that did hardly anything are left out.
    pub(crate) cores_by_thread: BTreeMap<String, f64>,
    /// Sent to the disk, file system pages included.
    #[serde(skip)]
    pub(crate) written_bytes: u64,
}

/// What the whole machine has done: figures that were measured beside other work are those of a smaller machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    at: Instant,
    busy_seconds: f64,
    own_seconds: f64,
}

impl Machine {
    /// Now; `own` are the processes of the run.
    pub(crate) fn now(own: &[&Usage]) -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let ticks: Vec<u32> = stat
            .lines()
            .next()
            .into_iter()
            .flat_map(|line| line.split_whitespace().skip(1))
            .filter_map(|field| field.parse().ok())
            .collect();
        // user nice system idle iowait irq softirq steal; what follows is counted in user.
        let busy = [0, 1, 2, 5, 6, 7].map(|index| ticks.get(index).copied().unwrap_or(0));
        Self {
            at: Instant::now(),
            busy_seconds: busy.into_iter().map(seconds).sum(),
            own_seconds: own.iter().map(|usage| usage.cpu_seconds).sum(),
        }
    }

    /// Cores that others kept busy since.
    pub(crate) fn others_since(&self, earlier: &Self) -> f64 {
        let own = self.own_seconds - earlier.own_seconds;
        let others = self.busy_seconds - earlier.busy_seconds - own;
        others.max(0.0) / (self.at - earlier.at).as_secs_f64()
    }
}

fn seconds(ticks: u32) -> f64 {
    let a_second = u32::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100);
    f64::from(ticks) / f64::from(a_second)
}

/// Resident memory of a process now.
pub(crate) fn resident_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    number(&status, "VmRSS:") * 1024
}

fn number(text: &str, field: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// Name and CPU seconds from a stat file.
fn cpu(path: &str) -> Option<(String, f64)> {
    let stat = fs::read_to_string(path).ok()?;
    // The name stands in parentheses and may hold anything.
    let (head, rest) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let mut fields = rest.split_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some((name, seconds(user + system)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_in_milliseconds() {
        let mut times = Times::new();
        for n in 1..=100 {
            times.record(Duration::from_millis(n));
        }
        let summary = times.summary();
        assert!((summary.p50_ms - 50.0).abs() < 0.1, "{summary:?}");
        assert!((summary.p99_ms - 99.0).abs() < 0.1, "{summary:?}");
        assert_eq!(summary.samples, 100);
    }

    #[test]
    fn a_busy_thread_is_seen_in_its_process() {
        let pid = std::process::id();
        let before = Usage::of(pid);
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(300) {
            std::hint::black_box(began);
        }
        let used = Usage::of(pid).since(&before, began.elapsed());
        assert!(used.cores > 0.1, "{used:?}");
        assert!(resident_bytes(pid) > 1 << 20);
    }
}
