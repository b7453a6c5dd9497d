//! What is not known after a restore: which steps began, or ended, in the time that the backup lacks.
//!
//! From then on every step looks before it acts. One that finds its work undone had not ended in that time, so nothing that needs
//! it had begun. One that finds it done may have been followed by others, which look in their turn. Until every step whose turn
//! has come has looked, a way back might leave out what was begun, the pivot among it.

use std::collections::BTreeSet;

use super::{
    items,
    state::{Phase, Workflow},
};
use crate::definition::OnItemFailure;

impl Workflow {
    /// The first node of which nobody knows whether it began or ended after the backup; `None` also when nothing was restored.
    #[must_use]
    pub fn not_looked(&self) -> Option<usize> {
        if !self.observe_all {
            return None;
        }
        (0..self.steps.len()).find(|&index| self.is_unknown(index))
    }

    fn is_unknown(&self, index: usize) -> bool {
        let step = &self.steps[index];
        if step.phase.satisfies_needs() || step.found_undone {
            return false;
        }
        // Steps wait until their guard runs, so it is known when they have looked. The steps of items stand for their `forEach`.
        !self.plan.is_guard(index)
            && step.phase != Phase::Items
            && self.turn_has_come(index)
            && !self.waits_for_room(index)
            && !self.follows_undone(index)
    }

    fn turn_has_come(&self, index: usize) -> bool {
        self.needs_of(index)
            .all(|need| self.steps[need].phase.satisfies_needs())
            && self.plan.definition.nodes[index]
                .item
                .as_ref()
                .is_none_or(|item| self.steps[item.for_each].phase == Phase::Items)
    }

    /// An item that others keep from beginning. They have looked, or are unknown themselves; where one that waits for an operator
    /// makes room it may have begun all the same.
    fn waits_for_room(&self, index: usize) -> bool {
        self.steps[index].phase == Phase::Blocked
            && !items::has_room(self, index)
            && self.item_policy(index) != Some(OnItemFailure::Continue)
    }

    /// True when something that it needs, however far back, was found undone.
    fn follows_undone(&self, index: usize) -> bool {
        let mut seen = BTreeSet::new();
        let mut open: Vec<usize> = self.needs_of(index).collect();
        while let Some(need) = open.pop() {
            if self.steps[need].found_undone {
                return true;
            }
            if seen.insert(need) {
                open.extend(self.needs_of(need));
                open.extend(self.plan.definition.steps_of(need));
            }
        }
        false
    }

    /// What a node needs itself; the steps of an item need what their `forEach` does.
    fn needs_of(&self, index: usize) -> impl Iterator<Item = usize> {
        let nodes = &self.plan.definition.nodes;
        let of_all = nodes[index].item.as_ref().map(|item| &nodes[item.for_each]);
        let of_all = of_all.into_iter().flat_map(|node| &node.needs);
        nodes[index].needs.iter().chain(of_all).copied()
    }
}
