//! From [`Definition`] to a sound definition: everything that needs the step kinds, and the order of the steps.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Action, Definition, Kinds, Node, OnFailure, Order, reader::Problems};
use crate::{
    declaration::{KindDeclaration, Role},
    expr::{Read, Template},
    ids::KindRef,
    yaml::Problem,
};

impl Definition {
    /// Finds every problem of meaning at once, ordered by place; empty when the definition is sound.
    #[must_use]
    pub fn validate(&self, kinds: &Kinds) -> Vec<Problem> {
        let mut problems = Problems::default();
        let order = Order::of(self);
        let check = Check {
            definition: self,
            kinds,
            order: &order,
        };
        let level = Level {
            nodes: self.nodes.iter().map(|node| &**node).collect(),
            order: &order,
            around: None,
        };
        check.level(&level, &mut problems);
        if order.cycle().is_empty() {
            check.pivot(&mut problems);
            check.critical(&mut problems);
        }
        problems.0.sort();
        problems.0.dedup();
        problems.0
    }
}

/// The steps that read the output of a step and cannot do without it. Steps of items that are not known yet count.
#[must_use]
pub fn output_readers(definition: &Definition, step: usize) -> Vec<&Node> {
    let reads_it = |node: &Node, read: &Read| {
        !read.optional && definition.seen_from(node, &read.step) == Some(step)
    };
    let needs_it = |node: &Node| {
        let siblings: Vec<&str> = node.body().iter().map(|inner| inner.id.as_str()).collect();
        node_reads(node).iter().any(|read| reads_it(node, read))
            || node
                .body()
                .iter()
                .flat_map(node_reads)
                .filter(|read| !siblings.contains(&read.step.as_str()))
                .any(|read| reads_it(node, &read))
    };
    definition
        .nodes
        .iter()
        .map(|node| &**node)
        .filter(|node| needs_it(node))
        .collect()
}

/// The steps whose outputs the expressions of a node read; those of the steps of its items are theirs.
#[must_use]
pub fn node_reads(node: &Node) -> BTreeSet<Read> {
    let mut reads = BTreeSet::new();
    match &node.action {
        Action::Run { with, .. } => reads.extend(with.reads()),
        Action::ForEach(for_each) => {
            reads.extend(for_each.items.reads());
            reads.extend(for_each.key.reads());
        }
        Action::Gate(_) | Action::Timer(_) => {}
    }
    if let Some(when) = &node.when {
        reads.extend(when.reads().iter().cloned());
    }
    if let Some(placement) = &node.placement {
        reads.extend(placement.reads());
    }
    reads
}

/// The steps that see each other: those of the definition, or those of one item.
struct Level<'a> {
    nodes: Vec<&'a Node>,
    order: &'a Order,
    /// For the steps of an item: the level around, and the index of the `forEach` in it.
    around: Option<(&'a Level<'a>, usize)>,
}

impl<'a> Level<'a> {
    /// The step with this name, and whether it has ended before the one at `index` begins.
    fn find(&self, step: &str, index: usize) -> Option<(&'a Node, bool)> {
        let here = self.nodes.iter().position(|node| node.id.as_str() == step);
        match (here, self.around) {
            (Some(source), _) => Some((self.nodes[source], self.order.is_before(source, index))),
            (None, Some((around, for_each))) => around.find(step, for_each),
            (None, None) => None,
        }
    }
}

struct Check<'a> {
    definition: &'a Definition,
    kinds: &'a Kinds,
    order: &'a Order,
}

impl Check<'_> {
    fn level(&self, level: &Level<'_>, problems: &mut Problems) {
        for &index in level.order.cycle() {
            let node = level.nodes[index];
            problems.add(
                node.position,
                "cycle",
                format!(
                    "{:?} waits for itself: its `needs` lead in a circle",
                    node.id.as_str()
                ),
            );
        }
        for (index, node) in level.nodes.iter().enumerate() {
            self.node(level, index, node, problems);
            if !node.body().is_empty() {
                let inside = Level {
                    nodes: node.body().iter().collect(),
                    order: &Order::of_body(node.body()),
                    around: Some((level, index)),
                };
                self.level(&inside, problems);
            }
        }
    }

    fn node(&self, level: &Level<'_>, index: usize, node: &Node, problems: &mut Problems) {
        match &node.action {
            Action::Run { kind, guard, with } => {
                let role = if guard.is_some() {
                    Role::Guard
                } else {
                    Role::Step
                };
                if let Some(declaration) = self.kind(kind, node, problems) {
                    check_role(declaration, role, node, problems);
                    check_params(declaration, with, node, problems);
                }
                if let Some(guard) = guard
                    && self.order.between(guard.from, guard.until).is_empty()
                {
                    problems.add(
                        node.position,
                        "empty-span",
                        format!(
                            "the guard {:?} guards nothing: {:?} does not come before {:?}",
                            node.id.as_str(),
                            self.definition.nodes[guard.from].id.as_str(),
                            self.definition.nodes[guard.until].id.as_str()
                        ),
                    );
                }
            }
            Action::Gate(gate) => {
                if gate.approvers.is_empty() {
                    problems.add(
                        node.position,
                        "nobody-approves",
                        format!(
                            "nobody can approve the gate {:?}: `approvers` is empty",
                            node.id.as_str()
                        ),
                    );
                }
                for &evidence in &gate.evidence {
                    if !level.order.is_before(evidence, index) {
                        problems.add(
                            node.position,
                            "evidence-too-late",
                            format!(
                                "the gate {:?} shows the output of {:?}, which does not come before it",
                                node.id.as_str(),
                                level.nodes[evidence].id.as_str()
                            ),
                        );
                    }
                }
            }
            Action::Timer(_) | Action::ForEach(_) => {}
        }
        if let Some(when) = &node.when
            && when.reads().is_empty()
            && when.source().trim() == "false"
        {
            problems.add(
                node.position,
                "unreachable-step",
                format!(
                    "{:?} never runs: its `when` is always false",
                    node.id.as_str()
                ),
            );
        }
        let before = match node.guard() {
            // A guard starts with its span: what comes before the span has ended by then.
            Some(guard) => guard.from,
            None => index,
        };
        for read in node_reads(node) {
            check_read(level, &read, node, before, problems);
        }
    }

    fn kind(
        &self,
        kind: &KindRef,
        node: &Node,
        problems: &mut Problems,
    ) -> Option<&KindDeclaration> {
        if let Some(declaration) = self.kinds.get(kind) {
            return Some(declaration);
        }
        let versions: Vec<String> = self
            .kinds
            .keys()
            .filter(|known| known.name == kind.name)
            .map(|known| known.version.to_string())
            .collect();
        if versions.is_empty() {
            let nearest = self.kinds.keys().max_by(|a, b| {
                strsim::jaro_winkler(&a.name, &kind.name)
                    .total_cmp(&strsim::jaro_winkler(&b.name, &kind.name))
            });
            let hint = nearest
                .filter(|nearest| strsim::jaro_winkler(&nearest.name, &kind.name) > 0.85)
                .map_or_else(String::new, |nearest| format!("; did you mean {nearest}?"));
            problems.add(
                node.position,
                "unknown-kind",
                format!(
                    "{:?} uses {kind}, which no worker has ever announced{hint}",
                    node.id.as_str()
                ),
            );
        } else {
            problems.add(
                node.position,
                "unknown-version",
                format!(
                    "{:?} uses {kind}; known versions are {}",
                    node.id.as_str(),
                    versions.join(", ")
                ),
            );
        }
        None
    }

    fn pivot(&self, problems: &mut Problems) {
        let Some(pivot) = self.definition.pivot else {
            return;
        };
        let pivot_id = self.definition.nodes[pivot].id.as_str();
        if self.definition.nodes[pivot].for_each().is_some() {
            problems.add(
                self.definition.nodes[pivot].position,
                "pivot-for-each",
                format!("{pivot_id:?} cannot be the pivot: a `forEach` starts nothing by itself"),
            );
        }
        for (index, node) in self.definition.nodes.iter().enumerate() {
            let is_before = self.order.is_before(index, pivot);
            let is_after = self.order.is_before(pivot, index);
            if index != pivot && !node.is_guard() && !is_before && !is_after {
                problems.add(
                    node.position,
                    "both-sides-of-pivot",
                    format!(
                        "{:?} is neither before nor after the pivot {pivot_id:?}: order it with `needs`",
                        node.id.as_str()
                    ),
                );
            }
            let unwinds = node.on_failure == OnFailure::Unwind
                || node
                    .body()
                    .iter()
                    .any(|inner| inner.on_failure == OnFailure::Unwind);
            if (is_after || index == pivot) && unwinds {
                problems.add(
                    node.position,
                    "unwind-after-pivot",
                    format!(
                        "{:?} cannot unwind: there is no way back from the pivot on",
                        node.id.as_str()
                    ),
                );
            }
        }
    }

    fn critical(&self, problems: &mut Problems) {
        let Some((from, until)) = self.definition.critical else {
            return;
        };
        let nodes = &self.definition.nodes;
        let mut span = self.order.between(from, until);
        if span.is_empty() {
            problems.add(
                nodes[from].position,
                "empty-span",
                format!(
                    "the critical span is empty: {:?} does not come before {:?}",
                    nodes[from].id.as_str(),
                    nodes[until].id.as_str()
                ),
            );
            return;
        }
        span.sort_by(|&a, &b| {
            if self.order.is_before(a, b) {
                std::cmp::Ordering::Less
            } else {
                std::cmp::Ordering::Greater
            }
        });
        for pair in span.windows(2) {
            if nodes[pair[1]].needs.as_slice() != [pair[0]] {
                problems.add(
                    nodes[pair[1]].position,
                    "critical-not-linear",
                    format!(
                        "the critical span must be a chain: {:?} must need exactly {:?}",
                        nodes[pair[1]].id.as_str(),
                        nodes[pair[0]].id.as_str()
                    ),
                );
            }
        }
        for (index, node) in nodes.iter().enumerate() {
            let beside = !span.contains(&index)
                && !node.is_guard()
                && !self.order.is_before(index, from)
                && !self.order.is_before(until, index);
            if beside {
                problems.add(
                    node.position,
                    "critical-not-linear",
                    format!(
                        "{:?} could run beside the critical span: order it before or after",
                        node.id.as_str()
                    ),
                );
            }
        }
        for &index in &span {
            self.critical_step(index, &span, problems);
        }
    }

    fn critical_step(&self, index: usize, span: &[usize], problems: &mut Problems) {
        let node = &self.definition.nodes[index];
        match &node.action {
            Action::Run { .. } => {}
            Action::ForEach(_) => problems.add(
                node.position,
                "critical-not-linear",
                format!(
                    "{:?} is a `forEach` inside the critical span, which must be a chain: move it out",
                    node.id.as_str()
                ),
            ),
            Action::Gate(_) | Action::Timer(_) => problems.add(
                node.position,
                "critical-waits",
                format!(
                    "{:?} would wait inside the critical span: move it out",
                    node.id.as_str()
                ),
            ),
        }
        if node.placement.is_some() {
            problems.add(
                node.position,
                "critical-elsewhere",
                format!(
                    "{:?} leaves the pool of the critical span: it must run where the others do",
                    node.id.as_str()
                ),
            );
        }
        for read in node_reads(node) {
            if let Some(source) = self.definition.index_of(&read.step)
                && span.contains(&source)
            {
                problems.add(
                    node.position,
                    "critical-reads-inside",
                    format!(
                        "{:?} reads the output of {:?}, made inside the critical span: its parameters must be known before",
                        node.id.as_str(),
                        read.step
                    ),
                );
            }
        }
    }
}

fn check_read(level: &Level<'_>, read: &Read, node: &Node, index: usize, problems: &mut Problems) {
    match level.find(&read.step, index) {
        None => problems.add(
            node.position,
            "unknown-step",
            format!(
                "{:?} reads the output of {:?}, which does not exist",
                node.id.as_str(),
                read.step
            ),
        ),
        Some((_, false)) => problems.add(
            node.position,
            "output-too-early",
            format!(
                "{:?} reads the output of {:?} before it exists: add {:?} to its `needs`",
                node.id.as_str(),
                read.step,
                read.step
            ),
        ),
        Some((source, true)) => {
            let has_output = source.kind().is_some() && !source.is_guard();
            if !has_output {
                problems.add(
                    node.position,
                    "no-output",
                    format!(
                        "{:?} reads the output of {:?}, which has none",
                        node.id.as_str(),
                        read.step
                    ),
                );
            } else if source.when.is_some() && !read.optional {
                problems.add(
                        node.position,
                        "output-may-be-missing",
                        format!(
                            "{:?} reads the output of {:?}, which may be skipped by its `when`: ask has() first",
                            node.id.as_str(),
                            read.step
                        ),
                    );
            }
        }
    }
}

fn check_role(declaration: &KindDeclaration, role: Role, node: &Node, problems: &mut Problems) {
    if declaration.role != role {
        let (is, place) = match declaration.role {
            Role::Step => ("a step", "`steps`"),
            Role::Guard => ("a guard", "`guards`"),
        };
        problems.add(
            node.position,
            "wrong-role",
            format!("{} is {is}: it belongs under {place}", declaration.kind),
        );
    }
}

/// What can be said of parameters before their expressions have values: unknown and missing names, and literals.
fn check_params(
    declaration: &KindDeclaration,
    with: &Template,
    node: &Node,
    problems: &mut Problems,
) {
    let schema = &declaration.params_schema;
    match with {
        Template::Literal(value) => {
            let Ok(validator) = jsonschema::validator_for(schema) else {
                return;
            };
            for error in validator.iter_errors(value) {
                problems.add(
                    node.position,
                    "bad-params",
                    format!(
                        "`with` of {:?} does not fit {}: {error}",
                        node.id.as_str(),
                        declaration.kind
                    ),
                );
            }
        }
        Template::Map(entries) => {
            let known = schema.get("properties").and_then(Value::as_object);
            let closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
            for (key, _) in entries {
                if closed && known.is_none_or(|known| !known.contains_key(key)) {
                    problems.add(
                        node.position,
                        "bad-params",
                        format!("{} has no parameter `{key}`", declaration.kind),
                    );
                }
            }
            let required = schema.get("required").and_then(Value::as_array);
            for key in required.into_iter().flatten().filter_map(Value::as_str) {
                if !entries.iter().any(|(name, _)| name == key) {
                    problems.add(
                        node.position,
                        "bad-params",
                        format!(
                            "{:?} lacks the parameter `{key}` of {}",
                            node.id.as_str(),
                            declaration.kind
                        ),
                    );
                }
            }
        }
        Template::Expression(_) | Template::Text(_) | Template::List(_) => {}
    }
}
