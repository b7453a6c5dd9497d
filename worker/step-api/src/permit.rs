//! The right to change something outside, once.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Orders the attempts of one step; see `Fence` in `proto/drover/v1/common.proto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fence {
    /// The coordinator's epoch when the attempt was leased.
    pub epoch: u64,
    /// Counts leases within one workflow.
    pub counter: u64,
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.counter)
    }
}

/// What a permit says to the outside: who acts, under which fence, with which idempotency key. Adapters attach it to
/// their calls (client token, annotation, field manager) and ledgers record it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Workflow id.
    pub workflow: String,
    /// Step id.
    pub step: String,
    /// Counted from 1.
    pub attempt: u32,
    /// Grows with each attempt of the step.
    pub fence: Fence,
    /// The declared effect, with the item when there are several: `suspend-processes/asg-1`.
    pub effect: String,
    /// UUID derived from lineage, step, params generation and effect; the same on each attempt.
    pub idempotency_key: String,
    /// True while the step is being compensated.
    pub compensating: bool,
}

/// The right to make one mutation. Every mutating port method takes one by value, so it can be used once.
///
/// It is not `Clone`, and only [`crate::runtime`] can make one.
#[derive(Debug)]
#[must_use = "a permit that is not handed to a port changes nothing"]
pub struct Permit {
    stamp: Stamp,
}

impl Permit {
    pub(crate) fn new(stamp: Stamp) -> Self {
        Self { stamp }
    }

    /// What the outside is told.
    pub fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    /// Uses the permit up.
    #[must_use]
    pub fn into_stamp(self) -> Stamp {
        self.stamp
    }
}
