//! Names of objects.

use drover_ports::ObjectRef;
use serde_json::Value;

/// Names one object in a store. The version of its kind does not matter: an API serves all versions of one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) group: String,
}

impl Key {
    pub(crate) fn new(group: &str, kind: &str, namespace: &str, name: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            group: group.to_owned(),
        }
    }

    pub(crate) fn secret(namespace: &str, name: &str) -> Self {
        Self::new("", "Secret", namespace, name)
    }

    pub(crate) fn of_ref(object: &ObjectRef) -> Self {
        Self::new(
            &object.gvk.group,
            &object.gvk.kind,
            &object.namespace,
            &object.name,
        )
    }

    pub(crate) fn of(value: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let group = value["apiVersion"]
            .as_str()
            .and_then(|api| api.rsplit_once('/'))
            .map_or("", |(group, _)| group);
        Self {
            kind: text(&value["kind"]),
            namespace: text(&value["metadata"]["namespace"]),
            name: text(&value["metadata"]["name"]),
            group: group.to_owned(),
        }
    }
}
