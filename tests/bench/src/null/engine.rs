//! One thread that appends and answers.

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use drover_coordinator::{
    clock::{Clock as _, SystemClock},
    store::{Batch, EventStore as _, sled::SledStore},
};
use drover_core::{
    ids::{Digest, WorkflowId},
    stream::{Record, StreamId},
};
use drover_proto::v1;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use crate::{
    load::kind::{step_id, step_number},
    metrics::{COMMITS, RECORDS, SECONDS},
    shape::{Shape, Templates},
};

/// The most inputs of one batch, as in the real coordinator.
const BATCH_MAX: usize = 2048;

const DISK: &str = "a null engine whose disk fails measures nothing";

/// What comes in.
pub(super) enum Input {
    /// A worker; the newest one gets every answer.
    Hello {
        held: Vec<v1::AttemptRef>,
        to: mpsc::Sender<Result<v1::CoordinatorFrame, Status>>,
    },
    /// From the worker.
    Frame(Box<v1::WorkerFrame>),
    /// From the operator.
    Start {
        id: String,
        answer: oneshot::Sender<v1::StartWorkflowResponse>,
    },
}

/// What is counted, under the real coordinator's names.
#[derive(Default)]
pub(super) struct Counters {
    commits: AtomicU64,
    records: AtomicU64,
    micros: AtomicU64,
}

impl Counters {
    /// A metrics page.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let commits = self.commits.load(Ordering::Relaxed);
        let records = self.records.load(Ordering::Relaxed);
        let micros = self.micros.load(Ordering::Relaxed);
        let (whole, rest) = (micros / 1_000_000, micros % 1_000_000);
        write!(
            text,
            "{COMMITS} {commits}\n{RECORDS} {records}\n{SECONDS} {whole}.{rest:06}\n"
        )
        .expect("a string takes everything");
        text
    }
}

/// The end of a stream.
struct End {
    stream: StreamId,
    seq: u64,
}

/// The single writer.
pub(super) struct Engine {
    store: SledStore,
    shape: Shape,
    templates: Templates,
    start: Arc<[u8]>,
    ack: Arc<[u8]>,
    result: Arc<[u8]>,
    ends: HashMap<String, End>,
    /// The store held streams before.
    is_old: bool,
    audit: End,
    to: Option<mpsc::Sender<Result<v1::CoordinatorFrame, Status>>>,
    batch: Batch,
    audited: usize,
    frame: v1::CoordinatorFrame,
    answers: Vec<(oneshot::Sender<v1::StartWorkflowResponse>, String)>,
    counters: Arc<Counters>,
}

/// One line of so many bytes.
fn line(bytes: usize) -> Vec<u8> {
    let mut line = vec![b'x'; bytes.max(1)];
    line[bytes.max(1) - 1] = b'\n';
    line
}

impl Engine {
    pub(super) fn new(
        store: SledStore,
        shape: Shape,
        templates: Templates,
        counters: Arc<Counters>,
    ) -> Self {
        let mark = store.mark().expect(DISK);
        let seq = end(&store, &StreamId::Audit);
        Self {
            is_old: mark.is_some(),
            start: line(shape.start_bytes).into(),
            ack: line(shape.ack_bytes).into(),
            result: line(shape.result_bytes).into(),
            store,
            shape,
            templates,
            ends: HashMap::new(),
            audit: End {
                stream: StreamId::Audit,
                seq,
            },
            to: None,
            batch: Batch::default(),
            audited: 0,
            frame: v1::CoordinatorFrame::default(),
            answers: Vec::new(),
            counters,
        }
    }

    /// Runs until everybody who could send has gone.
    pub(super) fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
        while let Some(first) = inputs.blocking_recv() {
            let mut next = Some(first);
            let mut n = 0;
            while let Some(input) = next {
                self.take(input);
                n += 1;
                next = if n < BATCH_MAX {
                    inputs.try_recv().ok()
                } else {
                    None
                };
            }
            self.commit();
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Hello { held, to } => {
                self.to = Some(to);
                self.frame = v1::CoordinatorFrame {
                    welcome: Some(welcome(held)),
                    ..v1::CoordinatorFrame::default()
                };
            }
            Input::Frame(frame) => self.reply(*frame),
            Input::Start { id, answer } => {
                let lines = Arc::clone(&self.start);
                self.append(&id, lines);
                self.audited += 1;
                self.offer(&id, 1);
                self.answers.push((answer, id));
            }
        }
    }

    fn reply(&mut self, frame: v1::WorkerFrame) {
        if let Some(beat) = frame.beat {
            self.frame.beat_reply = Some(v1::BeatReply {
                number: beat.number,
                superseded: Vec::new(),
            });
        }
        let verdict = v1::VerdictKind::Keep.into();
        for attempt in frame.acks.into_iter().filter_map(|ack| ack.attempt) {
            let lines = Arc::clone(&self.ack);
            self.append(&attempt.workflow, lines);
            self.frame.ack_replies.push(v1::AckReply {
                attempt: Some(attempt),
                verdict,
            });
        }
        for attempt in frame
            .results
            .into_iter()
            .filter_map(|result| result.attempt)
        {
            let lines = Arc::clone(&self.result);
            self.append(&attempt.workflow, lines);
            match step_number(&attempt.step) {
                Some(n) if n < self.shape.steps => self.offer(&attempt.workflow, n + 1),
                _ => drop(self.ends.remove(&attempt.workflow)),
            }
            self.frame.result_acks.push(v1::ResultAck {
                attempt: Some(attempt),
                verdict,
            });
        }
    }

    fn offer(&mut self, workflow: &str, step: u32) {
        let mut offer = self.templates.offer.clone();
        offer.attempt = Some(v1::AttemptRef {
            workflow: workflow.to_owned(),
            step: step_id(step),
            fence: Some(v1::Fence {
                epoch: 1,
                counter: step.into(),
            }),
        });
        self.frame.offers.push(offer);
    }

    fn append(&mut self, workflow: &str, lines: Arc<[u8]>) {
        let end = match self.ends.get_mut(workflow) {
            Some(end) => end,
            None => {
                let Ok(id) = WorkflowId::new(workflow) else {
                    return;
                };
                let stream = StreamId::Workflow(id);
                let seq = match self.is_old {
                    true => end(&self.store, &stream),
                    false => 0,
                };
                self.ends
                    .entry(workflow.to_owned())
                    .or_insert(End { stream, seq })
            }
        };
        self.batch.records.push(end.record(lines));
    }

    /// Makes the batch durable, then answers all of it.
    fn commit(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        if self.audited > 0 {
            let lines = line(self.shape.audit_bytes * std::mem::take(&mut self.audited));
            batch.records.push(self.audit.record(lines.into()));
        }
        if !batch.is_empty() {
            // The real coordinator writes its clock's mark with every commit.
            batch.mark = Some(SystemClock.now());
            let began = Instant::now();
            self.store.append(&batch).expect(DISK);
            let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.counters.commits.fetch_add(1, Ordering::Relaxed);
            let records = batch.records.len() as u64;
            self.counters.records.fetch_add(records, Ordering::Relaxed);
            self.counters.micros.fetch_add(micros, Ordering::Relaxed);
        }
        if self.frame != v1::CoordinatorFrame::default() {
            let frame = std::mem::take(&mut self.frame);
            if let Some(to) = &self.to {
                // The worker has gone, or does not read: nobody is measured then.
                drop(to.try_send(Ok(frame)));
            }
        }
        for (answer, id) in self.answers.drain(..) {
            let mut started = self.templates.started.clone();
            if let Some(workflow) = &mut started.workflow {
                workflow.id = id;
            }
            // Whoever asked has gone, otherwise.
            drop(answer.send(started));
        }
    }
}

impl End {
    fn record(&mut self, lines: Arc<[u8]>) -> (StreamId, Record) {
        self.seq += 1;
        let record = Record {
            first: self.seq,
            count: 1,
            hash: Digest([0; 32]),
            lines,
        };
        (self.stream.clone(), record)
    }
}

/// Seq of the last event that a stream holds.
fn end(store: &SledStore, stream: &StreamId) -> u64 {
    let newest = store.read(stream, u64::MAX, 1).expect(DISK);
    newest.last().map_or(0, |record| record.head().seq)
}

/// With the production profile's intervals, and every attempt as it was.
fn welcome(held: Vec<v1::AttemptRef>) -> v1::Welcome {
    let profile = drover_core::lease::Profile::LAN;
    let duration = |duration| prost_types::Duration::try_from(duration).ok();
    v1::Welcome {
        epoch: 1,
        server_time: None,
        beat_interval: duration(profile.beat_interval),
        lease_ttl: duration(profile.lease_ttl),
        ack_timeout: duration(profile.ack_timeout),
        reconnect_jitter: duration(profile.reconnect_jitter),
        verdicts: held
            .into_iter()
            .map(|attempt| v1::Verdict {
                attempt: Some(attempt),
                kind: v1::VerdictKind::Keep.into(),
            })
            .collect(),
        resend_kept_results: false,
        protocol: 1,
    }
}
