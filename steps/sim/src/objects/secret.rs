//! Secrets in a store: their data lies beside the object, because nobody sees it who may only see the object.

use std::collections::BTreeMap;

use drover_ports::{SecretBytes, SecretObject};
use drover_step_api::Timestamp;
use serde_json::{Map, Value, json};

use super::{Key, Store, StoreError};

/// Data of a Secret. `sealed` is the identity of the encryption configuration that wrote it, in a workload cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SecretData {
    pub(crate) type_: String,
    pub(crate) data: BTreeMap<String, SecretBytes>,
    pub(crate) sealed: Option<String>,
}

impl Store {
    pub(crate) fn secret(&self, namespace: &str, name: &str) -> Option<&SecretData> {
        self.objects
            .get(&Key::secret(namespace, name))?
            .secret
            .as_ref()
    }

    /// Creates or replaces a Secret.
    pub(crate) fn put_secret(
        &mut self,
        namespace: &str,
        name: &str,
        labels: &[(&str, &str)],
        data: SecretData,
        now: Timestamp,
    ) {
        let labels: BTreeMap<&str, &str> = labels.iter().copied().collect();
        let value = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "type": data.type_,
        });
        let key = Key::of(&value);
        self.put(value, now);
        if let Some(object) = self.objects.get_mut(&key) {
            object.secret = Some(data);
        }
    }

    /// Server-side apply of a Secret as `drover`. Data that somebody else wrote differently is a conflict.
    pub(crate) fn apply_secret(
        &mut self,
        secret: SecretObject,
        sealed: Option<String>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let value = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": secret.name,
                "namespace": secret.namespace,
                "labels": secret.labels,
                "annotations": secret.annotations,
            },
            "type": secret.type_,
        });
        let key = Key::of(&value);
        let theirs = self
            .objects
            .get(&key)
            .filter(|object| object.applied.is_none())
            .and_then(|object| object.secret.as_ref());
        if theirs.is_some_and(|theirs| theirs.data != secret.data) {
            return Err(StoreError::Conflict(
                "another manager owns fields of data".to_owned(),
            ));
        }
        let mut changed = self.apply(value, now)?;
        if let Some(object) = self.objects.get_mut(&key) {
            let data = SecretData {
                type_: secret.type_,
                data: secret.data,
                sealed,
            };
            if object.secret.as_ref() != Some(&data) {
                let is_new = object.secret.is_none();
                object.secret = Some(data);
                if !is_new {
                    self.touch(&key);
                }
                changed = true;
            }
        }
        Ok(changed)
    }

    /// A Secret as callers see it.
    pub(crate) fn secret_object(&self, namespace: &str, name: &str) -> Option<SecretObject> {
        let object = self.objects.get(&Key::secret(namespace, name))?;
        let data = object.secret.as_ref()?;
        let strings = |field: &str| {
            object.value["metadata"][field]
                .as_object()
                .map(to_strings)
                .unwrap_or_default()
        };
        Some(SecretObject {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            type_: data.type_.clone(),
            labels: strings("labels"),
            annotations: strings("annotations"),
            data: data.data.clone(),
        })
    }
}

fn to_strings(map: &Map<String, Value>) -> BTreeMap<String, String> {
    map.iter()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anothers_secret_is_not_overwritten() {
        let mut store = Store::new("s");
        let theirs = SecretData {
            type_: "Opaque".into(),
            data: [("k".to_owned(), SecretBytes::new(b"theirs".to_vec()))].into(),
            sealed: None,
        };
        store.put_secret("n", "s", &[], theirs, Timestamp(0));
        let mut ours = store.secret_object("n", "s").unwrap();
        ours.data
            .insert("k".into(), SecretBytes::new(b"ours".to_vec()));
        let refused = store.apply_secret(ours, None, Timestamp(1));
        assert!(matches!(refused, Err(StoreError::Conflict(_))));
    }
}
