//! One API's objects.

use std::collections::BTreeMap;

use drover_ports::Gvk;
use drover_step_api::Timestamp;
use serde_json::{Value, json};

use super::{Key, SecretData, deep_merge, merge_patch, tidy};
use crate::text::rfc3339;

/// One object.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) value: Value,
    pub(crate) secret: Option<SecretData>,
    /// What `drover` applied last, for taking fields back.
    pub(super) applied: Option<Value>,
}

/// Why an API refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreError {
    NotFound,
    AlreadyExists,
    Conflict(String),
    Invalid(String),
}

/// All objects of one API that belong to one cluster.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(super) objects: BTreeMap<Key, Object>,
    /// Prefix of uids, so that two stores never share one.
    name: String,
    version: u64,
    /// Counts whatever has changed, removals as well.
    changes: u64,
}

impl Store {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self {
            objects: BTreeMap::new(),
            name: name.into(),
            version: 0,
            changes: 0,
        }
    }

    /// Differs from what it was when anything has changed since.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Value> {
        self.objects.get(key).map(|object| &object.value)
    }

    pub(crate) fn contains(&self, key: &Key) -> bool {
        self.objects.contains_key(key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Key, &Object)> {
        self.objects.iter()
    }

    /// Objects of one kind.
    pub(crate) fn of_kind<'s>(
        &'s self,
        kind: &'s str,
    ) -> impl Iterator<Item = (&'s Key, &'s Value)> {
        // Keys order by kind first.
        self.objects
            .range(Key::new("", kind, "", "")..)
            .take_while(move |(key, _)| key.kind == kind)
            .map(|(key, object)| (key, &object.value))
    }

    /// Objects as an API lists them.
    pub(crate) fn list(
        &self,
        gvk: &Gvk,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> Vec<Value> {
        self.of_kind(&gvk.kind)
            .filter(|(key, _)| key.group == gvk.group)
            .filter(|(key, _)| namespace.is_empty() || key.namespace == namespace)
            .filter(|(_, value)| {
                labels
                    .iter()
                    .all(|(key, wanted)| value["metadata"]["labels"][key] == wanted.as_str())
            })
            .map(|(_, value)| value.clone())
            .collect()
    }

    /// Creates an object.
    pub(crate) fn create(&mut self, value: Value, now: Timestamp) -> Result<&Value, StoreError> {
        let key = Key::of(&value);
        if key.kind.is_empty() || key.name.is_empty() {
            return Err(StoreError::Invalid(
                "kind and metadata.name are required".to_owned(),
            ));
        }
        if self.objects.contains_key(&key) {
            return Err(StoreError::AlreadyExists);
        }
        self.insert(key.clone(), value, None, now);
        Ok(&self.objects[&key].value)
    }

    /// Creates or replaces an object without asking anybody: how the world's own parts write.
    pub(crate) fn put(&mut self, value: Value, now: Timestamp) {
        let key = Key::of(&value);
        match self.objects.get(&key) {
            None => self.insert(key, value, None, now),
            Some(_) => {
                self.edit(&key, |object| {
                    let metadata = object["metadata"].clone();
                    *object = value;
                    for field in ["uid", "creationTimestamp", "resourceVersion", "generation"] {
                        object["metadata"][field] = metadata[field].clone();
                    }
                });
            }
        }
    }

    fn insert(&mut self, key: Key, mut value: Value, secret: Option<SecretData>, now: Timestamp) {
        self.version += 1;
        self.changes += 1;
        tidy(&mut value);
        let metadata = &mut value["metadata"];
        metadata["uid"] = json!(format!("{}-{}", self.name, self.version));
        metadata["resourceVersion"] = json!(self.version.to_string());
        metadata["creationTimestamp"] = json!(rfc3339(now));
        metadata["generation"] = json!(1);
        let object = Object {
            value,
            secret,
            applied: None,
        };
        self.objects.insert(key, object);
    }

    /// Server-side apply as `drover`. True when something changed.
    pub(crate) fn apply(&mut self, value: Value, now: Timestamp) -> Result<bool, StoreError> {
        let key = Key::of(&value);
        if key.kind.is_empty() || key.name.is_empty() {
            return Err(StoreError::Invalid(
                "kind and metadata.name are required".to_owned(),
            ));
        }
        let applied = value.clone();
        let changed = match self.objects.get(&key) {
            None => {
                self.insert(key.clone(), value, None, now);
                true
            }
            Some(object) => {
                let before = object.applied.clone();
                self.edit(&key, |object| deep_merge(object, &value, before.as_ref()))
            }
        };
        if let Some(object) = self.objects.get_mut(&key) {
            object.applied = Some(applied);
        }
        Ok(changed)
    }

    /// JSON merge patch. True when something changed.
    pub(crate) fn patch(
        &mut self,
        key: &Key,
        patch: &Value,
        resource_version: Option<&str>,
    ) -> Result<bool, StoreError> {
        let object = self.objects.get(key).ok_or(StoreError::NotFound)?;
        if let Some(wanted) = resource_version
            && object.value["metadata"]["resourceVersion"] != wanted
        {
            return Err(StoreError::Conflict(
                "the object has been modified".to_owned(),
            ));
        }
        Ok(self.edit(key, |value| merge_patch(value, patch)))
    }

    /// Changes an object in place, keeping its identity. True when something changed. An object that is being deleted
    /// goes when its last finalizer does.
    pub(crate) fn edit(&mut self, key: &Key, change: impl FnOnce(&mut Value)) -> bool {
        let Some(object) = self.objects.get_mut(key) else {
            return false;
        };
        let mut value = object.value.clone();
        change(&mut value);
        tidy(&mut value);
        let metadata = &object.value["metadata"];
        for field in [
            "uid",
            "name",
            "namespace",
            "creationTimestamp",
            "resourceVersion",
            "generation",
            "deletionTimestamp",
        ] {
            match metadata.get(field) {
                Some(kept) => value["metadata"][field] = kept.clone(),
                None => {
                    if let Value::Object(metadata) = &mut value["metadata"] {
                        metadata.shift_remove(field);
                    }
                }
            }
        }
        if value == object.value {
            return false;
        }
        if value["spec"] != object.value["spec"] {
            let generation = metadata["generation"].as_u64().unwrap_or(0) + 1;
            value["metadata"]["generation"] = json!(generation);
        }
        object.value = value;
        self.touch(key);
        self.collect(key);
        true
    }

    pub(super) fn touch(&mut self, key: &Key) {
        self.version += 1;
        self.changes += 1;
        let version = self.version;
        if let Some(object) = self.objects.get_mut(key) {
            object.value["metadata"]["resourceVersion"] = json!(version.to_string());
        }
    }

    /// Asks for an object's deletion: it goes at once, or when its last finalizer does. False when it was not there or
    /// already going.
    pub(crate) fn delete(&mut self, key: &Key, now: Timestamp) -> bool {
        let Some(object) = self.objects.get_mut(key) else {
            return false;
        };
        let metadata = &mut object.value["metadata"];
        if metadata.get("deletionTimestamp").is_some() {
            return false;
        }
        metadata["deletionTimestamp"] = json!(rfc3339(now));
        self.touch(key);
        self.collect(key);
        true
    }

    /// Removes an object whatever its finalizers say.
    pub(crate) fn remove(&mut self, key: &Key) {
        if let Some(gone) = self.objects.remove(key) {
            self.changes += 1;
            self.collect_dependants(&gone.value["metadata"]["uid"]);
        }
    }

    fn collect(&mut self, key: &Key) {
        let gone = self.objects.get(key).is_some_and(|object| {
            let metadata = &object.value["metadata"];
            metadata.get("deletionTimestamp").is_some()
                && metadata["finalizers"].as_array().is_none_or(Vec::is_empty)
                // A pod on a node goes when its kubelet has ended it.
                && !(key.kind == "Pod" && object.value["spec"]["nodeName"].is_string())
        });
        if gone {
            self.remove(key);
        }
    }

    /// Dependants of an owner that is gone are deleted in the background.
    fn collect_dependants(&mut self, uid: &Value) {
        let orphans: Vec<Key> = self
            .objects
            .iter()
            .filter(|(_, object)| {
                object.value["metadata"]["ownerReferences"]
                    .as_array()
                    .is_some_and(|owners| {
                        !owners.is_empty() && owners.iter().all(|o| o["uid"] == *uid)
                    })
            })
            .map(|(key, _)| key.clone())
            .collect();
        for orphan in orphans {
            let has_finalizers = self.objects.get(&orphan).is_some_and(|object| {
                object.value["metadata"]["finalizers"]
                    .as_array()
                    .is_some_and(|finalizers| !finalizers.is_empty())
            });
            if has_finalizers {
                if let Some(object) = self.objects.get_mut(&orphan) {
                    let metadata = &mut object.value["metadata"];
                    if metadata.get("deletionTimestamp").is_none() {
                        metadata["deletionTimestamp"] = metadata["creationTimestamp"].clone();
                    }
                }
                self.touch(&orphan);
            } else {
                self.remove(&orphan);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "n"}})
    }

    fn key(name: &str) -> Key {
        Key::new("", "ConfigMap", "n", name)
    }

    fn version(store: &Store, name: &str) -> String {
        store.get(&key(name)).unwrap()["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    #[test]
    fn resource_versions_change_only_with_the_object() {
        let mut store = Store::new("s");
        store.create(object("a"), Timestamp(0)).unwrap();
        let first = version(&store, "a");
        assert_eq!(
            store.patch(&key("a"), &json!({"metadata": {"labels": null}}), None),
            Ok(false)
        );
        assert_eq!(version(&store, "a"), first);
        assert_eq!(
            store.patch(&key("a"), &json!({"data": {"x": "1"}}), Some(&first)),
            Ok(true)
        );
        assert_ne!(version(&store, "a"), first);
        let stale = store.patch(&key("a"), &json!({"data": {"x": "2"}}), Some(&first));
        assert!(matches!(stale, Err(StoreError::Conflict(_))));
    }

    #[test]
    fn applying_the_same_again_changes_nothing() {
        let mut store = Store::new("s");
        let mut applied = object("a");
        applied["data"] = json!({"x": "1"});
        assert_eq!(store.apply(applied.clone(), Timestamp(0)), Ok(true));
        store.edit(&key("a"), |value| {
            value["status"] = json!({"by": "a controller"})
        });
        assert_eq!(store.apply(applied, Timestamp(9)), Ok(false));
    }

    #[test]
    fn a_finalizer_keeps_a_deleted_object_until_it_is_taken_away() {
        let mut store = Store::new("s");
        let mut held = object("a");
        held["metadata"]["finalizers"] = json!(["keep"]);
        store.create(held, Timestamp(0)).unwrap();
        assert!(store.delete(&key("a"), Timestamp(1)));
        assert!(store.contains(&key("a")));
        assert!(
            !store.delete(&key("a"), Timestamp(2)),
            "it is going already"
        );
        let patch = json!({"metadata": {"finalizers": null}});
        assert_eq!(store.patch(&key("a"), &patch, None), Ok(true));
        assert!(!store.contains(&key("a")));
    }

    #[test]
    fn dependants_go_with_their_owner() {
        let mut store = Store::new("s");
        store.create(object("owner"), Timestamp(0)).unwrap();
        let uid = store.get(&key("owner")).unwrap()["metadata"]["uid"].clone();
        let mut owned = object("owned");
        owned["metadata"]["ownerReferences"] = json!([{"uid": uid}]);
        store.create(owned, Timestamp(0)).unwrap();
        store.delete(&key("owner"), Timestamp(1));
        assert!(!store.contains(&key("owned")));
    }
}
