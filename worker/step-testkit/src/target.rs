//! What a call is about, without what it says about it.

use drover_ports::{Call, Gvk, KubeCall, StoreCall};
use serde_json::{Value, json};

/// Names the thing that a call is about: the same for a retry, another for another object. Holds no secret.
///
/// Reads are named in full. Of a mutation the new content is left out where the API has a name for the object, because
/// a retry may carry newer content (a fresh resourceVersion) and still be the same request.
pub(crate) fn target(call: &Call) -> String {
    let what = match call {
        Call::Kube { at, call } => json!([at, kube(call)]),
        Call::RegionStore {
            call: StoreCall::Put { key, .. },
        } => json!(key),
        Call::RegionStore { call } => json!(call),
        Call::Cloud { cluster, call } => json!([cluster, call]),
        Call::Etcd { cluster, call } => json!([cluster, call]),
        Call::Ca { cluster, call } => json!([cluster, call]),
        Call::Probe { cluster, call } => json!([cluster, call]),
    };
    format!("{} {what}", call.action())
}

fn kube(call: &KubeCall) -> Value {
    match call {
        KubeCall::Get { .. }
        | KubeCall::List { .. }
        | KubeCall::PodsOn { .. }
        | KubeCall::Evict { .. }
        | KubeCall::GetSecret { .. }
        | KubeCall::RequestToken { .. } => json!(call),
        KubeCall::Apply { object } | KubeCall::Create { object } => {
            let metadata = &object["metadata"];
            json!([
                object["apiVersion"],
                object["kind"],
                metadata["namespace"],
                metadata["name"],
                metadata["generateName"]
            ])
        }
        KubeCall::MergePatch { object, .. } | KubeCall::Delete { object, .. } => json!(object),
        KubeCall::ApplySecret { secret } => {
            json!([Gvk::new("", "v1", "Secret"), secret.namespace, secret.name])
        }
        // The token is the secret itself.
        KubeCall::ReviewToken { .. } => json!("a token"),
    }
}
