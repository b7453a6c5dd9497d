//! What a workflow is pinned to: a definition together with the declarations of its kinds.
//!
//! A plan is stored once and shared by every workflow that was started with it. It is compiled from its parts at start
//! and at recovery; validation happens when a definition is registered and when a workflow starts, never at recovery, so
//! a stricter validator of a later version cannot lock an open workflow out.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use jsonschema::Validator;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    declaration::{Compensation, KindDeclaration, LossPolicy, RetryPolicy, Timeouts},
    definition::{Action, Definition, ItemValue, ItemsError, Kinds, Node, Order},
    ids::{Digest, KindRef, StepId},
    yaml::Problem,
};

/// A plan as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanSource {
    /// The definition's text.
    pub definition: String,
    /// The declarations of its kinds, ordered by kind.
    pub kinds: Vec<KindDeclaration>,
}

impl PlanSource {
    /// What names the plan.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of_json(self)
    }
}

/// A compiled plan.
#[derive(Clone)]
pub struct Plan {
    /// What names it.
    pub digest: Digest,
    /// Digest of the definition's text.
    pub definition_digest: Digest,
    /// The definition.
    pub definition: Definition,
    /// One entry for each node of the definition.
    pub nodes: Vec<PlanNode>,
    /// Nodes of the critical span in order; empty when there is none.
    pub critical: Vec<usize>,
    /// The items that are known, in the order in which they became known.
    pub items: Vec<KnownItems>,
    /// For each `forEach` what the steps of one item are held to.
    bodies: Arc<HashMap<usize, Vec<PlanNode>>>,
    index: HashMap<String, usize>,
    order: Order,
    input: Arc<Validator>,
}

/// The items of a `forEach` whose turn has come.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownItems {
    /// Its id.
    pub for_each: StepId,
    /// Its items.
    pub items: Vec<ItemValue>,
}

/// What a node is held to: the kind's declaration with the definition's overrides.
#[derive(Clone)]
pub struct PlanNode {
    /// Set for work.
    pub kind: Option<Arc<KindDeclaration>>,
    /// In force.
    pub timeouts: Timeouts,
    /// In force.
    pub retry: RetryPolicy,
    /// Indices of the guards whose span holds this node.
    pub guards: Vec<usize>,
    /// Indices of the guards whose span lies before this node.
    pub guards_before: Vec<usize>,
    params: Option<Arc<Validator>>,
}

/// Gates and timers never run attempts; the policy only fills the place.
const NO_RETRY: RetryPolicy = RetryPolicy {
    initial_interval: Duration::from_secs(1),
    maximum_interval: Duration::from_secs(1),
    backoff_coefficient: 1.0,
    maximum_attempts: 1,
    maximum_losses: 1,
};

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Plan({}@{})",
            self.definition.name, self.definition.version
        )
    }
}

impl Plan {
    /// Compiles a stored plan.
    ///
    /// # Errors
    /// When the definition no longer parses or a kind it uses has no declaration: the store is damaged or newer.
    pub fn compile(source: &PlanSource) -> Result<Self, Vec<Problem>> {
        let definition = Definition::parse(&source.definition)?;
        let kinds: Kinds = source
            .kinds
            .iter()
            .map(|declaration| (declaration.kind.clone(), Arc::new(declaration.clone())))
            .collect();
        let order = Order::of(&definition);
        let mut nodes = Vec::with_capacity(definition.nodes.len());
        let mut bodies = HashMap::new();
        for (index, node) in definition.nodes.iter().enumerate() {
            nodes.push(PlanNode::of(node, &kinds)?);
            if node.for_each().is_some() {
                let body = node.body().iter().map(|node| PlanNode::of(node, &kinds));
                bodies.insert(index, body.collect::<Result<_, _>>()?);
            }
        }
        for (guard_index, node) in definition.nodes.iter().enumerate() {
            if let Some(guard) = node.guard() {
                for index in order.between(guard.from, guard.until) {
                    nodes[index].guards.push(guard_index);
                }
                for (index, held_to) in nodes.iter_mut().enumerate() {
                    if order.is_before(guard.until, index) {
                        held_to.guards_before.push(guard_index);
                    }
                }
            }
        }
        let mut critical = definition
            .critical
            .map_or_else(Vec::new, |(from, until)| order.between(from, until));
        critical.sort_by_key(|&index| critical_rank(&definition, &order, index));
        let index = index_of(&definition);
        // The schema was compiled once when the definition was parsed.
        let input = jsonschema::validator_for(&definition.input).map_err(|error| {
            vec![Problem::new(
                Default::default(),
                "bad-schema",
                error.to_string(),
            )]
        })?;
        Ok(Self {
            digest: source.digest(),
            definition_digest: Digest::of(source.definition.as_bytes()),
            definition,
            nodes,
            critical,
            items: Vec::new(),
            bodies: Arc::new(bodies),
            index,
            order,
            input: Arc::new(input),
        })
    }

    /// The plan once the items of a `forEach` are known: their steps stand behind all others, so that no index changes.
    ///
    /// # Errors
    /// When a key is not a word or names two items, or there would be too many steps.
    ///
    /// # Panics
    /// When the node is not a `forEach`.
    pub fn with_items(&self, for_each: usize, items: &[ItemValue]) -> Result<Self, ItemsError> {
        let definition = self.definition.with_items(for_each, items)?;
        let mut nodes = self.nodes.clone();
        for held_to in items.iter().flat_map(|_| &self.bodies[&for_each]) {
            nodes.push(PlanNode {
                guards: self.nodes[for_each].guards.clone(),
                guards_before: self.nodes[for_each].guards_before.clone(),
                ..held_to.clone()
            });
        }
        let mut known = self.items.clone();
        known.push(KnownItems {
            for_each: self.id_of(for_each).clone(),
            items: items.to_vec(),
        });
        Ok(Self {
            digest: self.digest,
            definition_digest: self.definition_digest,
            order: Order::of(&definition),
            index: index_of(&definition),
            definition,
            nodes,
            critical: self.critical.clone(),
            items: known,
            bodies: Arc::clone(&self.bodies),
            input: Arc::clone(&self.input),
        })
    }

    /// The index of a step or guard.
    #[must_use]
    pub fn index_of(&self, id: &str) -> Option<usize> {
        self.index.get(id).copied()
    }

    /// The id of a step or guard.
    #[must_use]
    pub fn id_of(&self, index: usize) -> &StepId {
        &self.definition.nodes[index].id
    }

    /// The kind of a step or guard.
    #[must_use]
    pub fn kind_of(&self, index: usize) -> Option<&KindRef> {
        self.nodes[index]
            .kind
            .as_ref()
            .map(|declaration| &declaration.kind)
    }

    /// True when `a` must have ended before `b` begins.
    #[must_use]
    pub fn is_before(&self, a: usize, b: usize) -> bool {
        self.order.is_before(a, b)
    }

    /// Every way in which an input does not fit the definition's schema.
    #[must_use]
    pub fn input_problems(&self, input: &Value) -> Vec<String> {
        problems_of(&self.input, input)
    }

    /// Every way in which parameters do not fit the kind's schema.
    #[must_use]
    pub fn params_problems(&self, index: usize, params: &Value) -> Vec<String> {
        self.nodes[index]
            .params
            .as_ref()
            .map_or_else(Vec::new, |validator| problems_of(validator, params))
    }

    /// The way back of a step; gates and timers have nothing to take back.
    #[must_use]
    pub fn compensation_of(&self, index: usize) -> Option<&Compensation> {
        self.nodes[index]
            .kind
            .as_ref()
            .map(|declaration| &declaration.compensation)
    }

    /// What happens to an attempt of this step whose lease cannot be confirmed.
    #[must_use]
    pub fn loss_policy_of(&self, index: usize) -> LossPolicy {
        self.nodes[index]
            .kind
            .as_ref()
            .map_or(LossPolicy::StopAtPermit, |declaration| {
                declaration.loss_policy
            })
    }

    /// True when the step is a gate or a timer, or its kind declares no effect.
    #[must_use]
    pub fn is_read_only(&self, index: usize) -> bool {
        self.nodes[index]
            .kind
            .as_ref()
            .is_none_or(|declaration| declaration.effects.is_empty())
    }

    /// True for guards.
    #[must_use]
    pub fn is_guard(&self, index: usize) -> bool {
        matches!(
            &self.definition.nodes[index].action,
            Action::Run { guard: Some(_), .. }
        )
    }
}

impl PlanNode {
    fn of(node: &Node, kinds: &Kinds) -> Result<Self, Vec<Problem>> {
        let kind = match node.kind() {
            None => None,
            Some(kind) => match kinds.get(kind) {
                Some(declaration) => Some(Arc::clone(declaration)),
                None => {
                    return Err(vec![Problem::new(
                        node.position,
                        "unknown-kind",
                        format!(
                            "{:?} uses {kind}, which the plan does not declare",
                            node.id.as_str()
                        ),
                    )]);
                }
            },
        };
        let declared = kind
            .as_ref()
            .map_or_else(Timeouts::default, |kind| kind.timeouts);
        let timeouts = Timeouts {
            schedule_to_start: node
                .timeouts
                .schedule_to_start
                .or(declared.schedule_to_start),
            start_to_close: node.timeouts.start_to_close.or(declared.start_to_close),
            schedule_to_close: node
                .timeouts
                .schedule_to_close
                .or(declared.schedule_to_close),
            heartbeat: node.timeouts.heartbeat.or(declared.heartbeat),
        };
        let declared = kind.as_ref().map_or(NO_RETRY, |kind| kind.retry);
        let initial_interval = node
            .retry
            .initial_interval
            .unwrap_or(declared.initial_interval);
        let retry = RetryPolicy {
            initial_interval,
            maximum_interval: node
                .retry
                .maximum_interval
                .unwrap_or(declared.maximum_interval)
                .max(initial_interval),
            backoff_coefficient: node
                .retry
                .backoff_coefficient
                .unwrap_or(declared.backoff_coefficient),
            maximum_attempts: node
                .retry
                .maximum_attempts
                .unwrap_or(declared.maximum_attempts),
            maximum_losses: node.retry.maximum_losses.unwrap_or(declared.maximum_losses),
        };
        let params = kind
            .as_ref()
            .and_then(|kind| jsonschema::validator_for(&kind.params_schema).ok())
            .map(Arc::new);
        Ok(Self {
            kind,
            timeouts,
            retry,
            guards: Vec::new(),
            guards_before: Vec::new(),
            params,
        })
    }
}

fn index_of(definition: &Definition) -> HashMap<String, usize> {
    definition
        .nodes
        .iter()
        .enumerate()
        .map(|(index, node)| (node.id.to_string(), index))
        .collect()
}

fn critical_rank(definition: &Definition, order: &Order, index: usize) -> usize {
    (0..definition.nodes.len())
        .filter(|&other| order.is_before(other, index))
        .count()
}

fn problems_of(validator: &Validator, value: &Value) -> Vec<String> {
    validator
        .iter_errors(value)
        .map(|error| {
            let place = error.instance_path().to_string();
            if place.is_empty() {
                error.to_string()
            } else {
                format!("{place}: {error}")
            }
        })
        .collect()
}
