//! Pods of a node, and their eviction.

use drover_ports::{Gvk, PortError};
use http::Method;
use serde_json::{Value, json};

use crate::{
    asked::Asked,
    connection::{Connection, Request},
    paths,
    verbs::{PAGE, json_body, pages},
};

fn pod() -> Gvk {
    Gvk::of("v1", "Pod")
}

/// Pods on a node, of all namespaces, ordered by namespace and name. The API selects them, so that a big cluster is not read
/// for the sake of one node.
///
/// # Errors
/// As [`pages`].
pub(crate) async fn on(
    to: &Connection,
    node: &str,
    asked: Asked<'_>,
) -> Result<Vec<Value>, PortError> {
    let kind = to.kind(&pod(), asked).await?;
    let collection = paths::collection(&pod(), &kind, "", asked)?;
    let node = paths::name(node, "name", asked)?;
    let first = format!("{collection}?limit={PAGE}&fieldSelector=spec.nodeName%3D{node}");
    pages(to, &pod(), &first, asked).await
}

/// Asks for one pod to leave, unless it has been made anew since.
///
/// # Errors
/// `Conflict` with the code `DisruptionBudget` while a budget does not allow it.
pub(crate) async fn evict(
    to: &Connection,
    namespace: &str,
    name: &str,
    uid: &str,
    asked: Asked<'_>,
) -> Result<(), PortError> {
    let kind = to.kind(&pod(), asked).await?;
    let path = paths::object(&pod(), &kind, namespace, name, asked)?;
    let request = Request {
        method: Method::POST,
        path: format!("{path}/eviction"),
        content_type: "application/json",
        body: json_body(&eviction(namespace, name, uid)),
    };
    to.send(request, asked).await?.success(asked)?;
    Ok(())
}

fn eviction(namespace: &str, name: &str, uid: &str) -> Value {
    json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": namespace},
        "deleteOptions": {"preconditions": {"uid": uid}},
    })
}
