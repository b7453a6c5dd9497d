//! The stretch of the live migration that the lab plays: the shipped definition from `generate-target` on, as it is. What
//! earlier steps would have put out comes in as input.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use serde_json::{Value, json};

/// The shipped definition.
const SHIPPED: &str = include_str!("../../../steps/capa/definitions/aws-live-migration.yaml");

/// Name of the lab's.
pub(crate) const NAME: &str = "lab-hand-over";

/// The shipped after-care.
const SHIPPED_CARE: &str = include_str!("../../../steps/capa/definitions/aws-after-care.yaml");

/// Name of the lab's.
pub(crate) const AFTER_CARE: &str = "lab-after-care";

/// Its steps that the lab plays.
const CARED: [&str; 2] = ["clean-manifest", "sign-as-new-issuer"];

/// The first step of the stretch.
const FIRST: &str = "generate-target";

/// The last one: what comes then needs Auto Scaling groups, DNS, stacks and custom resources, which the lab has not.
const LAST: &str = "retire-vintage-etcd";

/// What earlier steps put out, and where it comes from here. The longest first: none is part of another then.
const INPUTS: [(&str, &str); 3] = [
    (
        "steps['copy-ca'].output.secrets + steps['copy-service-account-keys'].output.secrets + steps['copy-encryption-config'].output.secrets",
        "input.secrets",
    ),
    ("steps['copy-ca'].output.secrets", "input.secrets"),
    ("steps['inventory'].output", "input.plan"),
];

/// The lab's definition, as JSON, which is YAML. `until` is the last step that is played, when that is not the last of the
/// stretch.
pub(crate) fn derive(until: Option<&str>) -> anyhow::Result<String> {
    let until = until.unwrap_or(LAST);
    let mut text = SHIPPED.to_owned();
    for (from, to) in INPUTS {
        text = text.replace(from, to);
    }
    let mut definition: Value = serde_saphyr::from_str(&text)?;
    definition["metadata"]["name"] = json!(NAME);
    let spec = &mut definition["spec"];
    spec["input"] = json!({
        "type": "object",
        "required": ["installation", "cluster", "plan", "secrets"],
        "properties": {
            "installation": {"type": "string"}, "cluster": {"type": "string"},
            "plan": {"type": "object"}, "secrets": {"type": "array"},
        },
    });
    let steps = spec["steps"]
        .as_array()
        .context("the definition has no steps")?;
    let steps = stretch(steps, until)?;
    let kept: BTreeSet<String> = steps.iter().filter_map(id).collect();
    if !kept.contains("converge-etcd") {
        let spec = spec.as_object_mut().context("a spec")?;
        spec.remove("pivot");
        spec.remove("critical");
    }
    if let Some(guards) = spec["guards"].as_array_mut() {
        for guard in guards {
            if guard["until"]
                .as_str()
                .is_some_and(|until| !kept.contains(until))
            {
                guard["until"] = json!(until);
            }
        }
    }
    spec["steps"] = Value::Array(steps);
    Ok(definition.to_string())
}

fn id(step: &Value) -> Option<String> {
    step["id"].as_str().map(str::to_owned)
}

/// The steps from the first one on, whose needs are among themselves. Gates are for people.
fn stretch(steps: &[Value], until: &str) -> anyhow::Result<Vec<Value>> {
    let place = |wanted: &str| {
        steps
            .iter()
            .position(|step| step["id"] == wanted)
            .with_context(|| format!("the definition has no step {wanted}"))
    };
    let steps = &steps[place(FIRST)?..=place(until)?];
    Ok(only(steps, |step| step.get("gate").is_none()))
}

/// The steps that are kept, whose needs are among themselves: who needs one that is not kept needs what that one needs.
fn only(steps: &[Value], keeps: impl Fn(&Value) -> bool) -> Vec<Value> {
    let mut left_out: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let mut kept: Vec<Value> = Vec::new();
    for step in steps {
        let mut step = step.clone();
        let needs: Vec<Value> = step["needs"].as_array().cloned().unwrap_or_default();
        let needs: Vec<Value> = needs
            .into_iter()
            .flat_map(|need| {
                left_out
                    .get(need.as_str().unwrap_or_default())
                    .cloned()
                    .unwrap_or(vec![need])
            })
            .filter(|need| kept.iter().any(|kept| kept["id"] == *need))
            .collect();
        if keeps(&step) {
            step["needs"] = Value::Array(needs);
            kept.push(step);
        } else {
            left_out.insert(id(&step).unwrap_or_default(), needs);
        }
    }
    kept
}

/// The shipped after-care up to where a new issuer signs, without what takes days, as JSON.
pub(crate) fn after_care() -> anyhow::Result<String> {
    let mut definition: Value = serde_saphyr::from_str(SHIPPED_CARE)?;
    definition["metadata"]["name"] = json!(AFTER_CARE);
    let steps = definition["spec"]["steps"]
        .as_array()
        .context("the definition has no steps")?;
    let steps = only(steps, |step| {
        CARED.iter().any(|cared| step["id"] == **cared)
    });
    definition["spec"]["steps"] = Value::Array(steps);
    Ok(definition.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lab_plays_the_shipped_steps_from_the_target_on() {
        let definition: Value = serde_json::from_str(&derive(None).unwrap()).unwrap();
        let ids: Vec<_> = definition["spec"]["steps"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(id)
            .collect();
        assert_eq!(ids.first().unwrap(), FIRST);
        assert_eq!(ids.last().unwrap(), LAST);
        assert_eq!(definition["spec"]["guards"][0]["until"], LAST);
        assert!(!definition.to_string().contains("steps['inventory']"));
        assert!(!definition.to_string().contains("steps['copy-"));
    }

    #[test]
    fn its_after_care_is_the_two_rollouts_that_need_no_weeks() {
        let definition: Value = serde_json::from_str(&after_care().unwrap()).unwrap();
        let steps = definition["spec"]["steps"].as_array().unwrap();
        let ids: Vec<_> = steps.iter().filter_map(id).collect();
        assert_eq!(ids, CARED);
        assert_eq!(steps[1]["needs"], json!(["clean-manifest"]));
    }

    #[test]
    fn a_shorter_stretch_has_no_pivot() {
        let definition: Value =
            serde_json::from_str(&derive(Some("verify-first-node")).unwrap()).unwrap();
        assert!(definition["spec"].get("pivot").is_none());
        assert_eq!(
            definition["spec"]["guards"][0]["until"],
            "verify-first-node"
        );
    }
}
