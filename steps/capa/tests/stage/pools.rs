//! One node pool's turn: the kinds and their params, as the definition's `forEach` passes them.

use serde_json::{Value, json};

use super::Migration;

/// Pools of the plan, by id.
pub(crate) fn pool(migration: &Migration, id: &str) -> Value {
    let pools = migration.output("inventory")["node_pools"]
        .as_array()
        .unwrap();
    let pool = pools.iter().find(|pool| pool["name"] == id);
    pool.unwrap().clone()
}

/// Params of `capi.apply_node_pool/1`.
pub(crate) fn apply(migration: &Migration, pool: &Value) -> Value {
    json!({
        "plan": migration.output("inventory"),
        "digest": migration.output("generate-target")["digest"],
        "pool": pool["name"],
    })
}

/// Params of `vintage.replace_nodes/1`.
pub(crate) fn replace(migration: &Migration, pool: &Value) -> Value {
    let plan = migration.output("inventory");
    json!({
        "cluster": plan["id"],
        "namespace": plan["namespace"],
        "vpc": plan["network"]["vpc"],
        "pool": pool,
    })
}

/// Params of `vintage.retire_node_pool/1`.
pub(crate) fn retire(migration: &Migration, pool: &Value) -> Value {
    let plan = migration.output("inventory");
    json!({"cluster": plan["id"], "namespace": plan["namespace"], "pool": pool["name"]})
}
