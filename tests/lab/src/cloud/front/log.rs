//! The log of requests: one JSON object a line. It holds no credentials and no bodies.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use serde::Serialize;

use super::request::Call;

/// A log file.
#[derive(Debug)]
pub(super) struct RequestLog(Mutex<File>);

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    service: &'a str,
    action: &'a str,
    region: &'a str,
    /// HTTP status of the answer; `null` when there was none.
    status: Option<u16>,
    ms: u64,
}

impl RequestLog {
    /// Opens a log, or goes on with it.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self(Mutex::new(file)))
    }

    /// Adds a request. A log that cannot be written must not fail it.
    pub(super) fn write(&self, call: &Call, status: Option<u16>, took: Duration) {
        let line = Line {
            time: jiff::Timestamp::now().to_string(),
            service: &call.service,
            action: &call.action,
            region: &call.region,
            status,
            ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        };
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let written = serde_json::to_string(&line)
            .map_err(std::io::Error::from)
            .and_then(|line| writeln!(file, "{line}"));
        if let Err(error) = written {
            tracing::warn!(%error, "cannot log a request");
        }
    }
}
