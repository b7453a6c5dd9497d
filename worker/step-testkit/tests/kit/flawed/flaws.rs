//! The ways of being wrong, and what a kind declares that is wrong in one of them.

use drover_step_api::{Effect, LossPolicy};

macro_rules! flaws {
    ($($name:ident)*) => { flaws!(@ 0; $($name)*); };
    (@ $number:expr; $name:ident $($rest:ident)*) => {
        pub(crate) const $name: u32 = $number;
        flaws!(@ $number + 1; $($rest)*);
    };
    (@ $number:expr;) => {};
}

flaws! {
    NONE
    // what it does
    CREATES_TWICE REFUSES_OWN_TRACES TRUSTS_CHECKPOINT TOGGLES TOGGLES_HARMLESSLY REDOES PUTS_ONCE
    FLICKERS FLICKERS_AGAIN REPEATS_DIFFERENTLY WORLD_OF_THE_PACE BLOATS
    PANICS_ON_SURPRISE PANICS_ON_EXISTING POLLS_WITHOUT_WAITING WANDERS
    // what it answers
    OUTPUT_OF_THE_MOMENT OUTPUT_OF_THE_CRASH OUTPUT_OF_THE_PACE WRONG_AFTER_BLIP
    LEAVES_A_TRACE_OF_FAILURE REMEMBERS_FAILURE REFUSES_AT_THE_END GIVES_UP_ON_BLIPS TAKES_DENIAL_FOR_GONE
    // signals and permits
    HOARDS_PERMITS DEAF WRAPS_SIGNALS PASSES_OVER_REFUSAL BORROWS_PERMIT ONE_KEY_FOR_TWO
    // observe
    SAYS_DONE_EARLY SAYS_NEVER_DONE SAYS_NOT_DONE_LATE SAYS_PARTIAL_BEFORE SAYS_PARTIAL_ALWAYS
    SAYS_DONE_THE_SECOND_TIME SAYS_BY_CHECKPOINT SAYS_DONE_AFTER_UNDO
    OBSERVES_ANOTHER_OUTPUT OBSERVES_HALF_AN_OUTPUT
    OBSERVES_ACTING OBSERVES_WITH_EYES_SHUT OBSERVES_THE_WORST OBSERVES_NO_MORE OBSERVES_FOR_EVER SAYS_FOREIGN
    // undo
    FORGETS_EFFECT UNDO_NEEDS_OUTPUT UNDO_NEEDS_RUN UNDO_ONLY_ONCE UNDO_BURNS_BRIDGE
    OVERWRITES_CHECKPOINT UNDO_GIVES_UP_ON_BLIPS UNDO_SILENT UNDO_FLICKERS UNDO_FLICKERS_IN_ONE_KEY
    // declaration
    CALLS_UNDECLARED ASKS_UNDECLARED DECLARES_UNUSED_EFFECT DECLARES_UNUSED_PERMISSION
    // progress
    SILENT SILENT_WHEN_SLOW
    // not wrong, only unusual
    TELLS_WHAT_IT_WAS_TOLD SAYS_NOT_DONE_OF_A_PART RACES_ITS_LAST_LOOK
    // secrets
    LEAKS_FINDING LEAKS_OUTPUT LEAKS_PROGRESS LEAKS_CHECKPOINT LEAKS_ERROR LEAKS_MADE_SECRET
}

pub(crate) const fn effects(flaw: u32) -> &'static [Effect] {
    const ALL: &[Effect] = &[
        Effect::once("mark"),
        Effect::once("suspend"),
        Effect::once("unused"),
    ];
    const REPEATED: &[Effect] = &[Effect::repeatable("mark"), Effect::once("suspend")];
    match flaw {
        REPEATS_DIFFERENTLY => REPEATED,
        DECLARES_UNUSED_EFFECT => ALL,
        ASKS_UNDECLARED => ALL.split_at(1).0,
        _ => ALL.split_at(2).0,
    }
}

pub(crate) const fn permissions(flaw: u32) -> &'static [&'static str] {
    /// What all of them need stands at the end, what only some need before it.
    const ALL: &[&str] = &[
        "ec2:TerminateInstances",
        "capi-mc:create:Note",
        "capi-mc:get:Note",
        "capi-mc:apply:Note",
        "capi-mc:delete:Note",
        "ca:Fetch",
        "capi-mc:patch:Cluster",
        "capi-mc:get:Cluster",
        "autoscaling:DescribeAutoScalingGroups",
        "autoscaling:SuspendProcesses",
        "autoscaling:ResumeProcesses",
    ];
    const NOTED: &[&str] = &[
        "capi-mc:get:Note",
        "capi-mc:apply:Note",
        "capi-mc:delete:Note",
        "capi-mc:patch:Cluster",
        "capi-mc:get:Cluster",
        "autoscaling:DescribeAutoScalingGroups",
        "autoscaling:SuspendProcesses",
        "autoscaling:ResumeProcesses",
    ];
    const STORING: &[&str] = &[
        "region-store:Head",
        "region-store:Put",
        "capi-mc:patch:Cluster",
        "capi-mc:get:Cluster",
        "autoscaling:DescribeAutoScalingGroups",
        "autoscaling:SuspendProcesses",
        "autoscaling:ResumeProcesses",
    ];
    match flaw {
        DECLARES_UNUSED_PERMISSION | CREATES_TWICE => ALL,
        UNDO_BURNS_BRIDGE | UNDO_ONLY_ONCE | UNDO_NEEDS_RUN => NOTED,
        PUTS_ONCE | LEAKS_MADE_SECRET => STORING,
        LEAKS_OUTPUT | LEAKS_PROGRESS | LEAKS_CHECKPOINT | LEAKS_ERROR | LEAKS_FINDING => {
            ALL.split_at(5).1
        }
        CALLS_UNDECLARED => ALL.split_at(7).1,
        _ => ALL.split_at(6).1,
    }
}

pub(crate) const fn loss_policy(flaw: u32) -> LossPolicy {
    match flaw {
        TOGGLES_HARMLESSLY => LossPolicy::RaceOk,
        _ => LossPolicy::StopAtPermit,
    }
}
