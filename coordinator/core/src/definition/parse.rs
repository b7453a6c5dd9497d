//! From text to [`Definition`]: everything that can be said without knowing the step kinds.

use std::sync::Arc;

use serde_json::Value;

use super::{
    DEFINITION_BYTES_MAX, Definition, NODES_MAX,
    draft::{Draft, Reference, index, resolver},
    reader::{Fields, Problems},
    steps::{body_len, guard, list, placement, step},
};
use crate::{
    expr::Template,
    ids::StepId,
    yaml::{self, Position, Problem},
};

const API_VERSION: &str = "drover/v1";
const KIND: &str = "WorkflowDefinition";

impl Definition {
    /// Reads a definition and finds every problem of its shape at once.
    ///
    /// # Errors
    /// All problems, ordered by place; never empty.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        if text.len() > DEFINITION_BYTES_MAX {
            return Err(vec![Problem::new(
                Position { line: 1, column: 1 },
                "too-large",
                format!(
                    "a definition has at most {DEFINITION_BYTES_MAX} bytes; this one has {}",
                    text.len()
                ),
            )]);
        }
        let node = yaml::Node::parse(text).map_err(|problem| vec![problem])?;
        let mut problems = Problems::default();
        let definition = document(&node, &mut problems);
        problems.0.sort();
        match definition {
            Some(definition) if problems.0.is_empty() => Ok(definition),
            _ => Err(problems.0),
        }
    }
}

fn document(node: &yaml::Node, problems: &mut Problems) -> Option<Definition> {
    let mut top = Fields::of(node, "a definition", problems)?;
    expect_text(&mut top, "apiVersion", API_VERSION, problems);
    expect_text(&mut top, "kind", KIND, problems);
    let metadata = top
        .required("metadata", problems)
        .and_then(|node| metadata(node, problems));
    let spec = top.required("spec", problems);
    top.finish(problems);
    let mut spec = Fields::of(spec?, "spec", problems)?;

    let description = spec
        .optional_text("description", problems)
        .map_or_else(String::new, |(text, _)| text.to_owned());
    let input = spec
        .required("input", problems)
        .and_then(|node| input_schema(node, problems));
    let placement = spec
        .required("placement", problems)
        .and_then(|node| placement(node, known_at_start, problems));
    let exclusive = spec
        .optional("exclusive")
        .and_then(|node| known_at_start(node, "exclusive", problems));
    let pivot = spec.optional_text("pivot", problems);
    let critical = spec
        .optional("critical")
        .and_then(|node| critical(node, problems));
    let guards = list(spec.optional("guards"), "guards", problems);
    let steps = match spec.required("steps", problems) {
        Some(node) => list(Some(node), "steps", problems),
        None => &[],
    };
    let position = spec.position();
    spec.finish(problems);
    if steps.is_empty() {
        problems.add(position, "no-steps", "a definition needs at least one step");
    }
    let bodies: usize = steps.iter().map(body_len).sum();
    if steps.len() + bodies + guards.len() > NODES_MAX {
        problems.add(
            position,
            "too-large",
            format!("a definition has at most {NODES_MAX} steps and guards"),
        );
        return None;
    }

    let mut drafts: Vec<Draft<'_>> = steps
        .iter()
        .filter_map(|node| step(node, None, problems))
        .collect();
    let n_steps = drafts.len();
    drafts.extend(guards.iter().filter_map(|node| guard(node, problems)));
    let index = index(&drafts, problems);
    let mut resolve = resolver(&index, n_steps);
    let pivot = pivot.and_then(|reference| resolve(reference, "pivot", problems));
    let critical = critical.and_then(|(from, until)| {
        let from = resolve(from, "critical.from", problems);
        let until = resolve(until, "critical.until", problems);
        from.zip(until)
    });
    let nodes = drafts
        .into_iter()
        .map(|draft| Arc::new(draft.resolve(&mut resolve, problems)))
        .collect();
    let (name, version) = metadata?;
    Some(Definition {
        name: Arc::from(name),
        version,
        description,
        input: input?,
        placement: placement?,
        exclusive,
        pivot,
        critical,
        nodes,
    })
}

fn expect_text(
    fields: &mut Fields<'_>,
    key: &'static str,
    expected: &str,
    problems: &mut Problems,
) {
    if let Some((text, position)) = fields.text(key, problems)
        && text != expected
    {
        problems.add(
            position,
            "wrong-value",
            format!("`{key}` must be {expected}, not {text:?}"),
        );
    }
}

fn metadata<'a>(node: &'a yaml::Node, problems: &mut Problems) -> Option<(&'a str, u32)> {
    let mut fields = Fields::of(node, "metadata", problems)?;
    let name = fields.text("name", problems);
    fields.required("version", problems);
    let version = fields.optional_count("version", problems);
    fields.finish(problems);
    let (name, position) = name?;
    if let Err(error) = StepId::new(name) {
        problems.add(position, "bad-id", error.to_string());
    }
    Some((name, version?))
}

fn input_schema(node: &yaml::Node, problems: &mut Problems) -> Option<Value> {
    let schema = node.to_json();
    match jsonschema::validator_for(&schema) {
        Ok(_) => Some(schema),
        Err(error) => {
            problems.add(
                node.position,
                "bad-schema",
                format!("`input` is not a JSON Schema: {error}"),
            );
            None
        }
    }
}

/// A template whose value is needed before anything has run.
fn known_at_start(node: &yaml::Node, field: &str, problems: &mut Problems) -> Option<Template> {
    let template = problems.take(Template::compile(node, None))?;
    for read in template.reads() {
        problems.add(
            node.position,
            "output-too-early",
            format!(
                "`{field}` is known at the start and cannot read the output of {:?}",
                read.step
            ),
        );
    }
    Some(template)
}

fn critical<'a>(
    node: &'a yaml::Node,
    problems: &mut Problems,
) -> Option<(Reference<'a>, Reference<'a>)> {
    let mut fields = Fields::of(node, "critical", problems)?;
    let from = fields.text("from", problems);
    let until = fields.text("until", problems);
    fields.finish(problems);
    from.zip(until)
}
