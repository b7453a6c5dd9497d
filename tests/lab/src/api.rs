//! Kubernetes APIs of the lab, for what the lab itself lays there and looks at.

use std::path::Path;

use anyhow::Context as _;
use kube::{
    Api, Client, Config,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
    discovery,
};
use serde_json::Value;

/// A client by a kubeconfig file.
pub(crate) async fn client(kubeconfig: &Path) -> anyhow::Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let mut config =
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.connect_timeout = Some(std::time::Duration::from_secs(3));
    config.read_timeout = Some(std::time::Duration::from_secs(20));
    Ok(Client::try_from(config)?)
}

/// Applies an object, whoever owns its fields.
pub(crate) async fn apply(client: &Client, object: &Value) -> anyhow::Result<DynamicObject> {
    let name = object["metadata"]["name"]
        .as_str()
        .context("an object without a name")?;
    let api = api_of(client, object).await?;
    let params = PatchParams::apply("drover-lab").force();
    api.patch(name, &params, &Patch::Apply(object))
        .await
        .with_context(|| format!("apply {} {name}", object["kind"]))
}

/// The API of an object's kind and namespace.
async fn api_of(client: &Client, object: &Value) -> anyhow::Result<Api<DynamicObject>> {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    let kind = object["kind"].as_str().unwrap_or_default();
    let namespace = object["metadata"]["namespace"].as_str();
    resource(client, version, kind, namespace).await
}

/// The API of a kind, in a namespace or in all.
pub(crate) async fn resource(
    client: &Client,
    api_version: &str,
    kind: &str,
    namespace: Option<&str>,
) -> anyhow::Result<Api<DynamicObject>> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let gvk = GroupVersionKind::gvk(group, version, kind);
    let resource: ApiResource = match known(&gvk) {
        Some(plural) => ApiResource::from_gvk_with_plural(&gvk, plural),
        None => {
            discovery::pinned_kind(client, &gvk)
                .await
                .with_context(|| format!("{api_version} {kind} is not served"))?
                .0
        }
    };
    Ok(match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    })
}

/// Plurals of kinds that are there from the beginning.
fn known(gvk: &GroupVersionKind) -> Option<&'static str> {
    Some(match gvk.kind.as_str() {
        "Namespace" => "namespaces",
        "Secret" => "secrets",
        "ConfigMap" => "configmaps",
        "CustomResourceDefinition" => "customresourcedefinitions",
        _ => return None,
    })
}
