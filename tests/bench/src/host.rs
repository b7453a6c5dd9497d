//! What machine this is: figures mean nothing without it.

use std::{fs, thread};

use serde::Serialize;

/// The machine and the build.
#[derive(Debug, Serialize)]
pub(crate) struct Host {
    cores: usize,
    cpu: String,
    memory_mib: u64,
    kernel: String,
    /// Figures of anything but `release` say nothing.
    build: &'static str,
}

impl Host {
    /// This machine. What it does not tell is "unknown".
    pub(crate) fn here() -> Self {
        let field = |path: &str, name: &str| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let line = text.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                (key.trim() == name).then(|| value.trim().to_owned())
            });
            line.unwrap_or_else(|| "unknown".to_owned())
        };
        let memory = field("/proc/meminfo", "MemTotal");
        let kib = memory
            .split_whitespace()
            .next()
            .and_then(|n| n.parse().ok());
        Self {
            cores: thread::available_parallelism().map_or(0, usize::from),
            cpu: field("/proc/cpuinfo", "model name"),
            memory_mib: kib.unwrap_or(0_u64) / 1024,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned()),
            build: if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            },
        }
    }

    /// One line for people.
    pub(crate) fn line(&self) -> String {
        let Self {
            cores,
            cpu,
            memory_mib,
            kernel,
            build,
        } = self;
        let warning = if *build == "release" {
            ""
        } else {
            "  (these figures say nothing: build with --release)"
        };
        format!("host: {cores} cores ({cpu}), {memory_mib} MiB, Linux {kernel}, {build}{warning}")
    }
}
