//! Merging JSON: RFC 7396, and the part of server-side apply that steps depend on.

use serde_json::{Map, Value};

/// JSON merge patch (RFC 7396): `null` removes.
pub(crate) fn merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else {
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            target.shift_remove(key);
        } else {
            merge_patch(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Server-side apply by one manager, kept simple: maps merge, everything else is replaced, and what the manager applied
/// before and no longer applies goes away.
pub(crate) fn deep_merge(target: &mut Value, applied: &Value, before: Option<&Value>) {
    let Value::Object(applied) = applied else {
        *target = applied.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else {
        return;
    };
    if let Some(Value::Object(before)) = before {
        for key in before.keys().filter(|key| !applied.contains_key(*key)) {
            target.shift_remove(key);
        }
    }
    for (key, value) in applied {
        let before = before.and_then(|before| before.get(key));
        deep_merge(
            target.entry(key.clone()).or_insert(Value::Null),
            value,
            before,
        );
    }
}

/// Leaves out what an API server does not store: empty maps and lists of metadata.
pub(crate) fn tidy(object: &mut Value) {
    let Some(Value::Object(metadata)) = object.get_mut("metadata") else {
        return;
    };
    for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
        let is_empty = match metadata.get(field) {
            Some(Value::Object(map)) => map.is_empty(),
            Some(Value::Array(list)) => list.is_empty(),
            Some(other) => other.is_null(),
            None => false,
        };
        if is_empty {
            metadata.shift_remove(field);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_merge_patch_removes_with_null_and_replaces_lists() {
        let mut target = json!({"a": {"x": 1, "y": [1, 2]}, "b": 1});
        merge_patch(
            &mut target,
            &json!({"a": {"x": null, "y": [3]}, "c": {"d": null}}),
        );
        assert_eq!(target, json!({"a": {"y": [3]}, "b": 1, "c": {}}));
    }

    #[test]
    fn applying_leaves_what_others_set_and_takes_back_what_it_set_itself() {
        let mut target = json!({"labels": {"mine": "1", "old": "1", "theirs": "1"}});
        let before = json!({"labels": {"mine": "1", "old": "1"}});
        deep_merge(
            &mut target,
            &json!({"labels": {"mine": "2"}}),
            Some(&before),
        );
        assert_eq!(target, json!({"labels": {"mine": "2", "theirs": "1"}}));
    }
}
