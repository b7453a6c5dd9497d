//! How often an attempt reports.

use std::time::Duration;

use super::{
    bench::Bench,
    broken::{Broken, broken},
    reference::Reference,
};
use crate::{
    fault::Script,
    fixture::Fixture,
    outcome::{End, Outcome},
    rule::Rule,
};

/// A slow outside: the time of a call across a border on a bad day.
const SLOW_CALL: Duration = Duration::from_secs(2);

impl<W: Fixture> Bench<'_, W> {
    /// With a slow outside too an attempt gets the same done, and reports at least as often as it promised. What is often
    /// enough then is often enough when the outside is quick.
    pub(crate) async fn progress(&self, reference: &Reference) -> Result<(), Broken> {
        let set = self.fresh().await?;
        let mut play = self.play(&set);
        let outcome = play.run(Script::SlowCalls(SLOW_CALL)).await?;
        let End::Done(output) = &outcome.end else {
            let pace = SLOW_CALL.as_secs();
            let what = format!("with {pace} s more for each outside call: {outcome}");
            return broken(Rule::NotDone, what);
        };
        self.reports_often(&outcome)?;
        play.same_output(&reference.output, output)?;
        play.ends_as(&reference.end, &self.scenario.varying, Rule::WorldDiffers)
            .await?;
        Ok(())
    }

    /// No longer silence than the declared heartbeat timeout.
    pub(crate) fn reports_often(&self, outcome: &Outcome) -> Result<(), Broken> {
        let Some(heartbeat) = self.declaration().timeouts.heartbeat else {
            return Ok(());
        };
        let (gap, after) = longest_gap(outcome);
        if gap <= heartbeat {
            return Ok(());
        }
        let (heartbeat, gap) = (heartbeat.as_secs(), gap.as_secs());
        broken(
            Rule::Silent,
            format!("expected a report every {heartbeat} s, got none for {gap} s after {after}"),
        )
    }
}

/// The longest time without a report, and what it came after.
fn longest_gap(outcome: &Outcome) -> (Duration, String) {
    let mut last = (outcome.started, "the start".to_owned());
    let mut longest = (Duration::ZERO, last.1.clone());
    let end = (outcome.ended, String::new());
    for (at, message) in outcome.reports.iter().chain([&end]) {
        let gap = at.since(last.0);
        if gap > longest.0 {
            longest = (gap, last.1);
        }
        last = (*at, format!("{message:?}"));
    }
    longest
}
