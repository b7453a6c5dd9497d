//! The ledger: every outside call, in the order in which it had (or would have had) its effect.

mod check;

use drover_ports::Caller;
use drover_step_api::{Stamp, Timestamp};
use serde::{Deserialize, Serialize};

use crate::FaultKind;

pub use check::{Violation, check_kinds};

/// One outside call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// Counted from 0.
    pub seq: u64,
    /// When it had its effect.
    pub at: Timestamp,
    /// Who called.
    pub caller: Caller,
    /// The used-up permit of a mutation.
    pub stamp: Option<Stamp>,
    /// The action.
    pub action: String,
    /// What it was about: an object, a load balancer, a member.
    pub target: String,
    /// Whether the world is another one than before. False when it already was that way.
    pub changed: bool,
    /// `ok`, or the kind of error.
    pub outcome: String,
    /// The fault that was injected.
    pub fault: Option<FaultKind>,
}
