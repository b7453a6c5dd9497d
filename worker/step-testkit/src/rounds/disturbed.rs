//! Something goes wrong at one outside call of the first attempt; the second one must find its way.

use drover_ports::PortErrorKind;
use drover_step_api::{Certainty, ObservedJson, Role, runtime::Signal};

use super::{
    bench::Bench,
    broken::{Broken, broken},
    play::Play,
    reference::{Point, Reference, word},
};
use crate::{
    fault::{Fault, Script},
    fixture::{Fixture, LedgerEntry},
    outcome::{End, Outcome},
    rule::{Round, Rule},
};

impl<W: Fixture> Bench<'_, W> {
    /// What is done to one call, and under which name.
    pub(crate) fn faults(&self, point: &Point) -> Vec<(Round, Fault)> {
        let error = |kind| (Round::Error(kind), Fault::Error(kind));
        let mut faults = vec![
            (Round::CrashBefore, Fault::CrashBefore),
            (Round::LostReply, Fault::LoseReply),
            (Round::Cancel, Fault::Signal(Signal::Cancel)),
            error(PortErrorKind::Unreachable),
            error(PortErrorKind::Throttled),
            error(PortErrorKind::ExpiredCredentials),
            error(PortErrorKind::Denied),
            error(PortErrorKind::NotFound),
        ];
        if point.mutates {
            // After a read nothing has happened outside: it would be the crash before the next call.
            faults.push((Round::CrashAfter, Fault::CrashAfter));
            faults.push(error(PortErrorKind::AlreadyExists));
            faults.push(error(PortErrorKind::Conflict));
        }
        faults.push(match self.declaration().role {
            Role::Step => (Round::Pause, Fault::Signal(Signal::Pause)),
            // Guards live through a pause.
            Role::Guard => (Round::Stop, Fault::Signal(Signal::Stop)),
        });
        faults
    }

    pub(crate) async fn disturbed(
        &self,
        reference: &Reference,
        point: &Point,
        fault: Fault,
    ) -> Result<(), Broken> {
        let set = self.fresh().await?;
        let mut play = self.play(&set);
        let first = play.run(Script::AtCall(point.number, fault)).await?;
        struck(&first, point)?;
        ends_rightly(&first, fault)?;
        if is_lie(fault) {
            // The step was told something untrue of the world; where that leads is not its fault.
            return Ok(());
        }
        if first.gave_up_at(point.number) {
            // What it left is what a crash before the call leaves, or after it; those rounds go on from there.
            return Ok(());
        }
        if let End::Done(output) = &first.end
            && fault != Fault::Error(PortErrorKind::Denied)
        {
            play.same_output(&reference.output, output)?;
        }
        let changes = play.changes();
        let said = play.observe().await?;
        let (_, output) = play.done().await?;
        play.same_output(&reference.output, &output)?;
        play.told_the_truth(&said, &changes, reference)?;
        play.ends_as(&reference.end, &self.scenario.varying, Rule::WorldDiffers)
            .await?;
        play.changed_once()?;
        play.observes_done(&reference.output).await
    }
}

impl<W: Fixture> Play<'_, W> {
    /// Whether what was observed between two attempts fits what they changed.
    fn told_the_truth(
        &self,
        said: &ObservedJson,
        before: &[LedgerEntry],
        reference: &Reference,
    ) -> Result<(), Broken> {
        let after = self.new_changes(before.len());
        let lie = |what: String| broken(Rule::ObserveLies, what);
        match said {
            ObservedJson::Done(output) => {
                if let Some(entry) = after.first() {
                    return lie(format!(
                        "it said Done, but the next attempt still had to do {} {}",
                        entry.action, entry.stamp.effect
                    ));
                }
                self.same_output(&reference.output, output)
            }
            ObservedJson::NotDone => {
                let lasting = before.iter().find(|entry| !self.is_repeatable(entry));
                match lasting {
                    Some(entry) if after.is_empty() && !self.is_guard() => lie(format!(
                        "it said NotDone, but all of it was there: {} {} and nothing to do after it",
                        entry.action, entry.stamp.effect
                    )),
                    _ => Ok(()),
                }
            }
            ObservedJson::Partial | ObservedJson::Foreign(_) => {
                if before.is_empty() && !self.is_guard() {
                    return lie(format!(
                        "it said {}, but nothing of it was there",
                        word(said)
                    ));
                }
                Ok(())
            }
        }
    }
}

/// The fault happened, and at the call that the undisturbed run made at this place.
pub(crate) fn struck(outcome: &Outcome, point: &Point) -> Result<(), Broken> {
    if outcome.fired.is_none() {
        return broken(Rule::FaultMissed, format!("no such call\n{outcome}"));
    }
    let action = outcome
        .calls
        .get(point.number - 1)
        .map_or("nothing", |call| &call.action);
    if action != point.action {
        return broken(
            Rule::FaultMissed,
            format!(
                "expected call {} {}, got {action}",
                point.number, point.action
            ),
        );
    }
    Ok(())
}

/// An answer that is untrue of the world, unlike one that only did not come.
fn is_lie(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::Error(PortErrorKind::NotFound | PortErrorKind::AlreadyExists)
    )
}

/// Trying again is all that such an error asks for.
pub(crate) fn is_blip(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::LoseReply
            | Fault::Error(
                PortErrorKind::Unreachable
                    | PortErrorKind::Throttled
                    | PortErrorKind::ExpiredCredentials
            )
    )
}

fn ends_rightly(outcome: &Outcome, fault: Fault) -> Result<(), Broken> {
    let done = matches!(outcome.end, End::Done(_));
    let certainty = outcome.end.certainty();
    if is_blip(fault) {
        return ends_as_blip(outcome);
    }
    match fault {
        Fault::CrashBefore | Fault::CrashAfter => match outcome.end {
            End::Crashed => Ok(()),
            _ => broken(Rule::FaultMissed, outcome.to_string()),
        },
        Fault::Signal(signal) => {
            let expected = match signal {
                Signal::Cancel => Some(Certainty::Cancelled),
                Signal::Pause => Some(Certainty::Yielded),
                Signal::Superseded => Some(Certainty::Superseded),
                Signal::Go | Signal::Stop => None,
            };
            if done || (expected.is_some() && certainty == expected) {
                return Ok(());
            }
            let expected = expected.map_or(String::new(), |word| format!(" or {word:?}"));
            let what = format!("expected done{expected} after {signal:?}\n{outcome}");
            broken(Rule::SignalIgnored, what)
        }
        Fault::Error(kind) if certainty == Some(Certainty::Gone) => match kind {
            PortErrorKind::NotFound => Ok(()),
            _ => broken(
                Rule::WrongCertainty,
                format!("{kind:?} does not mean that the target is gone\n{outcome}"),
            ),
        },
        Fault::Error(_) | Fault::LoseReply | Fault::Hold => Ok(()),
    }
}

/// Transient, or absorbed.
pub(crate) fn ends_as_blip(outcome: &Outcome) -> Result<(), Broken> {
    let absorbed = matches!(outcome.end, End::Done(_) | End::Compensated);
    if absorbed || outcome.end.certainty() == Some(Certainty::Transient) {
        return Ok(());
    }
    broken(
        Rule::BlipNotTransient,
        format!("expected Transient or done\n{outcome}"),
    )
}
