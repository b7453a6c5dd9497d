//! Steps and guards as they were read, their references still names; and how names become indices.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Action, ForEach, Gate, Guard, Node, OnFailure, OnViolation, RetryOverrides, TimeoutOverrides,
    reader::Problems,
};
use crate::{
    expr::{Expression, Template},
    ids::{KindRef, StepId},
    yaml::Position,
};

pub(super) type Reference<'a> = (&'a str, Position);

/// A step or guard whose references are still names.
pub(super) struct Draft<'a> {
    pub(super) id: StepId,
    pub(super) position: Position,
    pub(super) action: DraftAction<'a>,
    pub(super) needs: Vec<(&'a str, Position)>,
    pub(super) when: Option<Expression>,
    pub(super) placement: Option<Template>,
    pub(super) timeouts: TimeoutOverrides,
    pub(super) retry: RetryOverrides,
    pub(super) on_failure: OnFailure,
}

pub(super) enum DraftAction<'a> {
    Run {
        kind: KindRef,
        with: Template,
        guard: Option<DraftGuard<'a>>,
    },
    Gate {
        approvers: Vec<String>,
        quorum: u32,
        expires: Duration,
        evidence: Vec<(&'a str, Position)>,
    },
    Timer(Duration),
    ForEach(Box<ForEach>),
}

pub(super) struct DraftGuard<'a> {
    pub(super) from: (&'a str, Position),
    pub(super) until: (&'a str, Position),
    pub(super) autonomy: Duration,
    pub(super) on_violation: OnViolation,
}

pub(super) fn index(drafts: &[Draft<'_>], problems: &mut Problems) -> BTreeMap<String, usize> {
    let mut index = BTreeMap::new();
    for (position, draft) in drafts.iter().enumerate() {
        if index.insert(draft.id.to_string(), position).is_some() {
            problems.add(
                draft.position,
                "duplicate-id",
                format!("the id {:?} is used twice", draft.id.as_str()),
            );
        }
    }
    index
}

/// Finds the steps that fields name; guards, which stand behind the steps, are none.
pub(super) fn resolver(
    index: &BTreeMap<String, usize>,
    n_steps: usize,
) -> impl FnMut(Reference<'_>, &str, &mut Problems) -> Option<usize> {
    move |(id, position), field, problems| {
        let found = index.get(id).copied().filter(|index| *index < n_steps);
        if found.is_none() {
            problems.add(
                position,
                "unknown-step",
                format!("`{field}` names the step {id:?}, which does not exist"),
            );
        }
        found
    }
}

impl<'a> Draft<'a> {
    pub(super) fn resolve(
        self,
        resolve: &mut impl FnMut(Reference<'a>, &str, &mut Problems) -> Option<usize>,
        problems: &mut Problems,
    ) -> Node {
        let mut all =
            |references: Vec<Reference<'a>>, field: &str, problems: &mut Problems| -> Vec<usize> {
                references
                    .into_iter()
                    .filter_map(|reference| resolve(reference, field, problems))
                    .collect()
            };
        let needs = all(self.needs, "needs", problems);
        let action = match self.action {
            DraftAction::Run { kind, with, guard } => Action::Run {
                kind,
                with,
                guard: guard.map(|guard| {
                    let from = all(vec![guard.from], "from", problems);
                    let until = all(vec![guard.until], "until", problems);
                    // An unknown step is a problem already; the index is never used then.
                    Guard {
                        from: from.first().copied().unwrap_or(0),
                        until: until.first().copied().unwrap_or(0),
                        autonomy: guard.autonomy,
                        on_violation: guard.on_violation,
                    }
                }),
            },
            DraftAction::Gate {
                approvers,
                quorum,
                expires,
                evidence,
            } => Action::Gate(Gate {
                approvers,
                quorum,
                expires,
                evidence: all(evidence, "evidence", problems),
            }),
            DraftAction::Timer(duration) => Action::Timer(duration),
            DraftAction::ForEach(for_each) => Action::ForEach(for_each),
        };
        Node {
            id: self.id,
            position: self.position,
            action,
            needs,
            when: self.when,
            placement: self.placement,
            timeouts: self.timeouts,
            retry: self.retry,
            on_failure: self.on_failure,
            item: None,
        }
    }
}
