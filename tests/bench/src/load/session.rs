//! The worker's session.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use anyhow::Context as _;
use drover_proto::v1::{self, worker_service_client::WorkerServiceClient};
use tokio::{
    sync::mpsc,
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Endpoint};

use super::{Steps, kind};

/// Frames that may wait for the transport.
const QUEUE: usize = 1024;

/// Frames with many offers are larger than the library's default of 4 MiB.
const FRAME_BYTES_MAX: usize = 64 << 20;

/// A worker: one process with one spool, as far as the protocol can tell, over any number of sessions.
pub(crate) struct Worker {
    incarnation: String,
    spool: String,
    sessions: u64,
    epoch: u64,
}

impl Worker {
    pub(crate) fn new() -> Self {
        Self {
            incarnation: uuid::Uuid::new_v4().to_string(),
            spool: uuid::Uuid::new_v4().to_string(),
            sessions: 0,
            epoch: 0,
        }
    }

    /// Opens a session that takes so many offers at once, and says what still runs here.
    pub(crate) async fn connect(
        &mut self,
        address: SocketAddr,
        credits: u32,
        held: Vec<v1::AttemptRef>,
    ) -> anyhow::Result<(Session, v1::Welcome)> {
        self.sessions += 1;
        let hello = v1::Hello {
            installation: kind::INSTALLATION.to_owned(),
            pool: "default".to_owned(),
            worker: "bench-0".to_owned(),
            incarnation: self.incarnation.clone(),
            spool: self.spool.clone(),
            spool_counter: 1,
            protocol_min: 1,
            protocol_max: 1,
            build: env!("CARGO_PKG_VERSION").to_owned(),
            kinds: vec![kind::declaration()],
            credits: Some(of_class(credits)),
            last_epoch: self.epoch,
            held,
            stream_generation: self.sessions,
            ..v1::Hello::default()
        };
        let (session, welcome) = Session::open(address, hello).await?;
        anyhow::ensure!(
            welcome.epoch >= self.epoch,
            "the coordinator's epoch went back from {} to {}",
            self.epoch,
            welcome.epoch
        );
        self.epoch = welcome.epoch;
        Ok((session, welcome))
    }
}

fn of_class(credits: u32) -> v1::Credits {
    v1::Credits {
        by_class: HashMap::from([(kind::CLASS.to_owned(), credits)]),
    }
}

/// An attempt that ended well.
pub(crate) fn done(attempt: v1::AttemptRef) -> v1::AttemptResult {
    v1::AttemptResult {
        attempt: Some(attempt),
        outcome: Some(v1::attempt_result::Outcome::Output(v1::Json {
            text: kind::OUTPUT.to_vec(),
        })),
        observed_done: false,
    }
}

/// A session that is up.
pub(crate) struct Session {
    to: mpsc::Sender<v1::WorkerFrame>,
    from: Streaming<v1::CoordinatorFrame>,
    /// What came with the welcome.
    first: Option<v1::CoordinatorFrame>,
    beats: Interval,
    beat: u64,
    /// When the newest answered beat was sent, and those that are not answered.
    known_since: Instant,
    unanswered: Vec<(u64, Instant)>,
    lease_ttl: Duration,
}

impl Session {
    async fn open(address: SocketAddr, hello: v1::Hello) -> anyhow::Result<(Self, v1::Welcome)> {
        let channel = Endpoint::try_from(format!("http://{address}"))?
            .tcp_nodelay(true)
            .connect()
            .await
            .context("the worker's connection")?;
        let mut client = WorkerServiceClient::new(channel)
            .max_decoding_message_size(FRAME_BYTES_MAX)
            .max_encoding_message_size(FRAME_BYTES_MAX);
        let (to, frames) = mpsc::channel(QUEUE);
        let first = v1::WorkerFrame {
            hello: Some(hello),
            ..v1::WorkerFrame::default()
        };
        to.try_send(first).context("a new queue has room")?;
        let known_since = Instant::now();
        let mut from = client
            .session(ReceiverStream::new(frames))
            .await?
            .into_inner();
        let mut first = from.message().await?.context("no welcome")?;
        let welcome = first
            .welcome
            .take()
            .context("the first frame is no welcome")?;
        let duration = |sent: &Option<prost_types::Duration>| {
            sent.and_then(|sent| Duration::try_from(sent).ok())
                .filter(|duration| !duration.is_zero())
                .context("the welcome lacks a duration")
        };
        let every = duration(&welcome.beat_interval)?;
        let mut beats = interval_at(Instant::now() + every, every);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let session = Self {
            to,
            from,
            first: Some(first),
            beats,
            beat: 0,
            known_since,
            unanswered: Vec::new(),
            lease_ttl: duration(&welcome.lease_ttl)?,
        };
        Ok((session, welcome))
    }

    /// Says how many offers are taken at once from now on.
    pub(crate) fn set_credits(&mut self, credits: u32) -> anyhow::Result<()> {
        self.send(v1::WorkerFrame {
            credits: Some(of_class(credits)),
            ..v1::WorkerFrame::default()
        })
    }

    /// Reports results of attempts that were confirmed before.
    pub(crate) fn report(&mut self, results: Vec<v1::AttemptResult>) -> anyhow::Result<()> {
        self.send(v1::WorkerFrame {
            results,
            ..v1::WorkerFrame::default()
        })
    }

    fn send(&mut self, frame: v1::WorkerFrame) -> anyhow::Result<()> {
        self.to
            .try_send(frame)
            .context("the coordinator does not read the session")
    }

    /// Waits for one frame and does what it asks for. Cancel-safe: nothing is awaited once the frame is there.
    pub(crate) async fn turn(&mut self, steps: &mut impl Steps) -> anyhow::Result<()> {
        let frame = loop {
            if let Some(first) = self.first.take() {
                break first;
            }
            // Both are cancel-safe: a stream's message and an interval; the bodies do not await.
            tokio::select! {
                frame = self.from.message() => break frame?.context("the coordinator ended the session")?,
                _ = self.beats.tick() => self.send_beat()?,
            }
        };
        if let Some(reply) = &frame.beat_reply {
            self.answered(reply.number);
        }
        let answer = react(frame, steps);
        if answer != v1::WorkerFrame::default() {
            self.send(answer)?;
        }
        Ok(())
    }

    /// One message for all leases. A worker that is not answered for a TTL must stop acting on its leases.
    fn send_beat(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        anyhow::ensure!(
            now.duration_since(self.known_since) < self.lease_ttl,
            "the worker's leases lapsed: the coordinator has not answered a beat for {:?}",
            self.lease_ttl
        );
        self.beat += 1;
        self.unanswered.push((self.beat, now));
        self.send(v1::WorkerFrame {
            beat: Some(v1::Beat {
                number: self.beat,
                progress: Vec::new(),
            }),
            ..v1::WorkerFrame::default()
        })
    }

    fn answered(&mut self, number: u64) {
        let sent = self.unanswered.iter().find(|(beat, _)| *beat == number);
        if let Some((_, sent)) = sent {
            self.known_since = *sent;
        }
        self.unanswered.retain(|(beat, _)| *beat > number);
    }
}

/// What a worker of no-op steps says to a frame.
fn react(frame: v1::CoordinatorFrame, steps: &mut impl Steps) -> v1::WorkerFrame {
    let mut answer = v1::WorkerFrame::default();
    for reply in frame.ack_replies {
        let verdict = reply.verdict();
        let Some(attempt) = reply.attempt else {
            continue;
        };
        if verdict != v1::VerdictKind::Keep {
            steps.dismissed(&attempt);
        } else if steps.confirmed(&attempt) {
            answer.results.push(done(attempt));
        }
    }
    for ack in frame.result_acks {
        let Some(attempt) = &ack.attempt else {
            continue;
        };
        if ack.verdict() == v1::VerdictKind::Keep {
            steps.stored(attempt);
        } else {
            steps.dismissed(attempt);
        }
    }
    for command in frame.commands {
        if let Some(v1::command::Command::Superseded(attempt)) = &command.command {
            steps.dismissed(attempt);
        }
        steps.commanded(&command);
        answer.command_acks.push(v1::CommandAck {
            command: command.id,
            answer: None,
            failure: None,
        });
    }
    for offer in frame.offers {
        steps.offered(&offer);
        answer.acks.push(v1::OfferAck {
            attempt: offer.attempt,
        });
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Seen {
        stored: u32,
        dismissed: u32,
    }

    impl Steps for Seen {
        fn offered(&mut self, _: &v1::Offer) {}

        fn confirmed(&mut self, attempt: &v1::AttemptRef) -> bool {
            attempt.step == "short"
        }

        fn stored(&mut self, _: &v1::AttemptRef) {
            self.stored += 1;
        }

        fn dismissed(&mut self, _: &v1::AttemptRef) {
            self.dismissed += 1;
        }
    }

    fn attempt(step: &str) -> Option<v1::AttemptRef> {
        Some(v1::AttemptRef {
            step: step.to_owned(),
            ..v1::AttemptRef::default()
        })
    }

    #[test]
    fn an_offer_is_acked_and_a_result_follows_only_the_confirmed_ack() {
        let mut seen = Seen::default();
        let offered = v1::CoordinatorFrame {
            offers: vec![v1::Offer {
                attempt: attempt("short"),
                ..v1::Offer::default()
            }],
            ..v1::CoordinatorFrame::default()
        };
        let answer = react(offered, &mut seen);
        assert_eq!((answer.acks.len(), answer.results.len()), (1, 0));

        let reply = |step, verdict: v1::VerdictKind| v1::AckReply {
            attempt: attempt(step),
            verdict: verdict.into(),
        };
        let replied = v1::CoordinatorFrame {
            ack_replies: vec![
                reply("short", v1::VerdictKind::Keep),
                reply("long", v1::VerdictKind::Keep),
                reply("short", v1::VerdictKind::Superseded),
            ],
            ..v1::CoordinatorFrame::default()
        };
        let answer = react(replied, &mut seen);
        assert_eq!((answer.acks.len(), answer.results.len()), (0, 1));
        assert_eq!((seen.stored, seen.dismissed), (0, 1));
    }
}
