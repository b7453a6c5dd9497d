//! The state of a workflow. Only [`Workflow::apply`] changes it.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use serde::Serialize;
use serde_json::Value;

use super::event::{Body, Created, Event, PauseCause, StepFailure, StopReason};
use crate::{
    definition::{Action, OnItemFailure},
    expr::Scope,
    ids::{Actor, Digest, Fence, InstallationName, PoolName, StepId, WorkerId, WorkflowId},
    object::ObjectRef,
    plan::Plan,
    time::Timestamp,
};

/// One workflow: a fold of its events.
#[derive(Clone, Debug)]
pub struct Workflow {
    /// Its id.
    pub id: WorkflowId,
    /// What it is pinned to.
    pub plan: Arc<Plan>,
    /// Its first event.
    pub created: Arc<Created>,
    /// Who started it.
    pub created_by: Option<Actor>,
    /// When it was started.
    pub created_at: Timestamp,
    /// First acked attempt.
    pub started_at: Option<Timestamp>,
    /// Set once it has ended.
    pub ended_at: Option<Timestamp>,
    /// Seq of the newest event.
    pub head: u64,
    /// Where it is going.
    pub course: Course,
    /// Set while nothing new starts.
    pub pause: Option<Pause>,
    /// After a restore every step is observed before its next lease.
    pub observe_all: bool,
    /// One entry for each node of the plan.
    pub steps: Vec<Step>,
    /// Indices of the steps that may have started, in the order of their first ack.
    pub starts: Vec<usize>,
    /// Counter of the newest lease.
    pub lease_counter: u64,
    /// Values of large outputs that the shell has read for steps whose turn has come. No part of the fold.
    pub(super) at_hand: BTreeMap<ObjectRef, Arc<Value>>,
}

/// Where a workflow is going.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Course {
    /// Towards completion.
    Forward,
    /// Back to where it began.
    Unwinding {
        /// Since when.
        since: Timestamp,
        /// `cancel` or the step that failed.
        cause: String,
    },
    /// Nothing happens any more.
    Ended(End),
}

/// How a workflow ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Every step has ended.
    Completed,
    /// Unwound.
    RolledBack,
    /// Cancelled before anything may have started.
    Cancelled,
    /// Ended by an operator as it stood.
    Terminated {
        /// Given by the operator.
        reason: String,
    },
    /// The target was gone before anything was changed.
    Removed {
        /// What the step found.
        message: String,
    },
}

/// Why nothing new starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Why.
    pub cause: PauseCause,
    /// Since when.
    pub since: Timestamp,
    /// Who asked.
    pub actor: Option<Actor>,
    /// Given by whoever asked.
    pub reason: String,
}

/// One step, guard, gate or timer.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// Where it is.
    pub phase: Phase,
    /// Forward, or being taken back.
    pub backward: bool,
    /// Attempts of this direction so far.
    pub attempt: u32,
    /// Attempts of this round that failed by themselves.
    pub failures: u32,
    /// Attempts of this round that were lost with their worker, in a row: one that ran for ten minutes begins the row anew.
    pub losses: u32,
    /// Attempts that were acked, of the forward direction.
    pub acked: u32,
    /// Acked attempts that ended refused, of the forward direction.
    pub refused: u32,
    /// Params generation.
    pub generation: u32,
    /// The next attempt looks before it acts.
    pub observe_first: bool,
    /// Seen undone since the store was restored.
    pub found_undone: bool,
    /// Since when it is where it is.
    pub phase_since: Option<Timestamp>,
    /// When this direction was scheduled, or the round began.
    pub scheduled_at: Option<Timestamp>,
    /// Since when it waits for a worker.
    pub ready_at: Option<Timestamp>,
    /// First acked attempt of this direction.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Time since `scheduled_at` in which the workflow was paused.
    pub paused_for: Duration,
    /// Where it runs.
    pub installation: Option<InstallationName>,
    /// Evaluated parameters.
    pub params: Option<Arc<Value>>,
    /// What later steps read.
    pub output: Option<Arc<Value>>,
    /// Where the output lies when it is too large for an event; `output` is empty then.
    pub object: Option<ObjectRef>,
    /// The newest durable checkpoint.
    pub checkpoint: Option<Arc<Value>>,
    /// The lease in force, or the last one when no attempt is under way.
    pub lease: Option<Box<Lease>>,
    /// The newest failure.
    pub failure: Option<Box<(u32, StepFailure)>>,
    /// Digest of a gate's evidence.
    pub evidence: Option<Digest>,
    /// Who has approved a gate that more have to approve.
    pub approvals: Vec<Actor>,
}

/// Where a step is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Needs are not met.
    #[default]
    Blocked,
    /// Waits for a worker.
    Ready,
    /// Leased and not acked.
    Leased,
    /// Acked.
    Running,
    /// A gate or a timer, until then.
    Waiting {
        /// When the gate expires or the timer fires.
        until: Timestamp,
    },
    /// Between two attempts.
    Backoff {
        /// When the next one may be leased.
        until: Timestamp,
    },
    /// A `forEach` whose items are under way.
    Items,
    /// Waits for an operator.
    Paused,
    /// Ended well.
    Succeeded,
    /// Passed over.
    Skipped,
    /// Ended badly; the workflow unwinds.
    Failed,
    /// Given up before it ended, because the workflow unwinds.
    Cancelled,
    /// Taken back.
    Compensated,
    /// Stays.
    Kept,
    /// Its compensation waits for an operator.
    Stuck,
}

impl Phase {
    /// True while a lease is in force.
    #[must_use]
    pub fn is_leased(self) -> bool {
        matches!(self, Self::Leased | Self::Running)
    }

    /// True when the forward direction has ended well enough for what follows.
    #[must_use]
    pub fn satisfies_needs(self) -> bool {
        matches!(self, Self::Succeeded | Self::Skipped)
    }
}

/// The right of one worker to one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Grows with every lease.
    pub fence: Fence,
    /// Who has it.
    pub worker: WorkerId,
    /// Process of the worker.
    pub incarnation: Arc<str>,
    /// Its pool.
    pub pool: PoolName,
    /// When it was granted.
    pub leased_at: Timestamp,
    /// When it was acked.
    pub acked_at: Option<Timestamp>,
    /// The worker looks before it acts.
    pub observe_first: bool,
    /// The attempt was asked to stop.
    pub stopping: Option<StopReason>,
    /// Number of the newest checkpoint.
    pub checkpoint: u64,
    /// Code of the violation that was recorded last.
    pub violation: Option<String>,
}

/// An attempt that ran as long as this is not what ended its worker.
const NOT_TO_BLAME: Duration = Duration::from_secs(10 * 60);

impl Step {
    /// Losses in a row when the attempt under way is lost now. What is counted are workers that end soon after they began
    /// it; a step that waits for an hour meets many a roll-out, and each of them took nothing from it.
    pub(super) fn losses_with(&self, now: Timestamp) -> u32 {
        let acked_at = self.lease.as_ref().and_then(|lease| lease.acked_at);
        let ran_long = acked_at.is_some_and(|at| now.since(at) >= NOT_TO_BLAME);
        if ran_long { 1 } else { self.losses + 1 }
    }
}

impl Workflow {
    /// The state after a stream's first event.
    ///
    /// # Panics
    /// When the event is not `Created` or belongs to another plan: the caller looked the plan up by it.
    #[must_use]
    pub fn begin(event: &Event, plan: Arc<Plan>) -> Self {
        let Body::Created(created) = &event.body else {
            panic!("the first event is {:?} and not Created", event.body);
        };
        assert_eq!(
            created.plan, plan.digest,
            "the plan is the one that Created names"
        );
        Self {
            id: created.id.clone(),
            created: Arc::new((**created).clone()),
            created_by: event.actor.clone(),
            created_at: event.at,
            started_at: None,
            ended_at: None,
            head: event.seq,
            course: Course::Forward,
            pause: None,
            observe_all: false,
            steps: vec![Step::default(); plan.definition.nodes.len()],
            starts: Vec::new(),
            lease_counter: 0,
            at_hand: BTreeMap::new(),
            plan,
        }
    }

    /// True once nothing happens any more.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self.course, Course::Ended(_))
    }

    /// True while it unwinds.
    #[must_use]
    pub fn is_unwinding(&self) -> bool {
        matches!(self.course, Course::Unwinding { .. })
    }

    /// True once there is no way back: an attempt of the pivot was acked, and not every acked one ended refused.
    #[must_use]
    pub fn pivot_passed(&self) -> bool {
        self.plan.definition.pivot.is_some_and(|pivot| {
            let step = &self.steps[pivot];
            step.acked > step.refused || step.phase.satisfies_needs()
        })
    }

    /// True from the first lease inside the critical span until its last step has ended, unless one of its steps waits
    /// for an operator.
    #[must_use]
    pub fn in_critical_span(&self) -> bool {
        let (Some(&first), Some(&last)) = (self.plan.critical.first(), self.plan.critical.last())
        else {
            return false;
        };
        let begun = self.steps[first].acked > 0
            || self.steps[first].phase.is_leased()
            || self.steps[first].phase.satisfies_needs();
        let ended = self.steps[last].phase.satisfies_needs();
        let waits = self
            .plan
            .critical
            .iter()
            .any(|&index| self.steps[index].phase == Phase::Paused);
        begun && !ended && !waits
    }

    /// The first step that waits for an operator; while unwinding only a stuck compensation does, and it waits alone.
    #[must_use]
    pub fn step_waiting_for_operator(&self) -> Option<usize> {
        if self.is_unwinding() {
            return None;
        }
        self.steps
            .iter()
            .position(|step| step.phase == Phase::Paused)
    }

    /// The first step that waits for an operator and holds everything else back.
    #[must_use]
    pub fn step_holding_back(&self) -> Option<usize> {
        if self.is_unwinding() {
            return None;
        }
        (0..self.steps.len()).find(|&index| {
            self.steps[index].phase == Phase::Paused
                && self.item_policy(index) != Some(OnItemFailure::Continue)
        })
    }

    /// What a step of an item that waits for an operator means for the other items; `None` for all other steps.
    pub(super) fn item_policy(&self, index: usize) -> Option<OnItemFailure> {
        let nodes = &self.plan.definition.nodes;
        let item = nodes[index].item.as_ref()?;
        nodes[item.for_each]
            .for_each()
            .map(|for_each| for_each.on_item_failure)
    }

    /// True while nothing new starts because of a pause or a step that waits for an operator. A critical span goes on.
    #[must_use]
    pub fn is_held_back(&self) -> bool {
        (self.pause.is_some() || self.step_holding_back().is_some()) && !self.in_critical_span()
    }

    /// True when a step that may have changed something has been acked.
    #[must_use]
    pub fn may_have_mutated(&self) -> bool {
        self.starts
            .iter()
            .any(|&index| !self.plan.is_read_only(index))
    }

    /// The step with this id.
    #[must_use]
    pub fn step(&self, id: &str) -> Option<(usize, &Step)> {
        let index = self.plan.index_of(id)?;
        Some((index, &self.steps[index]))
    }
}

/// What a digest of evidence covers: the value, or the reference, which holds the value's digest.
#[derive(Serialize)]
#[serde(untagged)]
enum Evidence<'a> {
    Output(Option<&'a Arc<Value>>),
    Object(&'a ObjectRef),
}

/// What the expressions of one step may see.
pub(super) struct StepScope<'a> {
    pub(super) workflow: &'a Workflow,
    /// Whose expressions they are.
    pub(super) index: usize,
    /// The item, while its steps do not exist yet.
    pub(super) item: Option<&'a Value>,
}

impl Scope for StepScope<'_> {
    fn input(&self) -> &Value {
        &self.workflow.created.input
    }

    fn output(&self, step: &str) -> Option<&Value> {
        let definition = &self.workflow.plan.definition;
        let source = definition.seen_from(&definition.nodes[self.index], step)?;
        let step = &self.workflow.steps[source];
        let value = step
            .output
            .as_ref()
            .or_else(|| self.workflow.at_hand.get(step.object.as_ref()?));
        value
            .map(|value| &**value)
            .filter(|_| step.phase.satisfies_needs())
    }

    fn item(&self) -> Option<&Value> {
        let node = &self.workflow.plan.definition.nodes[self.index];
        self.item
            .or_else(|| node.item.as_ref().map(|item| &*item.value))
    }
}

impl Workflow {
    /// What the expressions of a step may see.
    pub(super) fn scope(&self, index: usize) -> StepScope<'_> {
        StepScope {
            workflow: self,
            index,
            item: None,
        }
    }
}

impl Workflow {
    /// The digest of what a gate decides on: the outputs of its evidence.
    #[must_use]
    pub fn evidence_digest(&self, index: usize) -> Digest {
        let Action::Gate(gate) = &self.plan.definition.nodes[index].action else {
            return Digest::of(b"");
        };
        let outputs: Vec<(&StepId, Evidence<'_>)> = gate
            .evidence
            .iter()
            .map(|&evidence| {
                let step = &self.steps[evidence];
                let output = step
                    .object
                    .as_ref()
                    .map_or(Evidence::Output(step.output.as_ref()), Evidence::Object);
                (self.plan.id_of(evidence), output)
            })
            .collect();
        Digest::of_json(&outputs)
    }

    /// Ids of the workers that hold a lease of this workflow.
    pub fn lease_holders(&self) -> HashSet<&WorkerId> {
        self.steps
            .iter()
            .filter(|step| step.phase.is_leased())
            .filter_map(|step| step.lease.as_ref().map(|lease| &lease.worker))
            .collect()
    }
}
