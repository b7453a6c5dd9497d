//! A first attempt that was taken for dead comes back after the second one has ended.

use drover_step_api::LossPolicy;

use super::{
    bench::Bench,
    broken::{Broken, broken},
    disturbed::struck,
    reference::{Point, Reference},
};
use crate::{
    fault::{Fault, Script},
    fixture::Fixture,
    outcome::End,
    rule::Rule,
};

impl<W: Fixture> Bench<'_, W> {
    /// Held as it asks for its `permit`th permit. Nothing of it may leave any more.
    pub(crate) async fn late_permit(
        &self,
        reference: &Reference,
        permit: usize,
    ) -> Result<(), Broken> {
        let set = self.fresh().await?;
        let mut play = self.play(&set);
        let first = play.run_until_held(Script::HoldPermit(permit)).await?;
        let (_, output) = play.done().await?;
        play.same_output(&reference.output, &output)?;
        play.settle().await;
        let late = play.let_go(first).await?;
        if matches!(late.end, End::Done(_)) {
            let what = format!("permit {permit} was refused, and yet it says done\n{late}");
            return broken(Rule::ActsAfterSignal, what);
        }
        // What did not leave cannot have changed the world; that nothing left is checked for every attempt.
        Ok(())
    }

    /// A mutation is on its way when the attempt is taken for dead, and arrives last. No fence stops it: the outside
    /// knows none.
    pub(crate) async fn late_call(
        &self,
        reference: &Reference,
        point: &Point,
    ) -> Result<(), Broken> {
        let set = self.fresh().await?;
        let mut play = self.play(&set);
        let script = Script::AtCall(point.number, Fault::Hold);
        let first = play.run_until_held(script).await?;
        let (_, output) = play.done().await?;
        play.same_output(&reference.output, &output)?;
        play.settle().await;
        let late = play.let_go(first).await?;
        struck(&late, point)?;
        if self.declaration().loss_policy == LossPolicy::RaceOk {
            // It has declared that two may act at once; that they end well is all that is asked.
            return Ok(());
        }
        play.ends_as(&reference.end, &self.scenario.varying, Rule::WorldDiffers)
            .await?;
        play.changed_once()
    }
}
