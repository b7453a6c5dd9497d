//! Around the engine: opens the store, folds it, runs the engine, and does it again when the store failed.
//!
//! There is one way to recover, whatever happened: drop everything, open the store, fold what it holds, begin a new
//! epoch. A failure at the first start ends the process; a later one is said loudly and tried again until the store is
//! there, while clients are told that the coordinator is not available and workers reconnect.

use std::{
    collections::BTreeSet,
    fs::File,
    future::Future,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use drover_core::{
    backup::Decoder,
    stream::{Record, StreamId},
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    clock::Clock,
    engine::{
        Engine, Exit, RecoverError, Settings,
        messages::{Input, Restore, RestoreReport},
    },
    metrics::Metrics,
    objects::Objects,
    refusal::{Kind, Refusal},
    store::{
        EventStore, RestorePending, StoreError,
        memory::{Disk, MemoryStore},
        sled::SledStore,
    },
};

/// Inputs that may wait for the engine. A full queue makes clients and sessions wait.
const QUEUE: usize = 8192;

/// Between two tries to open a store that failed.
const REOPEN_AFTER: Duration = Duration::from_millis(500);

/// Where stores come from.
pub trait StoreFactory: Send + 'static {
    /// Opens the store.
    ///
    /// # Errors
    /// When it does not open.
    fn open(&self) -> Result<Arc<dyn EventStore>, StoreError>;

    /// Replaces the empty store by what a backup holds.
    ///
    /// # Errors
    /// When that cannot be written.
    fn import(
        &self,
        records: &mut dyn Iterator<Item = Result<(StreamId, Record), StoreError>>,
        pending: RestorePending,
    ) -> Result<(), StoreError>;
}

/// A data folder with sled in it.
pub struct SledFolder(pub PathBuf);

impl StoreFactory for SledFolder {
    fn open(&self) -> Result<Arc<dyn EventStore>, StoreError> {
        Ok(Arc::new(SledStore::open(&self.0)?))
    }

    fn import(
        &self,
        records: &mut dyn Iterator<Item = Result<(StreamId, Record), StoreError>>,
        pending: RestorePending,
    ) -> Result<(), StoreError> {
        SledStore::import(&self.0, records, pending)
    }
}

impl StoreFactory for Disk {
    fn open(&self) -> Result<Arc<dyn EventStore>, StoreError> {
        Ok(Arc::new(MemoryStore::open(self)))
    }

    fn import(
        &self,
        records: &mut dyn Iterator<Item = Result<(StreamId, Record), StoreError>>,
        pending: RestorePending,
    ) -> Result<(), StoreError> {
        MemoryStore::import(self, records, pending)
    }
}

/// Talks to the engine; cheap to clone.
#[derive(Clone)]
pub struct Handle {
    inputs: mpsc::Sender<Input>,
}

impl Handle {
    /// Hands an input in and waits for its answer. Cancel-safe: an input that was handed in is carried out even when
    /// nobody waits for its answer any more.
    ///
    /// # Errors
    /// What the engine said, or that it is not there.
    pub async fn ask<T>(
        &self,
        input: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> Input,
    ) -> Result<T, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.tell(input(answer)).await?;
        answered.await.map_err(|_| Refusal::unavailable())?
    }

    /// Hands an input in.
    ///
    /// # Errors
    /// That the engine is not there.
    pub async fn tell(&self, input: Input) -> Result<(), Refusal> {
        self.inputs
            .send(input)
            .await
            .map_err(|_| Refusal::unavailable())
    }
}

/// What every engine of this process is made with.
pub struct Parts {
    /// Where stores come from.
    pub stores: Box<dyn StoreFactory>,
    /// What an engine is told; made anew for each.
    pub settings: Box<dyn Fn() -> Settings + Send>,
    /// The domain clock.
    pub clock: Arc<dyn Clock>,
    /// The counters.
    pub metrics: Metrics,
    /// The thread that copies what the engines of this process commit.
    pub backup: Option<thread::JoinHandle<()>>,
}

/// The thread of the engine.
pub struct Supervisor {
    /// Talks to it.
    pub handle: Handle,
    thread: thread::JoinHandle<()>,
    backup: Option<thread::JoinHandle<()>>,
}

impl Supervisor {
    /// Opens the store, folds it and runs the engine on a thread of its own: it syncs files, and that blocks.
    ///
    /// # Errors
    /// When the first engine does not begin.
    pub fn start(mut parts: Parts) -> Result<Self, RecoverError> {
        let backup = parts.backup.take();
        let (handle, queue) = queue();
        let (ready, first) = std::sync::mpsc::channel();
        let thread = thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .build()
                    .expect("a runtime without I/O always builds");
                let ready = |first| drop(ready.send(first));
                runtime.block_on(supervise(parts, queue, ready));
            })
            .expect("the system gives one more thread");
        match first.recv() {
            Ok(Ok(())) => Ok(Self {
                handle,
                thread,
                backup,
            }),
            Ok(Err(error)) => Err(error),
            Err(_) => unreachable!("the thread says how the first start went before it ends"),
        }
    }

    /// Makes durable what there is and ends the engine. Blocks until it has ended: not for async code.
    pub fn stop(self) {
        // A full queue must not keep the process from ending; the engine drains it.
        drop(self.handle.inputs.blocking_send(Input::Stop));
        if self.thread.join().is_err() {
            tracing::error!("the engine panicked");
        }
        // The engine was the last to hand anything over.
        if let Some(backup) = self.backup
            && backup.join().is_err()
        {
            tracing::error!("the thread of the continuous backup panicked");
        }
    }

    /// True when the engine's thread is gone although nobody stopped it: a bug; the process should end.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.thread.is_finished()
    }
}

/// As [`Supervisor::start`], without a thread: whoever awaits the future runs the engine. It ends when the engine was
/// stopped or did not begin. For a simulation, in which one thread plays everybody.
pub fn unthreaded(parts: Parts) -> (Handle, impl Future<Output = Result<(), RecoverError>>) {
    let (handle, queue) = queue();
    let run = async move {
        let mut begun = Ok(());
        supervise(parts, queue, |first| begun = first).await;
        begun
    };
    (handle, run)
}

fn queue() -> (Handle, mpsc::Receiver<Input>) {
    let (inputs, queue) = mpsc::channel(QUEUE);
    (Handle { inputs }, queue)
}

/// Runs engine after engine. `ready` learns how the first one began; when it did not, that is the end.
async fn supervise(
    parts: Parts,
    mut queue: mpsc::Receiver<Input>,
    ready: impl FnOnce(Result<(), RecoverError>),
) {
    let mut ready = Some(ready);
    let mut restored: Option<(Box<Restore>, u64)> = None;
    loop {
        let engine = match begin(&parts) {
            Ok(engine) => engine,
            Err(error) => match ready.take() {
                Some(ready) => {
                    ready(Err(error));
                    return;
                }
                None => {
                    tracing::error!(
                        error = chain(&error),
                        "the store does not open; trying again"
                    );
                    refuse_for(&mut queue, REOPEN_AFTER).await;
                    continue;
                }
            },
        };
        if let Some(ready) = ready.take() {
            ready(Ok(()));
        }
        if let Some((restore, streams)) = restored.take() {
            let (epoch, paused) = engine.epoch_and_open();
            drop(restore.answer.send(Ok(RestoreReport {
                epoch,
                streams,
                paused,
            })));
        }
        parts.metrics.set_engine_up(true);
        let exit = engine.run(&mut queue).await;
        parts.metrics.set_engine_up(false);
        match exit {
            Exit::Stopped => return,
            Exit::Failed(error) => {
                tracing::error!(error = chain(&error), "the store failed; folding it again");
                refuse_for(&mut queue, REOPEN_AFTER).await;
            }
            Exit::Restore(restore) => {
                match import(&*parts.stores, &(parts.settings)().objects, &restore) {
                    Ok(streams) => restored = Some((restore, streams)),
                    Err(error) => {
                        let error = chain(&error);
                        tracing::error!(error, "the restore failed; the store is empty as before");
                        let refusal = Refusal::new(
                            Kind::Unavailable,
                            "restore-failed",
                            format!("the restore failed: {error}"),
                        );
                        drop(restore.answer.send(Err(refusal)));
                    }
                }
            }
        }
    }
}

fn begin(parts: &Parts) -> Result<Engine, RecoverError> {
    let store = parts.stores.open().map_err(RecoverError::Store)?;
    Engine::recover(
        (parts.settings)(),
        store,
        Arc::clone(&parts.clock),
        parts.metrics.clone(),
    )
}

/// Drops what comes in for a while: whoever waits for an answer learns that nobody is there.
async fn refuse_for(queue: &mut mpsc::Receiver<Input>, time: Duration) {
    let until = tokio::time::Instant::now() + time;
    // Both are cancel-safe: a queue's recv and a timer.
    while let Ok(Some(input)) = tokio::time::timeout_at(until, queue.recv()).await {
        drop(input);
    }
}

/// Fills the store; gives the number of streams. Objects come before the streams that name them count.
fn import(
    stores: &dyn StoreFactory,
    objects: &Objects,
    restore: &Restore,
) -> Result<u64, StoreError> {
    let mut records = Records::open(&restore.file, objects)?;
    let pending = RestorePending {
        backup_epoch: restore.summary.epoch,
        audit_head: restore.summary.audit_head,
    };
    stores.import(&mut records, pending)?;
    Ok(records.streams.len() as u64)
}

/// The records of a backup file, which was verified when it was uploaded.
struct Records<'o> {
    objects: &'o Objects,
    path: PathBuf,
    file: File,
    decoder: Decoder,
    ready: std::vec::IntoIter<(StreamId, Record)>,
    streams: BTreeSet<StreamId>,
}

impl<'o> Records<'o> {
    fn open(path: &Path, objects: &'o Objects) -> Result<Self, StoreError> {
        Ok(Self {
            objects,
            path: path.to_path_buf(),
            file: File::open(path).map_err(|source| unreadable(path, source))?,
            decoder: Decoder::with_objects(),
            ready: Vec::new().into_iter(),
            streams: BTreeSet::new(),
        })
    }

    fn read(&mut self) -> Result<Option<(StreamId, Record)>, StoreError> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            if let Some((stream, record)) = self.ready.next() {
                self.streams.insert(stream.clone());
                return Ok(Some((stream, record)));
            }
            let n = self
                .file
                .read(&mut buffer)
                .map_err(|source| unreadable(&self.path, source))?;
            if n == 0 {
                return Ok(None);
            }
            let failed = |what, source| StoreError::Failed {
                folder: self.path.display().to_string(),
                what,
                source,
            };
            let records = self.decoder.feed(&buffer[..n]);
            let records =
                records.map_err(|error| failed("read the uploaded backup", Box::new(error)))?;
            for text in self.decoder.take_objects() {
                self.objects.put(&text).map_err(|error| {
                    failed("store a large output of the backup", Box::new(error))
                })?;
            }
            self.ready = records.into_iter();
        }
    }
}

impl Iterator for Records<'_> {
    type Item = Result<(StreamId, Record), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

fn unreadable(path: &Path, source: io::Error) -> StoreError {
    StoreError::File {
        path: path.display().to_string(),
        what: "read the uploaded backup",
        source,
    }
}

/// An error and everything under it, for a log line.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
