//! encryption-provider-operator on the Cluster API management cluster: a Cluster without an encryption configuration gets
//! a new one, with a key that no existing Secret was written with.

use drover_model::{cr::keys, names};
use drover_step_api::Timestamp;

use super::capi;
use crate::{objects::SecretData, state::Cluster};

pub(super) fn run(cluster: &mut Cluster, now: Timestamp) -> bool {
    let name = names::encryption_secret(&cluster.facts.id);
    let missing = cluster.capi.contains(&capi::cluster_key(cluster))
        && cluster
            .capi
            .secret(&cluster.facts.namespace, &name)
            .is_none();
    let chance = &cluster.chance;
    if !cluster
        .timers
        .hold("encryption-provider", "", missing, now, || {
            chance.millis(6_000, 12_000, "encryption-provider", "")
        })
    {
        return false;
    }
    cluster.accident(
        now,
        "encryption-provider-operator found no encryption configuration and invented a key",
    );
    let data = SecretData {
        type_: "Opaque".to_owned(),
        data: [("encryption".to_owned(), cluster.spare.encryption.clone())].into(),
        sealed: None,
    };
    let (namespace, id) = (cluster.facts.namespace.clone(), cluster.facts.id.clone());
    cluster
        .capi
        .put_secret(&namespace, &name, &[(keys::CLUSTER_NAME, &id)], data, now);
    true
}
