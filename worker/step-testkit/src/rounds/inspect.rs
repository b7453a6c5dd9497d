//! What holds for every attempt, whatever was done to it.

use std::{collections::HashMap, error::Error as _};

use drover_ports::{PortError, PortErrorKind};
use drover_step_api::{Certainty, Declaration, StepError, runtime::Signal};

use super::broken::{Broken, broken};
use crate::{
    outcome::{End, Outcome},
    rule::Rule,
};

/// The store's limit, bytes of JSON. That of checkpoints is kept by the context.
const MAX_OUTPUT: usize = drover_step_api::OUTPUT_BYTES_MAX;

/// The first rule that an attempt broke by itself.
pub(crate) fn inspect(declaration: &Declaration, outcome: &Outcome) -> Result<(), Broken> {
    ends(outcome)?;
    if let Some(leak) = outcome.leaks.first() {
        return broken(Rule::Leak, leak);
    }
    if let Some(what) = outcome.trespasses.first() {
        return broken(Rule::ObserveActs, format!("it asked for {what}"));
    }
    heeds_signal(outcome)?;
    uses_own_permits(outcome)?;
    shares_no_key(declaration, outcome)?;
    fits(outcome)
}

fn ends(outcome: &Outcome) -> Result<(), Broken> {
    match &outcome.end {
        End::Panicked(_) => broken(Rule::Panicked, outcome.to_string()),
        End::Runaway(_) => broken(Rule::Endless, outcome.to_string()),
        End::Overran(_) => match outcome.signalled {
            Some(signalled) if signalled.signal != Signal::Pause => broken(
                Rule::SignalIgnored,
                format!("{:?}: {outcome}", signalled.signal),
            ),
            _ => broken(Rule::Endless, outcome.to_string()),
        },
        End::Stopped(error) if is_undeclared(error) => {
            broken(Rule::Undeclared, outcome.to_string())
        }
        End::Stopped(error) if error.code() == "checkpoint-too-large" => {
            broken(Rule::TooLarge, outcome.to_string())
        }
        End::Stopped(error) if error.certainty() == Certainty::Refused && outcome.mutated() => {
            let what = "expected anything but Refused after a mutation left";
            broken(Rule::WrongCertainty, format!("{what}\n{outcome}"))
        }
        _ => Ok(()),
    }
}

/// The context and the ports say so themselves: one with a code, the others with a kind of error that nothing else has.
fn is_undeclared(error: &StepError) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref());
    error.code() == "undeclared-effect"
        || source.is_some_and(|error: &PortError| error.kind == PortErrorKind::Bug)
}

fn heeds_signal(outcome: &Outcome) -> Result<(), Broken> {
    let Some(signalled) = outcome.signalled else {
        return Ok(());
    };
    if signalled.signal < Signal::Cancel {
        return Ok(());
    }
    let late = outcome
        .calls
        .iter()
        .find(|call| call.mutates && call.number > signalled.calls_before);
    match late {
        None => Ok(()),
        Some(call) => broken(
            Rule::ActsAfterSignal,
            format!(
                "{:?} was said at call {}, and call {} {} left after it",
                signalled.signal, signalled.calls_before, call.number, call.action
            ),
        ),
    }
}

fn uses_own_permits(outcome: &Outcome) -> Result<(), Broken> {
    for call in outcome.calls.iter().filter(|call| call.mutates) {
        let stamp = call.stamp.as_ref();
        // No two attempts have the same fence, in either direction.
        let own = stamp.is_some_and(|stamp| stamp.fence == outcome.fence);
        if !own {
            let what = format!(
                "call {} {} carries {:?}",
                call.number, call.action, call.stamp
            );
            return broken(Rule::ForeignPermit, what);
        }
    }
    Ok(())
}

/// An outside that honours the key would do only the first of two such requests.
fn shares_no_key(declaration: &Declaration, outcome: &Outcome) -> Result<(), Broken> {
    let mut targets: HashMap<&str, &str> = HashMap::new();
    for call in &outcome.calls {
        let Some(stamp) = &call.stamp else { continue };
        if is_repeatable(declaration, &stamp.effect) {
            continue;
        }
        let first = *targets
            .entry(&stamp.idempotency_key)
            .or_insert(&call.target);
        if first != call.target {
            let effect = &stamp.effect;
            let target = &call.target;
            return broken(
                Rule::SharedKey,
                format!("the effect {effect:?} was used for\n{first}\nand for\n{target}"),
            );
        }
    }
    Ok(())
}

fn fits(outcome: &Outcome) -> Result<(), Broken> {
    let End::Done(output) = &outcome.end else {
        return Ok(());
    };
    let size = output.to_string().len();
    if size > MAX_OUTPUT {
        let what = format!("the output has {size} bytes; {MAX_OUTPUT} are allowed");
        return broken(Rule::TooLarge, what);
    }
    Ok(())
}

/// Whether doing an effect again may change the world again. An effect that is not declared is none of this check's
/// business.
pub(crate) fn is_repeatable(declaration: &Declaration, effect: &str) -> bool {
    declaration
        .effects
        .iter()
        .any(|declared| declared.name == base(effect) && declared.repeatable)
}

/// The declared effect, without the item.
pub(crate) fn base(effect: &str) -> &str {
    effect.split_once('/').map_or(effect, |(base, _)| base)
}
