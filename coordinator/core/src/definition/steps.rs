//! Reads steps, guards, gates and what is done for each item.

use std::sync::Arc;

use serde_json::json;

use super::{
    ForEach, OnFailure, OnItemFailure, OnViolation, RetryOverrides, TimeoutOverrides,
    draft::{Draft, DraftAction, DraftGuard, index, resolver},
    reader::{Fields, Problems},
};
use crate::{
    expr::{Expression, Template},
    ids::{Id, KindRef, StepId},
    yaml::{self, Data, Position},
};

pub(super) fn placement(
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

pub(super) fn list<'a>(
    node: Option<&'a yaml::Node>,
    key: &str,
    problems: &mut Problems,
) -> &'a [yaml::Node] {
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
pub(super) fn step<'a>(
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
pub(super) fn body_len(node: &yaml::Node) -> usize {
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

pub(super) fn guard<'a>(node: &'a yaml::Node, problems: &mut Problems) -> Option<Draft<'a>> {
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
