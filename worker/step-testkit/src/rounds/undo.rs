//! The way back of kinds that declare undo: from everywhere, and more than once.

use drover_step_api::ObservedJson;

use super::{
    bench::Bench,
    broken::{Broken, broken},
    disturbed::{ends_as_blip, is_blip, struck},
    play::Play,
    reference::{Point, Reference, points, word},
};
use crate::{
    fault::{Fault, Script},
    fixture::Fixture,
    rule::Rule,
};

impl<W: Fixture> Bench<'_, W> {
    /// After success, and once more. Returns the calls of the compensation.
    pub(crate) async fn undo(&self, reference: &Reference) -> Result<Vec<Point>, Broken> {
        let set = self.fresh().await?;
        let mut play = self.play(&set);
        play.done().await?;
        play.settle().await;
        let undo = play.compensated().await?;
        self.reports_often(&undo)?;
        self.undone(&play, reference).await?;
        let changes = play.changes().len();
        play.compensated().await?;
        if let Some(entry) = play.new_changes(changes).first() {
            let what = format!(
                "the second compensation changed it: {} {}",
                entry.action, entry.stamp.effect
            );
            return broken(Rule::ChangedTwice, what);
        }
        self.undone(&play, reference).await?;
        Ok(points(&undo.calls))
    }

    /// Without a run before it: there is nothing to take back.
    pub(crate) async fn undo_never_run(&self, reference: &Reference) -> Result<(), Broken> {
        let set = self.fresh().await?;
        let play = self.play(&set);
        play.compensated().await?;
        if let Some(entry) = play.new_changes(0).first() {
            let what = format!(
                "there was nothing to take back, but it did {} {}",
                entry.action, entry.stamp.effect
            );
            return broken(Rule::NotUndone, what);
        }
        self.undone(&play, reference).await
    }

    /// After a crash at `point`; with `retried`, after another attempt got done. A second attempt finds the first one's
    /// traces and must not take them for what was there before.
    pub(crate) async fn undo_after_crash(
        &self,
        reference: &Reference,
        point: &Point,
        fault: Fault,
        retried: bool,
    ) -> Result<(), Broken> {
        let set = self.fresh().await?;
        let mut play = self.play(&set);
        let crashed = play.run(Script::AtCall(point.number, fault)).await?;
        struck(&crashed, point)?;
        if retried {
            play.done().await?;
        }
        play.compensated().await?;
        self.undone(&play, reference).await
    }

    /// The compensation itself is disturbed, and runs again.
    pub(crate) async fn undo_disturbed(
        &self,
        reference: &Reference,
        point: &Point,
        fault: Fault,
    ) -> Result<(), Broken> {
        let set = self.fresh().await?;
        let mut play = self.play(&set);
        play.done().await?;
        play.settle().await;
        let first = play.compensate(Script::AtCall(point.number, fault)).await?;
        struck(&first, point)?;
        if is_blip(fault) {
            ends_as_blip(&first)?;
        }
        if first.gave_up_at(point.number) {
            // As after a crash at the call, from which other rounds go on.
            return Ok(());
        }
        play.compensated().await?;
        self.undone(&play, reference).await
    }

    /// The world is as if the step had never run, outside the residues, and observation says so. `Partial` is the truth
    /// only while a residue is there.
    async fn undone(&self, play: &Play<'_, W>, reference: &Reference) -> Result<(), Broken> {
        play.changed_once()?;
        let residues = &self.scenario.residues;
        let untouched = &reference.untouched;
        let left = play.ends_as(untouched, residues, Rule::NotUndone).await? != *untouched;
        let observed = play.observe().await?;
        let truth = match observed {
            ObservedJson::NotDone => true,
            ObservedJson::Partial => left || play.is_guard(),
            ObservedJson::Done(_) | ObservedJson::Foreign(_) => false,
        };
        if truth {
            return Ok(());
        }
        let expected = if left {
            "NotDone or Partial"
        } else {
            "NotDone"
        };
        let got = word(&observed);
        broken(
            Rule::ObserveLies,
            format!("expected {expected} after a compensation, got {got}"),
        )
    }
}

/// What is done to one call of a compensation.
pub(crate) fn undo_faults(point: &Point) -> Vec<Fault> {
    let mut faults = vec![
        Fault::CrashBefore,
        Fault::LoseReply,
        Fault::Error(drover_ports::PortErrorKind::Unreachable),
        Fault::Error(drover_ports::PortErrorKind::Throttled),
    ];
    if point.mutates {
        faults.push(Fault::CrashAfter);
    }
    faults
}
