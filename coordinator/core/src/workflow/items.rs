//! The items of a `forEach`: how its list becomes steps, when an item may begin, and when all have ended.

use serde_json::Value;
use std::sync::Arc;

use super::{
    decide::Turn,
    event::Body,
    state::{Phase, StepScope, Workflow},
};
use crate::{
    definition::{ForEach, ItemValue, OnItemFailure},
    ids::is_word,
};

/// The largest list, in bytes of JSON.
pub const ITEMS_BYTES_MAX: usize = 256 << 10;

type Evaluated<T> = Result<T, (&'static str, String)>;

/// Evaluates the list and the keys, and checks that they can become steps.
pub(super) fn items(
    workflow: &Workflow,
    index: usize,
    for_each: &ForEach,
) -> Evaluated<Vec<ItemValue>> {
    let failed = |message: String| ("expression-failed", message);
    let list = for_each
        .items
        .evaluate(&workflow.scope(index))
        .map_err(|error| failed(error.to_string()))?;
    let bytes = serde_json::to_vec(&list).map_or(0, |text| text.len());
    if bytes > ITEMS_BYTES_MAX {
        let message =
            format!("the list of items has {bytes} bytes; at most {ITEMS_BYTES_MAX} are allowed");
        return Err(("items-too-large", message));
    }
    let Value::Array(list) = list else {
        return Err(failed(format!("`in` must be a list and is {list}")));
    };
    let mut items = Vec::with_capacity(list.len());
    for value in list {
        let scope = StepScope {
            workflow,
            index,
            item: Some(&value),
        };
        let key = for_each
            .key
            .evaluate(&scope)
            .map_err(|error| failed(error.to_string()))?;
        let Some(key) = key.as_str().filter(|key| is_word(key)) else {
            let message = format!(
                "the key {key} names no item: use 1 to 63 of a-z, 0-9, '-' and '.', beginning with a letter or digit"
            );
            return Err(("items-invalid", message));
        };
        items.push(ItemValue {
            key: Arc::from(key),
            value: Arc::new(value),
        });
    }
    match workflow.plan.definition.with_items(index, &items) {
        Ok(_) => Ok(items),
        Err(error) => Err(("items-invalid", error.to_string())),
    }
}

/// True unless the step belongs to an item that has not begun while as many others are under way as may be.
pub(super) fn has_room(workflow: &Workflow, index: usize) -> bool {
    let nodes = &workflow.plan.definition.nodes;
    let Some(item) = &nodes[index].item else {
        return true;
    };
    let Some(for_each) = nodes[item.for_each].for_each() else {
        return true;
    };
    let phase = |step: &usize| workflow.steps[*step].phase;
    let steps: Vec<usize> = workflow.plan.definition.steps_of(item.for_each).collect();
    let mut under_way = 0;
    for item in steps.chunks(nodes[item.for_each].body().len()) {
        let has_begun = item.iter().any(|step| phase(step) != Phase::Blocked);
        if has_begun && item.contains(&index) {
            return true;
        }
        let has_ended = item.iter().all(|step| phase(step).satisfies_needs());
        let waits = item.iter().any(|step| phase(step) == Phase::Paused);
        let makes_room = waits && for_each.on_item_failure == OnItemFailure::Continue;
        under_way += usize::from(has_begun && !has_ended && !makes_room);
    }
    under_way < for_each.max_parallel as usize
}

/// Ends a `forEach` once every step of every item has ended.
pub(super) fn end(turn: &mut Turn<'_>, index: usize) {
    let workflow = &*turn.workflow;
    let all_ended = workflow.steps[index].phase == Phase::Items
        && workflow
            .plan
            .definition
            .steps_of(index)
            .all(|step| workflow.steps[step].phase.satisfies_needs());
    if all_ended {
        turn.emit(Some(index), Body::ItemsEnded {});
    }
}
