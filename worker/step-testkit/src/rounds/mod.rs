//! All rounds of one scenario.

mod bench;
mod broken;
mod disturbed;
mod inspect;
mod late;
mod observed;
mod origin;
mod play;
mod progress;
mod reference;
mod shape;
mod undo;

use drover_step_api::Compensation;

pub(crate) use self::bench::{Bench, Tally};
use self::{
    broken::Broken,
    reference::{Point, Reference},
    undo::undo_faults,
};
use crate::{
    fault::Fault,
    fixture::Fixture,
    rule::{Round, Rule},
};

/// Runs all rounds. Rounds are measured by the undisturbed run, so there are none without it.
pub(crate) async fn walk<W: Fixture>(bench: &Bench<'_, W>) {
    let body = async { bench.twice(bench.untouched().await?).await };
    let Some(reference) = bench.round(Round::Twice, None, body).await else {
        return;
    };
    let progress = bench.progress(&reference);
    bench.round(Round::Progress, None, progress).await;
    bench
        .round(Round::Shape, None, bench.shape(&reference))
        .await;
    let body = bench.observe_disturbed();
    bench.round(Round::ObserveDisturbed, None, body).await;
    disturb(bench, &reference).await;
    come_late(bench, &reference).await;
    if bench.declaration().compensation == Compensation::Undo {
        undo(bench, &reference).await;
    }
    let unspoilt = async { bench.unspoilt() };
    bench.round(Round::Coverage, None, unspoilt).await;
    // A round that failed may not have come to where a waiver is needed.
    if bench.is_clean() {
        for waiver in bench.stale_waivers() {
            let detail = format!("{} ({})", waiver.pattern, waiver.reason);
            let rule = Rule::StaleWaiver;
            bench.note(Round::Coverage, None, Broken { rule, detail });
        }
    }
}

async fn disturb<W: Fixture>(bench: &Bench<'_, W>, reference: &Reference) {
    for point in &reference.points {
        for (round, fault) in bench.faults(point) {
            if bench.has_enough() {
                return;
            }
            let body = bench.disturbed(reference, point, fault);
            bench.round(round, Some(point), body).await;
        }
    }
}

async fn come_late<W: Fixture>(bench: &Bench<'_, W>, reference: &Reference) {
    for permit in 1..=reference.permits {
        let body = async {
            let late = bench.late_permit(reference, permit).await;
            late.map_err(|found| found.at(format!("held at permit {permit}")))
        };
        bench.round(Round::LatePermit, None, body).await;
    }
    for point in mutations(reference) {
        let body = bench.late_call(reference, point);
        bench.round(Round::LateCall, Some(point), body).await;
    }
}

async fn undo<W: Fixture>(bench: &Bench<'_, W>, reference: &Reference) {
    let body = bench.undo(reference);
    let undo_points = bench.round(Round::Undo, None, body).await;
    let body = bench.undo_never_run(reference);
    bench.round(Round::UndoNeverRun, None, body).await;
    for point in &reference.points {
        let body = bench.undo_after_crash(reference, point, Fault::CrashBefore, false);
        bench.round(Round::UndoCrashBefore, Some(point), body).await;
    }
    for point in mutations(reference) {
        for (round, retried) in [
            (Round::UndoCrashAfter, false),
            (Round::UndoAfterRetry, true),
        ] {
            let body = bench.undo_after_crash(reference, point, Fault::CrashAfter, retried);
            bench.round(round, Some(point), body).await;
        }
    }
    for point in undo_points.iter().flatten() {
        for fault in undo_faults(point) {
            if bench.has_enough() {
                return;
            }
            let body = async {
                let undo = bench.undo_disturbed(reference, point, fault).await;
                undo.map_err(|found| found.at(format!("disturbed by {fault:?}")))
            };
            bench.round(Round::UndoDisturbed, Some(point), body).await;
        }
    }
}

fn mutations(reference: &Reference) -> impl Iterator<Item = &Point> {
    reference.points.iter().filter(|point| point.mutates)
}
