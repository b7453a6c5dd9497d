//! An observation that is disturbed itself. A look that failed is no finding.

use drover_ports::PortErrorKind;

use super::{
    bench::Bench,
    broken::{Broken, broken},
    disturbed::{ends_as_blip, is_blip, struck},
    play::Play,
    reference::{points, word},
};
use crate::{
    fault::{Fault, Script},
    fixture::Fixture,
    outcome::End,
    rule::Rule,
};

/// Errors that say nothing about the world.
const DISTURBANCES: [Fault; 5] = [
    Fault::LoseReply,
    Fault::Error(PortErrorKind::Unreachable),
    Fault::Error(PortErrorKind::Throttled),
    Fault::Error(PortErrorKind::ExpiredCredentials),
    Fault::Error(PortErrorKind::Denied),
];

impl<W: Fixture> Bench<'_, W> {
    /// Disturbs every call of an observation, before the step ran and after it. Observations change nothing, so one
    /// world serves them all.
    pub(crate) async fn observe_disturbed(&self) -> Result<(), Broken> {
        let set = self.fresh().await?;
        let mut play = self.play(&set);
        every_look(&play).await?;
        play.done().await?;
        play.settle().await;
        every_look(&play).await
    }
}

async fn every_look<W: Fixture>(play: &Play<'_, W>) -> Result<(), Broken> {
    let truth = play.observe().await?;
    let calls = play.observation(Script::Undisturbed).await?.calls;
    for point in points(&calls) {
        for fault in DISTURBANCES {
            let outcome = play
                .observation(Script::AtCall(point.number, fault))
                .await?;
            struck(&outcome, &point)?;
            match &outcome.end {
                End::Observed(said) if *said == truth => {}
                End::Observed(said) => {
                    return broken(
                        Rule::ObserveLies,
                        format!(
                            "expected {} or an error, got {} because of {fault:?} at call {} {}",
                            word(&truth),
                            word(said),
                            point.number,
                            point.action
                        ),
                    );
                }
                _ if is_blip(fault) => ends_as_blip(&outcome)?,
                _ => {}
            }
        }
    }
    Ok(())
}
