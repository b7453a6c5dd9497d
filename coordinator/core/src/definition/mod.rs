//! Definitions: migrations as data.
//!
//! A definition is a YAML document. [`Definition::parse`] reads it and finds every problem of its shape at once;
//! [`Definition::validate`] finds every problem of its meaning against the declared step kinds. A workflow pins the
//! definition and the declarations it was started with ([`crate::plan::Plan`]), so neither can change under it.

mod draft;
mod for_each;
mod parse;
mod reader;
mod span;
mod steps;
mod validate;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::Value;

use crate::{
    declaration::KindDeclaration,
    expr::{Expression, Template},
    ids::{KindRef, StepId},
    yaml::Position,
};

pub use for_each::{ForEach, Item, ItemValue, ItemsError, OnItemFailure};
pub use span::Order;
pub use validate::{node_reads, output_readers};

/// The longest definition, in bytes.
pub const DEFINITION_BYTES_MAX: usize = 1 << 20;

/// The most steps and guards of one definition.
pub const NODES_MAX: usize = 1000;

/// A definition whose shape is sound.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Its name.
    pub name: Arc<str>,
    /// At least 1.
    pub version: u32,
    /// One line for lists.
    pub description: String,
    /// JSON Schema of the input.
    pub input: Value,
    /// Where steps run, unless one says otherwise.
    pub placement: Template,
    /// One workflow at a time for this key; `None` for read-only definitions.
    pub exclusive: Option<Template>,
    /// Index of the step after which there is no way back.
    pub pivot: Option<usize>,
    /// First and last step of the span in which nothing pauses.
    pub critical: Option<(usize, usize)>,
    /// Steps in the order of the text, then guards; in a plan whose items are known, then the steps of items.
    pub nodes: Vec<Arc<Node>>,
}

/// A step or a guard.
#[derive(Clone, Debug)]
pub struct Node {
    /// Unique within the definition.
    pub id: StepId,
    /// Where it stands.
    pub position: Position,
    /// What it is.
    pub action: Action,
    /// Indices of the steps that must have ended before it.
    pub needs: Vec<usize>,
    /// Runs only when this is true.
    pub when: Option<Expression>,
    /// Where it runs, when not where the others do.
    pub placement: Option<Template>,
    /// Overrides of the kind's timeouts.
    pub timeouts: TimeoutOverrides,
    /// Overrides of the kind's retry policy.
    pub retry: RetryOverrides,
    /// What happens when it is refused or exhausted.
    pub on_failure: OnFailure,
    /// Set for the steps of an item.
    pub item: Option<Item>,
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum Action {
    /// Work for a worker.
    Run {
        /// Which kind.
        kind: KindRef,
        /// Its parameters.
        with: Template,
        /// Set for guards.
        guard: Option<Guard>,
    },
    /// A person decides.
    Gate(Gate),
    /// Time passes.
    Timer(Duration),
    /// Steps for each item of a list.
    ForEach(Box<ForEach>),
}

/// The span of a guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Index of the first step of the span; it waits until the guard runs.
    pub from: usize,
    /// Index of the last step of the span.
    pub until: usize,
    /// How long its permits go on while its lease is unknown.
    pub autonomy: Duration,
    /// What a violation does.
    pub on_violation: OnViolation,
}

/// What a guard's violation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnViolation {
    /// It is recorded and shown.
    Report,
    /// The workflow pauses, too.
    Pause,
}

/// A person's decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Roles that may decide; at least one.
    pub approvers: Vec<String>,
    /// How many people have to approve; at least 1.
    pub quorum: u32,
    /// After this the gate asks again.
    pub expires: Duration,
    /// Indices of the steps whose outputs are decided on.
    pub evidence: Vec<usize>,
}

/// What happens when a step is refused or exhausted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// It waits for an operator.
    Pause,
    /// The workflow unwinds, before the pivot only.
    Unwind,
}

/// Timeouts that a definition sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeoutOverrides {
    /// See [`crate::declaration::Timeouts`].
    pub schedule_to_start: Option<Duration>,
    /// See [`crate::declaration::Timeouts`].
    pub start_to_close: Option<Duration>,
    /// See [`crate::declaration::Timeouts`].
    pub schedule_to_close: Option<Duration>,
    /// See [`crate::declaration::Timeouts`].
    pub heartbeat: Option<Duration>,
}

/// Retry settings that a definition sets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RetryOverrides {
    /// See [`crate::declaration::RetryPolicy`].
    pub initial_interval: Option<Duration>,
    /// See [`crate::declaration::RetryPolicy`].
    pub maximum_interval: Option<Duration>,
    /// See [`crate::declaration::RetryPolicy`].
    pub backoff_coefficient: Option<f64>,
    /// See [`crate::declaration::RetryPolicy`].
    pub maximum_attempts: Option<u32>,
    /// See [`crate::declaration::RetryPolicy`].
    pub maximum_losses: Option<u32>,
}

/// The step kinds that a definition may use.
pub type Kinds = BTreeMap<KindRef, Arc<KindDeclaration>>;

impl Definition {
    /// The index of a step or guard.
    #[must_use]
    pub fn index_of(&self, id: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.id.as_str() == id)
    }

    /// The kinds it uses, without repetition.
    pub fn kinds(&self) -> impl Iterator<Item = &KindRef> {
        let mut kinds: Vec<&KindRef> = self
            .nodes
            .iter()
            .flat_map(|node| std::iter::once(&**node).chain(node.body()))
            .filter_map(Node::kind)
            .collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds.into_iter()
    }
}

impl Node {
    /// The kind, for work.
    #[must_use]
    pub fn kind(&self) -> Option<&KindRef> {
        match &self.action {
            Action::Run { kind, .. } => Some(kind),
            Action::Gate(_) | Action::Timer(_) | Action::ForEach(_) => None,
        }
    }

    /// What is done for each item, if it is a `forEach`.
    #[must_use]
    pub fn for_each(&self) -> Option<&ForEach> {
        match &self.action {
            Action::ForEach(for_each) => Some(for_each),
            Action::Run { .. } | Action::Gate(_) | Action::Timer(_) => None,
        }
    }

    /// The steps for each item, if it is a `forEach`.
    pub fn body(&self) -> &[Node] {
        self.for_each().map_or(&[], |for_each| &for_each.body)
    }

    /// The span, for guards.
    #[must_use]
    pub fn guard(&self) -> Option<&Guard> {
        match &self.action {
            Action::Run { guard, .. } => guard.as_ref(),
            Action::Gate(_) | Action::Timer(_) | Action::ForEach(_) => None,
        }
    }

    /// True for guards.
    #[must_use]
    pub fn is_guard(&self) -> bool {
        self.guard().is_some()
    }
}
