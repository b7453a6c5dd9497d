//! A coordinator full of open workflows: each has a step done, and some have the next one running at the worker.

mod ledger;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Context as _;

pub(crate) use self::ledger::Ledger;
use crate::{
    load::{operator::Operator, session::Session},
    server::Engine,
    shape::Templates,
};

/// Steps of a workflow.
pub(crate) const STEPS: u32 = 10;

/// How long filling and connecting may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// Starts that are under way at once.
const STARTS: usize = 256;

/// When nothing has moved for so long, nothing will: a step got lost. Several beats.
const STALL: Duration = Duration::from_secs(20);

/// Gives up after a while.
pub(crate) async fn within<T>(
    what: &str,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    tokio::time::timeout(PATIENCE, work)
        .await
        .with_context(|| format!("{what} took longer than {PATIENCE:?}"))?
}

/// Lets the worker work until something holds.
pub(crate) async fn work<T>(
    session: &mut Session,
    ledger: &mut Ledger,
    look: impl Fn(&Ledger) -> Option<T>,
) -> anyhow::Result<T> {
    let (mut stored, mut moved) = (ledger.n_stored(), Instant::now());
    loop {
        if let Some(found) = look(ledger) {
            return Ok(found);
        }
        // A beat's answer comes in between at least.
        tokio::time::timeout(STALL, session.turn(ledger))
            .await
            .context("the server is silent")??;
        if ledger.n_stored() != stored {
            (stored, moved) = (ledger.n_stored(), Instant::now());
        }
        anyhow::ensure!(
            moved.elapsed() < STALL,
            "nothing has moved for {STALL:?}: steps or workflows got lost"
        );
    }
}

/// Starts every workflow while the worker takes nothing, so that the first steps of all stand in line before any second
/// one; then lets the first steps end and keeps the second ones running.
pub(crate) async fn fill(
    engine: Engine<'_>,
    workflows: u32,
    held: u32,
    listen: SocketAddr,
    session: &mut Session,
    ledger: &mut Ledger,
) -> anyhow::Result<Templates> {
    let mut operator = Operator::connect(listen).await?;
    if matches!(engine, Engine::Coordinator) {
        operator.register(STEPS).await?;
    }
    let mut first = None;
    let (mut asked, mut started) = (0, 0);
    while started < workflows {
        while asked < workflows && operator.under_way() < STARTS {
            operator.start();
            asked += 1;
        }
        // Both are cancel-safe; the bodies do not await.
        tokio::select! {
            turned = session.turn(ledger) => turned?,
            answer = operator.started() => {
                first.get_or_insert(answer?);
                started += 1;
            }
        }
    }
    session.set_credits(held)?;
    let wanted = (workflows as usize, held as usize);
    work(session, ledger, |ledger| {
        ((ledger.n_stored(), ledger.held().len()) == wanted).then_some(())
    })
    .await?;
    Ok(Templates {
        offer: ledger.offer().context("nothing was offered")?,
        started: first.context("nothing was started")?,
    })
}
