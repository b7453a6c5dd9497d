//! A world that outlives its process: an append-only file of what the world was made from and of every call that reached
//! it. Opening the file plays it back to the identical state.
//!
//! A record is its length, a checksum and its JSON. Records are appended in the order in which the world saw the calls. A
//! thread of its own encodes and writes what has gathered in one go and makes it durable with one `fdatasync`, so many calls
//! share one and nobody encodes while he has the world to himself; a reply waits until its record is durable. Reads are recorded too, because they count towards the faults of later
//! calls, but nobody waits for theirs: a read whose record a crash swallowed changed nothing.
//!
//! A crash may tear the last record; it is cut off, because nothing that depends on it has left the process. Damage before
//! the end is something else, and an error.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
};

use drover_step_api::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::{Genesis, GenesisCluster, LedgerEntry, Request, World, WorldError};

const FILE: &str = "world.journal";
const MAGIC: &[u8; 8] = b"DROVERW1";
const CHECKSUM: usize = 8;
const HEADER: usize = 4 + CHECKSUM;

/// One thing that happened to a world.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub(crate) enum Record {
    /// The first record.
    Genesis { genesis: Box<Genesis> },
    /// A call that could change something.
    Call {
        at: Timestamp,
        request: Box<Request>,
    },
    /// A read.
    Read {
        entry: Arc<LedgerEntry>,
        credentials: u64,
    },
    /// Clusters were added.
    Add {
        at: Timestamp,
        clusters: Vec<GenesisCluster>,
    },
    /// The clock may have been read up to here.
    Clock { until: Timestamp },
}

/// How far the journal has come: records on disk, or why there will be no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Durable {
    Records(u64),
    Failed(String),
}

/// The writing end.
#[derive(Debug)]
pub(crate) struct Journal {
    sender: Option<mpsc::Sender<Record>>,
    appended: u64,
    durable: watch::Receiver<Durable>,
    writer: Option<thread::JoinHandle<()>>,
}

/// A world read back, or made anew.
pub(crate) struct Opened {
    pub(crate) world: World,
    pub(crate) journal: Journal,
    /// Where the clock goes on: nobody has read a later time.
    pub(crate) clock: Timestamp,
}

impl Journal {
    /// Opens the journal in a folder, or begins one with what `genesis` makes.
    ///
    /// # Errors
    /// When the folder cannot be used, is in use, or the journal is damaged.
    pub(crate) fn open(
        folder: &Path,
        genesis: impl FnOnce() -> Result<Genesis, WorldError>,
    ) -> Result<Opened, WorldError> {
        let path = folder.join(FILE);
        let failed = |what: &'static str| {
            let path = path.clone();
            move |source: io::Error| WorldError::Journal { path, what, source }
        };
        fs::create_dir_all(folder).map_err(failed("making its folder"))?;
        let is_new = !path.exists();
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed("opening it"))?;
        file.try_lock().map_err(|_| WorldError::Foreign {
            path: path.clone(),
            why: "is in use by another process".to_owned(),
        })?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed("reading it"))?;
        let (records, length) = if bytes.len() < MAGIC.len() {
            (Vec::new(), 0)
        } else {
            parse(&path, &bytes)?
        };
        file.set_len(length)
            .map_err(failed("cutting a torn record off"))?;
        file.seek(io::SeekFrom::End(0))
            .map_err(failed("going to its end"))?;
        if let Some((first, rest)) = records.split_first() {
            let (world, clock) = replay(&path, first, rest)?;
            let journal = Self::start(file, path)?;
            return Ok(Opened {
                world,
                journal,
                clock,
            });
        }
        let genesis = genesis()?;
        let world = World::from_genesis(&genesis)?;
        let mut begin = MAGIC.to_vec();
        let genesis = Record::Genesis {
            genesis: Box::new(genesis),
        };
        begin.extend(encode(&genesis));
        file.set_len(0).map_err(failed("emptying it"))?;
        file.rewind().map_err(failed("going to its beginning"))?;
        file.write_all(&begin)
            .map_err(failed("writing its first record"))?;
        file.sync_all().map_err(failed("making it durable"))?;
        if is_new {
            let folder = File::open(folder).map_err(failed("opening its folder"))?;
            folder
                .sync_all()
                .map_err(failed("making its folder durable"))?;
        }
        let clock = world.now();
        Ok(Opened {
            world,
            journal: Self::start(file, path)?,
            clock,
        })
    }

    fn start(file: File, path: PathBuf) -> Result<Self, WorldError> {
        let (sender, receiver) = mpsc::channel();
        let (durable_sender, durable) = watch::channel(Durable::Records(0));
        let writer = thread::Builder::new()
            .name("world-journal".to_owned())
            .spawn(move || write(file, &receiver, &durable_sender))
            .map_err(|source| WorldError::Journal {
                path,
                what: "starting its writer",
                source,
            })?;
        Ok(Self {
            sender: Some(sender),
            appended: 0,
            durable,
            writer: Some(writer),
        })
    }

    /// Appends a record, in the order of calls of this function. Gives the number to wait for.
    pub(crate) fn append(&mut self, record: Record) -> u64 {
        self.appended += 1;
        if let Some(sender) = &self.sender {
            // The receiver goes only after a failed write, and that is what the waiter will see.
            drop(sender.send(record));
        }
        self.appended
    }

    /// How far it has come.
    pub(crate) fn durable(&self) -> watch::Receiver<Durable> {
        self.durable.clone()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has told its waiters already.
            drop(writer.join());
        }
    }
}

/// Waits until a record is on disk.
///
/// # Errors
/// Why the journal cannot be written.
pub(crate) async fn wait(mut durable: watch::Receiver<Durable>, number: u64) -> Result<(), String> {
    loop {
        match &*durable.borrow_and_update() {
            Durable::Records(count) if *count >= number => return Ok(()),
            Durable::Records(_) => {}
            Durable::Failed(why) => return Err(why.clone()),
        }
        if durable.changed().await.is_err() {
            return Err("the journal is closed".to_owned());
        }
    }
}

fn write(mut file: File, receiver: &mpsc::Receiver<Record>, durable: &watch::Sender<Durable>) {
    let mut written = 0;
    while let Ok(first) = receiver.recv() {
        let mut batch = encode(&first);
        written += 1;
        // Whatever has gathered meanwhile shares the same fdatasync.
        while let Ok(next) = receiver.try_recv() {
            batch.extend(encode(&next));
            written += 1;
        }
        let result = file.write_all(&batch).and_then(|()| file.sync_data());
        let state = match result {
            Ok(()) => Durable::Records(written),
            Err(error) => {
                Durable::Failed(format!("the world's journal cannot be written: {error}"))
            }
        };
        let failed = matches!(state, Durable::Failed(_));
        durable.send_replace(state);
        if failed {
            return;
        }
    }
}

fn encode(record: &Record) -> Vec<u8> {
    let payload = serde_json::to_vec(record).expect("records are plain data");
    let length = u32::try_from(payload.len()).expect("a record is far below 4 GiB");
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&checksum(&payload));
    bytes.extend_from_slice(&payload);
    bytes
}

fn checksum(payload: &[u8]) -> [u8; CHECKSUM] {
    let digest = Sha256::digest(payload);
    let mut short = [0; CHECKSUM];
    short.copy_from_slice(&digest[..CHECKSUM]);
    short
}

/// The whole records, and the length of the file up to their end.
fn parse(path: &Path, bytes: &[u8]) -> Result<(Vec<Record>, u64), WorldError> {
    if !bytes.starts_with(MAGIC) {
        return Err(WorldError::Foreign {
            path: path.to_owned(),
            why: "was not written by this version".to_owned(),
        });
    }
    let mut records = Vec::new();
    let mut at = MAGIC.len();
    while at < bytes.len() {
        let rest = &bytes[at..];
        let whole = rest.get(..4).and_then(|length| {
            let length = u32::from_le_bytes(length.try_into().ok()?);
            let end = HEADER + usize::try_from(length).ok()?;
            rest.get(..end)
        });
        // A record that reaches beyond the end was being written.
        let Some(whole) = whole else {
            break;
        };
        let (header, payload) = whole.split_at(HEADER);
        if header[4..] == checksum(payload) {
            let record = serde_json::from_slice(payload).map_err(|error| WorldError::Foreign {
                path: path.to_owned(),
                why: format!("holds a record that this version does not know ({error})"),
            })?;
            records.push(record);
            at += whole.len();
            continue;
        }
        if at + whole.len() == bytes.len() || rest.iter().all(|byte| *byte == 0) {
            break;
        }
        return Err(WorldError::Damaged {
            path: path.to_owned(),
            offset: at as u64,
        });
    }
    Ok((records, at as u64))
}

fn replay(path: &Path, first: &Record, rest: &[Record]) -> Result<(World, Timestamp), WorldError> {
    let Record::Genesis { genesis } = first else {
        return Err(WorldError::Foreign {
            path: path.to_owned(),
            why: "does not begin with a world".to_owned(),
        });
    };
    let mut world = World::from_genesis(genesis)?;
    let mut clock = world.now();
    for record in rest {
        match record {
            Record::Genesis { .. } => {
                return Err(WorldError::Foreign {
                    path: path.to_owned(),
                    why: "holds two worlds".to_owned(),
                });
            }
            // What it answered then is in the ledger; a refusal is as much a part of the world as a success.
            Record::Call { at, request } => drop(world.call(*at, request)),
            Record::Read { entry, credentials } => {
                world.replay_read(Arc::clone(entry), *credentials);
            }
            Record::Add { at, clusters } => {
                world.advance(*at);
                world.add(clusters)?;
            }
            Record::Clock { until } => clock = clock.max(*until),
        }
    }
    let clock = clock.max(world.now());
    Ok((world, clock))
}
