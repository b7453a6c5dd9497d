//! How long calls take, and when within that time they have their effect.

use std::time::Duration;

use drover_ports::Call;

use crate::{chance::Chance, faults::CallCount};

/// How long one call takes, on the domain clock. The effect, if any, happens between the two parts, at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// Until the effect.
    pub before: Duration,
    /// From the effect to the reply.
    pub after: Duration,
}

pub(crate) fn of(call: &Call, count: &CallCount, chance: &Chance) -> Latency {
    let (from, to) = if call.mutates() {
        (200, 900)
    } else {
        (50, 300)
    };
    let whole = chance.millis_nth(from, to, "latency", &count.of, count.nth);
    // Somewhere between a quarter and three quarters of the way.
    let share =
        25 + u32::try_from(chance.number("effect-at", &count.of, count.nth) % 51).unwrap_or(0);
    let before = whole * share / 100;
    Latency {
        before,
        after: whole.saturating_sub(before),
    }
}
