//! Secrets: with their data as key material, or without it.

use std::collections::BTreeMap;

use drover_ports::{Gvk, PortError, SecretBytes, SecretObject};
use http::Method;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::{
    asked::Asked,
    connection::{Connection, Request},
    kinds::Kind,
    paths,
};

/// Where `kubectl apply` keeps a copy of everything, data included.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A Secret with its data.
///
/// # Errors
/// `NotFound`; `Unavailable` with the code `InternalError` when the API server has no key to decrypt it with.
pub(crate) async fn get(
    to: &Connection,
    namespace: &str,
    name: &str,
    asked: Asked<'_>,
) -> Result<SecretObject, PortError> {
    let path = path(namespace, name, asked)?;
    let secret: WithData = to.ask(Request::get(path), asked, "Secret").await?;
    Ok(secret.into())
}

/// Secrets of all namespaces with these labels, with their data, in the API's order: by namespace and name.
///
/// # Errors
/// As [`get`], except `NotFound`.
pub(crate) async fn find(
    to: &Connection,
    labels: &BTreeMap<String, String>,
    asked: Asked<'_>,
) -> Result<Vec<SecretObject>, PortError> {
    let selector = paths::selector(labels, asked)?;
    let path = format!("/api/v1/secrets?labelSelector={selector}");
    let list: List = to.ask(Request::get(path), asked, "list of Secrets").await?;
    Ok(list.items.into_iter().map(SecretObject::from).collect())
}

/// Server-side apply of a Secret.
///
/// # Errors
/// `Conflict` when another manager owns its data.
pub(crate) async fn apply(
    to: &Connection,
    secret: &SecretObject,
    asked: Asked<'_>,
) -> Result<(), PortError> {
    let path = path(&secret.namespace, &secret.name, asked)?;
    let request = Request {
        method: Method::PATCH,
        path: format!("{path}?{}", paths::MANAGER),
        content_type: "application/apply-patch+yaml",
        body: body(secret),
    };
    // The answer repeats the data: it is not even parsed.
    to.send(request, asked).await?.success(asked)?;
    Ok(())
}

fn path(namespace: &str, name: &str, asked: Asked<'_>) -> Result<String, PortError> {
    let (gvk, kind) = (Gvk::new("", "v1", "Secret"), Kind::new("secrets", true));
    paths::object(&gvk, &kind, namespace, name, asked)
}

/// The object to apply. Base64 stands only in this buffer, which never grows, for that would leave copies behind.
fn body(secret: &SecretObject) -> Zeroizing<Vec<u8>> {
    let object = Applied {
        api_version: "v1",
        kind: "Secret",
        metadata: Metadata {
            namespace: secret.namespace.clone(),
            name: secret.name.clone(),
            labels: secret.labels.clone(),
            annotations: secret.annotations.clone(),
        },
        type_: &secret.type_,
        data: &secret.data,
    };
    let mut body = Zeroizing::new(Vec::with_capacity(bound(secret)));
    serde_json::to_writer(&mut *body, &object).expect("text and base64");
    body
}

/// At least as many bytes as a Secret takes as JSON: names may have to be escaped, base64 takes four for three.
fn bound(secret: &SecretObject) -> usize {
    let data: usize = secret
        .data
        .iter()
        .map(|(key, value)| key.len() * 6 + value.len() * 4 / 3 + 16)
        .sum();
    let words: usize = secret
        .labels
        .iter()
        .chain(&secret.annotations)
        .map(|(key, value)| (key.len() + value.len()) * 6 + 16)
        .sum();
    data + words + (secret.namespace.len() + secret.name.len() + secret.type_.len()) * 6 + 256
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Applied<'s> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata,
    #[serde(rename = "type", skip_serializing_if = "str::is_empty")]
    type_: &'s str,
    // Serialised as base64, wiped afterwards.
    data: &'s BTreeMap<String, SecretBytes>,
}

#[derive(Default, Serialize, Deserialize)]
struct Metadata {
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct List {
    items: Vec<WithData>,
}

#[derive(Deserialize)]
struct WithData {
    metadata: Metadata,
    #[serde(rename = "type", default)]
    type_: String,
    #[serde(default)]
    data: BTreeMap<String, SecretBytes>,
}

impl From<WithData> for SecretObject {
    fn from(secret: WithData) -> Self {
        let Metadata {
            namespace,
            name,
            labels,
            mut annotations,
        } = secret.metadata;
        annotations.remove(LAST_APPLIED);
        Self {
            namespace,
            name,
            type_: secret.type_,
            labels,
            annotations,
            data: secret.data,
        }
    }
}

/// A Secret whose data is skipped while it is parsed, so that it never stands in a JSON value.
pub(crate) struct WithoutData(Map<String, Value>);

impl WithoutData {
    /// What is left.
    pub(crate) fn into_value(self) -> Value {
        let mut object = Value::Object(self.0);
        let annotations = object.pointer_mut("/metadata/annotations");
        if let Some(annotations) = annotations.and_then(Value::as_object_mut) {
            annotations.remove(LAST_APPLIED);
        }
        object
    }
}

impl<'de> Deserialize<'de> for WithoutData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Skipping)
    }
}

struct Skipping;

impl<'de> Visitor<'de> for Skipping {
    type Value = WithoutData;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a Secret")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<WithoutData, A::Error> {
        let mut rest = Map::new();
        while let Some(field) = fields.next_key::<String>()? {
            if field == "data" || field == "stringData" {
                fields.next_value::<IgnoredAny>()?;
            } else {
                rest.insert(field, fields.next_value()?);
            }
        }
        Ok(WithoutData(rest))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secret() -> SecretObject {
        let pair = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        SecretObject {
            namespace: "org-acme".to_owned(),
            name: "c0001-ca".to_owned(),
            type_: "cluster.x-k8s.io/secret".to_owned(),
            labels: pair("cluster.x-k8s.io/cluster-name", "c0001"),
            annotations: pair("note", "with \"quotes\""),
            data: BTreeMap::from([(
                "tls.key".to_owned(),
                SecretBytes::new(b"key material".to_vec()),
            )]),
        }
    }

    #[test]
    fn what_is_applied_is_what_is_read() {
        let body = body(&secret());
        let value: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(value["data"]["tls.key"], "a2V5IG1hdGVyaWFs");
        assert_eq!(value["apiVersion"], "v1");
        let read: WithData = serde_json::from_slice(&body).unwrap();
        assert_eq!(SecretObject::from(read), secret());
    }

    #[test]
    fn the_buffer_does_not_grow() {
        let mut big = secret();
        for index in 0..200 {
            let key = format!("key-{index}");
            big.annotations.insert(key.clone(), "\u{1}".repeat(50));
            big.data.insert(key, SecretBytes::new(vec![255; index]));
        }
        let empty = SecretObject {
            data: BTreeMap::new(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            ..secret()
        };
        for secret in [big, empty, secret()] {
            assert_eq!(body(&secret).capacity(), bound(&secret));
        }
    }

    #[test]
    fn data_is_left_out_wherever_it_hides() {
        let text = json!({
            "kind": "Secret",
            "metadata": {"name": "a", "annotations": {LAST_APPLIED: "c2VjcmV0", "b": "c"}},
            "type": "Opaque",
            "data": {"k": "c2VjcmV0"},
            "stringData": {"k": "secret"},
        });
        let left: WithoutData = serde_json::from_value(text).unwrap();
        let expected = json!({
            "kind": "Secret",
            "metadata": {"name": "a", "annotations": {"b": "c"}},
            "type": "Opaque",
        });
        assert_eq!(left.into_value(), expected);
        let bare = json!({"metadata": {"name": "a"}, "data": {}});
        let left: WithoutData = serde_json::from_value(bare).unwrap();
        assert_eq!(left.into_value(), json!({"metadata": {"name": "a"}}));
    }
}
