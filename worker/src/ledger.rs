//! What this worker did outside: JSON lines, one a mutation, written when its outcome is known.
//!
//! The ledger is for people and tests that look afterwards. Nothing reads it to decide, so a line that cannot be written
//! is logged and no more. It names objects and never holds what is in them.

mod target;

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use async_trait::async_trait;
use drover_ports::{Call, Caller, Door, PortError, PortErrorKind, Reply};
use drover_step_api::Stamp;
use serde::Serialize;

/// A file of lines. Several processes may share it: each line is one write to its end.
#[derive(Debug)]
pub struct Ledger {
    file: Mutex<File>,
    with_reads: bool,
    reads: AtomicU64,
}

/// One line.
#[derive(Debug, Serialize)]
struct Line<'l> {
    /// When the outcome was known, RFC 3339.
    at: String,
    workflow: &'l str,
    step: &'l str,
    attempt: u32,
    kind: &'l str,
    worker: &'l str,
    action: &'l str,
    target: &'l str,
    /// The declared effect, with its item; absent for a read.
    #[serde(skip_serializing_if = "Option::is_none")]
    effect: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fence: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<&'l str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    compensating: bool,
    outcome: Outcome<'l>,
    took_ms: u128,
    /// How many reads this process made before.
    reads: u64,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome<'l> {
    Ok,
    /// Nobody waited for its end: it may have happened.
    Dropped,
    Error {
        kind: PortErrorKind,
        code: &'l str,
    },
}

impl Ledger {
    /// Opens a ledger; new lines go to its end.
    ///
    /// # Errors
    /// When the file can neither be opened nor made.
    pub fn open(path: &Path, with_reads: bool) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Self {
            file: Mutex::new(file),
            with_reads,
            reads: AtomicU64::new(0),
        })
    }

    fn write(&self, line: &Line<'_>) {
        let written = serde_json::to_vec(line).map_err(io::Error::from);
        let written = written.and_then(|mut line| {
            line.push(b'\n');
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.write_all(&line)
        });
        if let Err(error) = written {
            tracing::error!("the ledger lacks a line: {error}");
        }
    }
}

/// A call that is under way. Writes its line when it ends, or when it is dropped.
struct Entry<'l> {
    ledger: &'l Ledger,
    caller: &'l Caller,
    action: String,
    target: String,
    stamp: Option<Stamp>,
    began: Instant,
    is_written: bool,
}

impl Entry<'_> {
    fn end(mut self, outcome: Outcome<'_>) {
        self.write(outcome);
    }

    fn write(&mut self, outcome: Outcome<'_>) {
        self.is_written = true;
        let stamp = self.stamp.as_ref();
        self.ledger.write(&Line {
            at: format!("{:.6}", jiff::Timestamp::now()),
            workflow: &self.caller.workflow,
            step: &self.caller.step,
            attempt: self.caller.attempt,
            kind: &self.caller.kind,
            worker: &self.caller.worker,
            action: &self.action,
            target: &self.target,
            effect: stamp.map(|stamp| stamp.effect.as_str()),
            fence: stamp.map(|stamp| stamp.fence.to_string()),
            idempotency_key: stamp.map(|stamp| stamp.idempotency_key.as_str()),
            compensating: stamp.is_some_and(|stamp| stamp.compensating),
            outcome,
            took_ms: self.began.elapsed().as_millis(),
            reads: self.ledger.reads.load(Ordering::Relaxed),
        });
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if !self.is_written {
            self.write(Outcome::Dropped);
        }
    }
}

/// A door that keeps a ledger of what passes.
pub struct LedgerDoor {
    door: Arc<dyn Door>,
    ledger: Ledger,
}

impl LedgerDoor {
    /// Keeps a ledger at a door.
    #[must_use]
    pub fn new(door: Arc<dyn Door>, ledger: Ledger) -> Self {
        Self { door, ledger }
    }
}

#[async_trait]
impl Door for LedgerDoor {
    async fn pass(
        &self,
        caller: &Caller,
        call: Call,
        stamp: Option<Stamp>,
    ) -> Result<Reply, PortError> {
        let mutates = call.mutates();
        let entry = (mutates || self.ledger.with_reads).then(|| Entry {
            ledger: &self.ledger,
            caller,
            action: call.action(),
            target: target::of(&call),
            stamp: stamp.clone(),
            began: Instant::now(),
            is_written: false,
        });
        let result = self.door.pass(caller, call, stamp).await;
        if let Some(entry) = entry {
            entry.end(match &result {
                Ok(_) => Outcome::Ok,
                Err(error) => Outcome::Error {
                    kind: error.kind,
                    code: &error.code,
                },
            });
        }
        if !mutates {
            self.ledger.reads.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    async fn refresh_credentials(&self) {
        self.door.refresh_credentials().await;
    }
}

#[cfg(test)]
mod tests;
