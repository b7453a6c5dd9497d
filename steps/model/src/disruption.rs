//! What draining a node is about, as kinds and the simulated world both read it: which pods leave, and which budgets hold them.

use serde_json::Value;

/// Whether a label selector (`metav1.LabelSelector`) takes these labels. An empty one takes all; none takes nothing.
pub fn selects(selector: &Value, labels: &Value) -> bool {
    let Some(selector) = selector.as_object() else {
        return false;
    };
    let label = |key: &str| labels[key].as_str();
    let wanted = selector.get("matchLabels").and_then(Value::as_object);
    let mut equal = wanted.into_iter().flatten();
    let expressions = selector.get("matchExpressions").and_then(Value::as_array);
    equal.all(|(key, value)| value.as_str().is_some() && label(key) == value.as_str())
        && expressions.into_iter().flatten().all(|expression| {
            let has = label(expression["key"].as_str().unwrap_or_default());
            let values = expression["values"].as_array();
            let among = || {
                let mut values = values.into_iter().flatten();
                has.is_some_and(|has| values.any(|value| value == has))
            };
            match expression["operator"].as_str() {
                Some("In") => among(),
                Some("NotIn") => !among(),
                Some("Exists") => has.is_some(),
                Some("DoesNotExist") => has.is_none(),
                _ => false,
            }
        })
}

/// What becomes of a pod while its node is drained. As `kubectl drain` sorts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// It stays: a DaemonSet or the kubelet itself would bring it back at once.
    Stays,
    /// It is on its way already.
    Ending,
    /// It leaves when it is asked to, and its controller makes another one elsewhere; or it has run to its end.
    Evicted,
    /// It has no controller: nobody would make it again.
    Lost,
}

impl Leaving {
    /// Sorts a pod.
    pub fn of(pod: &Value) -> Self {
        let metadata = &pod["metadata"];
        let owner = metadata["ownerReferences"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|owner| owner["controller"] == true)
            .and_then(|owner| owner["kind"].as_str());
        let mirror = metadata["annotations"].get(MIRROR).is_some();
        let ended = ["Succeeded", "Failed"]
            .iter()
            .any(|phase| pod["status"]["phase"] == *phase);
        match owner {
            _ if mirror => Self::Stays,
            Some("DaemonSet" | "Node") => Self::Stays,
            _ if metadata.get("deletionTimestamp").is_some() => Self::Ending,
            None if !ended => Self::Lost,
            _ => Self::Evicted,
        }
    }
}

/// Annotation by which kubelets mark what they publish of their static pods.
pub const MIRROR: &str = "kubernetes.io/config.mirror";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_take_what_all_their_terms_take() {
        let labels = json!({"app": "web", "tier": "front"});
        for (selector, taken) in [
            (json!(null), false),
            (json!({}), true),
            (json!({"matchLabels": {"app": "web"}}), true),
            (
                json!({"matchLabels": {"app": "web", "tier": "back"}}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["db", "web"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}),
                false,
            ),
            (
                json!({"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "x", "operator": "Exists"}]}),
                false,
            ),
        ] {
            assert_eq!(selects(&selector, &labels), taken, "{selector}");
        }
    }

    #[test]
    fn pods_are_sorted_as_kubectl_does() {
        let owned = |kind: &str| json!([{"kind": kind, "name": "x", "controller": true}]);
        for (pod, leaving) in [
            (
                json!({"metadata": {"ownerReferences": owned("ReplicaSet")}}),
                Leaving::Evicted,
            ),
            (
                json!({"metadata": {"ownerReferences": owned("DaemonSet")}}),
                Leaving::Stays,
            ),
            (
                json!({"metadata": {"ownerReferences": owned("Node")}}),
                Leaving::Stays,
            ),
            (
                json!({"metadata": {"annotations": {MIRROR: "x"}}}),
                Leaving::Stays,
            ),
            (
                json!({"metadata": {"ownerReferences": owned("ReplicaSet"), "deletionTimestamp": "t"}}),
                Leaving::Ending,
            ),
            (
                json!({"metadata": {}, "status": {"phase": "Running"}}),
                Leaving::Lost,
            ),
            (
                json!({"metadata": {}, "status": {"phase": "Succeeded"}}),
                Leaving::Evicted,
            ),
        ] {
            assert_eq!(Leaving::of(&pod), leaving, "{pod}");
        }
    }
}
