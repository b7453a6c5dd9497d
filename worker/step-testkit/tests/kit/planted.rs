//! Every planted fault is caught, by the rule and in the round that are meant for it.

use drover_ports::{PortErrorKind, Ports};
use drover_step_api::{Registry, Step};
use drover_step_testkit::{Conformance, Report, Round, Rule, Scenario};
use serde_json::json;

use crate::{
    conforming::cluster,
    flawed::{Flawed, flaws},
    good::ClusterParams,
    world::World,
};

pub(crate) fn registry_of<S: Step<Ports>>(step: S) -> Registry<Ports> {
    let mut registry = Registry::default();
    registry.register(step).expect("its declaration is valid");
    registry
}

pub(crate) fn scenario<S: Step<Ports, Params = ClusterParams>>() -> Scenario<World> {
    Scenario::step::<S>(cluster)
        .params_sample(json!({ "cluster": "abc12" }))
        .output_sample(json!({ "text": "held" }))
}

fn walk<const F: u32>() -> Report {
    Conformance::new(registry_of(Flawed::<F>::default()), World::new)
        .scenario(scenario::<Flawed<F>>())
        .walk("")
}

#[track_caller]
pub(crate) fn assert_found(report: &Report, round: Round, rule: Rule) {
    let found = report
        .failures
        .iter()
        .any(|failure| failure.round == round && failure.rule == rule);
    assert!(found, "expected {round:?} to find {rule:?}, got\n{report}");
}

macro_rules! harmless {
    ($($name:ident: $flaw:ident;)*) => {
        $(
            #[test]
            fn $name() {
                let report = walk::<{ flaws::$flaw }>();
                assert!(report.is_clean(), "{report}");
            }
        )*
    };
}

harmless! {
    without_a_flaw_there_is_no_finding: NONE;
    a_race_that_is_declared_harmless_passes: TOGGLES_HARMLESSLY;
    an_output_that_tells_of_a_denial_passes: TELLS_WHAT_IT_WAS_TOLD;
    not_done_when_a_part_is_there_passes: SAYS_NOT_DONE_OF_A_PART;
    a_call_that_is_given_up_passes: RACES_ITS_LAST_LOOK;
}

macro_rules! planted {
    ($($name:ident: $flaw:ident => $round:expr, $rule:ident;)*) => {
        $(
            #[test]
            fn $name() {
                assert_found(&walk::<{ flaws::$flaw }>(), $round, Rule::$rule);
            }
        )*
    };
}

planted! {
    a_create_without_a_name_is_found: CREATES_TWICE => Round::Twice, ChangedTwice;
    a_second_run_that_flickers_is_found: FLICKERS_AGAIN => Round::Twice, ChangedTwice;
    two_changes_under_one_key_are_found: FLICKERS => Round::Twice, ChangedTwice;
    a_repetition_with_another_result_is_found: REPEATS_DIFFERENTLY => Round::Twice, WorldDiffers;
    a_step_that_refuses_its_own_traces_is_found: REFUSES_OWN_TRACES => Round::CrashAfter, NotDone;
    a_step_that_redoes_what_is_there_is_found: REDOES => Round::CrashAfter, ChangedTwice;
    a_checkpoint_taken_for_success_is_found: TRUSTS_CHECKPOINT => Round::CrashBefore, WorldDiffers;
    a_late_mutation_that_turns_things_back_is_found: TOGGLES => Round::LateCall, WorldDiffers;
    a_late_mutation_that_acts_again_is_found: PUTS_ONCE => Round::LateCall, ChangedTwice;
    a_checkpoint_over_its_limit_is_found: BLOATS => Round::Twice, TooLarge;
    a_panic_is_found: PANICS_ON_SURPRISE => Round::Error(PortErrorKind::NotFound), Panicked;
    a_panic_at_a_mutation_is_found: PANICS_ON_EXISTING => Round::Error(PortErrorKind::AlreadyExists), Panicked;
    a_panic_at_a_conflict_is_found: PANICS_ON_EXISTING => Round::Error(PortErrorKind::Conflict), Panicked;
    a_loop_that_does_not_wait_is_found: POLLS_WITHOUT_WAITING => Round::Twice, Endless;
    another_way_on_every_run_is_found: WANDERS => Round::CrashBefore, FaultMissed;
    another_world_when_the_outside_is_slow_is_found: WORLD_OF_THE_PACE => Round::Progress, WorldDiffers;

    an_output_of_the_moment_is_found: OUTPUT_OF_THE_MOMENT => Round::Twice, OutputDiffers;
    an_output_that_tells_of_a_crash_is_found: OUTPUT_OF_THE_CRASH => Round::CrashAfter, OutputDiffers;
    an_output_that_tells_of_slowness_is_found: OUTPUT_OF_THE_PACE => Round::Progress, OutputDiffers;
    a_wrong_output_after_a_blip_is_found: WRONG_AFTER_BLIP => Round::Error(PortErrorKind::Throttled), OutputDiffers;
    a_trace_of_failure_is_found: LEAVES_A_TRACE_OF_FAILURE => Round::Error(PortErrorKind::Throttled), WorldDiffers;
    an_output_that_remembers_failure_is_found: REMEMBERS_FAILURE => Round::Error(PortErrorKind::Throttled), OutputDiffers;
    refused_after_a_mutation_is_found: REFUSES_AT_THE_END => Round::Error(PortErrorKind::Denied), WrongCertainty;
    failing_when_throttled_is_found: GIVES_UP_ON_BLIPS => Round::Error(PortErrorKind::Throttled), BlipNotTransient;
    failing_when_unreachable_is_found: GIVES_UP_ON_BLIPS => Round::Error(PortErrorKind::Unreachable), BlipNotTransient;
    failing_when_credentials_expire_is_found: GIVES_UP_ON_BLIPS => Round::Error(PortErrorKind::ExpiredCredentials), BlipNotTransient;
    failing_when_a_reply_is_lost_is_found: GIVES_UP_ON_BLIPS => Round::LostReply, BlipNotTransient;
    a_denial_taken_for_gone_is_found: TAKES_DENIAL_FOR_GONE => Round::Error(PortErrorKind::Denied), WrongCertainty;

    a_hoarded_permit_is_found: HOARDS_PERMITS => Round::Cancel, ActsAfterSignal;
    deafness_to_cancel_is_found: DEAF => Round::Cancel, SignalIgnored;
    a_cancel_told_as_a_failure_is_found: WRAPS_SIGNALS => Round::Cancel, SignalIgnored;
    a_pause_told_as_a_failure_is_found: WRAPS_SIGNALS => Round::Pause, SignalIgnored;
    a_refused_permit_that_is_passed_over_is_found: PASSES_OVER_REFUSAL => Round::LatePermit, ActsAfterSignal;
    a_permit_of_another_attempt_is_found: BORROWS_PERMIT => Round::Twice, ForeignPermit;
    one_key_for_two_things_is_found: ONE_KEY_FOR_TWO => Round::Twice, SharedKey;

    done_before_all_is_there_is_found: SAYS_DONE_EARLY => Round::CrashAfter, ObserveLies;
    done_only_the_second_time_is_found: SAYS_DONE_THE_SECOND_TIME => Round::Twice, ObserveLies;
    never_done_is_found: SAYS_NEVER_DONE => Round::Twice, ObserveLies;
    not_done_when_all_is_there_is_found: SAYS_NOT_DONE_LATE => Round::CrashAfter, ObserveLies;
    partial_when_nothing_is_there_is_found: SAYS_PARTIAL_BEFORE => Round::CrashBefore, ObserveLies;
    partial_before_the_first_run_is_found: SAYS_PARTIAL_ALWAYS => Round::Twice, ObserveLies;
    partial_after_an_undo_is_found: SAYS_PARTIAL_BEFORE => Round::Undo, ObserveLies;
    done_after_an_undo_is_found: SAYS_DONE_AFTER_UNDO => Round::Undo, ObserveLies;
    an_observation_that_goes_by_a_checkpoint_is_found: SAYS_BY_CHECKPOINT => Round::CrashAfter, ObserveLies;
    another_output_observed_than_given_is_found: OBSERVES_ANOTHER_OUTPUT => Round::Twice, OutputDiffers;
    another_output_observed_after_a_crash_is_found: OBSERVES_HALF_AN_OUTPUT => Round::CrashBefore, OutputDiffers;
    its_own_traces_taken_for_foreign_are_found: SAYS_FOREIGN => Round::CrashAfter, ObserveLies;
    an_observation_without_an_end_is_found: OBSERVES_FOR_EVER => Round::Twice, Endless;
    acting_while_observing_is_found: OBSERVES_ACTING => Round::Twice, ObserveActs;
    a_failed_look_taken_for_nothing_is_found: OBSERVES_WITH_EYES_SHUT => Round::ObserveDisturbed, ObserveLies;
    a_failed_look_taken_for_something_is_found: OBSERVES_THE_WORST => Round::ObserveDisturbed, ObserveLies;
    an_observation_that_fails_on_a_blip_is_found: OBSERVES_NO_MORE => Round::ObserveDisturbed, BlipNotTransient;

    a_forgotten_effect_is_found: FORGETS_EFFECT => Round::Undo, NotUndone;
    an_undo_that_needs_the_output_is_found: UNDO_NEEDS_OUTPUT => Round::UndoCrashAfter, NotUndone;
    an_undo_that_needs_a_run_is_found: UNDO_NEEDS_RUN => Round::UndoNeverRun, NotCompensated;
    an_undo_that_needs_a_checkpoint_is_found: UNDO_NEEDS_RUN => Round::UndoCrashBefore, NotCompensated;
    an_undo_that_works_only_once_is_found: UNDO_ONLY_ONCE => Round::Undo, NotCompensated;
    an_undo_that_acts_each_time_is_found: UNDO_FLICKERS => Round::Undo, ChangedTwice;
    an_undo_that_acts_on_nothing_is_found: UNDO_FLICKERS => Round::UndoNeverRun, NotUndone;
    an_undo_with_two_changes_under_one_key_is_found: UNDO_FLICKERS_IN_ONE_KEY => Round::UndoCrashAfter, ChangedTwice;
    silence_in_an_undo_is_found: UNDO_SILENT => Round::Undo, Silent;
    a_retry_that_forgets_what_was_before_is_found: OVERWRITES_CHECKPOINT => Round::UndoAfterRetry, NotUndone;

    a_call_that_is_not_declared_is_found: CALLS_UNDECLARED => Round::Twice, Undeclared;
    an_effect_that_is_not_declared_is_found: ASKS_UNDECLARED => Round::Twice, Undeclared;
    an_effect_that_is_never_used_is_found: DECLARES_UNUSED_EFFECT => Round::Coverage, Unused;
    a_permission_that_is_never_used_is_found: DECLARES_UNUSED_PERMISSION => Round::Coverage, Unused;

    silence_in_a_wait_is_found: SILENT => Round::Progress, Silent;
    silence_while_the_outside_is_slow_is_found: SILENT_WHEN_SLOW => Round::Progress, Silent;

    a_key_in_the_output_is_found: LEAKS_OUTPUT => Round::Twice, Leak;
    a_key_in_a_report_is_found: LEAKS_PROGRESS => Round::Twice, Leak;
    a_key_in_a_checkpoint_is_found: LEAKS_CHECKPOINT => Round::Twice, Leak;
    a_key_in_an_error_is_found: LEAKS_ERROR => Round::Error(PortErrorKind::Denied), Leak;
    a_key_in_a_finding_is_found: LEAKS_FINDING => Round::Twice, Leak;
    a_secret_that_the_kind_made_is_found: LEAKS_MADE_SECRET => Round::Twice, Leak;
}

/// The round's detail says what the compensation was disturbed by.
#[track_caller]
fn assert_undo_disturbed_by<const F: u32>(rule: Rule, faults: &[&str]) {
    let report = walk::<F>();
    for fault in faults {
        let found = report.failures.iter().any(|failure| {
            failure.round == Round::UndoDisturbed
                && failure.rule == rule
                && failure
                    .detail
                    .starts_with(&format!("disturbed by {fault}\n"))
        });
        assert!(found, "{fault} in\n{report}");
    }
}

#[test]
fn an_undo_that_cannot_go_on_is_found() {
    let faults = ["CrashBefore", "CrashAfter"];
    assert_undo_disturbed_by::<{ flaws::UNDO_BURNS_BRIDGE }>(Rule::NotUndone, &faults);
}

#[test]
fn an_undo_that_fails_on_a_blip_is_found() {
    let faults = ["LoseReply", "Error(Unreachable)", "Error(Throttled)"];
    assert_undo_disturbed_by::<{ flaws::UNDO_GIVES_UP_ON_BLIPS }>(Rule::BlipNotTransient, &faults);
}

#[test]
fn a_kind_that_breaks_is_not_blamed_for_what_it_did_not_come_to() {
    let report = walk::<{ flaws::SAYS_NEVER_DONE }>();
    assert_eq!(report.failures.len(), 1, "{report}");
}

#[test]
fn a_failure_names_the_kind_the_round_the_call_and_the_difference() {
    let report = walk::<{ flaws::FORGETS_EFFECT }>().to_string();
    for line in [
        "toy.flawed/1: undo after a crash after a call: was not taken back completely",
        "  at call 4 capi-mc:patch:Cluster",
        "  /objects/Cluster~1abc12/metadata/annotations/held: expected nothing, got \"x\"",
        "  also at calls 5 autoscaling:SuspendProcesses",
    ] {
        assert!(
            report.lines().any(|found| found == line),
            "{line:?} in\n{report}"
        );
    }
}
