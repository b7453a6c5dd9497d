//! Who is in the fleet, and where each one stands.

use std::collections::BTreeMap;

use drover_core::{
    time::Timestamp,
    view::{self, StepState, WorkflowState},
};
use serde::Serialize;

use crate::dev::operator::{Operator, refused_by_preflight};

/// One cluster and its migration, which has the cluster's id.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// Of the cluster and of the workflow.
    pub(super) id: String,
    /// Where it is.
    pub(super) installation: String,
    /// What the migration is started with.
    pub(super) input: serde_json::Value,
    /// It has been asked for.
    pub(super) asked: bool,
    /// As it was seen last, without outputs.
    pub(super) seen: Option<view::Workflow>,
    /// Why it was not started.
    pub(super) not_started: Option<String>,
    /// Waits for the demo's own operator.
    pub(super) helped: bool,
}

/// Where a member stands, as a person counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Standing {
    /// Not started yet.
    ToCome,
    /// On its way.
    UnderWay,
    /// Needs a person.
    Paused,
    /// Preflight says that it must not be migrated as it is.
    Refused,
    /// Migrated.
    Migrated,
    /// Ended in another way: taken back, cancelled, terminated, removed.
    Over,
}

impl Standing {
    /// As a person reads it.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::ToCome => "to come",
            Self::UnderWay => "under way",
            Self::Paused => "paused",
            Self::Refused => "refused by preflight",
            Self::Migrated => "migrated",
            Self::Over => "not migrated",
        }
    }
}

impl Member {
    pub(super) fn standing(&self) -> Standing {
        if self.not_started.is_some() {
            return Standing::Over;
        }
        let Some(workflow) = &self.seen else {
            return if self.asked {
                Standing::UnderWay
            } else {
                Standing::ToCome
            };
        };
        match workflow.state {
            WorkflowState::Completed => Standing::Migrated,
            WorkflowState::RolledBack
            | WorkflowState::Cancelled
            | WorkflowState::Terminated
            | WorkflowState::Removed => Standing::Over,
            WorkflowState::Paused if self.helped => Standing::UnderWay,
            WorkflowState::Paused if refused_by_preflight(workflow) => Standing::Refused,
            WorkflowState::Paused | WorkflowState::Stuck | WorkflowState::Quarantined => {
                Standing::Paused
            }
            WorkflowState::Pending
            | WorkflowState::Running
            | WorkflowState::Waiting
            | WorkflowState::Unwinding => Standing::UnderWay,
        }
    }

    /// Why it does not go on, or how it ended, in one sentence.
    pub(super) fn sentence(&self) -> Option<String> {
        if let Some(why) = &self.not_started {
            return Some(format!("not started: {why}"));
        }
        let workflow = self.seen.as_ref()?;
        if let Some(outcome) = &workflow.outcome {
            let state = workflow.state;
            return Some(format!("{state}: {}", outcome.message));
        }
        workflow.holds.first().map(|hold| hold.message.clone())
    }

    /// What would let it go on.
    pub(super) fn unblock(&self) -> Option<&str> {
        let hold = self.seen.as_ref()?.holds.first()?;
        Some(hold.unblock.as_str()).filter(|text| !text.is_empty())
    }

    /// Steps that have ended, and all of them.
    fn steps(&self) -> (usize, usize) {
        let Some(workflow) = &self.seen else {
            return (0, 0);
        };
        let ended = |state| {
            matches!(
                state,
                StepState::Succeeded | StepState::Skipped | StepState::Failed
            )
        };
        let done = workflow.steps.iter().filter(|step| ended(step.state));
        (done.count(), workflow.steps.len())
    }
}

/// Everybody, in the order of starting.
#[derive(Clone, Debug)]
pub(super) struct Roster {
    members: Vec<Member>,
    place: BTreeMap<String, usize>,
}

impl Roster {
    pub(super) fn new(members: Vec<Member>) -> Self {
        let place = members
            .iter()
            .enumerate()
            .map(|(n, member)| (member.id.clone(), n))
            .collect();
        Self { members, place }
    }

    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    /// Somebody that the fleet is known to have.
    pub(super) fn member(&mut self, id: &str) -> &mut Member {
        &mut self.members[self.place[id]]
    }

    /// Takes a look in, and gives how the member stood before and stands now.
    pub(super) fn saw(
        &mut self,
        workflow: view::Workflow,
        operator: &Operator,
    ) -> (Standing, Standing) {
        let helped = !operator.work(&workflow).is_empty();
        let member = self.member(&workflow.id);
        let before = member.standing();
        member.helped = helped;
        member.seen = Some(workflow);
        (before, member.standing())
    }

    /// Who is to be started next while no more than `at_once` are under way.
    pub(super) fn next(&mut self, at_once: usize) -> Option<Member> {
        if self.count(Standing::UnderWay) >= at_once {
            return None;
        }
        let member = self.members.iter_mut().find(|member| !member.asked)?;
        member.asked = true;
        Some(member.clone())
    }

    pub(super) fn count(&self, standing: Standing) -> usize {
        self.standing(standing).count()
    }

    pub(super) fn standing(&self, standing: Standing) -> impl Iterator<Item = &Member> {
        self.members
            .iter()
            .filter(move |member| member.standing() == standing)
    }

    /// Nobody is under way or to come: all have ended, or wait for a person.
    pub(super) fn is_at_rest(&self) -> bool {
        self.count(Standing::UnderWay) + self.count(Standing::ToCome) == 0
    }

    /// Everybody has ended.
    pub(super) fn is_over(&self) -> bool {
        self.count(Standing::Migrated) + self.count(Standing::Over) == self.members.len()
    }

    /// How much of all steps of all migrations has been done, from 0 to 1.
    pub(super) fn progress(&self) -> f64 {
        let share = |member: &Member| match member.steps() {
            (_, 0) => 0.0,
            #[expect(clippy::cast_precision_loss, reason = "steps of a definition are few")]
            (done, all) => done as f64 / all as f64,
        };
        let sum: f64 = self.members.iter().map(share).sum();
        #[expect(clippy::cast_precision_loss, reason = "clusters of a fleet are few")]
        let all = self.members.len().max(1) as f64;
        sum / all
    }

    /// From the first start to the last end, or to `now`.
    pub(super) fn span(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let seen = || {
            self.members
                .iter()
                .filter_map(|member| member.seen.as_ref())
        };
        let from = seen().filter_map(|workflow| workflow.created_at).min()?;
        let until = if self.is_over() {
            seen().filter_map(|workflow| workflow.ended_at).max()
        } else {
            None
        };
        Some((from, until.unwrap_or(now)))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// A fleet of so many in one installation.
    pub(in crate::dev::fleet) fn fleet(count: usize) -> Roster {
        let member = |n: usize| Member {
            id: format!("c{n}"),
            installation: "golem".to_owned(),
            input: json!({}),
            asked: false,
            seen: None,
            not_started: None,
            helped: false,
        };
        Roster::new((0..count).map(member).collect())
    }

    /// A migration with one step, held there by this reason, if any.
    pub(in crate::dev::fleet) fn workflow(
        id: &str,
        state: WorkflowState,
        kind: &str,
        hold: Option<&str>,
    ) -> view::Workflow {
        let holds: Vec<serde_json::Value> = hold
            .into_iter()
            .map(|code| {
                json!({ "code": code, "message": "it waits", "since": null, "clears_at": null,
                    "unblock": "do something", "step": "s" })
            })
            .collect();
        let step = json!({ "id": "s", "kind": kind, "state": "Paused", "attempt": 1,
            "attempts_allowed": 3, "worker": "w", "fence": "1.1", "lease_expires_at": null,
            "scheduled_at": null, "started_at": null, "ended_at": null, "progress": null,
            "next": null, "compensation": null,
            "last_error": { "code": "c", "certainty": "refused", "message": "m", "attempt": 1 } });
        serde_json::from_value(json!({ "id": id, "state": state, "cluster": id,
            "definition": { "name": "d", "version": 1, "digest": "" },
            "installation": "golem", "region": "", "partition": "", "wave": "",
            "created_at": null, "started_at": null, "ended_at": null, "current": ["s"],
            "holds": holds, "steps": [step], "guards": [], "outcome": null, "trace_id": "",
            "head": 1, "pivot_passed": false }))
        .unwrap()
    }

    /// What the demo's operator did for a workflow until it has nothing left to try.
    fn exhausted(workflow: &view::Workflow) -> Operator {
        let mut operator = Operator::default();
        while let Some(work) = operator.work(workflow).first().cloned() {
            operator.note(&workflow.id, &work);
        }
        operator
    }

    #[test]
    fn no_more_than_so_many_are_under_way_and_one_that_needs_a_person_makes_room() {
        let mut roster = fleet(3);
        assert_eq!(roster.next(2).unwrap().id, "c0");
        assert_eq!(roster.next(2).unwrap().id, "c1");
        assert!(roster.next(2).is_none());

        let held = workflow("c0", WorkflowState::Paused, "capi.x/1", Some("step-paused"));
        let stands = roster.saw(held.clone(), &Operator::default());
        assert_eq!(stands, (Standing::UnderWay, Standing::UnderWay));
        assert!(roster.next(2).is_none(), "the demo will retry it");

        let stands = roster.saw(held.clone(), &exhausted(&held));
        assert_eq!(stands, (Standing::UnderWay, Standing::Paused));
        assert_eq!(roster.next(2).unwrap().id, "c2");
        assert!(!roster.is_at_rest());
    }

    #[test]
    fn a_fleet_rests_when_all_have_ended_or_need_a_person() {
        let mut roster = fleet(2);
        while roster.next(2).is_some() {}
        let operator = Operator::default();
        roster.saw(
            workflow("c0", WorkflowState::Completed, "x", None),
            &operator,
        );
        assert!(!roster.is_at_rest());
        let held = workflow("c1", WorkflowState::Paused, "x", Some("paused"));
        roster.saw(held, &operator);
        assert!(roster.is_at_rest() && !roster.is_over());
        assert_eq!(roster.member("c1").sentence().unwrap(), "it waits");
        roster.saw(workflow("c1", WorkflowState::Running, "x", None), &operator);
        assert!(!roster.is_at_rest(), "somebody let it go on");
        roster.saw(
            workflow("c1", WorkflowState::RolledBack, "x", None),
            &operator,
        );
        assert!(roster.is_over());
        assert_eq!(roster.count(Standing::Over), 1);
    }

    #[test]
    fn what_preflight_still_refuses_after_retries_is_told_from_other_pauses() {
        for (kind, standing) in [
            ("checks.preflight/1", Standing::Refused),
            ("capi.x/1", Standing::Paused),
        ] {
            let mut roster = fleet(1);
            roster.next(1);
            let held = workflow("c0", WorkflowState::Paused, kind, Some("step-paused"));
            // A check may have asked in a bad moment.
            assert_eq!(
                roster.saw(held.clone(), &Operator::default()).1,
                Standing::UnderWay
            );
            assert_eq!(roster.saw(held.clone(), &exhausted(&held)).1, standing);
        }
    }

    #[test]
    fn a_gate_that_a_person_rejected_stays_rejected() {
        let held = workflow("c0", WorkflowState::Paused, "gate", Some("step-paused"));
        assert_eq!(Operator::default().work(&held), []);
        let asks = workflow("c0", WorkflowState::Waiting, "gate", Some("gate-waiting"));
        assert_eq!(Operator::default().work(&asks).len(), 1);
    }
}
