//! What rounds there are, and what they can find broken.

use std::fmt;

use drover_ports::PortErrorKind;

/// One kind of round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Round {
    /// Scenarios and kinds against each other, and what all rounds of a kind together must have used and left alone.
    Coverage,
    /// Once, observed, and once more.
    Twice,
    /// The worker died before an outside call.
    CrashBefore,
    /// The worker died after an outside call took effect.
    CrashAfter,
    /// The reply of an outside call was lost.
    LostReply,
    /// The coordinator cancelled during an outside call.
    Cancel,
    /// The coordinator paused during an outside call.
    Pause,
    /// A guard's span ended during an outside call.
    Stop,
    /// An outside call failed with this error and was not made.
    Error(PortErrorKind),
    /// The first attempt, held before a mutation, is let go after the second one ended.
    LatePermit,
    /// A mutation of the first attempt arrives after the second one ended.
    LateCall,
    /// Compensation after success, twice.
    Undo,
    /// Compensation without a run before it.
    UndoNeverRun,
    /// Compensation after a crash before an outside call.
    UndoCrashBefore,
    /// Compensation after a crash after an outside call took effect.
    UndoCrashAfter,
    /// Compensation after a crash after an outside call took effect, and a second attempt that succeeded.
    UndoAfterRetry,
    /// Compensation that itself is disturbed at one of its calls, and runs again.
    UndoDisturbed,
    /// An observation, before and after a run, is disturbed at one of its calls.
    ObserveDisturbed,
    /// How often an attempt reports, also when the outside is slow.
    Progress,
    /// Params, output, schemas and samples.
    Shape,
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Coverage => "coverage",
            Self::Twice => "run twice",
            Self::CrashBefore => "crash before a call",
            Self::CrashAfter => "crash after a call",
            Self::LostReply => "reply lost",
            Self::Cancel => "cancelled at a call",
            Self::Pause => "paused at a call",
            Self::Stop => "guard stopped at a call",
            Self::Error(kind) => return write!(f, "error {kind:?} at a call"),
            Self::LatePermit => "late first attempt, held before a mutation",
            Self::LateCall => "late first attempt, mutation in flight",
            Self::Undo => "undo",
            Self::UndoNeverRun => "undo without a run",
            Self::UndoCrashBefore => "undo after a crash before a call",
            Self::UndoCrashAfter => "undo after a crash after a call",
            Self::UndoAfterRetry => "undo after a crash and a retry",
            Self::UndoDisturbed => "undo disturbed and repeated",
            Self::ObserveDisturbed => "observation disturbed",
            Self::Progress => "progress",
            Self::Shape => "shape of params and output",
        })
    }
}

/// The rule that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Every kind has a scenario.
    NoScenario,
    /// Every scenario has a kind, and guards have stories.
    NoKind,
    /// The scenario's preparation succeeds.
    NotPrepared,
    /// Every round starts from the same clean world.
    UncleanStart,
    /// The fault strikes the call that it was meant for.
    FaultMissed,
    /// The world's ledger knows every mutation that the world accepted.
    LedgerSilent,
    /// An attempt that nothing hinders ends with done.
    NotDone,
    /// A compensation that nothing hinders succeeds.
    NotCompensated,
    /// No step panics.
    Panicked,
    /// Every attempt ends in time.
    Endless,
    /// Only what is declared is called and asked for.
    Undeclared,
    /// An effect changes the world once under one idempotency key.
    ChangedTwice,
    /// The world ends as it does undisturbed.
    WorldDiffers,
    /// The output is as it is undisturbed.
    OutputDiffers,
    /// The world ends as if the step had never run.
    NotUndone,
    /// Observation tells the truth.
    ObserveLies,
    /// Observation changes nothing.
    ObserveActs,
    /// Nothing leaves after a signal, and a refused permit is not passed over.
    ActsAfterSignal,
    /// A signal ends the attempt, with the matching error, within the grace.
    SignalIgnored,
    /// `Refused` is not said after a mutation, nor `Gone` because of an error that does not mean it.
    WrongCertainty,
    /// A blip is transient, or absorbed.
    BlipNotTransient,
    /// Two requests do not share an idempotency key.
    SharedKey,
    /// A mutation carries the permit of its own attempt.
    ForeignPermit,
    /// Reports come at least as often as the heartbeat timeout.
    Silent,
    /// No key material outside.
    Leak,
    /// Limits of size.
    TooLarge,
    /// Every declared effect and permission is used.
    Unused,
    /// Every waiver is needed.
    StaleWaiver,
    /// Values survive a round trip.
    RoundTrip,
    /// Values have the shape of their schema.
    Schema,
    /// Samples are there, and parse.
    Sample,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoScenario => "has no scenario",
            Self::NoKind => "is not what its scenario says",
            Self::NotPrepared => "could not be prepared",
            Self::UncleanStart => "did not start from a clean world",
            Self::FaultMissed => "took another way than undisturbed, so the fault missed its call",
            Self::LedgerSilent => "made a mutation that the world's ledger does not show",
            Self::NotDone => "did not get done",
            Self::NotCompensated => "could not be taken back",
            Self::Panicked => "panicked",
            Self::Endless => "did not end",
            Self::Undeclared => "did something that it does not declare",
            Self::ChangedTwice => "changed the world twice under one idempotency key",
            Self::WorldDiffers => "left another world than undisturbed",
            Self::OutputDiffers => "gave another output than undisturbed",
            Self::NotUndone => "was not taken back completely",
            Self::ObserveLies => "does not observe what is there",
            Self::ObserveActs => "acts while it should only observe",
            Self::ActsAfterSignal => "acted after it was told not to",
            Self::SignalIgnored => "did not heed a signal",
            Self::WrongCertainty => "claims to know what it cannot know",
            Self::BlipNotTransient => "takes a blip for the end",
            Self::SharedKey => "uses one idempotency key for two things",
            Self::ForeignPermit => "used a permit that is not its own",
            Self::Silent => "was silent for longer than its heartbeat timeout",
            Self::Leak => "leaks key material",
            Self::TooLarge => "exceeds a limit",
            Self::Unused => "declares what it never uses",
            Self::StaleWaiver => "has a waiver that nothing needs",
            Self::RoundTrip => "has params or an output that do not survive a round trip",
            Self::Schema => "has params or an output of another shape than their schema",
            Self::Sample => "has no sample, or one that no longer parses",
        })
    }
}
