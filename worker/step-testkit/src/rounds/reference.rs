//! The undisturbed run that all other rounds are measured by.

use std::{collections::HashMap, sync::Arc, time::Duration};

use drover_step_api::{Clock, ObservedJson};
use serde_json::Value;

use super::{
    bench::Bench,
    broken::{Broken, broken},
    play::Play,
};
use crate::{
    fixture::Fixture,
    outcome::Outcome,
    recorder::{CallRecord, Fate},
    rule::Rule,
};

/// An outside call at which rounds disturb.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    pub(crate) number: usize,
    pub(crate) action: String,
    pub(crate) mutates: bool,
}

/// What an undisturbed run did and left.
pub(crate) struct Reference {
    /// The settled world without the step.
    pub(crate) untouched: Value,
    /// The settled world after it.
    pub(crate) end: Value,
    pub(crate) output: Value,
    pub(crate) points: Vec<Point>,
    pub(crate) permits: usize,
}

impl<W: Fixture> Bench<'_, W> {
    /// The settled world in which the step never ran.
    pub(crate) async fn untouched(&self) -> Result<Value, Broken> {
        let set = self.fresh().await?;
        follows_tokio(&set.stage.world().clock()).await?;
        set.stage.world().settle().await;
        Ok(set.stage.world().snapshot())
    }

    /// Once, observed, and once more.
    pub(crate) async fn twice(&self, untouched: Value) -> Result<Reference, Broken> {
        self.observes_not_done().await?;
        // In a world of its own: a look takes time, and the other rounds begin without one.
        let set = self.fresh().await?;
        let mut play = self.play(&set);
        let (first, output) = play.done().await?;
        in_ledger(&play, &first)?;
        let end = play.settled().await;
        play.observes_done(&output).await?;

        let changes = play.changes().len();
        let (_, again) = play.done().await?;
        play.same_output(&output, &again)?;
        if let Some(entry) = play.new_changes(changes).first() {
            let what = format!(
                "the second run changed it: {} {}",
                entry.action, entry.stamp.effect
            );
            return broken(Rule::ChangedTwice, what);
        }
        play.changed_once()?;
        play.ends_as(&end, &self.scenario.varying, Rule::WorldDiffers)
            .await?;
        play.observes_done(&output).await?;
        Ok(Reference {
            untouched,
            end,
            output,
            points: points(&first.calls),
            permits: first.permits,
        })
    }

    /// What a kind that acts must be observed as before it has.
    async fn observes_not_done(&self) -> Result<(), Broken> {
        let set = self.fresh().await?;
        let play = self.play(&set);
        let acts = !self.declaration().effects.is_empty();
        let before = play.observe().await?;
        if acts && !play.is_guard() && before != ObservedJson::NotDone {
            let what = format!(
                "expected NotDone before the first run, got {}",
                word(&before)
            );
            return broken(Rule::ObserveLies, what);
        }
        Ok(())
    }
}

impl<W: Fixture> Play<'_, W> {
    /// What a done step must be observed as. Kinds that only read have left nothing to recognise and may say NotDone.
    pub(crate) async fn observes_done(&self, output: &Value) -> Result<(), Broken> {
        let observed = self.observe().await?;
        match &observed {
            ObservedJson::Done(got) => self.same_output(output, got),
            ObservedJson::NotDone | ObservedJson::Partial if self.is_guard() => Ok(()),
            ObservedJson::NotDone if self.only_reads() => Ok(()),
            _ => broken(
                Rule::ObserveLies,
                format!("expected Done after a run, got {}", word(&observed)),
            ),
        }
    }
}

/// Every bound in the kit is kept by the world's clock: one that tokio's paused time does not move would let a round hang.
async fn follows_tokio(clock: &Arc<dyn Clock>) -> Result<(), Broken> {
    const NAP: Duration = Duration::from_secs(1);
    let before = clock.now();
    let slept = tokio::time::timeout(10 * NAP, clock.sleep(NAP)).await;
    if slept.is_err() || clock.now().since(before) < NAP {
        let what = "the world's clock does not run on tokio's time";
        return broken(Rule::NotPrepared, what);
    }
    Ok(())
}

/// A world that keeps no books would make every check of changes pass.
fn in_ledger<W: Fixture>(play: &Play<'_, W>, outcome: &Outcome) -> Result<(), Broken> {
    let ledger = play.ledger();
    let made = |call: &&CallRecord| call.mutates && call.fate == Fate::Made;
    for call in outcome.calls.iter().filter(made) {
        if !ledger
            .iter()
            .any(|entry| Some(&entry.stamp) == call.stamp.as_ref())
        {
            let what = format!("call {} {}", call.number, call.action);
            return broken(Rule::LedgerSilent, what);
        }
    }
    Ok(())
}

/// The calls worth disturbing: all mutations, and of a read that is repeated without a mutation in between (a wait) the
/// first two and the last. Between those nothing but time has passed, for the step as for the world.
pub(crate) fn points(calls: &[CallRecord]) -> Vec<Point> {
    let mut kept = vec![false; calls.len()];
    for stretch in stretches(calls) {
        let mut seen: HashMap<&str, Vec<usize>> = HashMap::new();
        for index in stretch {
            seen.entry(&calls[index].target).or_default().push(index);
        }
        for indices in seen.values() {
            for &index in indices.iter().take(2).chain(indices.last()) {
                kept[index] = true;
            }
        }
    }
    calls
        .iter()
        .zip(kept)
        .filter(|(call, kept)| call.mutates || *kept)
        .map(|(call, _)| Point {
            number: call.number,
            action: call.action.clone(),
            mutates: call.mutates,
        })
        .collect()
}

/// Indices of the reads between two mutations.
fn stretches(calls: &[CallRecord]) -> Vec<Vec<usize>> {
    let mut stretches = vec![Vec::new()];
    for (index, call) in calls.iter().enumerate() {
        if call.mutates {
            stretches.push(Vec::new());
        } else if let Some(stretch) = stretches.last_mut() {
            stretch.push(index);
        }
    }
    stretches
}

pub(crate) fn word(observed: &ObservedJson) -> &'static str {
    match observed {
        ObservedJson::NotDone => "NotDone",
        ObservedJson::Done(_) => "Done",
        ObservedJson::Partial => "Partial",
        ObservedJson::Foreign(_) => "Foreign",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(calls: &str) -> Vec<usize> {
        let record = |(index, name): (usize, char)| CallRecord {
            number: index + 1,
            action: name.to_string(),
            mutates: name.is_uppercase(),
            stamp: None,
            fate: Fate::Made,
            target: name.to_string(),
        };
        let calls: Vec<_> = calls.chars().enumerate().map(record).collect();
        points(&calls).iter().map(|point| point.number).collect()
    }

    #[test]
    fn of_repeated_reads_the_first_two_and_the_last_are_kept() {
        assert_eq!(kept("aaaaab"), [1, 2, 5, 6]);
        assert_eq!(kept("abababab"), [1, 2, 3, 4, 7, 8]);
    }

    #[test]
    fn mutations_are_all_kept_and_start_a_new_stretch() {
        assert_eq!(kept("aaaaXaaaaXX"), [1, 2, 4, 5, 6, 7, 9, 10, 11]);
    }
}
