//! Verbs on one store of objects.

use drover_ports::{KubeCall, KubeReply, PortError};
use drover_step_api::Timestamp;
use serde_json::Value;

use super::refused;
use crate::objects::{Key, Store, StoreError};

/// What a verb is about, for the ledger.
pub(super) fn target(call: &KubeCall) -> String {
    match call {
        KubeCall::Get { object }
        | KubeCall::MergePatch { object, .. }
        | KubeCall::Delete { object, .. } => words(&Key::of_ref(object)),
        KubeCall::List { gvk, namespace, .. } => format!("{} {namespace}", gvk.kind),
        KubeCall::Apply { object } | KubeCall::Create { object } => words(&Key::of(object)),
        KubeCall::GetSecret { namespace, name } => format!("Secret {namespace}/{name}"),
        KubeCall::ApplySecret { secret } => format!("Secret {}/{}", secret.namespace, secret.name),
        KubeCall::PodsOn { node } => format!("pods on Node {node}"),
        KubeCall::Evict { namespace, pod, .. } => format!("Pod {namespace}/{pod}"),
        KubeCall::RequestToken {
            namespace,
            service_account,
        } => format!("ServiceAccount {namespace}/{service_account}"),
        KubeCall::ReviewToken { .. } => "TokenReview".to_owned(),
    }
}

/// A key in words.
pub(super) fn words(key: &Key) -> String {
    if key.namespace.is_empty() {
        format!("{} {}", key.kind, key.name)
    } else {
        format!("{} {}/{}", key.kind, key.namespace, key.name)
    }
}

/// The object that a verb names; `None` for lists and tokens.
pub(super) fn key_of(call: &KubeCall) -> Option<Key> {
    match call {
        KubeCall::Get { object }
        | KubeCall::MergePatch { object, .. }
        | KubeCall::Delete { object, .. } => Some(Key::of_ref(object)),
        KubeCall::Apply { object } | KubeCall::Create { object } => Some(Key::of(object)),
        KubeCall::GetSecret { namespace, name } => Some(Key::secret(namespace, name)),
        KubeCall::ApplySecret { secret } => Some(Key::secret(&secret.namespace, &secret.name)),
        KubeCall::Evict { namespace, pod, .. } => Some(Key::new("", "Pod", namespace, pod)),
        KubeCall::List { .. }
        | KubeCall::PodsOn { .. }
        | KubeCall::RequestToken { .. }
        | KubeCall::ReviewToken { .. } => None,
    }
}

/// Carries a verb out on one store. `sealed` is what Secrets are written with. Lists and tokens are not for here.
pub(super) fn on_store(
    store: &mut Store,
    call: &KubeCall,
    sealed: Option<&str>,
    action: &str,
    now: Timestamp,
) -> Result<(KubeReply, bool), PortError> {
    let Some(key) = key_of(call) else {
        return Err(refused(
            StoreError::Invalid("not a verb on one object".to_owned()),
            action,
            "",
        ));
    };
    let fail = |error| refused(error, action, &words(&key));
    let object = |store: &Store| KubeReply::Object {
        object: store.get(&key).cloned().unwrap_or(Value::Null),
    };
    match call {
        KubeCall::Get { .. } => match store.get(&key) {
            Some(value) => Ok((
                KubeReply::Object {
                    object: value.clone(),
                },
                false,
            )),
            None => Err(fail(StoreError::NotFound)),
        },
        KubeCall::GetSecret { namespace, name } => store
            .secret_object(namespace, name)
            .map(|secret| (KubeReply::Secret(secret), false))
            .ok_or_else(|| fail(StoreError::NotFound)),
        KubeCall::Apply { object: value } => {
            let changed = store.apply(value.clone(), now).map_err(fail)?;
            Ok((object(store), changed))
        }
        KubeCall::Create { object: value } => {
            store.create(value.clone(), now).map_err(fail)?;
            Ok((object(store), true))
        }
        KubeCall::MergePatch {
            patch,
            resource_version,
            ..
        } => {
            let before = store.get(&key).cloned();
            let changed = store
                .patch(&key, patch, resource_version.as_deref())
                .map_err(fail)?;
            // A patch that took the last finalizer away leaves nothing to show but what was there.
            let after = store.get(&key).cloned().or(before);
            let reply = KubeReply::Object {
                object: after.unwrap_or(Value::Null),
            };
            Ok((reply, changed))
        }
        KubeCall::Delete { uid, .. } => {
            let found = store.get(&key).ok_or_else(|| fail(StoreError::NotFound))?;
            if let Some(uid) = uid
                && found["metadata"]["uid"] != uid.as_str()
            {
                let why = "it has another uid".to_owned();
                return Err(fail(StoreError::Conflict(why)));
            }
            Ok((KubeReply::Done, store.delete(&key, now)))
        }
        KubeCall::ApplySecret { secret } => {
            let changed = store
                .apply_secret(secret.clone(), sealed.map(str::to_owned), now)
                .map_err(fail)?;
            Ok((KubeReply::Done, changed))
        }
        KubeCall::List { .. }
        | KubeCall::PodsOn { .. }
        | KubeCall::Evict { .. }
        | KubeCall::RequestToken { .. }
        | KubeCall::ReviewToken { .. } => Err(fail(StoreError::Invalid(
            "not a verb on one object".to_owned(),
        ))),
    }
}
