//! From text to [`Definition`]: everything that can be said without knowing the step kinds.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{
    Action, DEFINITION_BYTES_MAX, Definition, ForEach, Gate, Guard, NODES_MAX, Node, OnFailure,
    OnItemFailure, OnViolation, RetryOverrides, TimeoutOverrides,
    reader::{Fields, Problems},
};
use crate::{
    expr::{Expression, Template},
    ids::{Id, KindRef, StepId},
    yaml::{self, Data, Position, Problem},
};

const API_VERSION: &str = "drover/v1";
const KIND: &str = "WorkflowDefinition";

/// A step or guard whose references are still names.
struct Draft<'a> {
    id: StepId,
    position: Position,
    action: DraftAction<'a>,
    needs: Vec<(&'a str, Position)>,
    when: Option<Expression>,
    placement: Option<Template>,
    timeouts: TimeoutOverrides,
    retry: RetryOverrides,
    on_failure: OnFailure,
}

enum DraftAction<'a> {
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

struct DraftGuard<'a> {
    from: (&'a str, Position),
    until: (&'a str, Position),
    autonomy: Duration,
    on_violation: OnViolation,
}

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

/// Finds the steps that fields name; guards, which stand behind the steps, are none.
fn resolver(
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

fn placement(
    node: &yaml::Node,
    compile: impl Fn(&yaml::Node, &str, &mut Problems) -> Option<Template>,
    problems: &mut Problems,
) -> Option<Template> {
    let mut fields = Fields::of(node, "placement", problems)?;
    let template = fields
        .required("installation", problems)
        .and_then(|node| compile(node, "placement", problems));
    fields.finish(problems);
    template
}

/// A template whose value is needed when the step's turn comes.
fn known_later(
    item: Option<&str>,
) -> impl Fn(&yaml::Node, &str, &mut Problems) -> Option<Template> {
    move |node, _, problems| problems.take(Template::compile(node, item))
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

type Reference<'a> = (&'a str, Position);

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

fn list<'a>(node: Option<&'a yaml::Node>, key: &str, problems: &mut Problems) -> &'a [yaml::Node] {
    match node.map(|node| (&node.data, node.position)) {
        None => &[],
        Some((Data::List(items), _)) => items,
        Some((
            Data::Null | Data::Bool(_) | Data::Number(_) | Data::Text(_) | Data::Map(_),
            position,
        )) => {
            problems.add(position, "wrong-type", format!("`{key}` must be a list"));
            &[]
        }
    }
}

fn id(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<StepId> {
    let (text, position) = fields.text("id", problems)?;
    let id: StepId = Id::new(text)
        .map_err(|error| problems.add(position, "bad-id", error.to_string()))
        .ok()?;
    if id.is_of_item() {
        let message =
            format!("{text:?} is the id of a step of an item: a definition has no such steps");
        problems.add(position, "bad-id", message);
        return None;
    }
    Some(id)
}

fn kind(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<KindRef> {
    let (text, position) = fields.text("uses", problems)?;
    let kind = KindRef::parse(text);
    if kind.is_none() {
        problems.add(
            position,
            "bad-kind",
            format!("`uses` must be area.verb_noun/version such as aws.sync_elb/1, not {text:?}"),
        );
    }
    kind
}

fn with(fields: &mut Fields<'_>, item: Option<&str>, problems: &mut Problems) -> Option<Template> {
    match fields.optional("with") {
        None => Some(Template::Literal(json!({}))),
        Some(node) => {
            // Problems of a value that is no mapping are enough; its inside is not looked at.
            if !matches!(node.data, Data::Map(_)) {
                problems.add(
                    node.position,
                    "wrong-type",
                    format!("`with` must be a mapping, not {}", node.type_name()),
                );
                return None;
            }
            problems.take(Template::compile(node, item))
        }
    }
}

fn timeouts(fields: &mut Fields<'_>, problems: &mut Problems) -> TimeoutOverrides {
    let Some(mut fields) = fields
        .optional("timeouts")
        .and_then(|node| Fields::of(node, "timeouts", problems))
    else {
        return TimeoutOverrides::default();
    };
    let timeouts = TimeoutOverrides {
        schedule_to_start: fields.optional_duration("scheduleToStart", problems),
        start_to_close: fields.optional_duration("startToClose", problems),
        schedule_to_close: fields.optional_duration("scheduleToClose", problems),
        heartbeat: fields.optional_duration("heartbeat", problems),
    };
    fields.finish(problems);
    timeouts
}

fn retry(fields: &mut Fields<'_>, problems: &mut Problems) -> RetryOverrides {
    let Some(mut fields) = fields
        .optional("retry")
        .and_then(|node| Fields::of(node, "retry", problems))
    else {
        return RetryOverrides::default();
    };
    let coefficient = fields.optional("backoffCoefficient");
    let backoff_coefficient = coefficient.and_then(|node| {
        let value = match &node.data {
            Data::Number(number) => number.as_f64().filter(|value| *value >= 1.0),
            Data::Null | Data::Bool(_) | Data::Text(_) | Data::List(_) | Data::Map(_) => None,
        };
        if value.is_none() {
            problems.add(
                node.position,
                "wrong-type",
                "`backoffCoefficient` must be a number of at least 1",
            );
        }
        value
    });
    let retry = RetryOverrides {
        initial_interval: fields.optional_duration("initialInterval", problems),
        maximum_interval: fields.optional_duration("maximumInterval", problems),
        backoff_coefficient,
        maximum_attempts: fields.optional_count("maximumAttempts", problems),
        maximum_losses: fields.optional_count("maximumLosses", problems),
    };
    fields.finish(problems);
    retry
}

/// `item` names the item of the `forEach` around.
fn step<'a>(
    node: &'a yaml::Node,
    item: Option<&str>,
    problems: &mut Problems,
) -> Option<Draft<'a>> {
    let mut fields = Fields::of(node, "a step", problems)?;
    let id = id(&mut fields, problems);
    let needs = fields.texts("needs", problems);
    let when = fields
        .optional_text("when", problems)
        .and_then(|(text, position)| {
            let source = text
                .strip_prefix("${")
                .and_then(|rest| rest.strip_suffix('}'))
                .unwrap_or(text);
            problems.take(Expression::compile(source, position, item))
        });
    let placement = fields
        .optional("placement")
        .and_then(|node| placement(node, known_later(item), problems));
    let on_failure = word(
        &mut fields,
        "onFailure",
        &[("pause", OnFailure::Pause), ("unwind", OnFailure::Unwind)],
        OnFailure::Pause,
        problems,
    );
    let gate = fields.optional("gate");
    let is_timer = fields.optional("timer").is_some();
    let timer = fields.optional_duration("timer", problems);
    let is_run = fields.optional("uses").is_some();
    let for_each = fields.optional("forEach");
    let mut timeout_overrides = TimeoutOverrides::default();
    let mut retry_overrides = RetryOverrides::default();
    let action = match (is_run, gate, is_timer, for_each) {
        (true, None, false, None) => {
            let kind = kind(&mut fields, problems);
            let with = with(&mut fields, item, problems);
            timeout_overrides = timeouts(&mut fields, problems);
            retry_overrides = retry(&mut fields, problems);
            kind.zip(with).map(|(kind, with)| DraftAction::Run {
                kind,
                with,
                guard: None,
            })
        }
        (false, Some(node), false, None) => draft_gate(node, problems),
        (false, None, true, None) => timer.map(DraftAction::Timer),
        (false, None, false, Some(node)) if item.is_none() => {
            for_each_item(node, &mut fields, problems)
        }
        (false, None, false, Some(node)) => {
            // One problem is enough for all of it.
            for known in ["steps", "maxParallel", "onItemFailure"] {
                fields.optional(known);
            }
            problems.add(
                node.position,
                "nested-for-each",
                "a `forEach` cannot stand inside another one",
            );
            None
        }
        _ => {
            problems.add(
                fields.position(),
                "not-one-action",
                "a step has exactly one of `uses`, `gate`, `timer` and `forEach`",
            );
            None
        }
    };
    let position = fields.position();
    fields.finish(problems);
    Some(Draft {
        id: id?,
        position,
        action: action?,
        needs,
        when,
        placement,
        timeouts: timeout_overrides,
        retry: retry_overrides,
        on_failure,
    })
}

/// How many steps an item of this node has.
fn body_len(node: &yaml::Node) -> usize {
    let Data::Map(entries) = &node.data else {
        return 0;
    };
    entries
        .iter()
        .find(|(key, _, _)| key == "steps")
        .map_or(0, |(_, _, steps)| match &steps.data {
            Data::List(steps) => steps.len(),
            Data::Null | Data::Bool(_) | Data::Number(_) | Data::Text(_) | Data::Map(_) => 0,
        })
}

fn for_each_item<'a>(
    node: &'a yaml::Node,
    around: &mut Fields<'a>,
    problems: &mut Problems,
) -> Option<DraftAction<'a>> {
    let max_parallel = around.optional_count("maxParallel", problems).unwrap_or(1);
    let on_item_failure = word(
        around,
        "onItemFailure",
        &[
            ("pause", OnItemFailure::Pause),
            ("continue", OnItemFailure::Continue),
        ],
        OnItemFailure::Pause,
        problems,
    );
    let steps = list(around.required("steps", problems), "steps", problems);

    let mut fields = Fields::of(node, "`forEach`", problems)?;
    let items = fields
        .required("in", problems)
        .and_then(|node| problems.take(Template::compile(node, None)));
    let variable = fields
        .text("as", problems)
        .and_then(|(text, position)| variable(text, position, problems));
    let key = fields.required("key", problems);
    let position = fields.position();
    fields.finish(problems);
    let variable = variable?;
    let key = key.and_then(|node| problems.take(Template::compile(node, Some(variable))));

    if steps.is_empty() {
        problems.add(position, "no-steps", "a `forEach` needs at least one step");
    }
    let drafts: Vec<Draft<'_>> = steps
        .iter()
        .filter_map(|node| step(node, Some(variable), problems))
        .collect();
    let index = index(&drafts, problems);
    let mut resolve = resolver(&index, drafts.len());
    let body = drafts
        .into_iter()
        .map(|draft| draft.resolve(&mut resolve, problems))
        .collect();
    Some(DraftAction::ForEach(Box::new(ForEach {
        items: items?,
        variable: Arc::from(variable),
        key: key?,
        max_parallel,
        on_item_failure,
        body,
    })))
}

/// A name that expressions can use.
fn variable<'a>(text: &'a str, position: Position, problems: &mut Problems) -> Option<&'a str> {
    let is_name = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if is_name && !matches!(text, "input" | "steps") {
        return Some(text);
    }
    problems.add(
        position,
        "bad-variable",
        format!(
            "`as` must be a name of a-z, 0-9 and '_', beginning with a letter, other than input and steps, not {text:?}"
        ),
    );
    None
}

fn draft_gate<'a>(node: &'a yaml::Node, problems: &mut Problems) -> Option<DraftAction<'a>> {
    let mut fields = Fields::of(node, "a gate", problems)?;
    let approvers = fields
        .texts("approvers", problems)
        .into_iter()
        .map(|(text, _)| text.to_owned())
        .collect();
    let quorum = fields.optional_count("quorum", problems).unwrap_or(1);
    fields.required("expires", problems);
    let expires = fields.optional_duration("expires", problems);
    let evidence = fields.texts("evidence", problems);
    fields.finish(problems);
    Some(DraftAction::Gate {
        approvers,
        quorum,
        expires: expires?,
        evidence,
    })
}

fn guard<'a>(node: &'a yaml::Node, problems: &mut Problems) -> Option<Draft<'a>> {
    let mut fields = Fields::of(node, "a guard", problems)?;
    let id = id(&mut fields, problems);
    let kind = kind(&mut fields, problems);
    let with = with(&mut fields, None, problems);
    let placement = fields
        .optional("placement")
        .and_then(|node| placement(node, known_later(None), problems));
    let from = fields.text("from", problems);
    let until = fields.text("until", problems);
    fields.required("autonomy", problems);
    let autonomy = fields.optional_duration("autonomy", problems);
    let on_violation = word(
        &mut fields,
        "onViolation",
        &[
            ("report", OnViolation::Report),
            ("pause", OnViolation::Pause),
        ],
        OnViolation::Report,
        problems,
    );
    let timeouts = timeouts(&mut fields, problems);
    let retry = retry(&mut fields, problems);
    let position = fields.position();
    fields.finish(problems);
    let guard = DraftGuard {
        from: from?,
        until: until?,
        autonomy: autonomy?,
        on_violation,
    };
    Some(Draft {
        id: id?,
        position,
        action: DraftAction::Run {
            kind: kind?,
            with: with?,
            guard: Some(guard),
        },
        needs: Vec::new(),
        when: None,
        placement,
        timeouts,
        retry,
        on_failure: OnFailure::Pause,
    })
}

fn word<T: Copy>(
    fields: &mut Fields<'_>,
    key: &'static str,
    words: &[(&str, T)],
    default: T,
    problems: &mut Problems,
) -> T {
    let Some((text, position)) = fields.optional_text(key, problems) else {
        return default;
    };
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return *value;
    }
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    problems.add(
        position,
        "wrong-value",
        format!("`{key}` must be {}, not {text:?}", known.join(" or ")),
    );
    default
}

fn index(drafts: &[Draft<'_>], problems: &mut Problems) -> BTreeMap<String, usize> {
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

impl<'a> Draft<'a> {
    fn resolve(
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
