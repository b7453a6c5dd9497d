//! The world that a family brings along.

use std::{future::Future, sync::Arc};

use drover_ports::Door;
use drover_step_api::{Clock, Stamp};
use serde_json::Value;

/// One mutation that reached the world, as the world recorded it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerEntry {
    /// Who did it, under which fence, idempotency key and effect.
    pub stamp: Stamp,
    /// The step kind, `name/version`.
    pub kind: String,
    /// The action, as [`drover_ports::Call::action`] names it.
    pub action: String,
    /// False when the world already was that way, or recognised the idempotency key and did nothing.
    pub changed: bool,
}

/// A small world for one round, driven by tokio's paused time.
///
/// The kit makes one for every round, so that no round sees what another left behind. Everything in it must be
/// deterministic: the same calls at the same virtual times give the same replies and the same snapshot.
pub trait Fixture: 'static {
    /// The way in. The kit wraps it; the world itself injects no faults here.
    fn door(&self) -> Arc<dyn Door>;

    /// The world's clock. It must run on tokio's time, one to one, or the paused runtime cannot move it.
    fn clock(&self) -> Arc<dyn Clock>;

    /// The installation that the steps act in.
    fn installation(&self) -> String;

    /// Lets the world run until nothing more happens by itself. Must end: a world that never rests stops after a
    /// time of its own choice.
    fn settle(&self) -> impl Future<Output = ()>;

    /// The world as JSON, without times and without random ids.
    ///
    /// Rounds compare it, so it shows everything that a step could leave behind, secrets by digest only.
    fn snapshot(&self) -> Value;

    /// Every mutation that the world accepted so far, oldest first, those without a change too.
    fn ledger(&self) -> Vec<LedgerEntry>;

    /// Keeps the world as it is now, and returns what makes copies of it: each shares nothing with the others, and its
    /// clock goes on from this moment however much later the copy is made.
    ///
    /// With it the kit prepares a scenario once instead of once a round, which is what keeps the walk fast for kinds
    /// that come late in a migration.
    fn freeze(&self) -> Option<Thaw<Self>>
    where
        Self: Sized,
    {
        None
    }
}

/// Makes copies of a frozen world.
pub type Thaw<W> = Box<dyn Fn() -> W>;
