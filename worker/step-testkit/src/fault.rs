//! What a round does to one attempt, and where.

use std::time::Duration;

use drover_ports::PortErrorKind;
use drover_step_api::runtime::Signal;

/// What happens at one outside call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The worker dies; the call is not made.
    CrashBefore,
    /// The call is made, then the worker dies before it sees the reply.
    CrashAfter,
    /// The call is not made; the step sees this error.
    Error(PortErrorKind),
    /// The call is made; the step sees [`PortErrorKind::Lost`].
    LoseReply,
    /// The coordinator says this while the call is under way.
    Signal(Signal),
    /// The call is stuck on its way until the round lets it go.
    Hold,
}

/// What happens to one attempt. At most one thing does: two faults at once hide each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Script {
    /// Nothing.
    #[default]
    Undisturbed,
    /// `Fault` at this outside call, counted from 1.
    AtCall(usize, Fault),
    /// The request for this permit, counted from 1, is not answered until the round lets it go.
    HoldPermit(usize),
    /// Every outside call takes this much longer.
    SlowCalls(Duration),
}

impl Script {
    /// What happens at a call.
    pub(crate) fn at_call(self, number: usize) -> Option<Fault> {
        match self {
            Self::AtCall(at, fault) if at == number => Some(fault),
            // The ports try once more with fresh credentials, which have expired as well.
            Self::AtCall(at, fault @ Fault::Error(PortErrorKind::ExpiredCredentials))
                if at + 1 == number =>
            {
                Some(fault)
            }
            _ => None,
        }
    }

    /// Whether a request for a permit is held.
    pub(crate) fn holds_permit(self, number: usize) -> bool {
        self == Self::HoldPermit(number)
    }

    /// What every call takes longer.
    pub(crate) fn delay(self) -> Duration {
        match self {
            Self::SlowCalls(delay) => delay,
            _ => Duration::ZERO,
        }
    }
}
