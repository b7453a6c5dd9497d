//! How far the copy is: shared by the engine, the writer and whoever asks.

use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use drover_core::{backup::continuous::Copied, time::Timestamp};

/// How the continuous backup is.
#[derive(Debug)]
pub struct Status {
    folder: PathBuf,
    wanted: AtomicBool,
    waiting_bytes: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sent: u64,
    copied: u64,
    behind_since: Option<Instant>,
    failure: Option<(&'static str, String)>,
    streams: u64,
    records: u64,
    bytes: u64,
    epoch: u64,
    at: Option<Timestamp>,
}

/// What is told of it.
#[derive(Clone, Debug)]
pub struct Report {
    /// Where it goes.
    pub folder: PathBuf,
    /// For how long the oldest commit that is not copied has been waiting.
    pub lag: Duration,
    /// Why it does not go on: code and sentence.
    pub failure: Option<(&'static str, String)>,
    /// Streams in it.
    pub streams: u64,
    /// Records in it.
    pub records: u64,
    /// Bytes of lines in it.
    pub bytes: u64,
    /// Epoch of the newest commit in it.
    pub epoch: u64,
    /// Domain time of the newest commit in it.
    pub at: Option<Timestamp>,
}

impl Status {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            wanted: AtomicBool::new(true),
            waiting_bytes: AtomicU64::new(0),
            state: Mutex::default(),
        }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no one panics while holding the state")
    }

    /// The writer, or the engine for it, asks for the whole store.
    pub(super) fn want(&self) {
        self.wanted.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::SeqCst)
    }

    pub(super) fn granted(&self) {
        self.wanted.store(false, Ordering::SeqCst);
    }

    /// So many bytes more wait for the writer; how many that are now.
    pub(super) fn waits(&self, bytes: u64) -> u64 {
        self.waiting_bytes.fetch_add(bytes, Ordering::SeqCst) + bytes
    }

    /// They wait no more.
    pub(super) fn taken(&self, bytes: u64) {
        self.waiting_bytes.fetch_sub(bytes, Ordering::SeqCst);
    }

    /// One more commit is to be copied; its number.
    pub(super) fn sent(&self) -> u64 {
        let mut state = self.state();
        state.sent += 1;
        state.behind_since.get_or_insert_with(Instant::now);
        state.sent
    }

    /// The number of the newest commit.
    pub(super) fn newest(&self) -> u64 {
        self.state().sent
    }

    /// Everything up to a commit is copied and synced; what came after it waits since `since` at the longest.
    pub(super) fn copied(&self, number: u64, since: Instant, copied: &Copied) {
        let mut state = self.state();
        state.copied = state.copied.max(number);
        state.behind_since = (state.sent > state.copied).then_some(since);
        state.streams = copied.streams.len() as u64;
        state.records = copied.records;
        state.bytes = copied.bytes;
        state.epoch = copied.epoch;
        state.at = (copied.commits > 0).then_some(copied.at);
        if state.failure.take().is_some() {
            tracing::info!(folder = %self.folder.display(), "the continuous backup goes on");
        }
    }

    /// It does not go on.
    pub(super) fn failed(&self, code: &'static str, message: String) {
        let mut state = self.state();
        if state
            .failure
            .as_ref()
            .is_none_or(|(_, known)| *known != message)
        {
            tracing::error!(code, "the continuous backup does not go on: {message}");
        }
        state.failure = Some((code, message));
    }

    /// How it is now.
    #[must_use]
    pub fn report(&self) -> Report {
        let state = self.state();
        Report {
            folder: self.folder.clone(),
            lag: state
                .behind_since
                .map_or(Duration::ZERO, |since| since.elapsed()),
            failure: state.failure.clone(),
            streams: state.streams,
            records: state.records,
            bytes: state.bytes,
            epoch: state.epoch,
            at: state.at,
        }
    }
}
