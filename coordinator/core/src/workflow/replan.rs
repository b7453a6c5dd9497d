//! A running workflow goes on by another plan.
//!
//! Whatever may have started keeps its id, its kind with its version, its parameters and its side of the pivot; guards that
//! have begun stay. Everything else is as the new plan says, and is evaluated anew. Steps are matched by their ids.

use std::sync::Arc;

use super::{
    act::Answer,
    decide::Turn,
    event::{Body, Event},
    input::Rejection,
    state::{Course, Phase, Step, Workflow},
};
use crate::{
    definition::{Action, Definition, ItemsError, Node},
    ids::{Actor, StepId},
    plan::{KnownItems, Plan},
};

/// What another plan would change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// In the order in which people read the new plan; what is gone stands at the end.
    pub changes: Vec<Change>,
    /// Why the workflow cannot go on by it; empty when it can.
    pub problems: Vec<String>,
}

/// What happens to one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its id.
    pub step: StepId,
    /// `added`, `removed` or `changed`.
    pub change: &'static str,
    /// What of it changes, with the old and the new value where they are short.
    pub aspects: Vec<String>,
    /// What that means for a step that is under way or has ended; empty for all others.
    pub effect: &'static str,
}

pub(super) fn replan(turn: &mut Turn<'_>, actor: Actor, reason: String, plan: Arc<Plan>) -> Answer {
    if turn.workflow.is_unwinding() {
        return Err(Rejection::Unwinding);
    }
    if turn.workflow.in_critical_span() {
        let last = turn.workflow.plan.critical.last().copied().unwrap_or(0);
        let until = turn.workflow.plan.id_of(last).clone();
        return Err(Rejection::InCriticalSpan { until });
    }
    let diff = turn.workflow.compare(&plan);
    if !diff.problems.is_empty() {
        let problems = diff.problems.join("; ");
        return Err(Rejection::PlanDoesNotFit { problems });
    }
    if turn.workflow.plan.digest == plan.digest {
        return Ok("it goes by this plan already".to_owned());
    }
    for index in 0..turn.workflow.steps.len() {
        let step = &turn.workflow.steps[index];
        if step.phase == Phase::Leased {
            let fence = step
                .lease
                .as_ref()
                .expect("a leased step has a lease")
                .fence;
            let reason = Arc::from("replanned");
            turn.emit(Some(index), Body::OfferReverted { fence, reason });
        }
    }
    turn.emit_replanned(actor, reason, &plan);
    let definition = &plan.definition;
    Ok(format!(
        "goes on by {}@{}: {}",
        definition.name,
        definition.version,
        diff.summary()
    ))
}

impl Diff {
    /// Counts, for one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let count = |word: &str| {
            self.changes
                .iter()
                .filter(|change| change.change == word)
                .count()
        };
        format!(
            "{} steps added, {} changed, {} removed",
            count("added"),
            count("changed"),
            count("removed")
        )
    }
}

impl Workflow {
    /// What another plan would change, and why it may not. Changes nothing.
    #[must_use]
    pub fn compare(&self, plan: &Plan) -> Diff {
        let mut diff = Diff::default();
        let old = &self.plan;
        if plan.definition.name != old.definition.name {
            diff.problems.push(format!(
                "it is the definition {}, and this workflow goes by {}",
                plan.definition.name, old.definition.name
            ));
            return diff;
        }
        for problem in plan.input_problems(&self.created.input) {
            diff.problems
                .push(format!("the input does not fit: {problem}"));
        }
        let new = match with_known_items(plan, &old.items) {
            Ok(new) => new,
            Err(error) => {
                diff.problems.push(error.to_string());
                return diff;
            }
        };
        for index in new.definition.reading_order() {
            let id = new.id_of(index);
            let Some((before, step)) = self.step(id.as_str()) else {
                diff.changes.push(Change {
                    step: id.clone(),
                    change: "added",
                    aspects: vec![kind_word(&new.definition.nodes[index])],
                    effect: "",
                });
                continue;
            };
            let aspects = changed_aspects(old, before, &new, index);
            if !aspects.is_empty() {
                diff.changes.push(Change {
                    step: id.clone(),
                    change: "changed",
                    aspects,
                    effect: effect(step),
                });
            }
            if is_fixed(step) {
                self.check_fixed(before, &new, index, &mut diff.problems);
            }
        }
        for index in old.definition.reading_order() {
            let id = old.id_of(index);
            if new.index_of(id.as_str()).is_none() {
                if is_fixed(&self.steps[index]) {
                    diff.problems
                        .push(format!("{id} may have started, and the new plan lacks it"));
                }
                diff.changes.push(Change {
                    step: id.clone(),
                    change: "removed",
                    aspects: Vec::new(),
                    effect: "",
                });
            }
        }
        self.check_order(&new, &mut diff.problems);
        self.check_pivot(&new, &mut diff.problems);
        diff
    }

    /// What has started stays what it is, where it is.
    fn check_fixed(&self, before: usize, new: &Plan, index: usize, problems: &mut Vec<String>) {
        let old = &self.plan;
        let id = old.id_of(before);
        let (was, is) = (
            kind_word(&old.definition.nodes[before]),
            kind_word(&new.definition.nodes[index]),
        );
        if was != is {
            problems.push(format!(
                "{id} may have started as {was} and cannot become {is}"
            ));
        }
        if old.is_guard(before) != new.is_guard(index) {
            problems.push(format!("{id} cannot change between step and guard"));
        } else if !old.is_guard(before) && side(old, before) != side(new, index) {
            problems.push(format!(
                "{id} may have started and cannot change its side of the pivot"
            ));
        }
    }

    /// Nothing new may come before what has started.
    fn check_order(&self, new: &Plan, problems: &mut Vec<String>) {
        let fixed: Vec<usize> = (0..new.nodes.len())
            .filter(|&index| {
                self.step(new.id_of(index).as_str())
                    .is_some_and(|(_, step)| is_fixed(step))
            })
            .collect();
        for index in 0..new.nodes.len() {
            let id = new.id_of(index);
            let is_open = self
                .step(id.as_str())
                .is_none_or(|(_, step)| !is_fixed(step) && !step.phase.satisfies_needs());
            // A `forEach` under way ends after the steps of its items.
            let its_own = |later: usize| {
                let item = new.definition.nodes[index].item.as_ref();
                item.is_some_and(|item| item.for_each == later)
            };
            let late = fixed
                .iter()
                .find(|&&later| new.is_before(index, later) && !its_own(later));
            if let Some(&later) = late.filter(|_| is_open) {
                problems.push(format!(
                    "{id} comes before {}, which may have started",
                    new.id_of(later)
                ));
            }
        }
    }

    fn check_pivot(&self, new: &Plan, problems: &mut Vec<String>) {
        let id = |plan: &Plan| plan.definition.pivot.map(|pivot| plan.id_of(pivot).clone());
        if self.pivot_passed() && id(&self.plan) != id(new) {
            problems.push("the pivot has been passed and cannot become another step".to_owned());
        }
    }

    /// Takes [`Body::Replanned`] into the state, like [`Workflow::apply`] every other event.
    ///
    /// # Panics
    /// When the event is illegal in this state or names another plan.
    pub fn replan(&mut self, event: &Event, plan: &Arc<Plan>) {
        assert_eq!(event.seq, self.head + 1, "events come in order");
        assert!(
            self.course == Course::Forward,
            "only what goes forward is replanned"
        );
        let Body::Replanned { plan: digest, .. } = &event.body else {
            panic!("{:?} is not Replanned", event.body);
        };
        assert_eq!(
            *digest, plan.digest,
            "the plan is the one that the event names"
        );
        self.head = event.seq;
        let new = with_known_items(plan, &self.plan.items)
            .expect("the plan was compared before it was adopted");
        let steps = (0..new.nodes.len())
            .map(|index| {
                self.step(new.id_of(index).as_str())
                    .map_or_else(Step::default, |(before, step)| {
                        let stays = is_fixed(step)
                            || step.phase.satisfies_needs()
                            || changed_aspects(&self.plan, before, &new, index).is_empty();
                        if stays { step.clone() } else { anew(step) }
                    })
            })
            .collect();
        self.starts = self
            .starts
            .iter()
            .filter_map(|&index| new.index_of(self.plan.id_of(index).as_str()))
            .collect();
        self.steps = steps;
        self.plan = Arc::new(new);
    }
}

/// A step that has not started, and whose turn comes again under the new plan. Its requests are new ones.
fn anew(step: &Step) -> Step {
    Step {
        attempt: step.attempt,
        acked: step.acked,
        refused: step.refused,
        generation: step.generation + 1,
        failure: step.failure.clone(),
        ..Step::default()
    }
}

/// True when the step may have started, or has ended, so that it stays as it is.
fn is_fixed(step: &Step) -> bool {
    step.acked > step.refused || matches!(step.phase, Phase::Succeeded | Phase::Items)
}

fn effect(step: &Step) -> &'static str {
    if step.phase.satisfies_needs() {
        "has ended; nothing of it runs again"
    } else if step.phase.is_leased() {
        "is under way and keeps its parameters"
    } else if is_fixed(step) {
        "may have started and keeps its parameters"
    } else {
        ""
    }
}

fn with_known_items(plan: &Plan, known: &[KnownItems]) -> Result<Plan, ItemsError> {
    let mut plan = plan.clone();
    for known in known {
        let index = plan
            .index_of(known.for_each.as_str())
            .filter(|&index| plan.definition.nodes[index].for_each().is_some());
        if let Some(index) = index {
            plan = plan.with_items(index, &known.items)?;
        }
    }
    Ok(plan)
}

/// On which side of the pivot a node is: -1 before it, 0 the pivot, 1 after it.
fn side(plan: &Plan, index: usize) -> i8 {
    match plan.definition.pivot {
        None => -1,
        Some(pivot) if pivot == index => 0,
        Some(pivot) if plan.is_before(index, pivot) => -1,
        Some(_) => 1,
    }
}

fn kind_word(node: &Node) -> String {
    match &node.action {
        Action::Run { kind, .. } => kind.to_string(),
        Action::Gate(_) => "gate".to_owned(),
        Action::Timer(_) => "timer".to_owned(),
        Action::ForEach(_) => "forEach".to_owned(),
    }
}

fn changed_aspects(old: &Plan, before: usize, new: &Plan, index: usize) -> Vec<String> {
    let was = aspects(&old.definition, &old.definition.nodes[before]);
    let is = aspects(&new.definition, &new.definition.nodes[index]);
    was.into_iter()
        .zip(is)
        .filter(|((_, was), (_, is))| was != is)
        .map(|((name, was), (_, is))| {
            if was.len() + is.len() <= 80 {
                format!("{name} {was} → {is}")
            } else {
                name.to_owned()
            }
        })
        .collect()
}

/// Everything that a plan says of a node, position left out.
fn aspects(definition: &Definition, node: &Node) -> [(&'static str, String); 9] {
    let names = |indices: &[usize]| -> String {
        let ids: Vec<&str> = indices
            .iter()
            .map(|&index| definition.nodes[index].id.as_str())
            .collect();
        format!("[{}]", ids.join(", "))
    };
    let (with, span) = match &node.action {
        Action::Run { with, guard, .. } => (
            with.to_string(),
            guard.map_or_else(String::new, |guard| {
                format!(
                    "{} {:?} {:?}",
                    names(&[guard.from, guard.until]),
                    guard.autonomy,
                    guard.on_violation
                )
            }),
        ),
        Action::Gate(gate) => (
            format!("{:?} {} {:?}", gate.approvers, gate.quorum, gate.expires),
            names(&gate.evidence),
        ),
        Action::Timer(duration) => (format!("{duration:?}"), String::new()),
        Action::ForEach(for_each) => (
            format!(
                "{} as {} by {}, {} at once, {:?}",
                for_each.items,
                for_each.variable,
                for_each.key,
                for_each.max_parallel,
                for_each.on_item_failure
            ),
            for_each.body.iter().map(body_text).collect(),
        ),
    };
    [
        ("kind", kind_word(node)),
        ("with", with),
        ("span", span),
        ("needs", names(&node.needs)),
        ("when", format!("{:?}", node.when)),
        ("placement", format!("{:?}", node.placement)),
        ("timeouts", format!("{:?}", node.timeouts)),
        ("retry", format!("{:?}", node.retry)),
        ("onFailure", format!("{:?}", node.on_failure)),
    ]
}

/// A step of the items as text; its needs are indices of the body.
fn body_text(node: &Node) -> String {
    format!(
        "{} {:?} {:?} {:?} {:?} {:?} {:?} {:?};",
        node.id,
        node.action,
        node.needs,
        node.when,
        node.placement,
        node.timeouts,
        node.retry,
        node.on_failure
    )
}
