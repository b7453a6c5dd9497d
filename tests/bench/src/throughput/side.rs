//! One measured window of one server.

use std::{
    cell::Cell,
    fmt::Write as _,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use drover_proto::v1;
use serde::Serialize;

use super::{Options, STEPS};
use crate::{
    load::{
        Steps,
        kind::step_id,
        operator::Operator,
        session::{Session, Worker},
    },
    metrics::{Batches, Commits},
    place,
    server::{self, Engine, Server},
    shape::Templates,
    stats::{Machine, Usage, Used, resident_bytes},
};

/// One server's figures.
#[derive(Debug, Serialize)]
pub(super) struct Side {
    pub(super) measured_s: f64,
    pub(super) steps_per_s: f64,
    server: Used,
    server_resident_mib: u64,
    client_cores: f64,
    /// What everything else on the machine used; more than a little spoils the figures.
    pub(super) other_cores: f64,
    batches: Batches,
    /// Growth of the data folder.
    disk_bytes_per_step: f64,
    /// What went to the device, rewritten pages included.
    written_bytes_per_step: f64,
}

/// The worker's steps.
struct Noop<'a> {
    stored: &'a Cell<u64>,
    last: String,
    ended: u32,
    dismissed: u64,
    offer: Option<v1::Offer>,
}

impl Steps for Noop<'_> {
    fn offered(&mut self, offer: &v1::Offer) {
        if self.offer.is_none() {
            self.offer = Some(offer.clone());
        }
    }

    fn confirmed(&mut self, _: &v1::AttemptRef) -> bool {
        true
    }

    fn stored(&mut self, attempt: &v1::AttemptRef) {
        self.stored.set(self.stored.get() + 1);
        if attempt.step == self.last {
            self.ended += 1;
        }
    }

    fn dismissed(&mut self, _: &v1::AttemptRef) {
        self.dismissed += 1;
    }
}

/// Loads a server that begins on an empty folder.
pub(super) async fn side(
    options: &Options,
    engine: Engine<'_>,
    data: &Path,
) -> anyhow::Result<(Side, Templates)> {
    let mut server = Server::spawn(engine, data, server::ANY)?;
    let ready = server.ready().await?;
    let (mut session, _) = Worker::new()
        .connect(ready.listen, options.in_flight, Vec::new())
        .await?;
    let mut operator = Operator::connect(ready.listen).await?;
    if matches!(engine, Engine::Coordinator) {
        operator.register(STEPS).await?;
    }
    let stored = Cell::new(0);
    let mut steps = Noop {
        stored: &stored,
        last: step_id(STEPS),
        ended: options.in_flight,
        dismissed: 0,
        offer: None,
    };
    let mut started = None;
    // Both run in this task; the one that is dropped is the load, whose work is over then.
    let measured = tokio::select! {
        failed = drive(&mut session, &mut operator, &mut steps, &mut started) => {
            failed.with_context(|| format!("the server said: {}", server.last_words()))?;
            unreachable!("a load ends only with an error")
        }
        measured = measure(options, &server, ready.http, data, &stored) => measured?,
    };
    anyhow::ensure!(
        steps.dismissed == 0,
        "{} attempts were dismissed: the figures are not those of a healthy run",
        steps.dismissed
    );
    server.kill().await?;
    let templates = Templates {
        offer: steps.offer.context("nothing was offered")?,
        started: started.context("nothing was started")?,
    };
    Ok((measured, templates))
}

/// Keeps so many workflows in flight as `steps` began with.
async fn drive(
    session: &mut Session,
    operator: &mut Operator,
    steps: &mut Noop<'_>,
    first: &mut Option<v1::StartWorkflowResponse>,
) -> anyhow::Result<()> {
    loop {
        for _ in 0..std::mem::take(&mut steps.ended) {
            operator.start();
        }
        // Both are cancel-safe; the bodies do not await.
        tokio::select! {
            turned = session.turn(steps) => turned?,
            started = operator.started() => {
                let started = started?;
                first.get_or_insert(started);
            }
        }
    }
}

/// A moment of a run.
struct Moment {
    at: Instant,
    stored: u64,
    server: Usage,
    client: Usage,
    machine: Machine,
    commits: Commits,
    disk: u64,
}

impl Moment {
    async fn now(
        server: &Server,
        http: SocketAddr,
        data: &Path,
        stored: &Cell<u64>,
    ) -> anyhow::Result<Self> {
        let commits = Commits::read(http).await?;
        let (server, client) = (Usage::of(server.pid()), Usage::of(std::process::id()));
        Ok(Self {
            at: Instant::now(),
            stored: stored.get(),
            machine: Machine::now(&[&server, &client]),
            server,
            client,
            commits,
            disk: place::size(data),
        })
    }
}

async fn measure(
    options: &Options,
    server: &Server,
    http: SocketAddr,
    data: &Path,
    stored: &Cell<u64>,
) -> anyhow::Result<Side> {
    tokio::time::sleep(Duration::from_secs(options.warm_up)).await;
    let before = Moment::now(server, http, data, stored).await?;
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let after = Moment::now(server, http, data, stored).await?;
    let window = after.at - before.at;
    let seconds = window.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "counts of a run are small")]
    let number = |n: u64| n as f64;
    let steps = number(after.stored - before.stored);
    anyhow::ensure!(
        steps > 0.0,
        "no step ended in the window; the server said: {}",
        server.last_words()
    );
    let used = after.server.since(&before.server, window);
    Ok(Side {
        measured_s: seconds,
        steps_per_s: steps / seconds,
        server_resident_mib: resident_bytes(server.pid()) >> 20,
        client_cores: after.client.since(&before.client, window).cores,
        other_cores: after.machine.others_since(&before.machine),
        batches: after.commits.since(&before.commits, seconds),
        disk_bytes_per_step: number(after.disk.saturating_sub(before.disk)) / steps,
        written_bytes_per_step: number(used.written_bytes) / steps,
        server: used,
    })
}

impl Side {
    /// For people.
    pub(super) fn write(&self, text: &mut String, name: &str) {
        let Self {
            steps_per_s,
            client_cores,
            other_cores,
            server_resident_mib,
            disk_bytes_per_step,
            written_bytes_per_step,
            ..
        } = self;
        let cores = self.server.cores;
        let threads: Vec<String> = self
            .server
            .cores_by_thread
            .iter()
            .map(|(name, cores)| format!("{name} {cores:.2}"))
            .collect();
        let Batches {
            commits_per_s,
            records_per_commit,
            commit_ms,
            commit_share_percent,
        } = self.batches;
        write!(
            text,
            "{name}: {steps_per_s:.0} durable steps/s\n  cores: server {cores:.2} ({}), client {client_cores:.2}, others {other_cores:.2}\n  commits: {commits_per_s:.0}/s of {records_per_commit:.0} records, {commit_ms:.2} ms each, {commit_share_percent:.0} % of the time\n  disk: the folder grew by {disk_bytes_per_step:.0} bytes a step, {written_bytes_per_step:.0} were written\n  memory: {server_resident_mib} MiB resident\n",
            threads.join(", ")
        )
        .expect("a string takes everything");
    }
}
