//! `drover.v1.WorkerService`: one stream a worker, on which everything travels.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use drover_core::{ids::Digest, lease::Profile, workflow::Outcome};
use drover_proto::v1;
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Shared, from_wire, objects, to_wire, workflow::BoxStream};
use crate::{
    engine::messages::{Frame, Input, SessionId, ToWorker},
    objects::Objects,
    refusal::{Kind, Refusal},
};

/// Batches of words that may wait for a worker to read them. One that lets them pile up is hung.
const QUEUE: usize = 1024;

/// Frames that may wait for the transport.
const FRAMES: usize = 16;

/// A frame is cut when its offers have about so many bytes.
const FRAME_BYTES: usize = 1 << 20;

/// The service.
#[derive(Clone)]
pub(super) struct Service {
    shared: Shared,
    sessions: Arc<AtomicU64>,
}

impl Service {
    pub(super) fn new(shared: Shared) -> Self {
        Self {
            shared,
            sessions: Arc::new(AtomicU64::new(0)),
        }
    }
}

#[tonic::async_trait]
impl v1::worker_service_server::WorkerService for Service {
    type SessionStream = BoxStream<v1::CoordinatorFrame>;
    type ReadObjectStream = BoxStream<v1::ObjectPart>;

    async fn read_object(
        &self,
        request: Request<v1::ObjectRef>,
    ) -> Result<Response<Self::ReadObjectStream>, Status> {
        let object = objects::read_ref(Some(&request.into_inner()))?;
        let parts = objects::send_object(&self.shared, object).await?;
        Ok(Response::new(Box::pin(parts)))
    }

    async fn session(
        &self,
        request: Request<Streaming<v1::WorkerFrame>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut frames = request.into_inner();
        let first = frames.message().await?.unwrap_or_default();
        let hello = first.hello.ok_or_else(|| {
            Refusal::new(
                Kind::Invalid,
                "protocol",
                "the first frame of a session must hold a hello",
            )
        })?;
        let hello = Box::new(from_wire::hello(hello)?);
        let session = SessionId(self.sessions.fetch_add(1, Ordering::Relaxed) + 1);
        let place = place_of(&hello.incarnation, session);
        let (to, words) = mpsc::channel(QUEUE);
        let engine = self.shared.engine.clone();
        let stored = Arc::clone(&self.shared.objects);
        engine
            .ask(|answer| Input::Hello {
                session,
                hello,
                to,
                answer,
            })
            .await?;

        let (out, stream) = mpsc::channel(FRAMES);
        self.shared.tasks.spawn(async move {
            let (parts, uploaded) = mpsc::channel(objects::PARTS_UNANSWERED);
            let mut speaking = std::pin::pin!(speak(words, &out, place));
            // The session is over when either side is. Each may be dropped anywhere: a frame that was read and not handed
            // in was not answered, words that were not sent are derived again when the worker comes back, and an upload
            // goes on where it was.
            let is_said = tokio::select! {
                () = &mut speaking => true,
                () = listen(&engine, session, frames, &out, &parts, &stored) => false,
                () = keep(uploaded, &out, &stored) => false,
            };
            // The engine may be gone, too.
            drop(engine.tell(Input::Closed { session }).await);
            if !is_said {
                // A worker that goes on on another stream reads this one to its end. Cancel-safe: nobody is left to read.
                tokio::select! {
                    () = speaking => {}
                    () = out.closed() => {}
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

type Out = mpsc::Sender<Result<v1::CoordinatorFrame, Status>>;

/// Hands the worker's frames to the engine until the stream ends.
async fn listen(
    engine: &crate::supervise::Handle,
    session: SessionId,
    mut frames: Streaming<v1::WorkerFrame>,
    out: &Out,
    parts: &mpsc::Sender<objects::Part>,
    stored: &Arc<Objects>,
) {
    loop {
        // Both are cancel-safe: a stream's message and a channel's closed.
        let frame = tokio::select! {
            frame = frames.message() => frame,
            () = out.closed() => return,
        };
        let mut frame = match frame {
            Ok(Some(frame)) => frame,
            Ok(None) | Err(_) => return,
        };
        let uploads = std::mem::take(&mut frame.upload_parts);
        let read = hand_over(uploads, parts).and_then(|()| from_wire::frame(frame));
        let frame = match read {
            Ok(frame) => Box::new(without_missing(frame, out, stored).await),
            Err(refusal) => {
                tracing::warn!(
                    session = session.0,
                    "a worker breaks the protocol: {refusal}"
                );
                drop(out.send(Err(refusal.into())).await);
                return;
            }
        };
        if engine.tell(Input::Frame { session, frame }).await.is_err() {
            return;
        }
    }
}

/// Hands parts of objects to whoever stores them.
fn hand_over(
    uploads: Vec<v1::UploadPart>,
    parts: &mpsc::Sender<objects::Part>,
) -> Result<(), Refusal> {
    for part in uploads {
        let part = objects::read_part(part)?;
        parts.try_send(part).map_err(|_| {
            Refusal::new(
                Kind::Invalid,
                "protocol",
                "more parts of objects than may wait for a reply",
            )
        })?;
    }
    Ok(())
}

/// Stores parts of objects one after the other and says how far each is; beats go on beside it.
async fn keep(mut parts: mpsc::Receiver<objects::Part>, out: &Out, stored: &Arc<Objects>) {
    while let Some(part) = parts.recv().await {
        let frame = v1::CoordinatorFrame {
            upload_replies: vec![objects::store(stored, part).await],
            ..v1::CoordinatorFrame::default()
        };
        if out.send(Ok(frame)).await.is_err() {
            return;
        }
    }
}

/// The frame without results whose objects are not here; their worker is told to upload them again.
async fn without_missing(mut frame: Frame, out: &Out, stored: &Arc<Objects>) -> Frame {
    for (attempt, outcome) in std::mem::take(&mut frame.results) {
        let missing = match &outcome {
            Outcome::Object { object, .. } => {
                let (stored, object) = (Arc::clone(stored), *object);
                let there = tokio::task::spawn_blocking(move || stored.stored(&object)).await;
                let there = there.unwrap_or(0);
                (there < object.size).then(|| objects::reply(&object, there))
            }
            Outcome::Output { .. }
            | Outcome::Failure { .. }
            | Outcome::Yielded
            | Outcome::Compensated => None,
        };
        let Some(reply) = missing else {
            frame.results.push((attempt, outcome));
            continue;
        };
        let reply = v1::CoordinatorFrame {
            upload_replies: vec![reply],
            ..v1::CoordinatorFrame::default()
        };
        // A session that is over is noticed by the next read.
        drop(out.send(Ok(reply)).await);
    }
    frame
}

/// Turns what the engine says into frames until the session is over, and asks for a new stream when this one is old.
async fn speak(mut words: mpsc::Receiver<Vec<ToWorker>>, out: &Out, place: f64) {
    let mut age = Age::Young;
    loop {
        // All are cancel-safe: a queue's recv and timers.
        let mut batch = tokio::select! {
            batch = words.recv() => match batch {
                Some(batch) => batch,
                None => return,
            },
            passed = age.next() => {
                let Some(within) = passed else {
                    return;
                };
                let drain = v1::CoordinatorFrame {
                    drain: Some(v1::Drain {
                        within: Some(to_wire::duration(within)),
                    }),
                    ..v1::CoordinatorFrame::default()
                };
                if out.send(Ok(drain)).await.is_err() {
                    return;
                }
                continue;
            }
        };
        if let Some(ToWorker::Welcome { profile, .. }) = batch.first() {
            age = Age::of(profile, place);
        }
        // What piled up meanwhile travels together.
        while let Ok(more) = words.try_recv() {
            batch.extend(more);
        }
        for frame in frames(batch) {
            if out.send(Ok(frame)).await.is_err() {
                return;
            }
        }
    }
}

/// The place of a stream among all that began with it, from 0 to 1: as good as random, and the same when a run is repeated.
fn place_of(incarnation: &str, session: SessionId) -> f64 {
    let digest = Digest::of(format!("{incarnation}/{}", session.0).as_bytes());
    f64::from(digest.0[0]) / f64::from(u8::MAX)
}

/// How old a stream is.
enum Age {
    /// Not welcomed yet.
    Young,
    /// Welcomed.
    Serving { until: Instant, within: Duration },
    /// The worker was asked to replace it.
    Old { until: Instant },
}

impl Age {
    /// Of a stream that is welcomed now. The end is spread by a tenth: streams that began together end apart.
    fn of(profile: &Profile, place: f64) -> Self {
        Self::Serving {
            until: Instant::now() + profile.stream_age.mul_f64(0.9 + place / 5.0),
            within: profile.lease_ttl,
        }
    }

    /// Waits until the stream is old, and gives the time within which it is to be replaced; then until that has passed,
    /// and gives nothing.
    async fn next(&mut self) -> Option<Duration> {
        match *self {
            Self::Young => std::future::pending().await,
            Self::Serving { until, within } => {
                tokio::time::sleep_until(until).await;
                *self = Self::Old {
                    until: Instant::now() + within,
                };
                Some(within)
            }
            Self::Old { until } => {
                tokio::time::sleep_until(until).await;
                None
            }
        }
    }
}

fn frames(words: Vec<ToWorker>) -> Vec<v1::CoordinatorFrame> {
    let mut frames = vec![v1::CoordinatorFrame::default()];
    let mut bytes = 0;
    for word in words {
        if bytes > FRAME_BYTES {
            frames.push(v1::CoordinatorFrame::default());
            bytes = 0;
        }
        let frame = frames.last_mut().expect("it begins with one");
        match word {
            ToWorker::Welcome {
                epoch,
                now,
                profile,
                verdicts,
                resend_kept,
                protocol,
            } => {
                frame.welcome = Some(v1::Welcome {
                    epoch,
                    server_time: Some(to_wire::timestamp(now)),
                    beat_interval: Some(to_wire::duration(profile.beat_interval)),
                    lease_ttl: Some(to_wire::duration(profile.lease_ttl)),
                    ack_timeout: Some(to_wire::duration(profile.ack_timeout)),
                    reconnect_jitter: Some(to_wire::duration(profile.reconnect_jitter)),
                    verdicts: verdicts
                        .iter()
                        .map(|(attempt, verdict)| v1::Verdict {
                            attempt: Some(to_wire::attempt(attempt)),
                            kind: to_wire::verdict(*verdict),
                        })
                        .collect(),
                    resend_kept_results: resend_kept,
                    protocol,
                });
            }
            ToWorker::BeatReply { number } => {
                frame.beat_reply = Some(v1::BeatReply {
                    number,
                    superseded: Vec::new(),
                });
            }
            ToWorker::AckReply(attempt, verdict) => frame.ack_replies.push(v1::AckReply {
                attempt: Some(to_wire::attempt(&attempt)),
                verdict: to_wire::verdict(verdict),
            }),
            ToWorker::CheckpointAck(attempt, number, stored) => {
                frame.checkpoint_acks.push(v1::CheckpointAck {
                    attempt: Some(to_wire::attempt(&attempt)),
                    number,
                    stored,
                })
            }
            ToWorker::ResultAck(attempt, verdict) => frame.result_acks.push(v1::ResultAck {
                attempt: Some(to_wire::attempt(&attempt)),
                verdict: to_wire::verdict(verdict),
            }),
            ToWorker::Command(id, command) => {
                frame.commands.push(v1::Command {
                    id,
                    command: Some(to_wire::command(command)),
                });
            }
            ToWorker::Offer(workflow, offer) => {
                let offer = to_wire::offer(workflow.as_str(), &offer);
                bytes += offer.params.as_ref().map_or(0, |params| params.text.len()) + 256;
                frame.offers.push(offer);
            }
        }
    }
    frames
}
