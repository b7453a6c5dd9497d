//! Large outputs as expressions see them: a step that reads one begins once the shell has put its value at hand.
//!
//! The state holds references only. What is at hand is no part of the fold: a value is named by its digest, expressions
//! are evaluated once, and the event stores what they came to.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::Value;

use super::{
    advance,
    decide::Turn,
    event::{Body, Certainty, Event, StepFailure},
    state::{Course, Phase, Workflow},
};
use crate::{definition::node_reads, object::ObjectRef, stream::Record};

/// What no line lacks that names an object.
const NAMES_ONE: &[u8] = b"\"object\":{";

/// Objects that the events of a record name. Other streams than workflows' name none, nor do lines that cannot be read.
#[must_use]
pub fn named_by(record: &Record) -> Vec<ObjectRef> {
    record
        .lines()
        .filter(|line| line.windows(NAMES_ONE.len()).any(|part| part == NAMES_ONE))
        .filter_map(|line| Event::read_line(line).ok()?.object())
        .collect()
}

impl Event {
    /// The large output that it names.
    #[must_use]
    pub fn object(&self) -> Option<ObjectRef> {
        if let Body::AttemptSucceeded { object, .. } = &self.body {
            *object
        } else {
            None
        }
    }
}

impl Workflow {
    /// Large outputs that a step whose turn has come reads, and that are not at hand.
    #[must_use]
    pub fn wanted_objects(&self) -> BTreeSet<ObjectRef> {
        let mut wanted = self.read_objects();
        wanted.retain(|object| !self.at_hand.contains_key(object));
        wanted
    }

    /// Puts a value at hand.
    pub fn put_at_hand(&mut self, object: ObjectRef, value: Arc<Value>) {
        self.at_hand.insert(object, value);
    }

    /// Lets go of values that no step whose turn has come reads.
    pub(super) fn put_down(&mut self) {
        if !self.at_hand.is_empty() {
            let read = self.read_objects();
            self.at_hand.retain(|object, _| read.contains(object));
        }
    }

    fn read_objects(&self) -> BTreeSet<ObjectRef> {
        if self.steps.iter().all(|step| step.object.is_none())
            || self.course != Course::Forward
            || self.is_held_back()
        {
            return BTreeSet::new();
        }
        (0..self.steps.len())
            .filter(|&index| self.is_due(index))
            .flat_map(|index| self.objects_of(index))
            .collect()
    }

    /// True when the step begins now, or does as soon as it has what it reads.
    fn is_due(&self, index: usize) -> bool {
        match self.plan.definition.nodes[index].guard() {
            None => advance::needs_are_met(self, index),
            Some(guard) => {
                self.steps[index].phase == Phase::Blocked
                    && !self.steps[guard.until].phase.satisfies_needs()
                    && (self.steps[guard.from].phase != Phase::Blocked
                        || advance::needs_are_met(self, guard.from))
            }
        }
    }

    /// Large outputs that a step's expressions read.
    fn objects_of(&self, index: usize) -> Vec<ObjectRef> {
        let definition = &self.plan.definition;
        let node = &definition.nodes[index];
        node_reads(node)
            .iter()
            .filter_map(|read| definition.seen_from(node, &read.step))
            .map(|source| &self.steps[source])
            .filter(|step| step.phase.satisfies_needs())
            .filter_map(|step| step.object)
            .collect()
    }
}

/// True when something that the step reads is not at hand.
pub(super) fn lacks(workflow: &Workflow, index: usize) -> bool {
    workflow.steps.iter().any(|step| step.object.is_some())
        && workflow
            .objects_of(index)
            .iter()
            .any(|object| !workflow.at_hand.contains_key(object))
}

/// An object cannot be read: the steps that wait for it wait for an operator from here on.
pub(super) fn unreadable(turn: &mut Turn<'_>, object: ObjectRef, message: &str) {
    if !turn.workflow.wanted_objects().contains(&object) {
        return;
    }
    for index in 0..turn.workflow.steps.len() {
        if turn.workflow.is_due(index) && turn.workflow.objects_of(index).contains(&object) {
            let failure = StepFailure::new("output-unreadable", Certainty::Refused, message);
            turn.emit(Some(index), Body::StepNotScheduled { failure });
        }
    }
}
